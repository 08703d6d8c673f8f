package segment_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/segment"
)

// benchSize is how large the statements are, in bytes.
const benchSize = 1024

func openDir(t testing.TB, dir string) *segment.Store {
	t.Helper()
	s, err := segment.Open(t.Context(), segment.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shut(t testing.TB, s *segment.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// benchAppend is an event of its own in one of so many streams; with none it is
// the first of a new one. Ids and names are random, the worst case for the index.
func benchAppend(i, streams int) store.Append {
	id := events.MustNewID()
	stream := "record-" + id.String()
	if streams > 0 {
		name := events.DerivedID(fmt.Appendf(nil, "%016x", (i*7919)%streams))
		stream = "record-" + name.String()
	}
	statement := make([]byte, benchSize)
	rand.Read(statement)
	return store.Append{Stream: stream, Expected: store.Any, Events: []store.Event{{ID: id, Statement: statement}}}
}

// grow appends events in batches.
func grow(t testing.TB, s *segment.Store, events, streams int) {
	t.Helper()
	for done := 0; done < events; {
		var batch []store.Append
		for ; done < events && len(batch) < 256; done++ {
			batch = append(batch, benchAppend(done, streams))
		}
		if _, err := s.AppendBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
}

func benchEvents() int {
	if os.Getenv("MEDLEDGER_LONG") == "1" {
		return 1_000_000
	}
	return 100_000
}

// BenchmarkAppend appends single events from 64 goroutines.
func BenchmarkAppend(b *testing.B) {
	for _, streams := range []int{0, 200_000} {
		b.Run(fmt.Sprint("streams=", streams), func(b *testing.B) {
			s := openDir(b, b.TempDir())
			defer shut(b, s)
			work := make(chan store.Append, b.N)
			for i := range b.N {
				work <- benchAppend(i, streams)
			}
			close(work)
			b.SetBytes(benchSize)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for a := range work {
						if _, err := s.Append(b.Context(), a); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkAppendBatch appends batches of 256 events from one goroutine.
func BenchmarkAppendBatch(b *testing.B) {
	s := openDir(b, b.TempDir())
	defer shut(b, s)
	b.SetBytes(256 * benchSize)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		batch := make([]store.Append, 256)
		for k := range batch {
			batch[k] = benchAppend(256*i+k, 0)
		}
		b.StartTimer()
		if _, err := s.AppendBatch(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(256*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkOpen opens a store, with its index as Close leaves it, as a crash does,
// and without one.
// It also tells what an event takes, on disk beside its statement and in memory.
func BenchmarkOpen(b *testing.B) {
	count := benchEvents()
	dir := b.TempDir()
	s := openDir(b, dir)
	grow(b, s, count, count/5)
	shut(b, s)
	var before, after runtime.MemStats
	b.Run("clean", func(b *testing.B) {
		for b.Loop() {
			shut(b, openDir(b, dir))
		}
	})
	b.Run("crashed", func(b *testing.B) {
		const lag = 48_000 // about as much as can wait for the index
		index := filepath.Join(dir, "index.sqlite")
		for b.Loop() {
			b.StopTimer()
			old, err := os.ReadFile(index)
			if err != nil {
				b.Fatal(err)
			}
			s := openDir(b, dir)
			grow(b, s, lag, count/5)
			shut(b, s)
			count += lag
			if err := os.WriteFile(index, old, 0o600); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			s = openDir(b, dir)
			b.StopTimer()
			shut(b, s)
			b.StartTimer()
		}
	})
	b.Run("rebuild", func(b *testing.B) {
		for b.Loop() {
			if err := segment.Rebuild(b.Context(), segment.Config{Dir: dir}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			runtime.GC()
			runtime.ReadMemStats(&before)
			s := openDir(b, dir)
			for i := range count / 5 { // every stream's end becomes known
				a := benchAppend(i, count/5)
				a.Expected = 1 << 40
				if _, err := s.Append(b.Context(), a); err == nil {
					b.Fatal("an append with a wrong revision was accepted")
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			shut(b, s)
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "heap-MB")
		index, all := sizes(b, dir)
		b.ReportMetric(float64(index)/float64(count), "index-B/event")
		b.ReportMetric(float64(all)/float64(count)-benchSize, "beside-statement-B/event")
	})
}

// sizes returns how many bytes the index and the whole store take.
func sizes(t testing.TB, dir string) (index, all int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all += info.Size()
		if strings.HasPrefix(e.Name(), "index.") {
			index += info.Size()
		}
	}
	return index, all
}
