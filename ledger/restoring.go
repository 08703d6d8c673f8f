package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/medledger/medledger/events/store/disk"
)

// A restoration is made in a folder of its own until it is whole: beside the data
// folder if there is none, which is then the new folder's name, or else in it. Whoever
// may write the data folder need not be allowed to write the one above, and may have
// been given it with an owner and a mode that matter.
type restoration struct {
	fsys disk.FS
	dir  string // the data folder
	made string // where it is made
}

// unfinishedFolder is where a restoration is made in a data folder that is there.
const unfinishedFolder = ".restoring"

// beginRestoration finds where a restoration is made, and removes what an earlier
// one has left there. The data folder must be absent or empty, or have been given up
// by an earlier restoration.
func beginRestoration(fsys disk.FS, dir string) (restoration, error) {
	dir = filepath.Clean(dir)
	r := restoration{fsys: fsys, dir: dir, made: dir + unfinishedFolder}
	entries, err := os.ReadDir(dir)
	if err == nil {
		r.made = filepath.Join(dir, unfinishedFolder)
		if givenUp(entries) {
			err = r.empty(entries)
		} else {
			err = refuseNonEmpty(dir)
		}
		if err != nil {
			return r, err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return r, fmt.Errorf("looking into %s: %w", dir, err)
	}
	if err := os.RemoveAll(r.made); err != nil {
		return r, fmt.Errorf("removing an unfinished restoration: %w", err)
	}
	return r, nil
}

// givenUp reports whether a data folder is one that a restoration did not finish.
func givenUp(entries []os.DirEntry) bool {
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	}
	return has(unfinishedFolder) && !has(markerFile)
}

// empty removes what an earlier restoration had moved already. A crash leaves the
// unfinished folder, so that the next one goes on.
func (r restoration) empty(entries []os.DirEntry) error {
	for _, e := range entries {
		if e.Name() == unfinishedFolder {
			continue
		}
		if err := os.RemoveAll(filepath.Join(r.dir, e.Name())); err != nil {
			return fmt.Errorf("removing an unfinished restoration: %w", err)
		}
	}
	return nil
}

// finish gives what was made its name. In a data folder that was there its parts move
// one by one, the marker last: a crash before leaves a folder that is no ledger's and
// that the next restoration empties, a crash after it the ledger, and perhaps the
// empty folder that it was made in.
func (r restoration) finish() error {
	if err := r.move(); err != nil {
		return fmt.Errorf("naming the restored folder: %w", err)
	}
	return nil
}

func (r restoration) move() error {
	if filepath.Dir(r.made) != r.dir {
		if err := r.fsys.Rename(r.made, r.dir); err != nil {
			return err
		}
		return r.fsys.SyncDir(filepath.Dir(r.dir))
	}
	entries, err := r.fsys.ReadDir(r.made)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == markerFile {
			continue
		}
		if err := r.fsys.Rename(filepath.Join(r.made, e.Name()), filepath.Join(r.dir, e.Name())); err != nil {
			return err
		}
	}
	if err := r.fsys.SyncDir(r.dir); err != nil {
		return err
	}
	if err := r.fsys.Rename(filepath.Join(r.made, markerFile), filepath.Join(r.dir, markerFile)); err != nil {
		return err
	}
	if err := r.fsys.Remove(r.made); err != nil {
		return err
	}
	return r.fsys.SyncDir(r.dir)
}

func refuseNonEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking into %s: %w", dir, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s holds something else; choose an empty folder", dir)
	}
	return nil
}
