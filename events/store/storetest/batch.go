package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/medledger/medledger/events/store"
)

// RunBatcher holds a store to what store.Batcher adds to the contract.
func RunBatcher(t *testing.T, open func(testing.TB) store.Batcher) {
	t.Helper()
	cases := []struct {
		name string
		test func(*testing.T, store.Batcher)
	}{
		{"batch", testBatch},
		{"batch with repeats", testBatchRepeats},
		{"batch refused", testBatchRefused},
		{"batch cancelled", testBatchCancelled},
		{"batch closed", testBatchClosed},
		{"batches race", testBatchesRace},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			defer closed(t, s)
			c.test(t, s)
		})
	}
}

// mustBatch appends a batch and checks that the positions are those of the last
// events of its appends.
func mustBatch(t testing.TB, s store.Batcher, batch ...store.Append) []store.Position {
	t.Helper()
	positions, err := s.AppendBatch(context.Background(), batch)
	if err != nil || len(positions) != len(batch) {
		t.Errorf("a batch of %d appends has %d positions, error %v", len(batch), len(positions), err)
		return make([]store.Position, len(batch))
	}
	for i, a := range batch {
		r, err := s.Lookup(context.Background(), a.Events[len(a.Events)-1].ID)
		if err != nil || r.Position != positions[i] {
			t.Errorf("append %d is at position %d, its last event at %d, error %v", i, positions[i], r.Position, err)
		}
	}
	return positions
}

func testBatch(t *testing.T, s store.Batcher) {
	positions := mustBatch(t, s,
		Append("a", store.NoStream, Event(0)),
		Append("b", store.NoStream, Events(1, 2)...),
		Append("a", 0, Event(3)), // sees the first
		Append("c", store.Any, Event(4)),
		Append("b", 1, Event(5)),
	)
	if !slices.IsSorted(positions) {
		t.Errorf("positions %v do not grow", positions)
	}
	holds(t, all(t, s), Events(0, 6)...)
	var large []store.Append
	for i := range 300 {
		large = append(large, Append(fmt.Sprint("stream ", i%7), store.Any, Event(100+i)))
	}
	mustBatch(t, s, large...)
	holds(t, all(t, s)[6:], Events(100, 300)...)
}

func testBatchRepeats(t *testing.T, s store.Batcher) {
	first := must(t, s, Append("a", store.NoStream, Events(0, 2)...))
	positions := mustBatch(t, s,
		Append("b", store.NoStream, Event(2)),
		Append("a", store.NoStream, Events(0, 2)...), // known
		Append("a", 1, Event(3)),
		Append("b", store.NoStream, Event(2)), // known from this batch
		Append("a", 2, Event(4)),
	)
	if positions[1] != first || positions[3] != positions[0] {
		t.Errorf("positions %v, where the second is %d and the fourth is the first", positions, first)
	}
	before := all(t, s)
	holds(t, before, Events(0, 5)...)
	again := mustBatch(t, s, Append("a", 9, Event(4)), Append("b", 9, Event(2)))
	if again[0] != positions[4] || again[1] != positions[0] {
		t.Errorf("repeated at positions %v, want %d and %d", again, positions[4], positions[0])
	}
	same(t, "after a batch of repeats", all(t, s), before)
}

func testBatchRefused(t *testing.T, s store.Batcher) {
	must(t, s, Append("a", store.NoStream, Event(0)))
	other := Event(0)
	other.Statement = []byte("other")
	twice := Event(11)
	twice.Statement = []byte("other")
	good := []store.Append{Append("a", 0, Event(10)), Append("new", store.NoStream, Event(11))}
	cases := []struct {
		name string
		bad  store.Append
		is   func(error) bool
	}{
		{"conflict", Append("a", 0, Event(12)), isConflict(store.ConflictError{Stream: "a", Expected: 0, Actual: 1})},
		{"conflict with a new stream", Append("new", store.NoStream, Event(12)), isConflict(store.ConflictError{Stream: "new", Expected: store.NoStream, Actual: 0})},
		{"duplicate", Append("a", store.Any, other), isDuplicate(other.ID)},
		{"duplicate in the batch", Append("new", store.Any, twice), isDuplicate(twice.ID)},
		{"duplicate in another stream", Append("b", store.Any, Event(11)), isDuplicate(Event(11).ID)},
		{"partly known", Append("new", store.Any, Event(12), Event(11)), isDuplicate(Event(11).ID)},
		{"malformed", Append("", store.Any, Event(12)), isError(store.ErrInvalid)},
	}
	before := all(t, s)
	for _, c := range cases {
		for at := range 2 {
			// Behind the good ones it meets their effects; and what follows it
			// must not be written either.
			batch := append(slices.Clone(good), c.bad)
			if at == 1 {
				batch = append(batch, Append("later", store.Any, Event(13)))
			}
			if _, err := s.AppendBatch(t.Context(), batch); !c.is(err) {
				t.Errorf("batch with %s: error %v", c.name, err)
			}
			same(t, "after a batch with "+c.name, all(t, s), before)
		}
	}
	if _, err := s.AppendBatch(t.Context(), nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("empty batch: %v", err)
	}
	mustBatch(t, s, good...) // ids and revisions stayed free
	holds(t, all(t, s), Event(0), Event(10), Event(11))
}

func testBatchCancelled(t *testing.T, s store.Batcher) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	batch := []store.Append{Append("a", store.Any, Event(0)), Append("b", store.Any, Event(1))}
	if _, err := s.AppendBatch(ctx, batch); !errors.Is(err, context.Canceled) {
		t.Errorf("batch with a cancelled context: %v", err)
	}
	holds(t, all(t, s))
}

func testBatchClosed(t *testing.T, s store.Batcher) {
	if err := s.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	batch := []store.Append{Append("a", store.Any, Event(0))}
	if _, err := s.AppendBatch(t.Context(), batch); !errors.Is(err, store.ErrClosed) {
		t.Errorf("batch after Close: %v", err)
	}
}

// testBatchesRace: a batch keeps its order, with others between at most.
func testBatchesRace(t *testing.T, s store.Batcher) {
	race(func(racer int) {
		for i := range rounds {
			n := 1000*racer + 10*i
			if i%3 == 0 { // one that fails, half way
				_, err := s.AppendBatch(t.Context(), []store.Append{
					Append("shared", store.Any, Event(n)), Append("shared", 1<<40, Event(n+1)),
				})
				var conflict *store.ConflictError
				if !errors.As(err, &conflict) {
					t.Errorf("batch with a conflict: %v", err)
				}
			}
			mustBatch(t, s,
				Append("shared", store.Any, Event(n+2)),
				Append(fmt.Sprint("own ", racer), store.Expected(i)-1, Event(n+3)),
			)
		}
	})
	if n := len(all(t, s)); n != racers*rounds*2 {
		t.Errorf("%d events, want %d", n, racers*rounds*2)
	}
}
