package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk"
)

const (
	indexFile = "index.sqlite"
	// flushRecords is how many records wait before they are written to SQLite:
	// about as many are read again after a crash.
	flushRecords = 1 << 14
	// maxWaiting is how many may wait while others are being written, before
	// writers wait for it.
	maxWaiting = 2 * flushRecords
	// cachedHeads is how many streams' ends are kept in memory.
	cachedHeads = 1 << 18
)

// index finds records by event id and by stream. SQLite has all but the newest
// records; those are in memory until a goroutine has written them. Answers are
// always exact.
//
// Most questions of the write path are whether something new exists already, and
// the filter answers those without SQLite.
type index struct {
	sqlite *sqlite
	logger *slog.Logger

	mu      sync.Mutex
	flushed sync.Cond // on mu: after every flush
	filter  *filter
	waiting *overlay        // gathers what is new
	writing *overlay        // older; is being written, or could not be; nil if there is none
	heads   map[string]head // of some streams
	failed  error           // why nothing is written any more

	kick chan struct{}
	done chan struct{}
}

// head is the end of a stream. The zero head is that of a stream without events.
type head struct {
	length uint64
	origin uint64 // number of the stream's first record: its name in SQLite
}

// openIndex opens the index at path and brings it up to the store's records. An
// index that is missing, damaged, of another version, ahead of the store or of
// another store is made again.
func openIndex(ctx context.Context, path string, s *Store) (*index, error) {
	db, state, err := openSQLite(ctx, path)
	if err == nil {
		err = state.belongs(ctx, db, s)
	}
	var x *index
	if err == nil {
		if x, err = startIndex(ctx, s, db, state); err == nil {
			return x, nil
		}
	} else {
		err = errors.Join(err, db.close())
	}
	if ctx.Err() != nil {
		return nil, err
	}
	s.config.Logger.Info("making the event store's index again", "records", s.count, "because", err)
	if err := removeIndex(path); err != nil {
		return nil, err
	}
	if db, state, err = openSQLite(ctx, path); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return startIndex(ctx, s, db, state)
}

