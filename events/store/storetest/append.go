package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
)

func testEmpty(t *testing.T, s store.Store) {
	if n := len(list(t, s.ReadAll(t.Context(), 0))); n != 0 {
		t.Errorf("a new store holds %d events", n)
	}
	if n := len(list(t, s.Read(t.Context(), "none", 0))); n != 0 {
		t.Errorf("a stream that does not exist has %d events", n)
	}
	if _, err := s.Lookup(t.Context(), Event(0).ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("looking up an unknown event: %v", err)
	}
}

func testAppend(t *testing.T, s store.Store) {
	var want []store.Event
	var last store.Position
	for i, count := range []int{1, 1, 3, 1, 20, 2} {
		batch := Events(len(want), count)
		at := must(t, s, Append(fmt.Sprint("stream ", i%3), store.Any, batch...))
		if at <= last {
			t.Errorf("append %d is at position %d, the one before it at %d", i, at, last)
		}
		last, want = at, append(want, batch...)
		records := all(t, s)
		holds(t, records, want...)
		if end := records[len(records)-1].Position; end != at {
			t.Errorf("append %d returned position %d, its last event has %d", i, at, end)
		}
	}
	if _, err := s.Lookup(t.Context(), Event(len(want)).ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("looking up an unknown event: %v", err)
	}
}

func testExpected(t *testing.T, s store.Store) {
	conflict := func(expected, actual store.Expected) func(error) bool {
		return isConflict(store.ConflictError{Stream: "a", Expected: expected, Actual: actual})
	}
	refused(t, s, Append("a", 0, Event(0)), conflict(0, store.NoStream))
	refused(t, s, Append("a", 7, Event(0)), conflict(7, store.NoStream))
	must(t, s, Append("a", store.NoStream, Event(0)))
	must(t, s, Append("b", store.NoStream, Event(1))) // of another stream: no matter
	refused(t, s, Append("a", store.NoStream, Event(2)), conflict(store.NoStream, 0))
	refused(t, s, Append("a", 1, Event(2)), conflict(1, 0))
	must(t, s, Append("a", 0, Events(2, 3)...)) // revisions 1 to 3
	refused(t, s, Append("a", 0, Events(5, 2)...), conflict(0, 3))
	refused(t, s, Append("a", 4, Events(5, 2)...), conflict(4, 3))
	must(t, s, Append("a", store.Any, Event(5)))
	must(t, s, Append("a", 4, Event(6))) // the id and the revision stayed free
	holds(t, all(t, s), Events(0, 7)...)
}

func testDuplicates(t *testing.T, s store.Store) {
	first := must(t, s, Append("a", store.NoStream, Event(0)))
	group := must(t, s, Append("a", 0, Events(1, 3)...))
	must(t, s, Append("b", store.NoStream, Event(4)))
	before := all(t, s)

	repeats := []struct {
		name string
		a    store.Append
		want store.Position
	}{
		{"as it was", Append("a", store.NoStream, Event(0)), first},
		{"whatever it expects", Append("a", 9, Event(0)), first},
		{"a group", Append("a", 0, Events(1, 3)...), group},
	}
	for _, r := range repeats {
		if at := must(t, s, r.a); at != r.want {
			t.Errorf("repeating an append %s: position %d, want %d", r.name, at, r.want)
		}
		same(t, "after a repeat", all(t, s), before)
	}

	other := Event(0)
	other.Statement = append([]byte("other"), other.Statement...)
	shorter := Event(3)
	shorter.Statement = shorter.Statement[:len(shorter.Statement)-1]
	refused(t, s, Append("a", store.Any, other), isDuplicate(other.ID))
	refused(t, s, Append("a", store.Any, shorter), isDuplicate(shorter.ID))
	refused(t, s, Append("b", store.Any, Event(0)), isDuplicate(Event(0).ID))
	refused(t, s, Append("new", store.NoStream, Event(0)), isDuplicate(Event(0).ID))
	// All or none: what is partly known is no repeat.
	refused(t, s, Append("a", store.Any, Event(9), Event(3)), isDuplicate(Event(3).ID))
	refused(t, s, Append("a", store.Any, Event(3), Event(9)), isDuplicate(Event(3).ID))
	refused(t, s, Append("a", store.Any, Event(9), other), isDuplicate(other.ID))
	must(t, s, Append("new", store.NoStream, Event(9)))
}

