package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk/disktest"
)

// errFault is the failure of a step of SQLite's.
var errFault = errors.New("injected fault in SQLite")

func long() bool { return os.Getenv("MEDLEDGER_LONG") != "" }

// story is what a scenario did to a vault and what the vault answered.
type story struct {
	t    *testing.T
	fsys *disktest.FS
	cfg  Config

	acked     map[string]bool // "record/version" put and acknowledged
	tried     map[string]bool // put, discarded or destroyed without success
	destroyed map[events.ID]bool
	size      map[string]int
	records   []events.ID
	papers    papers
}

// newStory returns the story of a vault whose ciphertexts lie on a file system
// that fails and crashes. SQLite's files are the operating system's.
func newStory(t *testing.T) *story {
	s := &story{
		t: t, fsys: disktest.New(), cfg: newConfig(t),
		papers: newPapers(), acked: map[string]bool{}, tried: map[string]bool{}, destroyed: map[events.ID]bool{}, size: map[string]int{},
	}
	s.cfg.FS, s.cfg.SegmentSize = s.fsys, 700
	for i := range 4 {
		s.records = append(s.records, events.ID{byte(i + 1), 1})
	}
	s.cfg.Custody = openCustody(t, s.fsys, custodyDir(s.cfg))
	return s
}

func key(record events.ID, version uint32) string { return fmt.Sprintf("%v/%d", record, version) }

func (s *story) put(v *Vault, record events.ID, version uint32, size int) {
	k := key(record, version)
	s.size[k] = size
	if _, err := v.Put(ctx, record, version, Meta{"text/plain"}, bytes.NewReader(pattern(size))); err == nil {
		s.acked[k] = true
	} else {
		s.tried[k] = true
	}
}

func (s *story) destroy(v *Vault, record events.ID) {
	if _, err := v.Destroy(ctx, record); err == nil {
		s.destroyed[record] = true
	} else {
		s.tried[key(record, 1)], s.tried[key(record, 2)] = true, true
	}
}

// play runs a fixed scenario and goes on after errors, as a server does.
func (s *story) play(v *Vault) {
	for i, id := range s.records {
		s.put(v, id, 1, 300+i)
		s.put(v, id, 2, 2*chunkSize+i)
	}
	for i, id := range s.records[:2] {
		s.destroy(v, id)
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
	s.put(v, s.records[2], 3, 10)
	s.papers.play(v)
}

// ending is how a vault's life ends.
type ending string

const (
	closed  ending = "closed"         // in order
	process ending = "process killed" // SQLite's files and all others as they are
	power   ending = "power lost"     // and of the others only what was synced
)

// end ends the life of a vault.
func (s *story) end(v *Vault, how ending, loss disktest.Loss, random *rand.Rand) {
	s.t.Helper()
	image := filepath.Join(s.t.TempDir(), "image")
	if err := os.CopyFS(image, os.DirFS(s.cfg.Dir)); err != nil {
		s.t.Fatal(err)
	}
	_ = v.Close() // may report the fault
	if how == closed {
		return
	}
	if err := errors.Join(os.RemoveAll(s.cfg.Dir), os.CopyFS(s.cfg.Dir, os.DirFS(image))); err != nil {
		s.t.Fatal(err)
	}
	if how == power {
		s.fsys.Crash(loss, random)
	}
}

// goOn opens the vault again after a fault and writes to it, before the power is
// lost: what the first life left unsynced, and the second one found there, is
// gone then.
func (s *story) goOn(random *rand.Rand) {
	s.t.Helper()
	v, err := Open(ctx, s.cfg)
	if err != nil {
		s.t.Fatalf("does not open again: %v", err)
	}
	for i := range 2 {
		id := events.ID{byte(i + 1), 2} // in a shard that has files already
		s.records = append(s.records, id)
		s.put(v, id, 1, 100)
		s.put(v, id, 2, 2*chunkSize)
	}
	s.destroy(v, s.records[0])
	if !s.acked[key(s.records[len(s.records)-1], 2)] || !s.destroyed[s.records[0]] {
		s.t.Errorf("the vault does not go on: %v", s.tried)
	}
	s.end(v, power, disktest.Losses[random.IntN(len(disktest.Losses))], random)
}

// judge opens the vault and holds it to what was acknowledged.
func (s *story) judge() {
	t, cfg := s.t, s.cfg
	t.Helper()
	v, err := Open(ctx, cfg)
	if err != nil {
		t.Fatalf("does not open again: %v", err)
	}
	defer v.Close()
	for id := range s.destroyed {
		if s.hasFile(id, 2) {
			t.Errorf("the file of the destroyed record %v is back", id)
		}
	}
	keep := Keep{
		Version:  func(record events.ID, version uint32) bool { return s.acked[key(record, version)] },
		Document: func(p Place) bool { return s.papers.acked[p] },
	}
	if _, err := v.Collect(ctx, keep); err != nil {
		t.Fatal(err)
	}
	for _, id := range s.records {
		for version := uint32(1); version <= 3; version++ {
			s.judgeVersion(v, id, version)
		}
	}
	s.papers.judge(t, v)
	if n, err := v.Collect(ctx, keep); err != nil || n != 0 {
		t.Errorf("a second Collect removed %d, %v", n, err)
	}
	// What was begun can be completed, and everything can be written again.
	for _, id := range s.records {
		if _, err := v.Destroy(ctx, id); err != nil {
			t.Errorf("destruction after the fault: %v", err)
		}
		for version := uint32(1); version <= 3; version++ {
			if s.hasFile(id, version) {
				t.Errorf("a file of %v after its destruction", id)
			}
		}
	}
	id := events.MustNewID()
	mustPut(t, v, id, 1, pattern(100))
	mustRead(t, v, id, 1, pattern(100))
}

func (s *story) hasFile(id events.ID, version uint32) bool {
	_, err := s.fsys.Stat(largePath(s.cfg.Dir, id, version))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Error(err)
	}
	return err == nil
}

