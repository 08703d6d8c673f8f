package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	positions []store.Position // set when it is committed
	done      chan error       // of capacity 1
}

// pending is what a commit has accepted and not written yet: later appends of
// the same commit see it.
type pending struct {
	ids     map[events.ID]uint64
	lengths map[string]uint64 // of streams: the next revision
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
	for size := first.size(); size < maxGather; {
		select {
		case r := <-s.requests:
			taken = append(taken, r)
			size += r.size()
			continue
		default:
		}
		break
	}
	return taken
}

func (r *request) size() int {
	n := 0
	for _, a := range r.batch {
		for _, e := range a.Events {
			n += len(e.Statement)
		}
	}
	return n
}

// commit checks the requests in order, writes those that pass and answers all.
func (s *Store) commit(taken []*request) {
	if s.failed != nil {
		for _, r := range taken {
			r.done <- s.failed
		}
		return
	}
	p := &pending{ids: make(map[events.ID]uint64), lengths: make(map[string]uint64), first: s.count}
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
	undo := make(map[string]uint64)
	positions := make([]store.Position, 0, len(r.batch))
	for _, a := range r.batch {
		position, err := s.acceptOne(a, p, undo)
		if err != nil {
			for _, rec := range p.records[records:] {
				delete(p.ids, rec.ID)
			}
			for stream, length := range undo {
				p.lengths[stream] = length
			}
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

func (s *Store) acceptOne(a store.Append, p *pending, undo map[string]uint64) (store.Position, error) {
	if number, repeated, err := s.repeated(a, p); err != nil || repeated {
		return store.Position(number + 1), err
	}
	length, err := s.streamLength(a.Stream, p)
	if err != nil {
		return 0, err
	}
	if actual := store.Expected(length) - 1; a.Expected != store.Any && a.Expected != actual {
		return 0, &store.ConflictError{Stream: a.Stream, Expected: a.Expected, Actual: actual}
	}
	if _, noted := undo[a.Stream]; !noted {
		undo[a.Stream] = length
	}
	for i, e := range a.Events {
		p.ids[e.ID] = p.first + uint64(len(p.records))
		p.records = append(p.records, segment.Record{
			ID: e.ID, Revision: length + uint64(i), Stream: a.Stream, Statement: e.Statement,
		})
	}
	p.lengths[a.Stream] = length + uint64(len(a.Events))
	return store.Position(p.first + uint64(len(p.records))), nil
}

// repeated reports whether all of an append's events are there already, and the
// number of the last one. Some of them, or one with other bytes, are an error.
func (s *Store) repeated(a store.Append, p *pending) (number uint64, repeated bool, err error) {
	known := 0
	for _, e := range a.Events {
		n, ok := p.ids[e.ID]
		if !ok {
			if n, ok, err = s.index.lookup(context.Background(), e.ID); err != nil {
				return 0, false, err
			}
		}
		if !ok {
			continue
		}
		var earlier segment.Record
		if n >= p.first {
			earlier = p.records[n-p.first]
		} else {
			records, err := s.ReadRange(context.Background(), n, 1)
			if err != nil {
				return 0, false, err
			}
			earlier.Stream, earlier.Statement = records[0].Stream, records[0].Statement
		}
		if earlier.Stream != a.Stream || !bytes.Equal(earlier.Statement, e.Statement) {
			return 0, false, &store.DuplicateError{ID: e.ID}
		}
		known, number = known+1, n
	}
	if known > 0 && known < len(a.Events) {
		return 0, false, &store.DuplicateError{ID: a.Events[0].ID}
	}
	return number, known > 0, nil
}

func (s *Store) streamLength(stream string, p *pending) (uint64, error) {
	if length, ok := p.lengths[stream]; ok {
		return length, nil
	}
	return s.index.length(context.Background(), stream)
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
	// The index first: what a reader can see, the index must know.
	s.index.add(p.records, p.first)
	s.mu.Lock()
	s.files[len(s.files)-1] = s.files[len(s.files)-1].Grown(offsets, s.written)
	s.count += uint64(len(p.records))
	close(s.grown)
	s.grown = make(chan struct{})
	s.mu.Unlock()
	if s.written >= s.config.SegmentSize {
		// What was to be written is durable: a failure here stops the next
		// append, not this one.
		if err := s.seal(); err != nil {
			s.fail(err)
		}
	}
	return nil
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
