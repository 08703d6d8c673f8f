// Package segment is the embedded event store: one order of records in segment
// files (verifier/segment has the format), with an index of streams and event
// ids in SQLite that can always be made again from them.
//
// # Writing
//
// One goroutine commits. It takes whatever appends wait, checks each against the
// streams and ids that exist, writes all that pass in one write, makes them
// durable with one fsync and answers. A batch is one group of the format. A
// record's Position is its number plus one, without gaps.
//
// # What a crash leaves
//
//	during the write of records    a torn tail: Open cuts it back to the last whole
//	                               group; nobody was told of it
//	after it                       records that are there; who asked for them was
//	                               perhaps not told
//	during the sealing of a file   a file without a whole footer: Open goes on
//	                               filling it and seals it later
//	before the next file is there  a sealed last file: Open makes the next one
//	between two index flushes      an index that lags: Open reads the records behind
//
// Open cuts nothing that was durable: not below Config.KeepRecords, and not where
// a later write shows that the damage is none of a crash's (ErrDamaged in
// verifier/segment).
//
// After a failed write or sync the store accepts nothing more (store.ErrStopped):
// the page cache and the disk may differ then, and a second fsync would say
// nothing about the first one's data. Reading goes on. For the same reason Open
// writes the last write of the last file once more: the cache may still show the
// next process what the disk never got.
//
// # The index
//
// index.sqlite finds records by event id and by stream. It is derived and written
// behind; what it lacks is in memory. Open makes it again when it is missing,
// damaged, of another version or of other records; Rebuild does so on demand. If
// it cannot be written the store goes on from memory until too much waits, and
// stops then. What Open does not look at, such as a row that is gone from the
// middle of a table, only Rebuild mends.
package segment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/segment"
)

const (
	// DefaultSegmentSize is the size in bytes at which a file is sealed.
	DefaultSegmentSize = 64 << 20
	// MaxBatch is how many bytes the records of one batch may have together. A
	// batch lies in one segment whole, and in memory.
	MaxBatch = 256 << 20
)

// Config says how a store is opened. Dir is needed.
type Config struct {
	// Dir is the store's folder; it is made if it is missing.
	Dir string
	// FS is where the segments are written; the operating system's file system
	// if nil. The index and the lock are always the operating system's.
	FS disk.FS
	// IndexDir is where the index lies; Dir if empty.
	IndexDir string
	// SegmentSize is the size in bytes at which a file is sealed;
	// DefaultSegmentSize if zero.
	SegmentSize int64
	// KeepRecords is how many records must be there: as many as were vouched for
	// by a signed checkpoint. A tail is never cut below it (ErrLost).
	KeepRecords uint64
	// Logger gets repairs and failures; slog's default if nil. It never gets a
	// statement.
	Logger *slog.Logger
}

var (
	// ErrLocked says that another process has the store open.
	ErrLocked = errors.New("another process has this event store open; stop it first")
	// ErrLost says that records are missing that were vouched for. They must
	// come back from a backup: going on without them would fork the log.
	ErrLost = errors.New("events are missing that the log has signed; restore the folder from a backup")
	// ErrFull says that the disk is full. What is stored can be read.
	ErrFull = errors.New("the disk of the event store is full; make room, then start again")
)

// Store is an open store. It is a store.Batcher.
type Store struct {
	config Config
	lock   *lock
	index  *index

	requests chan *request
	closing  chan struct{}
	ended    chan struct{} // closed when the committing goroutine has ended

	// The committing goroutine's own.
	active  disk.File
	written int64 // length of the active file
	digest  digester
	scratch []byte

	mu     sync.RWMutex
	files  []*segment.File // the last one is the active one
	opened []disk.File     // what files read from
	count  uint64
	grown  chan struct{} // closed and replaced when count grows
	failed error
	closed bool
}

var _ store.Batcher = (*Store)(nil)

