package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events/store/disk"
)

const (
	oldSchema = 1
	// asideFile is the key database of an earlier format during an upgrade.
	asideFile = keysFile + ".old"
	// newFile is a key database that is being built.
	newFile = keysFile + ".new"
	// unfinishedFile marks a folder that is being restored.
	unfinishedFile = "restoring"
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
