package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/medledger/medledger/events/store"
)

// RunDurable holds a store to what must be true after it was closed and opened
// again. place returns a function that opens the store in one new place, as
// often as it is called.
func RunDurable(t *testing.T, place func(testing.TB) (open func() store.Store)) {
	t.Helper()
	t.Run("reopen empty", func(t *testing.T) {
		open := place(t)
		for range 3 {
			s := open()
			testEmpty(t, s)
			closed(t, s)
		}
	})
	t.Run("reopen", func(t *testing.T) { testReopen(t, place(t)) })
}

func testReopen(t *testing.T, open func() store.Store) {
	s := open()
	var want []store.Record
	for round := range 6 {
		same(t, fmt.Sprintf("opened for the %d. time", round+1), all(t, s), want)
		n := 100 * round
		for i := range 10 {
			must(t, s, Append(fmt.Sprint("stream ", i%3), store.Any, Event(n+i)))
		}
		must(t, s, Append(fmt.Sprint("group ", round), store.NoStream, Events(n+10, 5)...))
		want = all(t, s)
		if len(want) != 15*(round+1) {
			t.Fatalf("%d events after round %d", len(want), round)
		}
		closed(t, s)
		s = open()
	}
	defer func() { closed(t, s) }()

	// What the contract says of known ids and revisions holds for what was there.
	for i, r := range want {
		at := must(t, s, Append(r.Stream, store.NoStream, store.Event{ID: r.ID, Statement: r.Statement}))
		if at != r.Position {
			t.Errorf("event %d is at position %d now, it was at %d", i, at, r.Position)
		}
	}
	other := store.Event{ID: want[0].ID, Statement: []byte("other")}
	refused(t, s, Append(want[0].Stream, store.Any, other), isDuplicate(other.ID))
	refused(t, s, Append("group 0", 3, Event(9999)), isConflict(store.ConflictError{Stream: "group 0", Expected: 3, Actual: 4}))
	same(t, "after repeats", all(t, s), want)
	at := must(t, s, Append("group 0", 4, Event(9999)))
	if last := want[len(want)-1].Position; at <= last {
		t.Errorf("new event at position %d, behind %d", at, last)
	}
	if _, err := s.Lookup(t.Context(), Event(8888).ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("looking up an unknown event: %v", err)
	}
}
