package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/medledger/medledger/events/store"
)

// fill appends events to three streams in turn and returns the records.
func fill(t testing.TB, s store.Store, count int) []store.Record {
	t.Helper()
	for i := range count {
		must(t, s, Append(fmt.Sprint("stream ", i%3), store.Any, Event(i)))
	}
	records := all(t, s)
	holds(t, records, Events(0, count)...)
	return records
}

// reads returns every way of reading a store, by name.
func reads(t *testing.T, s store.Store) map[string]iter.Seq2[store.Record, error] {
	return map[string]iter.Seq2[store.Record, error]{
		"Read":                   s.Read(t.Context(), "a", 0),
		"Read beyond the end":    s.Read(t.Context(), "a", 9),
		"Read of no stream":      s.Read(t.Context(), "none", 0),
		"ReadAll":                s.ReadAll(t.Context(), 0),
		"ReadAll behind the end": s.ReadAll(t.Context(), 1<<40),
		"Follow":                 s.Follow(t.Context(), 0),
		"Follow behind the end":  s.Follow(t.Context(), 1<<40),
	}
}

func testRead(t *testing.T, s store.Store) {
	records := fill(t, s, 40)
	for stream := range 3 {
		var want []store.Record
		for i := stream; i < len(records); i += 3 {
			want = append(want, records[i])
		}
		for from := range len(want) + 3 {
			got := list(t, s.Read(t.Context(), fmt.Sprint("stream ", stream), uint64(from)))
			same(t, fmt.Sprintf("stream %d from %d", stream, from), got, want[min(from, len(want)):])
		}
		got := list(t, s.Read(t.Context(), fmt.Sprint("stream ", stream), 1<<63))
		same(t, "far beyond the end", got, nil)
	}
}

func testReadAll(t *testing.T, s store.Store) {
	records := fill(t, s, 40)
	for i, r := range records {
		same(t, fmt.Sprint("after record ", i), list(t, s.ReadAll(t.Context(), r.Position)), records[i+1:])
		same(t, fmt.Sprint("before record ", i), list(t, s.ReadAll(t.Context(), r.Position-1)), records[i:])
	}
	end := records[len(records)-1].Position
	same(t, "behind the end", list(t, s.ReadAll(t.Context(), end+1000)), nil)
	same(t, "far behind the end", list(t, s.ReadAll(t.Context(), 1<<63)), nil)
}

func testStopReading(t *testing.T, s store.Store) {
	records := fill(t, s, 9)
	for name, seq := range map[string]iter.Seq2[store.Record, error]{
		"ReadAll": s.ReadAll(t.Context(), 0), "Follow": s.Follow(t.Context(), 0), "Read": s.Read(t.Context(), "stream 0", 0),
	} {
		for range 2 { // a sequence can be read again
			for r, err := range seq {
				if err != nil || r.Position != records[0].Position {
					t.Errorf("%s begins with position %d, error %v", name, r.Position, err)
				}
				break
			}
		}
	}
}

// follower reads a store in its own goroutine.
type follower struct {
	records chan store.Record
	end     chan error // of capacity 1
}

func follow(ctx context.Context, s store.Store, after store.Position) *follower {
	f := &follower{records: make(chan store.Record), end: make(chan error, 1)}
	go func() {
		for r, err := range s.Follow(ctx, after) {
			if err != nil {
				f.end <- err
				return
			}
			f.records <- r
		}
		f.end <- nil
	}()
	return f
}

// next waits for the next record.
func (f *follower) next(t *testing.T) store.Record {
	t.Helper()
	select {
	case r := <-f.records:
		return r
	case err := <-f.end:
		t.Fatalf("Follow ended: %v", err)
		return store.Record{}
	}
}

// ends waits for the end.
func (f *follower) ends(t *testing.T, want error) {
	t.Helper()
	select {
	case r := <-f.records:
		t.Fatalf("Follow yields one more record, at position %d", r.Position)
	case err := <-f.end:
		if !errors.Is(err, want) {
			t.Fatalf("Follow ended with %v, want %v", err, want)
		}
	}
}

func testFollow(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	early := follow(ctx, s, 0) // before there is anything
	records := fill(t, s, 3)
	for _, want := range records {
		same(t, "following from the beginning", []store.Record{early.next(t)}, []store.Record{want})
	}
	late := follow(ctx, s, records[1].Position)
	same(t, "following from the middle", []store.Record{late.next(t)}, records[2:])
	for i := range 50 { // one by one, so that each is waited for
		must(t, s, Append("stream 0", store.Any, Event(100+i)))
		holds(t, []store.Record{early.next(t)}, Event(100+i))
		holds(t, []store.Record{late.next(t)}, Event(100+i))
	}
	// A refused append and a repeat wake nobody for nothing.
	refused(t, s, Append("stream 0", store.NoStream, Event(1000)), func(err error) bool { return err != nil })
	must(t, s, Append("stream 0", store.Any, Event(0)))
	must(t, s, Append("stream 1", store.Any, Events(200, 5)...))
	for i := range 5 {
		holds(t, []store.Record{early.next(t)}, Event(200+i))
		holds(t, []store.Record{late.next(t)}, Event(200+i))
	}
	cancel()
	early.ends(t, context.Canceled)
	late.ends(t, context.Canceled)
}

func testFollowCancelled(t *testing.T, s store.Store) {
	fill(t, s, 3)
	ctx, cancel := context.WithCancelCause(t.Context())
	waiting := follow(ctx, s, 1<<40)
	reading := follow(ctx, s, 0)
	reading.next(t)
	cancel(errors.New("enough"))
	waiting.ends(t, context.Canceled)
	for { // what it has read already it may still yield
		select {
		case <-reading.records:
			continue
		case err := <-reading.end:
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("Follow ended with %v", err)
			}
		}
		return
	}
}

func testFollowClosed(t *testing.T, s store.Store) {
	records := fill(t, s, 3)
	f := follow(t.Context(), s, records[1].Position)
	f.next(t) // the last one: it waits now, or will
	if err := s.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	f.ends(t, store.ErrClosed)
}
