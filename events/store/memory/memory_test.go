package memory_test

import (
	"testing"

	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/memory"
	"github.com/medledger/medledger/events/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(testing.TB) store.Store { return memory.New() })
	storetest.RunBatcher(t, func(testing.TB) store.Batcher { return memory.New() })
}

// TestGaps holds the engine to the gaps that it is there for.
func TestGaps(t *testing.T) {
	s := memory.New()
	var last store.Position
	for i := range 100 {
		at, err := s.Append(t.Context(), storetest.Append("s", store.Any, storetest.Event(i)))
		if err != nil {
			t.Fatal(err)
		}
		if at <= last+1 {
			t.Fatalf("event %d has position %d, right behind %d", i, at, last)
		}
		last = at
	}
}
