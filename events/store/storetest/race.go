package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
)

// goroutines that race, and what each of them does.
const (
	racers = 8
	rounds = 25
)

// race calls f in several goroutines at once and waits for all.
func race(f func(racer int)) {
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func testManyWriters(t *testing.T, s store.Store) {
	second := make(map[events.ID]events.ID) // which event was appended with which
	for n := 0; n < 1000*racers; n += 10 {
		second[Event(n).ID] = Event(n + 1).ID
	}
	race(func(racer int) {
		for i := range rounds {
			n := 1000*racer + 10*i
			must(t, s, Append("shared", store.Any, Event(n), Event(n+1)))
			must(t, s, Append(fmt.Sprint("own ", racer), store.Expected(i)-1, Event(n+2)))
		}
	})
	records := all(t, s)
	if want := racers * rounds * 3; len(records) != want {
		t.Fatalf("%d events, want %d", len(records), want)
	}
	for i, r := range records {
		if r.Stream != "shared" || r.Revision%2 == 1 {
			continue
		}
		// An append's events follow each other in their stream.
		next := i + 1
		for records[next].Stream != "shared" {
			next++
		}
		if records[next].ID != second[r.ID] {
			t.Fatalf("the events of one append are apart: revision %d", r.Revision)
		}
	}
}

func testRaceForRevision(t *testing.T, s store.Store) {
	var mu sync.Mutex
	won := make(map[store.Expected]int)
	race(func(racer int) {
		for i := range store.Expected(rounds) {
			_, err := s.Append(t.Context(), Append("a", i-1, Event(1000*racer+int(i))))
			var conflict *store.ConflictError
			switch {
			case err == nil:
				mu.Lock()
				won[i]++
				mu.Unlock()
			case !errors.As(err, &conflict):
				t.Errorf("appending: %v", err)
			case conflict.Expected != i-1 || conflict.Actual == i-1:
				t.Errorf("conflict %v when %d was expected", conflict, i-1)
			}
		}
	})
	records := all(t, s)
	for i := range store.Expected(len(records)) {
		if won[i] != 1 {
			t.Errorf("revision %d was given to %d appends", i, won[i])
		}
	}
	if len(won) != len(records) || len(records) == 0 {
		t.Errorf("%d appends succeeded, %d events are there", len(won), len(records))
	}
}

func testRaceForID(t *testing.T, s store.Store) {
	var mu sync.Mutex
	positions := make(map[int]store.Position)
	race(func(int) {
		for i := range rounds {
			at := must(t, s, Append("a", store.Any, Event(i)))
			mu.Lock()
			if before, ok := positions[i]; ok && before != at {
				t.Errorf("event %d is at position %d for one, at %d for another", i, before, at)
			}
			positions[i] = at
			mu.Unlock()
		}
	})
	if n := len(all(t, s)); n != rounds {
		t.Errorf("%d events, want %d", n, rounds)
	}
}

// testReadersBesideWriters: whatever is read while others write is the beginning
// of the order, and what is acknowledged is in it.
func testReadersBesideWriters(t *testing.T, s store.Store) {
	var mu sync.Mutex
	seen := make(map[int][]store.Record)
	race(func(racer int) {
		for i := range rounds {
			at := must(t, s, Append(fmt.Sprint("stream ", i%3), store.Any, Event(1000*racer+i)))
			records := list(t, s.ReadAll(t.Context(), 0))
			if len(records) == 0 || records[len(records)-1].Position < at {
				t.Errorf("position %d is acknowledged and cannot be read", at)
			}
			mu.Lock()
			seen[len(records)] = records
			mu.Unlock()
		}
	})
	final := all(t, s)
	for n, records := range seen {
		same(t, "read beside writers", records, final[:n])
	}
}
