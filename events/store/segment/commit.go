package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/verifier/segment"
)

// maxGather is how many bytes one write takes at most, about.
const maxGather = 4 << 20

// request is a batch that waits to be committed.
type request struct {
	batch     []store.Append
	size      int              // of its records, in bytes
	positions []store.Position // set when it is committed
	done      chan error       // of capacity 1
}

func newRequest(batch []store.Append) (*request, error) {
	if len(batch) == 0 {
		return nil, fmt.Errorf("empty batch: %w", store.ErrInvalid)
	}
	r := &request{batch: batch, done: make(chan error, 1)}
	for _, a := range batch {
		if err := a.Check(); err != nil {
			return nil, err
		}
		for _, e := range a.Events {
			r.size += segment.Record{Stream: a.Stream, Statement: e.Statement}.Size()
		}
	}
	if r.size > MaxBatch {
		return nil, fmt.Errorf("batch of %d bytes, limit %d: %w", r.size, MaxBatch, store.ErrTooLarge)
	}
	return r, nil
}

// pending is what a commit has accepted and not written yet: later appends of
// the same commit see it.
type pending struct {
	ids     map[events.ID]uint64
	heads   map[string]head // of the streams in records, with them
	records []segment.Record
	first   uint64 // number of records[0]
}

// commitLoop owns the active file. It ends after Close, when nobody waits.
func (s *Store) commitLoop() {
	defer close(s.ended)
	for {
		select {
		case r := <-s.requests:
			s.commit(s.gather(r))
		case <-s.closing:
			return
		}
	}
}

// gather takes whoever waits.
func (s *Store) gather(first *request) []*request {
	taken := []*request{first}
	for size := first.size; size < maxGather; {
		select {
		case r := <-s.requests:
			taken = append(taken, r)
			size += r.size
			continue
		default:
		}
		break
	}
	return taken
}

// commit checks the requests in order, writes those that pass and answers all.
func (s *Store) commit(taken []*request) {
	if s.failed != nil {
		for _, r := range taken {
			r.done <- s.failed
		}
		return
	}
	p := &pending{ids: make(map[events.ID]uint64), heads: make(map[string]head), first: s.count}
	var accepted []*request
	for _, r := range taken {
		if err := s.accept(r, p); err != nil {
			r.done <- err
			continue
		}
		accepted = append(accepted, r)
	}
	err := s.write(p)
	for _, r := range accepted {
		r.done <- err
	}
}

// accept checks a request and adds its new events to p: all of them or none.
func (s *Store) accept(r *request, p *pending) error {
	records := len(p.records)
	undo := make(map[string]head)
	positions := make([]store.Position, 0, len(r.batch))
	for _, a := range r.batch {
		position, err := s.acceptOne(a, p, undo)
		if err != nil {
			for _, rec := range p.records[records:] {
				delete(p.ids, rec.ID)
			}
			maps.Copy(p.heads, undo)
			p.records = p.records[:records]
			return err
		}
		positions = append(positions, position)
	}
	if n := len(p.records); n > records {
		for i := range p.records[records : n-1] {
			p.records[records+i].More = true
		}
	}
	r.positions = positions
	return nil
}

func (s *Store) acceptOne(a store.Append, p *pending, undo map[string]head) (store.Position, error) {
	if number, repeated, err := s.repeated(a, p); err != nil || repeated {
		return store.Position(number + 1), err
	}
	h, err := s.head(a.Stream, p)
	if err != nil {
		return 0, err
	}
	if actual := store.Expected(h.length) - 1; a.Expected != store.Any && a.Expected != actual {
		return 0, &store.ConflictError{Stream: a.Stream, Expected: a.Expected, Actual: actual}
	}
	if _, noted := undo[a.Stream]; !noted {
		undo[a.Stream] = h
	}
	for _, e := range a.Events {
		number := p.first + uint64(len(p.records))
		if h.length == 0 {
			h.origin = number
		}
		p.ids[e.ID] = number
		p.records = append(p.records, segment.Record{
			Number: number, ID: e.ID, Revision: h.length, Stream: a.Stream, Statement: e.Statement,
		})
		h.length++
	}
	p.heads[a.Stream] = h
	return store.Position(p.first + uint64(len(p.records))), nil
}

