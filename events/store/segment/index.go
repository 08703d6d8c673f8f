package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/segment"
)

const (
	indexFile = "index.sqlite"
	// flushRecords is how many records wait before they are written to SQLite:
	// as many are read again after a crash.
	flushRecords = 8192
	// maxOverlay is how many may wait while a flush is running, before writers
	// wait for it.
	maxOverlay = 8 * flushRecords
	// cachedStreams is how many streams' lengths are kept in memory.
	cachedStreams = 1 << 16
)

// index finds records by event id and by stream. SQLite has all but the newest
// records; those are in memory until a goroutine has written them. Answers are
// always exact.
//
// Most questions of the write path are whether something new exists already, and
// the filter answers those without SQLite.
type index struct {
	sqlite *sqlite
	filter *filter // only the committing goroutine writes to it, under mu

	mu      sync.Mutex
	flushed sync.Cond // on mu: after every flush
	waiting *overlay  // gathers what is new
	writing *overlay  // is being written; nil if none is
	lengths map[string]uint64
	failed  error

	kick chan struct{}
	done chan struct{}
}

// overlay is a run of records that SQLite does not have yet.
type overlay struct {
	ids     map[events.ID]uint64
	streams map[string][]uint64 // numbers, in order
	entries []entry
	first   uint64
}

type entry struct {
	id       events.ID
	stream   string
	revision uint64
}

func newOverlay(first uint64) *overlay {
	return &overlay{ids: make(map[events.ID]uint64), streams: make(map[string][]uint64), first: first}
}

// openIndex opens the index at path and brings it up to the store's records. An
// index that is missing, damaged, of another version or ahead of the store is
// made again.
func openIndex(ctx context.Context, path string, s *Store) (*index, error) {
	db, covered, f, err := openSQLite(ctx, path)
	if err != nil || covered > s.count || !sameEnd(ctx, db, s, covered) {
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), db.close())
		}
		s.config.Logger.Info("making the event store's index again", "records", s.count, "because", because(err, covered, s.count))
		if err := errors.Join(db.close(), removeIndex(path)); err != nil {
			return nil, err
		}
		if db, covered, f, err = openSQLite(ctx, path); err != nil {
			return nil, err
		}
	}
	x := &index{
		sqlite: db, filter: f, waiting: newOverlay(covered), lengths: make(map[string]uint64),
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	x.flushed.L = &x.mu
	go x.run()
	if err := x.catchUp(ctx, s, covered); err != nil {
		return nil, errors.Join(err, x.close())
	}
	return x, nil
}

func because(err error, covered, count uint64) string {
	switch {
	case err != nil:
		return err.Error()
	case covered > count:
		return "it covers more than there is"
	}
	return "it belongs to other records"
}

// sameEnd reports whether the last record that the index covers is the one that
// the store has there.
func sameEnd(ctx context.Context, db *sqlite, s *Store, covered uint64) bool {
	if covered == 0 {
		return true
	}
	records, err := s.ReadRange(ctx, covered-1, 1)
	if err != nil || len(records) != 1 {
		return false
	}
	number, ok, err := db.lookup(ctx, records[0].ID)
	return err == nil && ok && number == covered-1
}

// catchUp adds the records from number first on, and to the filter those that it
// misses.
func (x *index) catchUp(ctx context.Context, s *Store, first uint64) error {
	missing := min(x.filter.covered, first)
	for n := missing; n < s.count; {
		records, err := s.readSome(ctx, n, readAheadRecords)
		if err != nil {
			return err
		}
		for _, r := range records {
			if n < first {
				x.filter.add(r.ID, r.Stream)
			} else {
				x.add([]segment.Record{{ID: r.ID, Stream: r.Stream, Revision: r.Revision}}, n)
			}
			n++
		}
	}
	return nil
}

// add makes records known; the first of them has the given number.
func (x *index) add(records []segment.Record, first uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, r := range records {
		n := first + uint64(i)
		x.waiting.ids[r.ID] = n
		x.waiting.streams[r.Stream] = append(x.waiting.streams[r.Stream], n)
		x.waiting.entries = append(x.waiting.entries, entry{r.ID, r.Stream, r.Revision})
		x.filter.add(r.ID, r.Stream)
		x.remember(r.Stream, r.Revision+1)
	}
	if len(x.waiting.entries) >= flushRecords {
		select {
		case x.kick <- struct{}{}:
		default: // the flusher has been told
		}
	}
	for len(x.waiting.entries) >= maxOverlay && x.failed == nil {
		x.flushed.Wait()
	}
}

