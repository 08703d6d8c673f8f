package segment_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/events/store/storetest"
	format "github.com/medledger/medledger/verifier/segment"
)

var quiet = slog.New(slog.DiscardHandler)

func long() bool { return os.Getenv("MEDLEDGER_LONG") == "1" }

// trial is one line of a fault table: a store on a disk that fails, and what its
// user was told.
type trial struct {
	t      testing.TB
	fsys   *disktest.FS
	config segment.Config

	acknowledged []store.Event // in the order of their positions
	groups       [][]store.Event
	refused      []events.ID // with a conflict
	last         store.Position
	next         int // of storetest.Event
}

func newTrial(t testing.TB, indexDir string) *trial {
	fsys := disktest.New()
	return &trial{t: t, fsys: fsys, config: segment.Config{
		Dir: "/data/store", FS: fsys, IndexDir: indexDir, SegmentSize: 1500, Logger: quiet,
	}}
}

// take returns new events.
func (r *trial) take(n int) []store.Event {
	r.next += n
	return storetest.Events(r.next-n, n)
}

// work uses the store until the disk fails, and a little longer.
func (r *trial) work(rounds int) {
	s, err := segment.Open(r.t.Context(), r.config)
	if err != nil {
		if !r.fsys.Failed() {
			r.t.Fatalf("opening without a fault: %v", err)
		}
		return
	}
	defer s.Close()
	stopped := false
	for range rounds {
		single := r.take(1)
		group := r.take(3)
		batch := []store.Append{
			storetest.Append("a", store.Any, r.take(1)...),
			storetest.Append(fmt.Sprint("new ", r.next), store.NoStream, r.take(2)...),
		}
		stopped = r.append(s, stopped, storetest.Append("a", store.Any, single...))
		stopped = r.append(s, stopped, storetest.Append("b", store.Any, group...))
		stopped = r.append(s, stopped, batch...)
		conflict := r.take(1)
		_, err := s.Append(r.t.Context(), storetest.Append("a", 1<<40, conflict...))
		if err == nil {
			r.t.Fatal("a conflicting append was accepted")
		}
		r.refused = append(r.refused, conflict[0].ID)
	}
	// Reading goes on, whatever happened to writing.
	r.check(s)
}

// append appends one batch and notes what came of it. After the first failure
// every append must be refused.
func (r *trial) append(s *segment.Store, stopped bool, batch ...store.Append) bool {
	var all []store.Event
	for _, a := range batch {
		all = append(all, a.Events...)
	}
	r.groups = append(r.groups, all)
	positions, err := s.AppendBatch(r.t.Context(), batch)
	switch {
	case err == nil && stopped:
		r.t.Fatal("an append succeeded after the store had stopped")
	case err == nil:
		r.acknowledged = append(r.acknowledged, all...)
		r.last = positions[len(positions)-1]
		return false
	case !errors.Is(err, store.ErrStopped):
		r.t.Fatalf("append failed with %v, which is not ErrStopped", err)
	case !r.fsys.Failed():
		r.t.Fatalf("append failed without a fault: %v", err)
	}
	return true
}

// check holds what the store has against what its user was told.
func (r *trial) check(s *segment.Store) {
	r.t.Helper()
	found := make(map[events.ID]int)
	revisions := make(map[string]uint64)
	var records []store.Record
	for rec, err := range s.ReadAll(r.t.Context(), 0) {
		if err != nil {
			r.t.Fatalf("reading: %v", err)
		}
		if _, twice := found[rec.ID]; twice {
			r.t.Fatalf("event %v is there twice", rec.ID)
		}
		if rec.Revision != revisions[rec.Stream] || rec.Position != store.Position(len(records)+1) {
			r.t.Fatalf("record %d has position %d, revision %d", len(records), rec.Position, rec.Revision)
		}
		revisions[rec.Stream]++
		found[rec.ID] = len(records)
		records = append(records, rec)
		if got, err := s.Lookup(r.t.Context(), rec.ID); err != nil || got.Position != rec.Position {
			r.t.Fatalf("looking up record %d: position %d, %v", rec.Position-1, got.Position, err)
		}
	}
	before := -1
	for _, e := range r.acknowledged {
		i, ok := found[e.ID]
		if !ok {
			r.t.Fatalf("acknowledged event %v is lost", e.ID)
		}
		if i <= before || !bytes.Equal(records[i].Statement, e.Statement) {
			r.t.Fatalf("acknowledged event %v is out of order or has other bytes", e.ID)
		}
		before = i
	}
	for _, id := range r.refused {
		if _, ok := found[id]; ok {
			r.t.Fatalf("refused event %v is there", id)
		}
	}
	for _, group := range r.groups {
		for i, e := range group {
			if _, ok := found[e.ID]; ok != has(found, group[0].ID) || ok && found[e.ID] != found[group[0].ID]+i {
				r.t.Fatalf("the group of event %v is there in part", group[0].ID)
			}
		}
	}
	if s.Len() != uint64(len(records)) {
		r.t.Fatalf("Len is %d, there are %d records", s.Len(), len(records))
	}
}

