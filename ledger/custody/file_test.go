package custody_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/custodytest"
)

func TestFolder(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		custodytest.Run(t, func(t *testing.T) func() (custody.Custody, error) {
			dir := filepath.Join(t.TempDir(), "secrets", "keys")
			return func() (custody.Custody, error) { return custody.OpenFolder(custody.FolderConfig{Dir: dir}) }
		})
	})
	t.Run("memory", func(t *testing.T) {
		custodytest.Run(t, func(t *testing.T) func() (custody.Custody, error) {
			fsys := disktest.New()
			return func() (custody.Custody, error) {
				fsys.Crash(disktest.LoseAll, nil) // nothing is lost that was answered
				return custody.OpenFolder(custody.FolderConfig{Dir: "/keys", FS: fsys})
			}
		})
	})
}

// TestFolderRefusesOthers holds that keys which others may read are not used.
func TestFolderRefusesOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	c, err := custody.OpenFolder(custody.FolderConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a.key")
	for path, mode := range map[string]os.FileMode{dir: 0o700, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Seal(t.Context(), "a", []byte("x"), nil); !errors.Is(err, custody.ErrUnavailable) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := custody.OpenFolder(custody.FolderConfig{Dir: dir}); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("a folder that others look into: %v", err)
	}
}

// TestFolderRefusesDamage holds that a file which is no key is not used as one, and
// that one which was being overwritten counts as destroyed.
func TestFolderRefusesDamage(t *testing.T) {
	dir := t.TempDir() + "/keys"
	c, err := custody.OpenFolder(custody.FolderConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	good := bytes.Repeat([]byte("0a"), 32)
	for name, damage := range map[string]struct {
		text []byte
		want error
	}{
		"empty":     {nil, custody.ErrUnavailable},
		"cut":       {good[:63], custody.ErrUnavailable},
		"without":   {good, custody.ErrUnavailable},
		"longer":    {append(bytes.Clone(good), "\n\n"...), custody.ErrUnavailable},
		"uppercase": {append(bytes.ToUpper(good), '\n'), custody.ErrUnavailable},
		"zeros":     {make([]byte, 65), custody.ErrNoKey},
		"half":      {append(make([]byte, 30), append(bytes.Clone(good[30:]), '\n')...), custody.ErrNoKey},
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".key"), damage.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Seal(t.Context(), name, []byte("x"), nil); !errors.Is(err, damage.want) {
			t.Errorf("%s: %v, want %v", name, err, damage.want)
		}
	}
	for _, name := range []string{"zeros", "half"} {
		if err := c.Destroy(t.Context(), name); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, name+".key")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after its destruction: %v", name, err)
		}
	}
}

// TestFaultsOfFolder fails every call of a creation and of a destruction, and loses
// the power: the key is whole or not there, and what was answered holds.
func TestFaultsOfFolder(t *testing.T) {
	for _, effect := range disktest.Effects {
		for _, loss := range disktest.Losses {
			for n, done := 1, false; !done; n++ {
				t.Run(fmt.Sprintf("%s/%s/call%d", effect, loss, n), func(t *testing.T) {
					done = faultOfFolder(t, effect, loss, n)
				})
			}
		}
	}
}

func faultOfFolder(t *testing.T, effect disktest.Effect, loss disktest.Loss, n int) (done bool) {
	fsys, random := disktest.New(), rand.New(rand.NewPCG(uint64(n), 3))
	open := func() *custody.Folder {
		c, err := custody.OpenFolder(custody.FolderConfig{Dir: "/keys", FS: fsys})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	if err := c.Create(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	other, err := c.Seal(t.Context(), "other", []byte("other"), nil)
	if err != nil {
		t.Fatal(err)
	}
	fsys.FailCall(n, effect)
	created := c.Create(t.Context(), "a")
	var sealed []byte
	var destroyed error
	if created == nil {
		if sealed, err = c.Seal(t.Context(), "a", []byte("secret"), nil); err != nil && !errors.Is(err, disktest.ErrInjected) {
			t.Fatal(err)
		}
		destroyed = c.Destroy(t.Context(), "a")
	}
	done = !fsys.Failed()
	fsys.FailNone()
	fsys.Crash(loss, random)
	c = open()
	if got, err := c.Open(t.Context(), "other", other, nil); err != nil || string(got) != "other" {
		t.Errorf("another key: %q, %v", got, err)
	}
	got, err := c.Open(t.Context(), "a", sealed, nil)
	gone := errors.Is(err, custody.ErrNoKey)
	if created == nil && destroyed == nil && !gone {
		t.Errorf("a destroyed key opens: %q, %v", got, err)
	}
	if sealed != nil && !gone && string(got) != "secret" {
		t.Errorf("neither the key nor none: %q, %v", got, err)
	}
	// Whatever was left is used, or destroyed and made again.
	if err := c.Destroy(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if names, err := c.Names(t.Context()); err != nil || len(names) != 2 {
		t.Errorf("the keys are %q, %v", names, err)
	}
	return done
}

func TestFolderNeedsRandomness(t *testing.T) {
	c, err := custody.OpenFolder(custody.FolderConfig{Dir: "/keys", FS: disktest.New(), Random: bytes.NewReader(make([]byte, 40))})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Seal(t.Context(), "a", []byte("x"), nil); err == nil {
		t.Error("sealed without a nonce")
	}
	if err := c.Create(t.Context(), "b"); err == nil {
		t.Error("made a key without randomness")
	}
	if names, err := c.Names(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("the keys are %q, %v", names, err)
	}
}