// remember notes a stream's length; mu is held. When the cache is full some
// streams are forgotten, whichever the map yields: SQLite has them, or the
// overlay.
func (x *index) remember(stream string, length uint64) {
	if _, ok := x.lengths[stream]; !ok && len(x.lengths) >= cachedStreams {
		forget := cachedStreams / 16
		for s := range x.lengths {
			if delete(x.lengths, s); forget == 0 {
				break
			}
			forget--
		}
	}
	x.lengths[stream] = length
}

// lookup finds the number of the record with the given event id.
func (x *index) lookup(ctx context.Context, id events.ID) (number uint64, ok bool, err error) {
	x.mu.Lock()
	for _, o := range []*overlay{x.waiting, x.writing} {
		if o != nil {
			if number, ok = o.ids[id]; ok {
				x.mu.Unlock()
				return number, true, nil
			}
		}
	}
	maybe := x.filter.hasID(id)
	x.mu.Unlock()
	if !maybe {
		return 0, false, nil
	}
	return x.sqlite.lookup(ctx, id)
}

// length returns how many events a stream has. Only the committing goroutine
// calls it.
func (x *index) length(ctx context.Context, stream string) (uint64, error) {
	x.mu.Lock()
	length, ok := x.lengths[stream]
	if !ok {
		for _, o := range []*overlay{x.waiting, x.writing} {
			if o != nil && len(o.streams[stream]) > 0 {
				n := o.streams[stream]
				length, ok = o.entries[n[len(n)-1]-o.first].revision+1, true
				break
			}
		}
	}
	maybe := ok || x.filter.hasStream(stream)
	x.mu.Unlock()
	if ok || !maybe {
		return length, nil
	}
	length, err := x.sqlite.length(ctx, stream)
	if err == nil {
		x.mu.Lock()
		x.remember(stream, length)
		x.mu.Unlock()
	}
	return length, err
}

// numbers returns the numbers of a stream's records from a revision on.
func (x *index) numbers(ctx context.Context, stream string, from uint64) ([]uint64, error) {
	// The overlays first: what moves from them to SQLite meanwhile is then seen
	// twice, not never.
	x.mu.Lock()
	var recent []uint64
	for _, o := range []*overlay{x.writing, x.waiting} {
		if o != nil {
			recent = append(recent, o.streams[stream]...)
		}
	}
	x.mu.Unlock()
	numbers, err := x.sqlite.numbers(ctx, stream)
	if err != nil {
		return nil, err
	}
	for _, n := range recent {
		if len(numbers) == 0 || n > numbers[len(numbers)-1] {
			numbers = append(numbers, n)
		}
	}
	if from >= uint64(len(numbers)) {
		return nil, nil
	}
	return numbers[from:], nil
}

// run writes overlays to SQLite until close.
func (x *index) run() {
	defer close(x.done)
	for range x.kick {
		x.flush()
	}
}

// flush moves what waits to SQLite. If that fails the records stay in memory,
// and the next Open reads them from the segments: the store goes on.
func (x *index) flush() {
	x.mu.Lock()
	if x.failed != nil || len(x.waiting.entries) == 0 {
		x.mu.Unlock()
		return
	}
	x.writing = x.waiting
	x.waiting = newOverlay(x.writing.first + uint64(len(x.writing.entries)))
	snapshot := x.filter.snapshot()
	x.mu.Unlock()
	err := x.sqlite.write(x.writing, snapshot)
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.flushed.Broadcast()
	if err == nil {
		x.writing = nil
		return
	}
	x.failed = fmt.Errorf("writing the event store's index: %w", err)
	x.writing.append(x.waiting)
	x.waiting, x.writing = x.writing, nil
}

// append adds the records of a later overlay.
func (o *overlay) append(later *overlay) {
	for id, n := range later.ids {
		o.ids[id] = n
	}
	for stream, numbers := range later.streams {
		o.streams[stream] = append(o.streams[stream], numbers...)
	}
	o.entries = append(o.entries, later.entries...)
}

// close writes what waits and closes SQLite.
func (x *index) close() error {
	close(x.kick)
	<-x.done
	x.flush()
	return errors.Join(x.failed, x.sqlite.close())
}

func removeIndex(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the event store's index: %w", err)
		}
	}
	return nil
}