func (s *story) judgeVersion(v *Vault, id events.ID, version uint32) {
	t := s.t
	t.Helper()
	k := key(id, version)
	b, err := read(v, id, version)
	whole := err == nil && bytes.Equal(b, pattern(s.size[k]))
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
	if err != nil && s.hasFile(id, version) {
		t.Errorf("%s cannot be read (%v), but its file is there", k, err)
	}
}

// last is what becomes of a vault after its story. The ways to choose from take
// turns; in the long run all are taken.
func (s *story) last(v *Vault, n int) {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	how := []ending{process, power, closed}[n%3]
	s.end(v, how, disktest.Losses[random.IntN(len(disktest.Losses))], random)
	if n%4 != 3 {
		s.goOn(random)
	}
	s.judge()
}

// turns returns the numbers n that last tries after one fault.
func turns(fault int) []int {
	if long() {
		return []int{0, 1, 2, 3, 4, 5, 7, 10, 11}
	}
	return []int{fault}
}

// TestFaultsOfFiles fails every call on the file system, one after the other, or
// all calls from it on: in the long run in every way, else the ways take turns.
func TestFaultsOfFiles(t *testing.T) {
	for e, effect := range disktest.Effects {
		for n, done := 1, false; !done; n++ {
			if !long() && n%len(disktest.Effects) != e {
				continue
			}
			for _, turn := range turns(n / len(disktest.Effects)) {
				t.Run(fmt.Sprintf("%s/call%d/%d", effect, n, turn), func(t *testing.T) {
					s := newStory(t)
					if turn%2 == 0 {
						s.fsys.FailFrom(n, effect)
					} else {
						s.fsys.FailCall(n, effect)
					}
					done = !s.live(turn)
				})
			}
			if t.Failed() {
				return
			}
		}
	}
}

// live runs the story on a file system that is about to fail, and reports
// whether it did.
func (s *story) live(turn int) (failed bool) {
	v, err := Open(ctx, s.cfg)
	if err == nil {
		s.play(v)
	} else if !errors.Is(err, disktest.ErrInjected) {
		s.t.Fatal(err)
	}
	failed = s.fsys.Failed()
	s.t.Logf("%s failed", s.fsys.Failure())
	s.fsys.FailNone()
	if !failed && (len(s.tried) > 0 || len(s.acked) != 7 || len(s.papers.tried) > 0 || len(s.papers.acked) != 5) {
		s.t.Fatalf("without a fault: failed %v, acknowledged %v", s.tried, s.acked)
	}
	if err == nil {
		s.last(v, turn)
		return failed
	}
	s.goOn(rand.New(rand.NewPCG(uint64(turn), 2)))
	s.judge()
	return failed
}

// TestFaultsOfSQLite fails every step of every commit: in the long run before and
// after it, else one or the other in turn.
func TestFaultsOfSQLite(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n, done := 1, false; !done; n++ {
			if !long() && n%2 == 0 == after { // each step before or after it
				continue
			}
			for _, turn := range turns(n / 2) {
				t.Run(fmt.Sprintf("after=%v/step%d/%d", after, n, turn), func(t *testing.T) {
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
					s := newStory(t)
					v, err := open(ctx, s.cfg, hook)
					if err != nil {
						t.Fatal(err)
					}
					s.play(v)
					done = calls < n
					if !done && len(s.tried) == 0 && len(s.papers.tried) == 0 && len(s.papers.undead) == 0 {
						t.Fatal("the fault made nothing fail")
					}
					s.last(v, turn)
				})
			}
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
		if s == stepTruncate && fail {
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
	if !strings.Contains(err.Error(), "destroy it again") {
		t.Errorf("error does not say what to do: %v", err)
	}
	_, err = v.Get(ctx, id, 1)
	wantErr(t, err, ErrDestroyed)
	fail = false
	if keys, err := v.Destroy(ctx, id); err != nil || keys != 2 {
		t.Fatalf("%d keys, %v", keys, err)
	}
	if info, err := os.Stat(filepath.Join(v.cfg.Dir, keysFile+"-wal")); err != nil || info.Size() != 0 {
		t.Errorf("write-ahead log after the destruction: %v, %v", info, err)
	}
}

func TestStoppedVaultStillReads(t *testing.T) {
	s := newStory(t)
	v, err := Open(ctx, s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	id := events.MustNewID()
	mustPut(t, v, id, 1, pattern(10))
	s.fsys.FailFrom(1, disktest.NoEffect)
	for range 2 {
		_, err = v.Put(ctx, id, 2, Meta{}, strings.NewReader("x"))
		wantErr(t, err, ErrStopped)
		wantErr(t, err, disktest.ErrInjected)
	}
	s.fsys.FailNone()
	_, err = v.Put(ctx, id, 3, Meta{}, strings.NewReader("x"))
	wantErr(t, err, ErrStopped)
	mustRead(t, v, id, 1, pattern(10))
	_, err = v.Destroy(ctx, id)
	wantErr(t, err, ErrStopped)
	_, err = v.Get(ctx, id, 1)
	wantErr(t, err, ErrDestroyed) // a destruction that began closes the record
}
