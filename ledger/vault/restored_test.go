package vault

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events/store/disk"
)

// keysOf is where the tests keep the keys of a backup in a folder.
func keysOf(dst string) string { return dst + ".keys" }

// backUp backs up both sides, the keys last.
func backUp(v *Vault, dst string) error {
	if err := v.Backup(ctx, dst); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := v.BackupKeys(ctx, &b, epoch); err != nil {
		return err
	}
	return disk.WriteFile(v.cfg.FS, keysOf(dst), b.Bytes(), 0o600)
}

func mustBackup(t testing.TB, v *Vault, dst string) {
	t.Helper()
	if err := backUp(v, dst); err != nil {
		t.Fatal(err)
	}
}

// restoreOn restores what backUp wrote on a file system.
func restoreOn(fsys disk.FS, cfg Config, src string, hook stepHook) error {
	b, err := disk.ReadFile(fsys, keysOf(src))
	if err != nil {
		return err
	}
	return restore(ctx, cfg, Source{Contents: src, Keys: bytes.NewReader(b)}, hook)
}

// elsewhere is a Config of another folder, with a custody that has the epoch's key
// alone: the first destruction in a restored vault ends the one that was backed up.
func elsewhere(t testing.TB, cfg Config) Config {
	t.Helper()
	dir, key := t.TempDir(), epoch+".key"
	if err := os.MkdirAll(filepath.Join(dir, "custody", "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "custody", "keys", key), mustReadFile(t, filepath.Join(custodyDir(cfg), key)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = filepath.Join(dir, "restored")
	cfg.Custody = openCustody(t, disk.OS{}, custodyDir(cfg))
	return cfg
}

// restored makes a vault of a backup, in a new folder.
func restored(t testing.TB, cfg Config, src string) *Vault {
	t.Helper()
	cfg = elsewhere(t, cfg)
	if err := restoreOn(disk.OS{}, cfg, src, noHook); err != nil {
		t.Fatal(err)
	}
	return openVault(t, cfg)
}
