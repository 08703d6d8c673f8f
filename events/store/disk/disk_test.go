package disk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
)

// TestWriteFileIsAtomic fails every call of a replacement and crashes: the file is
// the old one or the new one, and the new one if the replacement succeeded.
func TestWriteFileIsAtomic(t *testing.T) {
	for _, effect := range disktest.Effects {
		for n := 1; ; n++ {
			fsys := disktest.New()
			if err := disk.WriteFile(fsys, "d", []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			fsys.FailCall(n, effect)
			err := disk.WriteFile(fsys, "d", []byte("new"), 0o600)
			failed := fsys.Failed()
			fsys.FailNone()
			fsys.Crash(disktest.LoseAll, nil)
			got, readErr := disk.ReadFile(fsys, "d")
			if s := string(got); readErr != nil || s != "new" && (s != "old" || err == nil) {
				t.Errorf("call %d, %s: %q, %v; the replacement said %v", n, effect, s, readErr, err)
			}
			if !failed {
				break
			}
		}
	}
}

// TestMakeDirIsDurable: a folder that MakeDir made, and those above it, survive a
// crash, also if an earlier try failed.
func TestMakeDirIsDurable(t *testing.T) {
	for _, effect := range disktest.Effects {
		for n := 1; ; n++ {
			fsys := disktest.New()
			fsys.FailCall(n, effect)
			err := disk.MakeDir(fsys, "a/b/c", 0o700)
			failed := fsys.Failed()
			fsys.FailNone()
			if err != nil {
				err = disk.MakeDir(fsys, "a/b/c", 0o700)
			}
			if err != nil {
				t.Fatal(err)
			}
			fsys.Crash(disktest.LoseAll, nil)
			if _, err := fsys.Stat("a/b/c"); err != nil {
				t.Errorf("call %d, %s: %v", n, effect, err)
			}
			if !failed {
				break
			}
		}
	}
}

func TestOS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := disk.MakeDir(disk.OS{}, dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "file")
	for _, text := range []string{"one", "two"} {
		if err := disk.WriteFile(disk.OS{}, name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := disk.ReadFile(disk.OS{}, name); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if entries, err := (disk.OS{}).ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left are %v, %v", entries, err)
	}
	if _, err := disk.ReadFile(disk.OS{}, filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Error(err)
	}
}
