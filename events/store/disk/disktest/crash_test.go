package disktest_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
)

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
