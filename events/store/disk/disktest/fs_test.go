package disktest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
)

// put writes a file and syncs what is asked for.
func put(t *testing.T, fsys disk.FS, name, data string, syncFile, syncDir bool) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte(data), 0)
	if syncFile {
		err = errors.Join(err, f.Sync())
	}
	if syncDir {
		err = errors.Join(err, fsys.SyncDir(filepath.Dir(name)))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// has checks what a file holds; "-" if there should be none.
func has(t *testing.T, fsys disk.FS, name, want string) {
	t.Helper()
	got, err := disk.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		got, err = []byte("-"), nil
	}
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
	}
}

// TestLikeOS does the same on the operating system's file system and in memory.
func TestLikeOS(t *testing.T) {
	steps := []struct {
		what string
		do   func(fsys disk.FS, dir string) error
	}{
		{"open a missing file", func(fsys disk.FS, dir string) error {
			_, err := fsys.OpenFile(dir+"/a", os.O_RDONLY, 0)
			return err
		}},
		{"create", func(fsys disk.FS, dir string) error { return write(fsys, dir+"/a", os.O_CREATE|os.O_EXCL, "hello") }},
		{"create again", func(fsys disk.FS, dir string) error { return write(fsys, dir+"/a", os.O_CREATE|os.O_EXCL, "hello") }},
		{"overwrite", func(fsys disk.FS, dir string) error { return write(fsys, dir+"/a", 0, "J") }},
		{"append", func(fsys disk.FS, dir string) error { return write(fsys, dir+"/a", os.O_APPEND, "!") }},
		{"truncate and write", func(fsys disk.FS, dir string) error { return write(fsys, dir+"/b", os.O_CREATE|os.O_TRUNC, "bee") }},
		{"write in no folder", func(fsys disk.FS, dir string) error { return write(fsys, dir+"/no/a", os.O_CREATE, "x") }},
		{"write in a file", func(fsys disk.FS, dir string) error { return write(fsys, dir+"/a/b", os.O_CREATE, "x") }},
		{"write behind the end", func(fsys disk.FS, dir string) error {
			f, err := fsys.OpenFile(dir+"/b", os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("x"), 6)
			return errors.Join(err, f.Close())
		}},
		{"grow by truncating", func(fsys disk.FS, dir string) error {
			f, err := fsys.OpenFile(dir+"/a", os.O_RDWR, 0)
			if err != nil {
				return err
			}
			return errors.Join(f.Truncate(9), f.Truncate(8), f.Close())
		}},
		{"folders", func(fsys disk.FS, dir string) error { return fsys.MkdirAll(dir+"/d/e", 0o700) }},
		{"folders again", func(fsys disk.FS, dir string) error { return fsys.MkdirAll(dir+"/d/e", 0o700) }},
		{"folder over a file", func(fsys disk.FS, dir string) error { return fsys.MkdirAll(dir+"/a", 0o700) }},
		{"remove a full folder", func(fsys disk.FS, dir string) error { return fsys.Remove(dir + "/d") }},
		{"rename over", func(fsys disk.FS, dir string) error { return fsys.Rename(dir+"/a", dir+"/b") }},
		{"rename away", func(fsys disk.FS, dir string) error { return fsys.Rename(dir+"/b", dir+"/d/b") }},
		{"rename a missing file", func(fsys disk.FS, dir string) error { return fsys.Rename(dir+"/b", dir+"/c") }},
		{"remove", func(fsys disk.FS, dir string) error { return fsys.Remove(dir + "/d/e") }},
		{"remove again", func(fsys disk.FS, dir string) error { return fsys.Remove(dir + "/d/e") }},
		{"write a file durably", func(fsys disk.FS, dir string) error {
			return disk.WriteFile(fsys, dir+"/d/f", []byte("whole"), 0o600)
		}},
		{"make a folder durably", func(fsys disk.FS, dir string) error { return disk.MakeDir(fsys, dir+"/x/y", 0o700) }},
		{"sync a missing folder", func(fsys disk.FS, dir string) error { return fsys.SyncDir(dir + "/no") }},
	}
	dir := t.TempDir()
	real, fake := disk.OS{}, disktest.New()
	if err := fake.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		want, got := s.do(real, dir), s.do(fake, dir)
		for _, kind := range []error{fs.ErrNotExist, fs.ErrExist, syscall.ENOTDIR, syscall.ENOTEMPTY} {
			if errors.Is(got, kind) != errors.Is(want, kind) {
				t.Errorf("%s: %v, the operating system says %v", s.what, got, want)
			}
		}
		if (got == nil) != (want == nil) {
			t.Errorf("%s: %v, the operating system says %v", s.what, got, want)
		}
		if got, want := tree(t, fake, dir), tree(t, real, dir); got != want {
			t.Fatalf("after %s there is\n%swhere the operating system has\n%s", s.what, got, want)
		}
	}
}

