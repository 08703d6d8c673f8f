package segment

import (
	"encoding/binary"
	"fmt"

	"github.com/medledger/medledger/events"
)

// filter is a Bloom filter over event ids and stream names that grows by whole
// layers. It says "perhaps" of everything that was added and "no" of nearly
// everything else, at 16 bits a key: of what was not added, one in 2,000 is
// "perhaps" in a full layer.
type filter struct {
	layers  []layer
	keys    int    // in the last layer
	covered uint64 // how many records were added

	saved   int // how many layers SQLite has that are full
	unsaved int // keys that were added since the last snapshot
}

// layer is the bits of a layer: a power of two of them.
type layer []uint64

const (
	probes     = 6
	bitsAKey   = 16
	firstLayer = 1 << 14 // keys
	lastLayer  = 1 << 20
)

// keysOf is how many keys the i-th layer takes.
func keysOf(i int) int { return min(firstLayer<<min(2*i, 16), lastLayer) }

// add notes a record, the one after those that the filter covers.
func (f *filter) add(id events.ID, stream string) {
	f.put(hashID(id))
	if !f.hasStream(stream) {
		f.put(hashStream(stream))
	}
	f.covered++
}

func (f *filter) put(h uint64) {
	if n := len(f.layers); n == 0 || f.keys == keysOf(n-1) {
		f.layers = append(f.layers, make(layer, keysOf(n)*bitsAKey/64))
		f.keys = 0
	}
	f.layers[len(f.layers)-1].set(h)
	f.keys++
	f.unsaved++
}

func (f *filter) hasID(id events.ID) bool      { return f.has(hashID(id)) }
func (f *filter) hasStream(stream string) bool { return f.has(hashStream(stream)) }

func (f *filter) has(h uint64) bool {
	for _, l := range f.layers {
		if l.has(h) {
			return true
		}
	}
	return false
}

// The probes of a hash are h1 + i*h2 (Kirsch and Mitzenmacher).
func (l layer) set(h uint64) {
	h1, h2, mask := uint32(h), uint32(h>>32)|1, uint32(64*len(l)-1)
	for range probes {
		l[(h1&mask)/64] |= 1 << (h1 % 64)
		h1 += h2
	}
}

func (l layer) has(h uint64) bool {
	h1, h2, mask := uint32(h), uint32(h>>32)|1, uint32(64*len(l)-1)
	for range probes {
		if l[(h1&mask)/64]&(1<<(h1%64)) == 0 {
			return false
		}
		h1 += h2
	}
	return true
}

func hashID(id events.ID) uint64 {
	return mix(binary.BigEndian.Uint64(id[:8])*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(id[8:]))
}

// hashStream is FNV-1a, mixed, and apart from the ids'.
func hashStream(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return mix(h ^ 0x73747265616d)
}

// mix is the finalizer of splitmix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// savedFilter is what a flush writes of a filter: the layers that SQLite has not
// got full, and how far they go.
type savedFilter struct {
	first   int // the number of layers[0]
	layers  [][]byte
	keys    int
	covered uint64
}

// snapshot returns what SQLite lacks, or nil if that is not worth its writing
// yet: reading so many records again is quick. The layers in it are copies.
func (f *filter) snapshot(last bool) *savedFilter {
	n := len(f.layers)
	if n == 0 || !last && f.unsaved < keysOf(n-1)/16 {
		return nil
	}
	s := &savedFilter{first: f.saved, keys: f.keys, covered: f.covered}
	for _, l := range f.layers[f.saved:] {
		b := make([]byte, 0, 8*len(l))
		for _, word := range l {
			b = binary.LittleEndian.AppendUint64(b, word)
		}
		s.layers = append(s.layers, b)
	}
	f.saved, f.unsaved = n-1, 0
	return s
}

// restore adds the next layer as a snapshot had it.
func (f *filter) restore(b []byte) error {
	n := len(f.layers)
	if len(b) != keysOf(n)*bitsAKey/8 {
		return fmt.Errorf("layer %d of the filter has %d bytes", n, len(b))
	}
	l := make(layer, len(b)/8)
	for i := range l {
		l[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	f.layers = append(f.layers, l)
	f.saved = n
	return nil
}