// repeated reports whether all of an append's events are there already, and the
// number of the last one. Some of them, or one with other bytes, are an error.
func (s *Store) repeated(a store.Append, p *pending) (number uint64, repeated bool, err error) {
	known := 0
	var last events.ID
	for _, e := range a.Events {
		n, ok, err := s.numberOf(e.ID, p)
		if err != nil {
			return 0, false, err
		}
		if !ok {
			continue
		}
		stream, statement, err := s.earlier(n, p)
		if err != nil {
			return 0, false, err
		}
		if stream != a.Stream || !bytes.Equal(statement, e.Statement) {
			return 0, false, &store.DuplicateError{ID: e.ID}
		}
		known, number, last = known+1, n, e.ID
	}
	if known > 0 && known < len(a.Events) {
		return 0, false, &store.DuplicateError{ID: last}
	}
	return number, known > 0, nil
}

// numberOf finds an event among those of this commit and those before it.
func (s *Store) numberOf(id events.ID, p *pending) (uint64, bool, error) {
	if n, ok := p.ids[id]; ok {
		return n, true, nil
	}
	return s.index.lookup(context.Background(), id)
}

// earlier returns stream and statement of record n.
func (s *Store) earlier(n uint64, p *pending) (string, []byte, error) {
	if n >= p.first {
		r := p.records[n-p.first]
		return r.Stream, r.Statement, nil
	}
	r, err := s.record(n)
	return r.Stream, r.Statement, err
}

func (s *Store) head(stream string, p *pending) (head, error) {
	if h, ok := p.heads[stream]; ok {
		return h, nil
	}
	return s.index.head(context.Background(), stream)
}

// write makes the records durable and lets readers see them. A crash before the
// sync ends leaves a part of the write, which Open cuts back to whole groups; a
// crash after it leaves all of it.
func (s *Store) write(p *pending) error {
	if len(p.records) == 0 {
		return nil
	}
	buf := s.scratch[:0]
	offsets := make([]uint32, len(p.records))
	p.records[0].Write = true
	for i, r := range p.records {
		offsets[i] = uint32(s.written + int64(len(buf)))
		buf = r.Append(buf)
	}
	s.scratch = buf
	if _, err := s.active.WriteAt(buf, s.written); err != nil {
		return s.fail(err)
	}
	if err := s.active.Sync(); err != nil {
		return s.fail(err)
	}
	s.digest.h.Write(buf)
	s.written += int64(len(buf))
	s.publish(p, offsets)
	if s.written >= s.config.SegmentSize {
		// What was to be written is durable: a failure here stops the next
		// append, not this one.
		if err := s.seal(); err != nil {
			s.fail(err)
		}
	}
	return nil
}

// publish lets readers see records that are durable. What the index names can be
// read, and what is counted the index names, at every moment.
func (s *Store) publish(p *pending, offsets []uint32) {
	s.mu.Lock()
	s.files[len(s.files)-1] = s.files[len(s.files)-1].Grown(offsets, s.written)
	s.mu.Unlock()
	entries := make([]entry, len(p.records))
	for i, r := range p.records {
		entries[i] = entry{id: r.ID, stream: r.Stream, origin: p.heads[r.Stream].origin, revision: r.Revision}
	}
	if err := s.index.add(entries); err != nil {
		// The records are durable and known. The next append is refused.
		s.fail(err)
	}
	s.mu.Lock()
	s.count += uint64(len(p.records))
	close(s.grown)
	s.grown = make(chan struct{})
	s.mu.Unlock()
}

// fail stops the store.
func (s *Store) fail(cause error) error {
	err := fmt.Errorf("%w: %w", store.ErrStopped, cause)
	if errors.Is(cause, syscall.ENOSPC) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	s.mu.Lock()
	s.failed = err
	s.mu.Unlock()
	s.config.Logger.Error("the event store stops accepting events", "cause", cause)
	return err
}
