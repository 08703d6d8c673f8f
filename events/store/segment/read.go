package segment

import (
	"context"
	"fmt"
	"iter"

	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/verifier/segment"
)

// readAhead is how many bytes, about, and how many records one read takes.
const (
	readAheadBytes   = 1 << 20
	readAheadRecords = 1024
)

// ReadRange returns count records from number first on; fewer only if there are
// no more. The statements of one call may share memory.
func (s *Store) ReadRange(ctx context.Context, first uint64, count int) ([]store.Record, error) {
	var records []store.Record
	for count > 0 {
		more, err := s.readSome(ctx, first, count)
		if err != nil {
			return nil, err
		}
		if len(more) == 0 {
			break
		}
		if records == nil && len(more) == count {
			return more, nil
		}
		records = append(records, more...)
		first += uint64(len(more))
		count -= len(more)
	}
	return records, nil
}

// readSome returns at least one record if there is one.
func (s *Store) readSome(ctx context.Context, first uint64, count int) ([]store.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return nil, store.ErrClosed
	}
	if first >= s.count {
		s.mu.RUnlock()
		return nil, nil
	}
	f, i := s.fileOf(first)
	// The file may have got records that do not count yet.
	count = int(min(uint64(count), s.count-first))
	s.mu.RUnlock()
	raw, err := f.Read(i, count, readAheadBytes)
	if err != nil {
		return nil, s.orClosed(fmt.Errorf("reading the event store: %w", err))
	}
	records := make([]store.Record, len(raw))
	for k, r := range raw {
		records[k] = record(r)
	}
	return records, nil
}

// record returns record n, which the index has named.
func (s *Store) record(n uint64) (store.Record, error) {
	s.mu.RLock()
	f, i := s.fileOf(n)
	s.mu.RUnlock()
	raw, err := f.Read(i, 1, 0)
	if err != nil {
		return store.Record{}, s.orClosed(fmt.Errorf("reading the event store: %w", err))
	}
	if len(raw) == 0 {
		return store.Record{}, fmt.Errorf("record %d does not exist: %w", n, errIndex)
	}
	return record(raw[0]), nil
}

func record(r segment.Record) store.Record {
	return store.Record{
		Position: store.Position(r.Number + 1), Stream: r.Stream, Revision: r.Revision, ID: r.ID, Statement: r.Statement,
	}
}

// Read implements store.Store.
func (s *Store) Read(ctx context.Context, stream string, from uint64) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for next := from; ; {
			numbers, err := s.numbers(ctx, stream, next)
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			for _, n := range numbers {
				r, err := s.record(n)
				if err == nil && (r.Stream != stream || r.Revision != next) {
					err = fmt.Errorf("record %d is not event %d of its stream: %w", n, next, errIndex)
				}
				if !yield(r, err) || err != nil {
					return
				}
				next++
			}
			if len(numbers) < readAheadRecords {
				return
			}
		}
	}
}

// numbers returns the numbers of at most readAheadRecords records of a stream
// from a revision on; of fewer only if there are no more.
func (s *Store) numbers(ctx context.Context, stream string, from uint64) ([]uint64, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	numbers, err := s.index.numbers(ctx, stream, from, readAheadRecords)
	return numbers, s.orClosed(err)
}

// ReadAll implements store.Store.
func (s *Store) ReadAll(ctx context.Context, after store.Position) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		if err := s.ready(ctx); err != nil {
			yield(store.Record{}, err)
			return
		}
		s.each(ctx, uint64(after), s.Len(), yield)
	}
}

// Follow implements store.Store.
func (s *Store) Follow(ctx context.Context, after store.Position) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for next := uint64(after); ; {
			s.mu.RLock()
			count, grown := s.count, s.grown
			s.mu.RUnlock()
			if !s.each(ctx, next, count, yield) {
				return
			}
			next = max(next, count)
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

// each yields the records of numbers first to end-1. It reports whether to go on.
func (s *Store) each(ctx context.Context, first, end uint64, yield func(store.Record, error) bool) bool {
	for first < end {
		records, err := s.readSome(ctx, first, int(min(end-first, readAheadRecords)))
		if err != nil {
			yield(store.Record{}, err)
			return false
		}
		for _, r := range records {
			if !yield(r, nil) {
				return false
			}
		}
		first += uint64(len(records))
	}
	return true
}
