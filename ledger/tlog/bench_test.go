package tlog_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// million returns a closed log of 1,000,000 leaves.
func million(b *testing.B) *world {
	b.Helper()
	const n = 1_000_000
	w := newWorld(b)
	l := w.open()
	w.append(0, n)
	if _, err := l.CatchUp(b.Context()); err != nil {
		b.Fatal(err)
	}
	w.close(l)
	return w
}

// BenchmarkIntegrate is a pipeline turn of 64 leaves that are stored already,
// with the fsync of the signed checkpoint and without.
func BenchmarkIntegrate(b *testing.B) {
	for name, fsys := range map[string]disk.FS{"synced": disk.OS{}, "unsynced": lazy{}} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.config.FS = fsys
			l := w.open()
			for b.Loop() {
				b.StopTimer()
				hashes := w.append(int(l.Published().Checkpoint.Size), 64)
				b.StartTimer()
				if _, err := l.IntegrateHashes(b.Context(), hashes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// lazy is the operating system's file system without durability.
type lazy struct{ disk.OS }

func (lazy) SyncDir(string) error { return nil }

func (l lazy) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := l.OS.OpenFile(name, flag, perm)
	return lazyFile{f}, err
}

type lazyFile struct{ disk.File }

func (lazyFile) Sync() error { return nil }

// BenchmarkMillion is what readers and restarts cost in a log of 1,000,000 leaves.
func BenchmarkMillion(b *testing.B) {
	w := million(b)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			l := w.open()
			b.StopTimer()
			w.close(l)
			b.StartTimer()
		}
	})
	prove := func(span uint64) func(b *testing.B) {
		return func(b *testing.B) {
			l := w.open()
			defer w.close(l)
			size := l.Published().Checkpoint.Size
			rng := rand.New(rand.NewPCG(1, 1))
			for range 2 * span / proof.TileWidth { // warm the cache
				if _, err := l.InclusionProof(b.Context(), size-1-rng.Uint64N(span), size); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if _, err := l.InclusionProof(b.Context(), size-1-rng.Uint64N(span), size); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("prove/cached", prove(100_000))
	b.Run("prove/anywhere", prove(1_000_000))
	b.Run("open/crashed", func(b *testing.B) {
		// The worst case: no tile is known to be synced.
		for b.Loop() {
			b.StopTimer()
			removeMark(b, w)
			b.StartTimer()
			l := w.open()
			b.StopTimer()
			w.close(l)
			b.StartTimer()
		}
	})
	b.Run("rebuild", func(b *testing.B) {
		for b.Loop() {
			if _, err := tlog.Rebuild(b.Context(), w.config); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func removeMark(t testing.TB, w *world) {
	t.Helper()
	if err := os.Remove(filepath.Join(w.config.Dir, "synced")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
