package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/medledger/medledger/events"
)

// fromGoroutines runs f b.N times in total from n goroutines.
func fromGoroutines(b *testing.B, n int, f func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range n {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func fillVault(b *testing.B, v *Vault, records int) []events.ID {
	b.Helper()
	ids := make([]events.ID, records)
	content := make([]byte, 1024)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= records {
					return
				}
				ids[i] = events.MustNewID()
				if _, err := v.Put(context.Background(), ids[i], 1, Meta{"text/plain"}, bytes.NewReader(content)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return ids
}

func BenchmarkPut1KiB(b *testing.B) {
	for _, filled := range []int{0, 200_000} {
		b.Run(map[int]string{0: "empty", 200_000: "filled"}[filled], func(b *testing.B) {
			v := openVault(b, newConfig(b))
			fillVault(b, v, filled)
			content := make([]byte, 1024)
			fromGoroutines(b, 64, func(int) error {
				_, err := v.Put(context.Background(), events.MustNewID(), 1, Meta{"application/fhir+json"}, bytes.NewReader(content))
				return err
			})
		})
	}
}

func BenchmarkGet1KiB(b *testing.B) {
	v := openVault(b, newConfig(b))
	ids := fillVault(b, v, 100_000)
	for name, n := range map[string]int{"warm": 10_000, "cold": len(ids)} {
		b.Run(name, func(b *testing.B) {
			get := func(i int) error {
				c, err := v.Get(context.Background(), ids[i*7919%n], 1)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, c.Reader)
				return errors.Join(err, c.Reader.Close())
			}
			for i := range n {
				if err := get(i); err != nil {
					b.Fatal(err)
				}
			}
			fromGoroutines(b, 64, get)
		})
	}
}

func BenchmarkDestroy(b *testing.B) {
	v := openVault(b, newConfig(b))
	ids := fillVault(b, v, 200_000)
	b.ResetTimer()
	for i := range b.N {
		if i == len(ids) {
			b.Fatal("more iterations than records: run with a smaller -benchtime")
		}
		if _, err := v.Destroy(context.Background(), ids[i]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutLarge(b *testing.B) {
	v := openVault(b, newConfig(b))
	const size = 32 << 20
	b.SetBytes(size)
	for range b.N {
		if _, err := v.Put(context.Background(), events.MustNewID(), 1, Meta{}, io.LimitReader(rand.Reader, size)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutDocument(b *testing.B) {
	v := openVault(b, newConfig(b))
	doc := make([]byte, 500)
	fromGoroutines(b, 64, func(int) error {
		p := identity(events.MustNewID())
		_, err := v.PutDocument(context.Background(), p, doc, Term{"a", p.ID.String()}, Term{"b", p.ID.String()})
		return err
	})
}

func BenchmarkFind(b *testing.B) {
	v := openVault(b, newConfig(b))
	places := make([]Place, 50_000)
	for i := range places {
		places[i] = identity(events.MustNewID())
	}
	fill := func(i int) error {
		_, err := v.PutDocument(context.Background(), places[i], nil, Term{"a", places[i].ID.String()})
		return err
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(places); i = next.Add(1) - 1 {
				if err := fill(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	fromGoroutines(b, 64, func(i int) error {
		p := places[i*7919%len(places)]
		_, err := v.Find(context.Background(), Identity, Term{"a", p.ID.String()})
		return err
	})
}

// BenchmarkPut1KiBDuringBackup is BenchmarkPut1KiB while increments of everything
// are taken one after the other.
func BenchmarkPut1KiBDuringBackup(b *testing.B) {
	v := openVault(b, newConfig(b))
	fillVault(b, v, 200_000)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := v.Increment(ctx, Position{}, io.Discard); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		}
	})
	content := make([]byte, 1024)
	fromGoroutines(b, 64, func(int) error {
		_, err := v.Put(context.Background(), events.MustNewID(), 1, Meta{"application/fhir+json"}, bytes.NewReader(content))
		return err
	})
	cancel()
	wg.Wait()
}
