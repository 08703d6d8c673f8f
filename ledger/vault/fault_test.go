package vault

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
)

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
