package disktest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
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

// TestDurable: what was synced is there after a crash, what was not is gone.
func TestDurable(t *testing.T) {
	fsys := disktest.New()
	put(t, fsys, "/both", "data", true, true)
	put(t, fsys, "/file only", "data", true, false) // its entry is lost
	fsys.Crash(disktest.LoseAll, nil)
	has(t, fsys, "/both", "data")
	has(t, fsys, "/file only", "-")

	put(t, fsys, "/both", "DATA and more", false, false)
	put(t, fsys, "/dir only", "data", false, true)
	fsys.Crash(disktest.LoseAll, nil)
	has(t, fsys, "/both", "data")
	has(t, fsys, "/dir only", "")

	if err := fsys.MkdirAll("/d/e", 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, fsys, "/d/e/f", "data", true, true)
	fsys.Crash(disktest.LoseAll, nil) // neither d nor e is durable
	has(t, fsys, "/d/e/f", "-")

	if err := disk.MakeDir(fsys, "/d/e", 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, fsys, "/d/e/f", "data", true, true)
	fsys.Crash(disktest.LoseAll, nil)
	has(t, fsys, "/d/e/f", "data")

	if err := fsys.Rename("/d/e/f", "/d/e/g"); err != nil {
		t.Fatal(err)
	}
	has(t, fsys, "/d/e/g", "data")
	fsys.Crash(disktest.LoseAll, nil)
	has(t, fsys, "/d/e/g", "-")
	has(t, fsys, "/d/e/f", "data")

	if err := errors.Join(fsys.Rename("/d/e/f", "/d/e/g"), fsys.SyncDir("/d/e"), fsys.Remove("/d/e/g")); err != nil {
		t.Fatal(err)
	}
	has(t, fsys, "/d/e/g", "-")
	fsys.Crash(disktest.LoseAll, nil)
	has(t, fsys, "/d/e/g", "data")
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

// TestFailedSync: what a failed sync was to make durable is gone for good.
func TestFailedSync(t *testing.T) {
	fsys := disktest.New()
	put(t, fsys, "/f", "0123456789", true, true)
	f, err := fsys.OpenFile("/f", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("ab"), 2); err != nil {
		t.Fatal(err)
	}
	fsys.FailCall(1, disktest.NoEffect)
	if err := f.Sync(); !errors.Is(err, disktest.ErrInjected) {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("cd"), 6); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	has(t, fsys, "/f", "01ab45cd89")
	fsys.Crash(disktest.LoseAll, nil)
	has(t, fsys, "/f", "012345cd89")
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, disktest.ErrCrashed) {
		t.Errorf("reading a file that was open at the crash: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestEffects(t *testing.T) {
	cases := []struct {
		effect disktest.Effect
		write  string // what the file holds after the failed write of 2345
		n      int    // what the write returns
		synced string // after a failed sync of 2345, and a crash
		exists bool   // whether a failed creation made a file
	}{
		{disktest.NoEffect, "01", 0, "01", false},
		{disktest.FullEffect, "012345", 4, "012345", true},
		{disktest.ShortWrite, "0123", 2, "01", false},
	}
	for _, c := range cases {
		t.Run(string(c.effect), func(t *testing.T) {
			fsys := disktest.New()
			put(t, fsys, "/f", "01", true, true)
			f, err := fsys.OpenFile("/f", os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			fsys.FailCall(1, c.effect)
			if n, err := f.Write([]byte("2345")); n != c.n || !errors.Is(err, disktest.ErrInjected) {
				t.Errorf("write returns %d, %v", n, err)
			}
			if !fsys.Failed() || fsys.Failure() != "write /f" || fsys.Calls() != 1 {
				t.Errorf("failure %q in %d calls", fsys.Failure(), fsys.Calls())
			}
			has(t, fsys, "/f", c.write)

			put(t, fsys, "/f", "01", false, false)
			if err := f.Truncate(2); err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write([]byte("2345")); err != nil {
				t.Fatal(err)
			}
			fsys.FailCall(1, c.effect)
			if err := f.Sync(); !errors.Is(err, disktest.ErrInjected) {
				t.Error(err)
			}
			fsys.FailCall(1, c.effect)
			if _, err := fsys.OpenFile("/new", os.O_CREATE|os.O_WRONLY, 0o600); !errors.Is(err, disktest.ErrInjected) {
				t.Error(err)
			}
			if _, err := fsys.Stat("/new"); (err == nil) != c.exists {
				t.Errorf("after a failed creation: %v", err)
			}
			fsys.Crash(disktest.LoseAll, nil)
			has(t, fsys, "/f", c.synced)
		})
	}
}

func TestFailFrom(t *testing.T) {
	fsys := disktest.New()
	fsys.FailFrom(2, disktest.FullEffect)
	errs := []error{fsys.MkdirAll("/a", 0o700), fsys.MkdirAll("/b", 0o700), fsys.MkdirAll("/c", 0o700), fsys.SyncDir("/")}
	for i, err := range errs {
		if errors.Is(err, disktest.ErrInjected) != (i >= 1) {
			t.Errorf("call %d: %v", i+1, err)
		}
	}
	for name, want := range map[string]bool{"/a": true, "/b": true, "/c": false} {
		if _, err := fsys.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	fsys.FailNone()
	if err := fsys.MkdirAll("/c", 0o700); err != nil {
		t.Error(err)
	}
}

// TestLosses: a crash keeps a prefix, or some sectors, and each that it may.
func TestLosses(t *testing.T) {
	const before, after = "................", "0123456789abcdef"
	seen := make(map[string]bool)
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		fsys := disktest.New()
		put(t, fsys, "/f", before, true, true)
		put(t, fsys, "/f", after, false, false)
		fsys.Crash(disktest.KeepPrefix, random)
		b, err := disk.ReadFile(fsys, "/f")
		if err != nil {
			t.Fatal(err)
		}
		seen[string(b)] = true
	}
	for n := range len(after) + 1 {
		if want := after[:n] + before[n:]; !seen[want] {
			t.Errorf("no crash keeps the first %d bytes", n)
		}
	}
	if len(seen) != len(after)+1 {
		t.Errorf("crashes leave %d different files", len(seen))
	}

	seen = make(map[string]bool)
	data := bytes.Repeat([]byte{'x'}, 3*512)
	for range 500 {
		fsys := disktest.New()
		put(t, fsys, "/f", string(data[:100]), true, true)
		put(t, fsys, "/f", string(data), false, false)
		fsys.Crash(disktest.KeepSectors, random)
		b, err := disk.ReadFile(fsys, "/f")
		if err != nil {
			t.Fatal(err)
		}
		pattern := ""
		for ; len(b) >= 512; b = b[512:] {
			pattern += string('0' + b[511]/'x')
		}
		seen[pattern+fmt.Sprint(len(b))] = true
	}
	// Three sectors, and how many bytes are behind the last of them: a file that
	// got none keeps its 100.
	for _, want := range []string{"100", "10", "010", "110", "0010", "1010", "0110", "1110"} {
		if !seen[want] {
			t.Errorf("no crash leaves the sectors %s: %v", want, seen)
		}
	}
}

// TestCrashesRepeat: the same seed makes the same crash.
func TestCrashesRepeat(t *testing.T) {
	crash := func(seed uint64, loss disktest.Loss) string {
		fsys := disktest.New()
		for i := range 20 {
			put(t, fsys, fmt.Sprint("/f", i), string(make([]byte, 5000)), i%2 == 0, i%5 == 0)
		}
		fsys.Crash(loss, rand.New(rand.NewPCG(seed, 0)))
		return tree(t, fsys, "/")
	}
	for _, loss := range disktest.Losses {
		first, again := crash(1, loss), crash(1, loss)
		if first != again {
			t.Errorf("%s: the same seed gives two results", loss)
		}
		if differ := first != crash(2, loss); differ != (loss != disktest.LoseAll) {
			t.Errorf("%s: another seed makes a difference: %v", loss, differ)
		}
	}
}

func TestLimitSpace(t *testing.T) {
	fsys := disktest.New()
	put(t, fsys, "/a", "12345", true, true)
	fsys.LimitSpace(8)
	f, err := fsys.OpenFile("/b", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write([]byte("12345")); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	if n, err := f.WriteAt([]byte("abc"), 0); n != 3 || err != nil { // takes no room
		t.Errorf("overwrote %d bytes, %v", n, err)
	}
	if err := fsys.Remove("/a"); err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt([]byte("12345"), 3); n != 5 || err != nil {
		t.Errorf("wrote %d bytes where there was room for 5, %v", n, err)
	}
	fsys.LimitSpace(-1)
	if n, err := f.WriteAt(make([]byte, 1000), 8); n != 1000 || err != nil {
		t.Errorf("wrote %d bytes without a limit, %v", n, err)
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