// Open opens the store in a folder, repairs a torn tail and brings the index up to
// date. Its errors wrap store.ErrInvalid (the configuration), ErrLocked, ErrLost or
// a *CorruptError of verifier/segment; with the last two nothing was changed. The
// store must be closed.
func Open(ctx context.Context, c Config) (_ *Store, err error) {
	if c.FS == nil {
		c.FS = disk.OS{}
	}
	if c.IndexDir == "" {
		c.IndexDir = c.Dir
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = DefaultSegmentSize
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Dir == "" || c.SegmentSize < segment.HeaderSize || c.SegmentSize > 1<<31 {
		return nil, fmt.Errorf("event store with the folder %q and segments of %d bytes: %w", c.Dir, c.SegmentSize, store.ErrInvalid)
	}
	s := &Store{
		config: c, requests: make(chan *request), grown: make(chan struct{}),
		closing: make(chan struct{}), ended: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	if err := errors.Join(disk.MakeDir(c.FS, c.Dir, 0o700), os.MkdirAll(c.IndexDir, 0o700)); err != nil {
		return nil, fmt.Errorf("making the event store's folder: %w", err)
	}
	if s.lock, err = acquire(filepath.Join(c.IndexDir, "lock")); err != nil {
		return nil, err
	}
	if err := s.openFiles(); err != nil {
		return nil, err
	}
	if s.index, err = openIndex(ctx, filepath.Join(c.IndexDir, indexFile), s); err != nil {
		return nil, err
	}
	go s.commitLoop()
	return s, nil
}

// Append implements store.Store.
func (s *Store) Append(ctx context.Context, a store.Append) (store.Position, error) {
	positions, err := s.AppendBatch(ctx, []store.Append{a})
	if err != nil {
		return 0, err
	}
	return positions[0], nil
}

// AppendBatch implements store.Batcher.
func (s *Store) AppendBatch(ctx context.Context, batch []store.Append) ([]store.Position, error) {
	r, err := newRequest(batch)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.closing:
		return nil, store.ErrClosed
	}
	// What is taken will be written: waiting for the answer is the only way to
	// know it, and it comes soon.
	if err := <-r.done; err != nil {
		return nil, err
	}
	return r.positions, nil
}

// Len returns how many records there are.
func (s *Store) Len() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.count
}

// Cursor returns the position after which record n is the next one.
func (s *Store) Cursor(n uint64) store.Position { return store.Position(n) }

// Close implements store.Store. It waits for appends that are being written, and
// for the index.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	s.closed = true
	close(s.closing)
	s.mu.Unlock()
	<-s.ended
	return s.release()
}

// release closes what is open and gives up the lock, last.
func (s *Store) release() error {
	var errs []error
	if s.index != nil {
		errs = append(errs, s.index.close())
	}
	s.mu.Lock()
	for _, f := range s.opened {
		errs = append(errs, f.Close())
	}
	s.mu.Unlock()
	if s.lock != nil {
		errs = append(errs, s.lock.release())
	}
	return errors.Join(errs...)
}

// ready returns why a call cannot begin.
func (s *Store) ready(ctx context.Context) error {
	if err := s.usable(); err != nil {
		return err
	}
	return ctx.Err()
}

// usable returns ErrClosed after Close.
func (s *Store) usable() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.ErrClosed
	}
	return nil
}

// Lookup implements store.Store.
func (s *Store) Lookup(ctx context.Context, id events.ID) (store.Record, error) {
	if err := s.ready(ctx); err != nil {
		return store.Record{}, err
	}
	number, ok, err := s.index.lookup(ctx, id)
	if err != nil {
		return store.Record{}, s.orClosed(err)
	}
	if !ok {
		return store.Record{}, store.ErrNotFound
	}
	r, err := s.record(number)
	if err == nil && r.ID != id {
		err = fmt.Errorf("record %d is not the event %v: %w", number, id, errIndex)
	}
	return r, err
}

// errIndex says that the index contradicts the records.
var errIndex = errors.New("the event store's index is wrong; make it again with 'medledger rebuild'")

// orClosed returns ErrClosed if an error came of the store's being closed.
func (s *Store) orClosed(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(s.usable(), err)
}

// Rebuild makes the index of the store in a folder again from its records. The
// store must not be open (ErrLocked). A crash or a cancelled context leaves a
// part of the index, which the next Open completes.
func Rebuild(ctx context.Context, c Config) error {
	if c.IndexDir == "" {
		c.IndexDir = c.Dir
	}
	held, err := acquire(filepath.Join(c.IndexDir, "lock"))
	if err != nil {
		return err
	}
	err = removeIndex(filepath.Join(c.IndexDir, indexFile))
	if err := errors.Join(err, held.release()); err != nil {
		return err
	}
	s, err := Open(ctx, c)
	if err != nil {
		return err
	}
	return s.Close()
}

// fileOf returns the file with record number n and n's place in it; mu is held.
func (s *Store) fileOf(n uint64) (*segment.File, int) {
	i, _ := slices.BinarySearchFunc(s.files, n, func(f *segment.File, n uint64) int {
		if f.Base <= n {
			return -1
		}
		return 1
	})
	f := s.files[i-1]
	return f, int(n - f.Base)
}

// Lock makes a store's folder and keeps every other process from opening the
// store, until release is called. It is for who prepares what goes with a store.
func Lock(c Config) (release func() error, err error) {
	if err := disk.MakeDir(c.FS, c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the event store's folder: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the event store's folder: %w", err)
	}
	held, err := acquire(filepath.Join(c.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	return held.release, nil
}
