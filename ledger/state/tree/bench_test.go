package tree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// storedOf makes an entry as the ledger's are: the id of a record, numbers, two hashes;
// 94 bytes.
func storedOf(id, version int) []byte {
	b := make([]byte, 94)
	binary.BigEndian.PutUint64(b, uint64(id))
	binary.BigEndian.PutUint64(b[16:], uint64(version))
	hash := sha256.Sum256(b[:24])
	copy(b[30:], hash[:])
	copy(b[62:], hash[:])
	return b
}

// leafOf derives a value of 59 bytes from storedOf's entries.
func leafOf(stored []byte) (Key, []byte, error) {
	if len(stored) != 94 {
		return Key{}, nil, fmt.Errorf("%d bytes", len(stored))
	}
	root := sha256.Sum256(stored[29:])
	value := append(root[:], stored[16:30]...)
	value = append(value, stored[16:29]...)
	return sha256.Sum256(stored[:16]), value, nil
}

func keyOf(id int) Key {
	key, _, _ := leafOf(storedOf(id, 0))
	return key
}

func config(path string) Config {
	return Config{Path: path, Key: make([]byte, 32), Leaf: leafOf, Logger: slog.New(slog.DiscardHandler)}
}

func BenchmarkTree(b *testing.B) {
	sizes := []int{200_000}
	if os.Getenv("MEDLEDGER_LONG") == "1" {
		sizes = append(sizes, 1_000_000)
	}
	for _, size := range sizes {
		path := filepath.Join(b.TempDir(), "tree.sqlite")
		before := heap()
		t := mustOpen(b, config(path))
		rng := rand.New(rand.NewPCG(1, 2))
		start, events := time.Now(), 0
		var slowest time.Duration
		for id := 0; id < size; { // grows, and changes what is there
			var changes [][]byte
			for range 50 {
				if rng.IntN(4) == 0 && id < size {
					changes = append(changes, storedOf(id, 0))
					id++
				} else {
					changes = append(changes, storedOf(rng.IntN(max(id, 1)), events))
				}
				events++
			}
			turn := time.Now()
			mustUpdate(b, t, uint64(events), changes)
			slowest = max(slowest, time.Since(turn))
		}
		b.Logf("%d entries by %d events: %v an event, slowest turn %v", size, events, time.Since(start)/time.Duration(events), slowest)
		for _, batch := range []int{1, 50, 256} {
			b.Run(fmt.Sprintf("entries=%d/update/batch=%d", size, batch), func(b *testing.B) {
				b.ReportAllocs()
				loads := t.Stats().Loads
				changes := make([][]byte, 0, batch)
				for b.Loop() {
					events++
					changes = append(changes, storedOf(rng.IntN(size), events))
					if len(changes) == batch {
						mustUpdate(b, t, uint64(events), changes)
						changes = changes[:0]
					}
				}
				b.ReportMetric(float64(t.Stats().Loads-loads)/float64(b.N), "loads/op")
			})
		}
		b.Run(fmt.Sprintf("entries=%d/prove", size), func(b *testing.B) {
			for b.Loop() {
				if _, _, _, err := t.Prove(keyOf(rng.IntN(size))); err != nil {
					b.Fatal(err)
				}
			}
		})
		s := t.Stats()
		b.Logf("heap in use %.1f MB, %+v", float64(heap()-before)/1e6, s)
		start = time.Now()
		mustClose(b, t)
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("closed in %v; %d pages of %d entries; on disk %.1f bytes an entry", time.Since(start), s.Pages, size/s.Pages, float64(info.Size())/float64(size))
		for range 3 {
			start = time.Now()
			t := mustOpen(b, config(path))
			opened := time.Since(start)
			if t.Len() != size {
				b.Fatalf("%d entries of %d", t.Len(), size)
			}
			b.Logf("opened in %v, heap in use %.1f MB", opened, float64(heap()-before)/1e6)
			mustClose(b, t)
		}
	}
}

func mustOpen(t testing.TB, c Config) *Tree {
	t.Helper()
	tree, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func mustUpdate(t testing.TB, tree *Tree, position uint64, changes [][]byte) {
	t.Helper()
	if _, err := tree.Update(position, changes); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, tree *Tree) {
	t.Helper()
	if err := tree.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