func has(m map[events.ID]int, id events.ID) bool { _, ok := m[id]; return ok }

// reopen opens the store on a disk that works, checks it, uses it, and lets an
// auditor read its folder.
func (r *trial) reopen() {
	r.t.Helper()
	r.fsys.FailNone()
	s, err := segment.Open(r.t.Context(), r.config)
	if err != nil {
		r.t.Fatalf("reopening: %v", err)
	}
	r.check(s)
	if err := s.Close(); err != nil {
		r.t.Fatalf("closing: %v", err)
	}
	r.work(2)
	r.audit()
}

// audit reads the folder as an auditor does.
func (r *trial) audit() {
	r.t.Helper()
	folder, err := format.OpenFolder(r.fsys.View(r.config.Dir))
	if err != nil {
		r.t.Fatalf("an auditor opens the folder: %v", err)
	}
	defer folder.Close()
	if folder.Len() != uint64(r.last) || folder.Tail() != nil {
		r.t.Fatalf("an auditor finds %d records, tail %v; the store has %d", folder.Len(), folder.Tail(), r.last)
	}
	for _, f := range folder.Files() {
		if err := f.CheckDigest(); err != nil {
			r.t.Fatalf("an auditor checks a segment: %v", err)
		}
	}
}

// restart is what happens between a fault and the next Open.
type restart struct {
	name  string
	loss  disktest.Loss // of a crash of the machine; "" if only the process ended
	after bool          // the machine crashes after the next process has worked
}

var restarts = []restart{
	{name: "power failure", loss: disktest.LoseAll},
	{name: "power failure, prefix kept", loss: disktest.KeepPrefix},
	{name: "power failure, sectors kept", loss: disktest.KeepSectors},
	{name: "new process, power failure after it", loss: disktest.LoseAll, after: true},
}

// TestFaultTable fails every call of a workload in every way, and looks what the
// next process finds.
func TestFaultTable(t *testing.T) {
	for i, effect := range disktest.Effects {
		for k, how := range restarts {
			t.Run(fmt.Sprintf("%s, %s", effect, how.name), func(t *testing.T) {
				t.Parallel()
				stride, first := 5, 1+(i+2*k)%5 // a short run takes every fifth call, others in each row
				if long() {
					stride, first = 1, 1
				}
				rows := 0
				for n := first; faultRow(t, n, effect, how); n += stride {
					rows++
				}
				if rows < 10 {
					t.Errorf("the table has %d rows; the workload makes more calls", rows)
				}
			})
		}
	}
}

// faultRow reports whether the workload makes n calls.
func faultRow(t *testing.T, n int, effect disktest.Effect, how restart) bool {
	r := newTrial(t, t.TempDir())
	r.fsys.FailCall(n, effect)
	r.work(4)
	failed, failure := r.fsys.Failed(), r.fsys.Failure()
	defer func() {
		if t.Failed() {
			t.Logf("call %d (%s) fails with %s; then: %s", n, failure, effect, how.name)
		}
	}()
	random := rand.New(rand.NewPCG(uint64(n), 1))
	if !how.after {
		r.fsys.Crash(how.loss, random)
	}
	r.reopen()
	if how.after {
		r.fsys.Crash(how.loss, random)
		r.reopen()
	}
	return failed
}

