package vault

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
)

// newConfig returns the Config of a new vault in folders of the test's.
func newConfig(t testing.TB) Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "vault"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Config{
		Dir: filepath.Join(dir, "vault"), Custody: openCustody(t, disk.OS{}, filepath.Join(dir, "custody", "keys")),
		Register: filepath.Join(dir, "custody", "destroyed.register"), Logger: slog.New(slog.DiscardHandler),
	}
}

// openCustody opens custody in a folder, with the key of an epoch.
func openCustody(t testing.TB, fsys disk.FS, dir string) custody.Custody {
	t.Helper()
	c, err := custody.OpenFolder(custody.FolderConfig{Dir: dir, FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Create(ctx, epoch); err != nil && !errors.Is(err, custody.ErrExists) {
		t.Fatal(err)
	}
	return c
}

// epoch is the key of the backups in tests.
const epoch = "epoch-1"

// custodyDir is where the keys of a Config of newConfig are.
func custodyDir(cfg Config) string { return filepath.Join(filepath.Dir(cfg.Dir), "custody", "keys") }

// wantRoots holds what is in custody to a number of root keys.
func wantRoots(t testing.TB, c custody.Custody, want int) {
	t.Helper()
	names, err := c.Names(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var roots []string
	for _, name := range names {
		if strings.HasPrefix(name, rootPrefix) {
			roots = append(roots, name)
		}
	}
	if len(roots) != want {
		t.Errorf("root keys in custody: %v, want %d", roots, want)
	}
}

// keepVersions keeps every document.
func keepVersions(keep func(events.ID, uint32) bool) Keep {
	return Keep{Version: keep, Document: func(Place) bool { return true }}
}

// openVault opens a vault and closes it with the test.
func openVault(t testing.TB, cfg Config) *Vault {
	t.Helper()
	v, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// TestCloseLeavesNoFileOpen looks where the operating system shows open files.
func TestCloseLeavesNoFileOpen(t *testing.T) {
	const open = "/proc/self/fd"
	if _, err := os.Stat(open); err != nil {
		if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cfg := newConfig(t)
	v := openVault(t, cfg)
	mustPut(t, v, events.MustNewID(), 1, pattern(10))
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(open)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(open, e.Name())); err == nil && strings.HasPrefix(name, cfg.Dir) {
			t.Errorf("%s is open after Close", name)
		}
	}
}
