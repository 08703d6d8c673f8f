package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
)

const (
	schema1, schema2 = 1, 2 // of earlier programs
	// asideFile is the key database of an earlier format during an upgrade.
	asideFile = keysFile + ".old"
	// newFile is a key database that is being built.
	newFile = keysFile + ".new"
	// unfinishedFile marks a folder that is being restored, and upgradingFile one
	// that is being upgraded. They hold the id of the vault to be.
	unfinishedFile = "restoring"
	upgradingFile  = "upgrading"
)

var (
	// ErrOldFormat says that the vault is of an earlier program, or that its
	// upgrade was interrupted.
	ErrOldFormat = errors.New("the vault has an earlier format; run 'medledger upgrade'")
	// ErrUnfinished says that the restoration of the vault was interrupted.
	ErrUnfinished = errors.New("the restoration of the vault was interrupted; restore it again")
)

// refuseUnfinished refuses a folder that an interrupted Upgrade or Restore left.
func refuseUnfinished(fsys disk.FS, dir string) error {
	for _, c := range []struct {
		stat func(string) (fs.FileInfo, error)
		name string
		err  error
	}{
		{os.Stat, asideFile, ErrOldFormat},
		{fsys.Stat, upgradingFile, ErrOldFormat},
		{fsys.Stat, unfinishedFile, ErrUnfinished},
	} {
		_, err := c.stat(filepath.Join(dir, c.name))
		if err == nil {
			return fmt.Errorf("%s: %w", filepath.Join(dir, c.name), c.err)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking into the vault's folder: %w", err)
		}
	}
	return nil
}

// claimID marks a folder as being made into a vault of an id, which it returns: the
// one of an earlier attempt whose mark is there, whose root keys go, for they are
// those of a vault that never was. Crash before: no mark. Crash after: the mark.
func claimID(ctx context.Context, cfg Config, mark string) (id vaultID, err error) {
	path := filepath.Join(cfg.Dir, mark)
	text, err := disk.ReadFile(cfg.FS, path)
	if err == nil {
		if n, decodeErr := hex.Decode(id[:], bytes.TrimSpace(text)); decodeErr == nil && n == len(id) && len(text) == 2*n+1 {
			return id, removeRoots(ctx, cfg.Custody, id)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if id, err = newVaultID(cfg.Random); err != nil {
		return id, err
	}
	return id, disk.WriteFile(cfg.FS, path, append(hex.AppendEncode(nil, id[:]), '\n'), 0o600)
}

// removeRoots destroys every root key of a vault.
func removeRoots(ctx context.Context, in custody.Custody, id vaultID) error {
	names, err := in.Names(ctx)
	if err != nil {
		return fmt.Errorf("looking for root keys: %w", err)
	}
	for _, name := range names {
		if of, _, ok := parseRootName(name); !ok || of != id {
			continue
		}
		if err := in.Destroy(ctx, name); err != nil {
			return fmt.Errorf("destroying the root key of an unfinished vault: %w", err)
		}
	}
	return nil
}