// TestFaultsInRepair fails every call of an Open that finds a torn tail.
func TestFaultsInRepair(t *testing.T) {
	for _, effect := range disktest.Effects {
		t.Run(string(effect), func(t *testing.T) {
			t.Parallel()
			for n, failed := 1, true; failed; n++ {
				r := newTrial(t, t.TempDir())
				r.work(1)
				r.tear()
				r.fsys.FailCall(n, effect)
				s, err := segment.Open(t.Context(), r.config)
				if failed = r.fsys.Failed(); failed == (err == nil) {
					t.Fatalf("call %d fails: %v; Open: %v", n, failed, err)
				}
				if err == nil {
					s.Close()
				}
				if n%2 == 0 {
					r.fsys.Crash(disktest.LoseAll, nil)
				}
				r.reopen()
			}
		})
	}
}

// tear appends half a record to the last segment, as a crash leaves it.
func (r *trial) tear() {
	r.t.Helper()
	entries, err := r.fsys.ReadDir(r.config.Dir)
	if err != nil {
		r.t.Fatal(err)
	}
	name := r.config.Dir + "/" + entries[len(entries)-1].Name()
	f, err := r.fsys.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	e := r.take(1)[0]
	whole := format.Record{Number: uint64(r.last), Write: true, ID: e.ID, Stream: "a", Statement: e.Statement}.Append(nil)
	_, err = f.Write(whole[:len(whole)/2])
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		r.t.Fatal(err)
	}
}

// TestDiskGone lets every call fail from some moment on.
func TestDiskGone(t *testing.T) {
	for n := 3; ; n += 7 {
		r := newTrial(t, t.TempDir())
		r.fsys.FailFrom(n, disktest.ShortWrite)
		r.work(3)
		gone := r.fsys.Failed()
		r.fsys.Crash(disktest.KeepPrefix, rand.New(rand.NewPCG(uint64(n), 2)))
		r.reopen()
		if !gone {
			return
		}
	}
}

// TestDiskFull fills the disk at every point of a workload.
func TestDiskFull(t *testing.T) {
	full := 0
	for limit := int64(0); limit < 6000; limit += 250 {
		r := newTrial(t, t.TempDir())
		r.fsys.LimitSpace(limit)
		s, err := segment.Open(t.Context(), r.config)
		for err == nil {
			e := r.take(1)
			if _, err = s.Append(t.Context(), storetest.Append("a", store.Any, e...)); err == nil {
				r.acknowledged = append(r.acknowledged, e...)
				r.last++
			}
		}
		if s != nil {
			full++
			if !errors.Is(err, segment.ErrFull) || !errors.Is(err, store.ErrStopped) {
				t.Errorf("an append on a full disk: %v", err)
			}
			r.check(s)
			if _, err := s.Append(t.Context(), storetest.Append("a", store.Any, r.take(1)...)); !errors.Is(err, segment.ErrFull) {
				t.Errorf("the next append: %v", err)
			}
			s.Close()
		}
		r.fsys.LimitSpace(-1)
		r.reopen()
	}
	if full < 10 {
		t.Errorf("only %d stores became full while they were open", full)
	}
}

// TestSealedSegment: nothing of a sealed segment but header and footer is read
// when the store is opened.
func TestSealedSegment(t *testing.T) {
	r := newTrial(t, t.TempDir())
	r.work(4)
	name := r.config.Dir + "/" + format.FileName(0)
	f, err := r.fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	const at = format.HeaderSize + 60 // in the first record
	if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	s, err := segment.Open(t.Context(), r.config)
	if err != nil {
		t.Fatalf("opening a store with a damaged record in a sealed segment: %v", err)
	}
	defer s.Close()
	var corrupt *format.CorruptError
	if _, err := s.ReadRange(t.Context(), 0, 1); !errors.As(err, &corrupt) || corrupt.File != format.FileName(0) || corrupt.Offset != format.HeaderSize {
		t.Errorf("reading the damaged record: %v", err)
	}
	if records, err := s.ReadRange(t.Context(), 1, 1); err != nil || len(records) != 1 {
		t.Errorf("reading the record behind it: %v", err)
	}
}
