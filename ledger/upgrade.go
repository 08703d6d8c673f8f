package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/vault"
)

// Upgrade brings a data folder of format 1 or 2 up to date: secrets that lie in it
// move into a folder of their own; the vault gets a key tree, for which its former root
// key is destroyed: take a backup afterwards, for earlier ones cannot be restored; and
// the ledger gets a state log, which the next Open announces and begins. Events are
// never rewritten. It does nothing to a folder that is up to date, and reports whether it
// did something. The ledger must not be open.
//
// Whatever interrupts it, the folder is of the old format or of the new one, and
// calling it again completes it: copies are made and synced first, then the folder
// is marked, then what is old is removed.
func Upgrade(ctx context.Context, config Config) (changed bool, err error) {
	config, err = config.withDefaults()
	if err != nil {
		return false, err
	}
	f := config.folder()
	origin, err := f.Origin(config.FS)
	old := errors.Is(err, ErrOldFormat)
	if err != nil && !old {
		return false, err
	}
	release, err := segment.Lock(storeConfig(f, config, 0))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if old {
		if err := moveSecrets(f, config.FS); err != nil {
			return false, fmt.Errorf("copying the secrets to %s: %w", f.Secrets, err)
		}
		if err := createStateKey(f, config.FS, config.Random, origin); err != nil {
			return false, err
		}
		if err := upgradeVault(ctx, f, config); err != nil {
			return false, fmt.Errorf("bringing the vault up to date: %w", err)
		}
		// Crash before: the old folder, with copies beside it. Crash after: the new
		// one, with secrets in it that the next call removes.
		if err := f.mark(config.FS, origin); err != nil {
			return false, fmt.Errorf("marking the data folder: %w", err)
		}
	}
	removed, err := removeOld(f, config.FS)
	return old || removed, err
}

// upgradeVault gives the vault a key tree, and destroys the key that its keys were
// wrapped with, wherever a format had it.
func upgradeVault(ctx context.Context, f Folder, config Config) (err error) {
	custody, err := openCustody(ctx, f, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, custody.Close()) }()
	places := []string{filepath.Join(f.oldKeys(), vaultKeyFile), filepath.Join(f.Secrets, vaultKeyFile)}
	key := places[0]
	if there, err := present(config.FS, key); err != nil {
		return err
	} else if !there {
		key = places[1]
	}
	if err := vault.Upgrade(ctx, vaultConfig(f, config, custody), key); err != nil {
		return err
	}
	for _, place := range places {
		if err := wipe(config.FS, place); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the vault's former root key; remove %s by hand: %w", place, err)
		}
	}
	return nil
}

// vaultKeyFile is the file of the vault's root key in formats 1 and 2.
const vaultKeyFile = "vault.key"

// oldKeys is where format 1 kept the secrets.
func (f Folder) oldKeys() string { return f.path("keys") }

// moveSecrets copies the secrets of format 1 into their own folder, durably, but for
// the vault's root key, which will be destroyed.
func moveSecrets(f Folder, fsys disk.FS) error {
	if err := disk.MakeDir(fsys, f.Secrets, 0o700); err != nil {
		return err
	}
	entries, err := fsys.ReadDir(f.oldKeys())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == vaultKeyFile {
			continue
		}
		raw, err := disk.ReadFile(fsys, filepath.Join(f.oldKeys(), entry.Name()))
		if err != nil {
			return err
		}
		err = disk.WriteFile(fsys, filepath.Join(f.Secrets, entry.Name()), raw, 0o600)
		clear(raw)
		if err != nil {
			return err
		}
	}
	return nil
}

// removeOld removes what only format 1 had. The secrets are overwritten first,
// which is no promise on every disk.
func removeOld(f Folder, fsys disk.FS) (removed bool, err error) {
	for _, name := range []string{"lives.sqlite", "lives.sqlite-wal", "lives.sqlite-shm"} {
		if err := fsys.Remove(f.path(name)); err == nil {
			removed = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("removing an old copy of the state: %w", err)
		}
	}
	entries, err := fsys.ReadDir(f.oldKeys())
	if errors.Is(err, fs.ErrNotExist) {
		return removed, nil
	}
	if err != nil {
		return removed, fmt.Errorf("looking for old secrets: %w", err)
	}
	for _, entry := range entries {
		if err := wipe(fsys, filepath.Join(f.oldKeys(), entry.Name())); err != nil {
			return removed, fmt.Errorf("removing an old secret; remove %s by hand: %w", f.oldKeys(), err)
		}
	}
	if err := errors.Join(fsys.Remove(f.oldKeys()), fsys.SyncDir(f.Data)); err != nil {
		return removed, fmt.Errorf("removing the folder of the old secrets: %w", err)
	}
	return true, nil
}

// wipe overwrites a file and removes it.
func wipe(fsys disk.FS, name string) error {
	info, err := fsys.Stat(name)
	if err != nil {
		return err
	}
	file, err := fsys.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(make([]byte, info.Size()), 0)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return fsys.Remove(name)
}