func testLimits(t *testing.T, s store.Store) {
	sized := func(n, size int) store.Event {
		e := Event(n)
		e.Statement = make([]byte, size)
		return e
	}
	long := strings.Repeat("s", store.MaxStream)
	cases := []struct {
		name string
		a    store.Append
		want error
	}{
		{"no events", Append("a", store.Any), store.ErrInvalid},
		{"no stream", Append("", store.Any, Event(0)), store.ErrInvalid},
		{"no id", Append("a", store.Any, store.Event{Statement: []byte("x")}), store.ErrInvalid},
		{"no statement", Append("a", store.Any, store.Event{ID: Event(0).ID}), store.ErrInvalid},
		{"an id twice", Append("a", store.Any, Event(0), Event(1), Event(0)), store.ErrInvalid},
		{"expected too small", Append("a", store.Any-1, Event(0)), store.ErrInvalid},
		{"stream too long", Append(long+"s", store.Any, Event(0)), store.ErrTooLarge},
		{"statement too large", Append("a", store.Any, sized(0, store.MaxStatement+1)), store.ErrTooLarge},
		{"second statement too large", Append("a", store.Any, Event(1), sized(0, store.MaxStatement+1)), store.ErrTooLarge},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { refused(t, s, c.a, isError(c.want)) })
	}
	must(t, s, Append(long, store.NoStream, sized(0, store.MaxStatement), sized(1, 1)))
	must(t, s, Append("s", store.NoStream, sized(2, store.MaxStatement)))
	holds(t, all(t, s), sized(0, store.MaxStatement), sized(1, 1), sized(2, store.MaxStatement))
}

// testBytes: a store does not look into names and statements.
func testBytes(t *testing.T, s store.Store) {
	names := []string{"a", "A", "a ", "a/b", "../a", "a\x00", "a\x00b", "\xff\xfe", "ä", "a\u0308", "%", "'; --", "\n", "1", "1.0", "0"}
	for i, name := range names {
		must(t, s, Append(name, store.NoStream, Event(i)))
	}
	for i, name := range names {
		must(t, s, Append(name, 0, Event(len(names)+i)))
	}
	holds(t, all(t, s), Events(0, 2*len(names))...)
}

// testCopies: what a caller does with its bytes afterwards is its own affair.
func testCopies(t *testing.T, s store.Store) {
	e := Event(0)
	must(t, s, Append("a", store.Any, e))
	clear(e.Statement)
	holds(t, all(t, s), Event(0))
}

func testCancelled(t *testing.T, s store.Store) {
	must(t, s, Append("a", store.Any, Event(0)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 20 { // whatever the scheduler does
		if _, err := s.Append(ctx, Append("a", store.Any, Event(1+i))); !errors.Is(err, context.Canceled) {
			t.Errorf("appending with a cancelled context: %v", err)
		}
	}
	if _, err := s.Lookup(ctx, Event(0).ID); !errors.Is(err, context.Canceled) {
		t.Errorf("looking up with a cancelled context: %v", err)
	}
	for _, err := range s.Read(ctx, "a", 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("reading with a cancelled context: %v", err)
		}
	}
	for _, err := range s.ReadAll(ctx, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("reading all with a cancelled context: %v", err)
		}
	}
	holds(t, all(t, s), Event(0))
}

func testClosed(t *testing.T, s store.Store) {
	must(t, s, Append("a", store.Any, Event(0)))
	if err := s.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	_, err := s.Append(t.Context(), Append("a", store.Any, Event(1)))
	check("Append", err)
	_, err = s.Lookup(t.Context(), Event(0).ID)
	check("Lookup of a known event", err)
	_, err = s.Lookup(t.Context(), events.ID{15: 1})
	check("Lookup of an unknown event", err)
	for name, records := range reads(t, s) {
		n := 0
		for _, err := range records {
			check(name, err)
			n++
		}
		if n != 1 {
			t.Errorf("%s after Close yields %d times", name, n)
		}
	}
	check("Close", s.Close())
}
