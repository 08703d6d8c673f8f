package mpt_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/medledger/medledger/verifier/mpt"
)

func BenchmarkSet(b *testing.B) {
	for _, size := range []int{200_000, 1_000_000} {
		before := heap()
		tree := bigTree(b, size)
		tree.Root()
		perKey := float64(heap()-before) / float64(size)
		for _, batch := range []int{1, 50, 256} {
			b.Run(fmt.Sprintf("keys=%d/batch=%d", size, batch), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 2))
				keys := make([][]byte, 1<<16)
				for i := range keys {
					keys[i] = keyOf(rng.IntN(size))
				}
				value := valueOf(1)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					binary.BigEndian.PutUint64(value, uint64(i)+1<<40)
					set(b, tree, keys[i%len(keys)], value)
					if i%batch == batch-1 {
						tree.Root()
					}
				}
				b.ReportMetric(perKey, "heap-B/key")
			})
		}
	}
}

func BenchmarkInsert(b *testing.B) {
	var tree mpt.Tree
	value := valueOf(1)
	for i := 0; b.Loop(); i++ {
		set(b, &tree, keyOf(i), value)
		if i%50 == 49 {
			tree.Root()
		}
	}
}

func BenchmarkProve(b *testing.B) {
	tree := bigTree(b, 200_000)
	for i := 0; b.Loop(); i++ {
		tree.Prove(keyOf(i % 400_000))
	}
}

func BenchmarkVerifyLookup(b *testing.B) {
	tree := bigTree(b, 200_000)
	root := tree.Root()
	proof, value, present := tree.Prove(keyOf(7))
	for b.Loop() {
		if err := mpt.VerifyLookup(root, keyOf(7), value, present, proof); err != nil {
			b.Fatal(err)
		}
	}
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