// startIndex starts the goroutine that writes the index, and adds the records
// that it lacks. It closes the database if it fails.
func startIndex(ctx context.Context, s *Store, db *sqlite, state *savedState) (*index, error) {
	x := &index{
		sqlite: db, logger: s.config.Logger, filter: state.filter,
		waiting: newOverlay(state.covered), heads: make(map[string]head),
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	x.flushed.L = &x.mu
	go x.run()
	if err := x.catchUp(ctx, s, state.covered); err != nil {
		return nil, errors.Join(err, x.close())
	}
	return x, nil
}

// belongs returns an error unless the last record that the index covers is the
// one that the store has there.
func (t *savedState) belongs(ctx context.Context, db *sqlite, s *Store) error {
	if t.covered == 0 {
		return nil
	}
	if t.covered > s.count {
		return fmt.Errorf("it covers %d records of %d", t.covered, s.count)
	}
	r, err := s.record(t.covered - 1)
	if err != nil {
		return err
	}
	number, ok, err := db.lookup(ctx, r.ID)
	if err == nil && (!ok || number != t.covered-1) {
		err = errors.New("it is of other records")
	}
	return err
}

// catchUp adds the records from number first on, and to the filter those that it
// misses.
func (x *index) catchUp(ctx context.Context, s *Store, first uint64) error {
	for n := min(x.filter.covered, first); n < s.count; {
		records, err := s.readSome(ctx, n, readAheadRecords)
		if err != nil {
			return err
		}
		if n+uint64(len(records)) > first {
			if err := x.fetchHeads(ctx, records); err != nil {
				return err
			}
		}
		for _, r := range records {
			if n < first {
				x.filter.add(r.ID, r.Stream)
			} else if err := x.catchUpOne(ctx, n, r); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

// fetchHeads reads the ends of the streams of some records, where memory does not
// have them, with few questions.
func (x *index) fetchHeads(ctx context.Context, records []store.Record) error {
	var streams []string
	x.mu.Lock()
	for _, r := range records {
		if _, known := x.recentHead(r.Stream); !known && x.filter.hasStream(r.Stream) {
			streams = append(streams, r.Stream)
		}
	}
	x.mu.Unlock()
	slices.Sort(streams)
	return x.sqlite.heads(ctx, slices.Compact(streams), func(stream string, h head) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.remember(stream, h)
	})
}

// catchUpOne adds record n, which must be the next of its stream.
func (x *index) catchUpOne(ctx context.Context, n uint64, r store.Record) error {
	h, err := x.head(ctx, r.Stream)
	if err != nil {
		return err
	}
	if h.length != r.Revision {
		return fmt.Errorf("record %d is event %d of a stream that has %d before it", n, r.Revision, h.length)
	}
	if h.length == 0 {
		h.origin = n
	}
	return x.add([]entry{{id: r.ID, stream: r.Stream, origin: h.origin, revision: r.Revision}})
}

// add makes the next records known, and waits if the database is far behind. An
// error says that it is, for good.
func (x *index) add(entries []entry) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range entries {
		x.waiting.add(e)
		x.filter.add(e.id, e.stream)
		x.remember(e.stream, head{length: e.revision + 1, origin: e.origin})
	}
	if len(x.waiting.entries) >= flushRecords {
		select {
		case x.kick <- struct{}{}:
		default: // the flusher has been told
		}
	}
	for len(x.waiting.entries) >= maxWaiting {
		if x.failed != nil {
			return x.failed
		}
		x.flushed.Wait()
	}
	return nil
}

// remember notes a stream's end; mu is held. When there are too many some are
// forgotten, whichever the map yields: SQLite has them, or the overlays.
func (x *index) remember(stream string, h head) {
	if len(x.heads) >= cachedHeads {
		for s := range x.heads {
			if len(x.heads) < cachedHeads-cachedHeads/16 {
				break
			}
			delete(x.heads, s)
		}
	}
	x.heads[stream] = h
}

// lookup finds the number of the record with the given event id.
func (x *index) lookup(ctx context.Context, id events.ID) (number uint64, ok bool, err error) {
	x.mu.Lock()
	number, ok = x.waiting.lookup(id)
	if !ok {
		number, ok = x.writing.lookup(id)
	}
	maybe := x.filter.hasID(id)
	x.mu.Unlock()
	if ok || !maybe {
		return number, ok, nil
	}
	return x.sqlite.lookup(ctx, id)
}

// head returns a stream's end. Only the committing goroutine calls it, and Open
// before there is one: nobody adds to the index meanwhile.
func (x *index) head(ctx context.Context, stream string) (head, error) {
	x.mu.Lock()
	h, ok := x.recentHead(stream)
	maybe := x.filter.hasStream(stream)
	x.mu.Unlock()
	if ok || !maybe {
		return h, nil
	}
	h, err := x.sqlite.head(ctx, stream)
	if err == nil && h.length > 0 {
		x.mu.Lock()
		x.remember(stream, h)
		x.mu.Unlock()
	}
	return h, err
}

// recentHead returns a stream's end if memory has it; mu is held.
func (x *index) recentHead(stream string) (head, bool) {
	h, ok := x.heads[stream]
	if !ok {
		h, ok = x.waiting.head(stream)
	}
	if !ok {
		h, ok = x.writing.head(stream)
	}
	return h, ok
}

// numbers returns the numbers of at most limit records of a stream from a
// revision on, and of fewer only if there are no more.
func (x *index) numbers(ctx context.Context, stream string, from uint64, limit int) ([]uint64, error) {
	if from > math.MaxInt64 {
		return nil, nil
	}
	// The overlays first: what moves from them to SQLite meanwhile is then seen
	// twice, not never.
	x.mu.Lock()
	recent := x.writing.numbers(nil, stream, from)
	recent = x.waiting.numbers(recent, stream, from)
	maybe := x.filter.hasStream(stream)
	x.mu.Unlock()
	if !maybe {
		return nil, nil
	}
	numbers, err := x.sqlite.numbers(ctx, stream, from, limit)
	if err != nil {
		return nil, err
	}
	for _, n := range recent {
		if len(numbers) < limit && (len(numbers) == 0 || n > numbers[len(numbers)-1]) {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// run writes overlays to SQLite until close.
func (x *index) run() {
	defer close(x.done)
	for range x.kick {
		x.flush(false)
	}
}

// flush moves what waits to SQLite. If that fails the records stay in memory,
// and the next Open reads them from the segments: the store goes on until too
// many wait.
func (x *index) flush(last bool) {
	x.mu.Lock()
	if x.failed != nil || len(x.waiting.entries) == 0 && !(last && x.filter.unsaved > 0) {
		x.mu.Unlock()
		return
	}
	x.writing = x.waiting
	x.waiting = newOverlay(x.writing.next())
	snapshot := x.filter.snapshot(last)
	x.mu.Unlock()
	var pace *disk.Pace
	if !last {
		pace = &disk.Pace{Hurry: x.full}
	}
	err := x.sqlite.write(x.writing, snapshot, pace)
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.flushed.Broadcast()
	if err == nil {
		x.writing = nil
		return
	}
	x.failed = fmt.Errorf("writing the event store's index: %w", err)
	x.logger.Error("the event store's index cannot be written; free its disk and start again", "cause", err)
}

// close writes what waits and closes SQLite.
// full reports whether as many records wait again as one flush takes.
func (x *index) full() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.waiting.entries) >= flushRecords
}

func (x *index) close() error {
	close(x.kick)
	<-x.done
	x.flush(true)
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
