package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/events"
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

// story is what a scenario did to a vault and what the vault answered.
type story struct {
	acked     map[string]bool // "record/version" put and acknowledged
	tried     map[string]bool // put, discarded or destroyed without success
	destroyed map[events.ID]bool
	size      map[string]int
	records   []events.ID
}

func key(record events.ID, version uint32) string { return fmt.Sprintf("%v/%d", record, version) }

// play runs a fixed scenario and goes on after errors, as a server does.
func play(v *Vault) *story {
	s := &story{acked: map[string]bool{}, tried: map[string]bool{}, destroyed: map[events.ID]bool{}, size: map[string]int{}}
	put := func(record events.ID, version uint32, size int) {
		k := key(record, version)
		s.size[k] = size
		if _, err := v.Put(ctx, record, version, Meta{"text/plain"}, bytes.NewReader(pattern(size))); err == nil {
			s.acked[k] = true
		} else {
			s.tried[k] = true
		}
	}
	for i := range 4 {
		id := events.ID{byte(i + 1), 1}
		s.records = append(s.records, id)
		put(id, 1, 300+i)
		put(id, 2, 2*chunkSize+i)
	}
	for i, id := range s.records[:2] {
		if _, err := v.Destroy(ctx, id); err == nil {
			s.destroyed[id] = true
		} else {
			s.tried[key(id, 1)], s.tried[key(id, 2)] = true, true
		}
		k := key(s.records[2], uint32(i+1))
		if !s.acked[k] {
			continue
		}
		if err := v.Discard(ctx, s.records[2], uint32(i+1)); err == nil {
			delete(s.acked, k)
		} else {
			s.tried[k] = true
		}
	}
	put(s.records[2], 3, 10)
	return s
}

// judge opens a vault after a fault and holds it to what was acknowledged.
func (s *story) judge(t *testing.T, cfg Config) {
	t.Helper()
	v, err := Open(ctx, cfg)
	if err != nil {
		t.Fatalf("does not open again: %v", err)
	}
	defer v.Close()
	keep := func(record events.ID, version uint32) bool { return s.acked[key(record, version)] }
	if _, err := v.Collect(ctx, keep); err != nil {
		t.Fatal(err)
	}
	for _, id := range s.records {
		for version := uint32(1); version <= 3; version++ {
			s.judgeVersion(t, v, id, version)
		}
	}
	if n, err := v.Collect(ctx, keep); err != nil || n != 0 {
		t.Errorf("a second Collect removed %d, %v", n, err)
	}
	for id := range s.destroyed {
		if d, err := v.Destroy(ctx, id); err != nil || !d.Already {
			t.Errorf("destroyed again: %+v, %v", d, err)
		}
	}
	// What was begun can be completed, and everything can be written again.
	for _, id := range s.records {
		if _, err := v.Destroy(ctx, id); err != nil {
			t.Errorf("destruction after the fault: %v", err)
		}
	}
	if files, err := filepath.Glob(filepath.Join(largeDir(cfg.Dir), "*", "*")); err != nil || len(files) > 0 {
		t.Errorf("large files after the destruction of everything: %v, %v", files, err)
	}
	id := events.MustNewID()
	mustPut(t, v, id, 1, pattern(100))
	mustRead(t, v, id, 1, pattern(100))
}

func (s *story) judgeVersion(t *testing.T, v *Vault, id events.ID, version uint32) {
	t.Helper()
	k := key(id, version)
	b, err := read(v, id, version)
	whole := err == nil && bytes.Equal(b, pattern(s.size[k]))
	_, statErr := os.Stat(largePath(v.cfg.Dir, id, version))
	switch {
	case s.destroyed[id]:
		if !errors.Is(err, ErrDestroyed) {
			t.Errorf("%s is destroyed: %d bytes, %v", k, len(b), err)
		}
	case s.acked[k] && s.tried[k]: // a discard or destruction failed half-way
		if !whole && !errors.Is(err, ErrDestroyed) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %d bytes, %v", k, len(b), err)
		}
	case s.acked[k]:
		if !whole {
			t.Errorf("%s was acknowledged: %d bytes, %v", k, len(b), err)
		}
	default:
		if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDestroyed) {
			t.Errorf("%s was never acknowledged: %d bytes, %v", k, len(b), err)
		}
	}
	if err != nil && statErr == nil {
		t.Errorf("%s cannot be read (%v), but its file is there", k, err)
	}
}

