package vault

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
)

// BenchmarkFanOut measures what the table at defaultFanOut says: for each fan-out a
// vault is filled, and the best of several rounds counts, for others use the machine.
// Run it with -benchtime 1x.
func BenchmarkFanOut(b *testing.B) {
	for _, records := range []int{200_000, 1_000_000} {
		for _, fanOut := range []int{16, 32, 64, 125, 128, 256} {
			b.Run(fmt.Sprintf("%d/%d", records, fanOut), func(b *testing.B) { benchmarkFanOut(b, records, fanOut) })
		}
	}
}

func benchmarkFanOut(b *testing.B, records, fanOut int) {
	cfg := newConfig(b)
	cfg.fanOut = fanOut
	v := openVault(b, cfg)
	ids := fillVault(b, v, records)
	b.ResetTimer()
	b.ReportMetric(best(5, 10_000, func() { fillFrom(b, v, 64, 10_000) }), "µs/put")
	next := 0
	id := func() events.ID {
		next++
		return ids[next*7919%records]
	}
	b.ReportMetric(best(5, 1000, func() {
		for range 1000 {
			record := id()
			v.cache.drop(record)
			v.keys.tree.cache.wipe()
			if _, err := v.Opening(context.Background(), record, 1); err != nil {
				b.Fatal(err)
			}
		}
	}), "µs/uncached-read")
	destroy := func(n int) {
		var wg sync.WaitGroup
		for range n {
			record := id()
			wg.Go(func() {
				if _, err := v.Destroy(context.Background(), record); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(best(100, 1, func() { destroy(1) }), "µs/destruction")
	b.ReportMetric(best(6, 1000, func() { destroy(1000) }), "µs/destruction-of-1000")
	s, err := v.Stats(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	var pages int64
	if err := v.keys.reader.QueryRowContext(context.Background(), "SELECT sum(pgsize) FROM dbstat WHERE name = 'nodes'").Scan(&pages); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(s.Height), "levels")
	b.ReportMetric(float64(pages)/float64(s.LastSlot), "bytes/slot")
	b.ReportMetric(0, "ns/op")
}

// best returns the microseconds that one of n takes in the best of several rounds.
func best(rounds, n int, f func()) float64 {
	least := time.Duration(1 << 62)
	for range rounds {
		started := time.Now()
		f()
		least = min(least, time.Since(started))
	}
	return least.Seconds() * 1e6 / float64(n)
}

// fillFrom puts n records from several goroutines.
func fillFrom(b *testing.B, v *Vault, goroutines, n int) {
	content := make([]byte, 1024)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range n / goroutines {
				if _, err := v.Put(context.Background(), events.MustNewID(), 1, Meta{"application/fhir+json"}, bytes.NewReader(content)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
