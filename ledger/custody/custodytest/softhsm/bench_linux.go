package softhsm

import (
	"testing"

	"github.com/medledger/medledger/ledger/custody"
)

// Benchmark measures the calls of a custody that has no keys.
func Benchmark(b *testing.B, c custody.Custody) {
	ctx, plain, bound := b.Context(), make([]byte, custody.KeySize), []byte("benchmark")
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(c.Create(ctx, "used"))
	sealed, err := c.Seal(ctx, "used", plain, bound)
	must(err)
	b.Run("seal", func(b *testing.B) {
		for b.Loop() {
			_, err := c.Seal(ctx, "used", plain, bound)
			must(err)
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			_, err := c.Open(ctx, "used", sealed, bound)
			must(err)
		}
	})
	b.Run("names", func(b *testing.B) {
		for b.Loop() {
			_, err := c.Names(ctx)
			must(err)
		}
	})
	b.Run("create", func(b *testing.B) {
		for b.Loop() {
			must(c.Create(ctx, "made"))
			b.StopTimer()
			must(c.Destroy(ctx, "made"))
			b.StartTimer()
		}
	})
	b.Run("destroy", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			must(c.Create(ctx, "made"))
			b.StartTimer()
			must(c.Destroy(ctx, "made"))
		}
	})
}