// judgeAll judges the images of a crash and what an orderly close leaves: in
// the long run all of them, else one that depends on n.
func (s *story) judgeAll(t *testing.T, v *Vault, faulty *faultFS, cfg Config, n int) {
	t.Helper()
	var after []Config
	for _, powerLost := range []bool{false, true} {
		c := cfg
		c.FS, c.Dir = disk.OS{}, image(t, faulty, cfg.Dir, powerLost)
		after = append(after, c)
	}
	_ = v.Close() // may report the fault
	cfg.FS = disk.OS{}
	for i, c := range append(after, cfg) {
		if os.Getenv("MEDLEDGER_LONG") == "" && n/3%3 != i {
			continue
		}
		t.Run([]string{"process", "power", "closed"}[i], func(t *testing.T) { s.judge(t, c) })
	}
}

// TestFaultsOfFiles fails every changing call on the file system, one after the
// other: in the long run in every way, else the ways take turns.
func TestFaultsOfFiles(t *testing.T) {
	for mode := failBefore; mode <= failShort; mode++ {
		for n, done := 1, false; !done; n++ {
			if os.Getenv("MEDLEDGER_LONG") == "" && n%3 != int(mode) {
				continue
			}
			t.Run(fmt.Sprintf("mode%d/call%d", mode, n), func(t *testing.T) {
				faulty := newFaultFS(n, mode)
				cfg := newConfig(t)
				cfg.FS, cfg.SegmentSize = faulty, 700
				v, err := Open(ctx, cfg)
				if err != nil {
					if !errors.Is(err, errFault) {
						t.Fatal(err)
					}
					cfg.FS = disk.OS{}
					new(story).judge(t, cfg)
					return
				}
				s := play(v)
				done = !faulty.failed
				if done && (len(s.tried) > 0 || len(s.acked) != 7) {
					t.Fatalf("without a fault: failed %v, acknowledged %v", s.tried, s.acked)
				}
				s.judgeAll(t, v, faulty, cfg, n)
			})
			if t.Failed() {
				return
			}
		}
	}
}

// TestFaultsOfSQLite fails every step of every commit, before and after it.
func TestFaultsOfSQLite(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n, done := 1, false; !done; n++ {
			t.Run(fmt.Sprintf("after=%v/step%d", after, n), func(t *testing.T) {
				var calls int
				hook := func(_ step, isAfter bool) error {
					if isAfter != after {
						return nil
					}
					if calls++; calls == n {
						return errFault
					}
					return nil
				}
				healthy := newFaultFS(-1, failBefore)
				cfg := newConfig(t)
				cfg.FS, cfg.SegmentSize = healthy, 700
				v, err := open(ctx, cfg, hook)
				if err != nil {
					t.Fatal(err)
				}
				s := play(v)
				done = calls < n
				if !done && len(s.tried) == 0 {
					t.Fatal("the fault made nothing fail")
				}
				s.judgeAll(t, v, healthy, cfg, n)
			})
			if t.Failed() {
				return
			}
		}
	}
}

// TestDestroyAgainAfterAFailedCheckpoint needs no new Open.
func TestDestroyAgainAfterAFailedCheckpoint(t *testing.T) {
	fail := true
	v, err := open(ctx, newConfig(t), func(s step, after bool) error {
		if s == stepCheckpoint && fail {
			return errFault
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	id := events.MustNewID()
	mustPut(t, v, id, 1, pattern(10))
	_, err = v.Destroy(ctx, id)
	wantErr(t, err, errFault)
	if !strings.Contains(err.Error(), "destroy the record again") {
		t.Errorf("error does not say what to do: %v", err)
	}
	_, err = v.Get(ctx, id, 1)
	wantErr(t, err, ErrDestroyed)
	fail = false
	if d, err := v.Destroy(ctx, id); err != nil || !d.Already || d.Keys != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if info, err := os.Stat(filepath.Join(v.cfg.Dir, keysFile+"-wal")); err != nil || info.Size() != 0 {
		t.Errorf("write-ahead log after the destruction: %v, %v", info, err)
	}
}

func TestStoppedVaultStillReads(t *testing.T) {
	faulty := newFaultFS(-1, failBefore)
	cfg := newConfig(t)
	cfg.FS = faulty
	v, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	id := events.MustNewID()
	mustPut(t, v, id, 1, pattern(10))
	faulty.mu.Lock()
	faulty.n = 0
	faulty.mu.Unlock()
	for range 2 {
		_, err = v.Put(ctx, id, 2, Meta{}, strings.NewReader("x"))
		wantErr(t, err, ErrStopped)
		wantErr(t, err, errFault)
	}
	faulty.mu.Lock()
	faulty.n = -1
	faulty.mu.Unlock()
	_, err = v.Put(ctx, id, 3, Meta{}, strings.NewReader("x"))
	wantErr(t, err, ErrStopped)
	mustRead(t, v, id, 1, pattern(10))
	_, err = v.Destroy(ctx, id)
	wantErr(t, err, ErrStopped)
	_, err = v.Get(ctx, id, 1)
	wantErr(t, err, ErrDestroyed) // a destruction that began closes the record
}
