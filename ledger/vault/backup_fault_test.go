package vault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events/store/disk/disktest"
)

// faultyVault returns a vault on a file system that fails, with an estate.
func faultyVault(t *testing.T) (*disktest.FS, *Vault, *estate) {
	t.Helper()
	s := newStory(t)
	v, err := Open(ctx, s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	e := new(estate)
	e.add(t, v, 2)
	return s.fsys, v, e
}

// TestFaultsOfBackup fails every call of a second backup and loses the power: the
// folder is the first backup, or the second if it succeeded, and another one
// completes it.
func TestFaultsOfBackup(t *testing.T) {
	for i, effect := range disktest.Effects {
		for n, done := 1, false; !done; n++ {
			if !long() && n%len(disktest.Effects) != i && n > 4 {
				continue
			}
			t.Run(fmt.Sprintf("%s/call%d", effect, n), func(t *testing.T) {
				fsys, v, e := faultyVault(t)
				dst := filepath.Join(filepath.Dir(v.cfg.Dir), "backup")
				mustBackup(t, v, dst)
				before := estate{records: e.records, documents: e.documents}
				e.add(t, v, 1)
				fsys.FailCall(n, effect)
				err := backUp(v, dst)
				done = !fsys.Failed()
				fsys.FailNone()
				if done && err != nil {
					t.Fatal(err)
				}
				want := &before
				if err == nil {
					want = e
				}
				if err := v.Close(); err != nil {
					t.Fatal(err)
				}
				fsys.Crash(disktest.LoseAll, nil)
				want.judge(t, restoredOn(t, fsys, v, dst, "after"))
				v = openVault(t, v.cfg)
				mustBackup(t, v, dst)
				e.judge(t, restoredOn(t, fsys, v, dst, "again"))
			})
			if t.Failed() {
				return
			}
		}
	}
}

// restoredOn restores a backup on the vault's file system.
func restoredOn(t *testing.T, fsys *disktest.FS, v *Vault, src, name string) *Vault {
	t.Helper()
	cfg := v.cfg
	cfg.Dir = filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(cfg.Dir, 0o700); err != nil { // SQLite's
		t.Fatal(err)
	}
	if err := restoreOn(fsys, cfg, src, noHook); err != nil {
		t.Fatal(err)
	}
	return openVault(t, cfg)
}

// TestFaultsOfRestore fails every call of a restoration, and every step of
// SQLite's, and loses the power: the folder is refused, or it is the vault if the
// restoration succeeded, and another one completes it.
func TestFaultsOfRestore(t *testing.T) {
	fsys, v, e := faultyVault(t)
	src := filepath.Join(filepath.Dir(v.cfg.Dir), "backup")
	mustBackup(t, v, src)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	try := func(t *testing.T, hook stepHook) error {
		cfg := v.cfg
		cfg.Dir = filepath.Join(t.TempDir(), "restored")
		if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		err := restoreOn(fsys, cfg, src, hook)
		fsys.FailNone()
		fsys.Crash(disktest.LoseAll, nil)
		if err != nil {
			there, existsErr := Exists(cfg.Dir)
			if existsErr != nil {
				t.Fatal(existsErr)
			}
			opened, openErr := Open(ctx, cfg)
			marked := errors.Is(openErr, ErrUnfinished)
			if openErr == nil && there { // only the mark's removal was not acknowledged
				e.judge(t, opened)
			} else if openErr != nil && !marked {
				t.Errorf("half a vault is refused with %v", openErr)
			}
			if opened != nil {
				if err := opened.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if !marked { // it never began, or it was complete
				return err
			}
			if err := restoreOn(fsys, cfg, src, noHook); err != nil {
				t.Fatal(err)
			}
		}
		e.judge(t, openVault(t, cfg))
		return err
	}
	for i, effect := range disktest.Effects {
		for n, done := 1, false; !done; n++ {
			if !long() && n%len(disktest.Effects) != i {
				continue
			}
			t.Run(fmt.Sprintf("%s/call%d", effect, n), func(t *testing.T) {
				fsys.FailCall(n, effect)
				done = try(t, noHook) == nil
			})
			if t.Failed() {
				return
			}
		}
	}
	for _, after := range []bool{false, true} {
		for _, s := range []step{stepBuild, stepSwap} {
			t.Run(fmt.Sprintf("step%d/after=%v", s, after), func(t *testing.T) {
				err := try(t, func(now step, isAfter bool) error {
					if now == s && isAfter == after {
						return errFault
					}
					return nil
				})
				wantErr(t, err, errFault)
			})
		}
	}
}
