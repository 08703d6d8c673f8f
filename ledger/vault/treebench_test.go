package vault

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
)

// BenchmarkFanOut measures what the table in the comment at defaultFanOut says. A
// vault of so many records is filled once for each fan-out.
func BenchmarkFanOut(b *testing.B) {
	for _, records := range []int{200_000, 1_000_000} {
		for _, fanOut := range []int{16, 32, 62, 64, 125, 128, 256} {
			b.Run(fmt.Sprintf("%d/%d", records, fanOut), func(b *testing.B) { benchmarkFanOut(b, records, fanOut) })
		}
	}
}

func benchmarkFanOut(b *testing.B, records, fanOut int) {
	cfg := newConfig(b)
	cfg.fanOut = fanOut
	v := openVault(b, cfg)
	started := time.Now()
	ids := fillVault(b, v, records)
	b.ReportMetric(float64(records)/time.Since(started).Seconds(), "fill/s")
	content := make([]byte, 1024)
	b.Run("put", func(b *testing.B) {
		fromGoroutines(b, 64, func(int) error {
			_, err := v.Put(context.Background(), events.MustNewID(), 1, Meta{"application/fhir+json"}, bytes.NewReader(content))
			return err
		})
	})
	b.Run("uncached", func(b *testing.B) {
		for i := range b.N {
			v.cache.drop(ids[i*7919%records])
			v.keys.tree.cache.wipe()
			if _, err := v.Opening(context.Background(), ids[i*7919%records], 1); err != nil {
				b.Fatal(err)
			}
		}
	})
	next := 0
	destroy := func(b *testing.B, n int) {
		var wg sync.WaitGroup
		for range n {
			id := ids[next*7919%records]
			next++
			wg.Go(func() {
				if _, err := v.Destroy(context.Background(), id); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	b.Run("destroy1", func(b *testing.B) {
		for range b.N {
			destroy(b, 1)
		}
	})
	b.Run("destroy1000", func(b *testing.B) {
		for range b.N {
			destroy(b, 1000)
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N)/1000, "µs/one")
	})
	s, err := v.Stats(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(cfg.Dir, keysFile))
	if err != nil {
		b.Fatal(err)
	}
	var pages int64
	if err := v.keys.reader.QueryRowContext(context.Background(), "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name = 'nodes'").Scan(&pages); err != nil {
		pages = 0
	}
	b.Logf("fan-out %d: height %d, %d nodes, %.1f bytes a slot in nodes, %.1f in their pages, file %.1f bytes a slot",
		fanOut, s.Height, s.Nodes, float64(s.NodeBytes)/float64(s.LastSlot), float64(pages)/float64(s.LastSlot), float64(info.Size())/float64(s.LastSlot))
}