func write(fsys disk.FS, name string, flag int, data string) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|flag, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(data))
	return errors.Join(err, f.Close())
}

// tree describes everything below a folder.
func tree(t *testing.T, fsys disk.FS, dir string) string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		info, err := fsys.Stat(name)
		if err != nil || info.Name() != e.Name() || info.IsDir() != e.IsDir() {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		if e.IsDir() {
			fmt.Fprintf(&b, "%s/\n%s", name, tree(t, fsys, name))
			continue
		}
		data, err := disk.ReadFile(fsys, name)
		if err != nil || int64(len(data)) != info.Size() {
			t.Errorf("%s: %d bytes of %d, %v", name, len(data), info.Size(), err)
		}
		fmt.Fprintf(&b, "%s %q\n", name, data)
	}
	return b.String()
}

// TestMakeDirAgain: a folder whose maker ended before it was durable becomes so.
func TestMakeDirAgain(t *testing.T) {
	fsys := disktest.New()
	for n := 1; ; n++ {
		fsys.FailCall(n, disktest.NoEffect)
		first := disk.MakeDir(fsys, "/a/b/c", 0o700)
		failed := fsys.Failed()
		fsys.FailNone()
		if failed == (first == nil) {
			t.Fatalf("call %d fails: %v; MakeDir: %v", n, failed, first)
		}
		if err := disk.MakeDir(fsys, "/a/b/c", 0o700); err != nil {
			t.Fatal(err)
		}
		fsys.Crash(disktest.LoseAll, nil)
		if _, err := fsys.Stat("/a/b/c"); err != nil {
			t.Errorf("call %d had failed: %v", n, err)
		}
		if !failed {
			return
		}
		fsys = disktest.New()
	}
}

func TestClosedFile(t *testing.T) {
	fsys := disktest.New()
	put(t, fsys, "/f", "data", true, true)
	f, err := fsys.OpenFile("/f", os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("x")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("writing to a file opened for reading: %v", err)
	}
	b, err := io.ReadAll(f)
	if err != nil || string(b) != "data" {
		t.Errorf("%q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closing twice: %v", err)
	}
	if _, err := f.ReadAt(b, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("reading a closed file: %v", err)
	}
}

// TestView reads the file system as fs.FS does.
func TestView(t *testing.T) {
	fsys := disktest.New()
	if err := fsys.MkdirAll("/d", 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, fsys, "/d/a", "data", true, true)
	put(t, fsys, "/d/b", "", true, true)
	fsys.FailFrom(1, disktest.NoEffect) // of which reading takes no notice
	view := fsys.View("/d")
	entries, err := fs.ReadDir(view, ".")
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %v", entries, err)
	}
	if b, err := fs.ReadFile(view, "a"); err != nil || string(b) != "data" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := view.Open("../d/a"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a path out of the folder: %v", err)
	}
	if _, err := fs.ReadFile(view, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
