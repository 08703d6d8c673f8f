package vault

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/medledger/medledger/events/store/disk"
)

var errFault = errors.New("injected fault")

// faultMode says how a call fails.
type faultMode int

const (
	failBefore faultMode = iota // nothing happens
	failAfter                   // it happens and reports failure
	failShort                   // a write does half of it; others: nothing
)

// faultFS is the operating system's file system; its n-th changing call fails,
// and those after it too. It also keeps what a power failure would leave: what
// was not synced is lost.
type faultFS struct {
	disk.FS
	mu     sync.Mutex
	n      int // calls until the failing one; negative: never
	mode   faultMode
	calls  int
	failed bool
	files  map[string]*fileState
}

type fileState struct {
	synced int64 // size at the last Sync
	named  bool  // its folder was synced since it was made
}

func newFaultFS(n int, mode faultMode) *faultFS {
	return &faultFS{FS: disk.OS{}, n: n, mode: mode, files: make(map[string]*fileState)}
}

// call does f, or what the fault makes of it; half is the short form of f.
func (s *faultFS) call(f, half func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.n < 0 || s.calls < s.n {
		return f()
	}
	first := !s.failed
	s.failed = true
	switch {
	case !first:
	case s.mode == failAfter:
		return errors.Join(errFault, f())
	case s.mode == failShort && half != nil:
		return errors.Join(errFault, half())
	}
	return errFault
}

func (s *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if flag&os.O_CREATE == 0 {
		f, err := s.FS.OpenFile(name, flag, perm)
		if err != nil || flag&os.O_RDWR == 0 {
			return f, err
		}
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.files[name] == nil {
			s.files[name] = &fileState{synced: info.Size(), named: true}
		}
		return &faultFile{f, s, name}, nil
	}
	var file disk.File
	err := s.call(func() error {
		f, err := s.FS.OpenFile(name, flag, perm)
		if err != nil {
			return err
		}
		if s.files[name] == nil {
			s.files[name] = new(fileState)
		}
		if flag&os.O_TRUNC != 0 {
			s.files[name].synced = 0
		}
		file = &faultFile{f, s, name}
		return nil
	}, nil)
	if err != nil && file != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, err
}

func (s *faultFS) Remove(name string) error {
	return s.call(func() error {
		delete(s.files, name)
		return s.FS.Remove(name)
	}, nil)
}

func (s *faultFS) MkdirAll(name string, perm fs.FileMode) error {
	return s.call(func() error { return s.FS.MkdirAll(name, perm) }, nil)
}

func (s *faultFS) SyncDir(name string) error {
	return s.call(func() error {
		for path, f := range s.files {
			if filepath.Dir(path) == name {
				f.named = true
			}
		}
		return s.FS.SyncDir(name)
	}, nil)
}

type faultFile struct {
	disk.File
	s    *faultFS
	name string
}

func (f *faultFile) Write(p []byte) (n int, err error) {
	err = f.s.call(func() (err error) { n, err = f.File.Write(p); return err },
		func() (err error) { n, err = f.File.Write(p[:len(p)/2]); return err })
	return n, err
}

func (f *faultFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.s.call(func() (err error) { n, err = f.File.WriteAt(p, off); return err },
		func() (err error) { n, err = f.File.WriteAt(p[:len(p)/2], off); return err })
	return n, err
}

func (f *faultFile) Sync() error {
	return f.s.call(func() error {
		info, err := f.File.Stat()
		if err == nil && f.s.files[f.name] != nil {
			f.s.files[f.name].synced = info.Size()
		}
		return errors.Join(err, f.File.Sync())
	}, nil)
}

// image copies the vault's folder as a crash at this moment would leave it:
// of the process, or, with power lost, of the machine.
func image(t *testing.T, s *faultFS, dir string, powerLost bool) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "vault")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if !powerLost {
		return to
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, f := range maps.All(s.files) {
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		if f.named {
			err = os.Truncate(filepath.Join(to, rel), f.synced)
		} else {
			err = os.Remove(filepath.Join(to, rel))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return to
}
