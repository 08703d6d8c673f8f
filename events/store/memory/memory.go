// Package memory is an event store that forgets: for tests of what uses a store,
// and the plainest reading of the contract. Its positions have gaps on purpose,
// so that nothing that runs on it can come to count on dense ones.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sort"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
)

// Store is an event store in memory. It is a store.Batcher.
type Store struct {
	mu      sync.RWMutex
	records []store.Record
	ids     map[events.ID]int
	streams map[string][]int // places in records
	grown   chan struct{}    // closed and replaced by every append
	closing chan struct{}
	closed  bool
}

var _ store.Batcher = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		ids: make(map[events.ID]int), streams: make(map[string][]int),
		grown: make(chan struct{}), closing: make(chan struct{}),
	}
}

// position returns the position of the i-th record: 3, 7, 12, 16, 21, …
func position(i int) store.Position { return store.Position(3 + 4*i + i/2) }

// Append implements store.Store.
func (s *Store) Append(ctx context.Context, a store.Append) (store.Position, error) {
	positions, err := s.appendAll(ctx, []store.Append{a})
	if err != nil {
		return 0, err
	}
	return positions[0], nil
}

// AppendBatch implements store.Batcher.
func (s *Store) AppendBatch(ctx context.Context, batch []store.Append) ([]store.Position, error) {
	if len(batch) == 0 {
		return nil, fmt.Errorf("empty batch: %w", store.ErrInvalid)
	}
	return s.appendAll(ctx, batch)
}

func (s *Store) appendAll(ctx context.Context, batch []store.Append) ([]store.Position, error) {
	for _, a := range batch {
		if err := a.Check(); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	before := len(s.records)
	positions := make([]store.Position, len(batch))
	for i, a := range batch {
		var err error
		if positions[i], err = s.append(a); err != nil {
			s.undo(before)
			return nil, err
		}
	}
	if len(s.records) > before {
		close(s.grown)
		s.grown = make(chan struct{})
	}
	return positions, nil
}

// append appends to one stream; mu is held.
func (s *Store) append(a store.Append) (store.Position, error) {
	last, known := 0, 0
	for _, e := range a.Events {
		i, ok := s.ids[e.ID]
		if !ok {
			continue
		}
		if r := s.records[i]; r.Stream != a.Stream || !bytes.Equal(r.Statement, e.Statement) {
			return 0, &store.DuplicateError{ID: e.ID}
		}
		last, known = i, known+1
	}
	if known == len(a.Events) {
		return position(last), nil
	}
	if known > 0 {
		return 0, &store.DuplicateError{ID: s.records[last].ID}
	}
	length := len(s.streams[a.Stream])
	if actual := store.Expected(length) - 1; a.Expected != store.Any && a.Expected != actual {
		return 0, &store.ConflictError{Stream: a.Stream, Expected: a.Expected, Actual: actual}
	}
	for k, e := range a.Events {
		i := len(s.records)
		s.ids[e.ID] = i
		s.streams[a.Stream] = append(s.streams[a.Stream], i)
		s.records = append(s.records, store.Record{
			Position: position(i), Stream: a.Stream, Revision: uint64(length + k), ID: e.ID,
			Statement: bytes.Clone(e.Statement),
		})
	}
	return position(len(s.records) - 1), nil
}

// undo takes away the records from the n-th on; mu is held and nobody has seen
// them.
func (s *Store) undo(n int) {
	for _, r := range s.records[n:] {
		delete(s.ids, r.ID)
		s.streams[r.Stream] = s.streams[r.Stream][:r.Revision]
		if r.Revision == 0 {
			delete(s.streams, r.Stream)
		}
	}
	s.records = s.records[:n]
}

// Lookup implements store.Store.
func (s *Store) Lookup(ctx context.Context, id events.ID) (store.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.Record{}, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	i, ok := s.ids[id]
	if !ok {
		return store.Record{}, store.ErrNotFound
	}
	return s.records[i], nil
}

// Read implements store.Store.
func (s *Store) Read(ctx context.Context, stream string, from uint64) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		s.mu.RLock()
		places := s.streams[stream]
		var records []store.Record
		for _, i := range places[min(from, uint64(len(places))):] {
			records = append(records, s.records[i])
		}
		s.mu.RUnlock()
		s.each(ctx, records, yield)
	}
}

// ReadAll implements store.Store.
func (s *Store) ReadAll(ctx context.Context, after store.Position) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		records, _ := s.behind(after)
		s.each(ctx, records, yield)
	}
}

// Follow implements store.Store.
func (s *Store) Follow(ctx context.Context, after store.Position) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for {
			records, grown := s.behind(after)
			if !s.each(ctx, records, yield) {
				return
			}
			if len(records) > 0 {
				after = records[len(records)-1].Position
			}
			select {
			case <-grown:
			case <-ctx.Done():
				yield(store.Record{}, ctx.Err())
				return
			case <-s.closing:
				yield(store.Record{}, store.ErrClosed)
				return
			}
		}
	}
}

// behind returns the records after a position, and what is closed when there
// are more.
func (s *Store) behind(after store.Position) ([]store.Record, <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := sort.Search(len(s.records), func(i int) bool { return s.records[i].Position > after })
	return s.records[i:], s.grown
}

// each yields records until the store is closed, or the context or the reader
// ends it, and reports whether to go on.
func (s *Store) each(ctx context.Context, records []store.Record, yield func(store.Record, error) bool) bool {
	for i := 0; ; i++ {
		err := ctx.Err()
		select {
		case <-s.closing:
			err = store.ErrClosed
		default:
		}
		if err != nil {
			yield(store.Record{}, err)
			return false
		}
		if i == len(records) {
			return true
		}
		if !yield(records[i], nil) {
			return false
		}
	}
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	s.closed = true
	close(s.closing)
	return nil
}
