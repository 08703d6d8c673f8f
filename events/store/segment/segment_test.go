package segment_test

import (
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/segment"
)

func open(t testing.TB, dir string) *segment.Store {
	t.Helper()
	s, err := segment.Open(t.Context(), segment.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func event(t testing.TB, size int) store.Event {
	id, err := events.NewEventID(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	copy(b, id[:])
	return store.Event{ID: id, Statement: b}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var want []store.Event
	for i := range 20 {
		e := event(t, 100)
		want = append(want, e)
		pos, err := s.Append(t.Context(), store.Append{Stream: fmt.Sprint("s", i%3), Expected: store.Any, Events: []store.Event{e}})
		if err != nil || pos != store.Position(i+1) {
			t.Fatal(pos, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	i := 0
	for r, err := range s.ReadAll(t.Context(), 0) {
		if err != nil || r.ID != want[i].ID || r.Revision != uint64(i/3) {
			t.Fatalf("%d: %+v %v", i, r, err)
		}
		got, err := s.Lookup(t.Context(), r.ID)
		if err != nil || got.Position != r.Position {
			t.Fatal(got, err)
		}
		i++
	}
	if i != 20 {
		t.Fatal(i)
	}
}

func BenchmarkAppend64(b *testing.B) {
	s := open(b, b.TempDir())
	defer s.Close()
	var wg sync.WaitGroup
	n := b.N
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for range work {
				e := event(b, 1024)
				if _, err := s.Append(b.Context(), store.Append{Stream: "record-" + e.ID.String(), Expected: store.NoStream, Events: []store.Event{e}}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
