package tree

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/medledger/medledger/verifier/mpt"
)

func TestParseRefuses(t *testing.T) {
	pair := make([]entry, 2)
	for i := range pair {
		var err error
		if pair[i], err = newEntry(bytes.Repeat([]byte{byte(i)}, idBytes), looseLeaf); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(pair, func(a, b entry) int { return bytes.Compare(a.key[:], b.key[:]) })
	fork := mpt.FirstDifference(pair[0].key[:], pair[1].key[:])
	good := encode(fork, pair, nil).data
	if _, depth, err := parse(good, looseLeaf, nil); err != nil || depth != fork {
		t.Fatalf("depth %d, %v", depth, err)
	}
	long := bytes.Clone(good[pageHeader:])
	for name, data := range map[string][]byte{
		"nothing":                     {},
		"no entries":                  good[:pageHeader],
		"an entry cut off":            good[:len(good)-1],
		"an entry added":              append(bytes.Clone(good), good[pageHeader:]...),
		"entries out of order":        encode(0, []entry{pair[1], pair[0]}, nil).data,
		"an entry twice":              encode(0, []entry{pair[0], pair[0]}, nil).data,
		"entries of another prefix":   encode(fork+1, pair, nil).data,
		"a depth beyond the keys":     encode(257, pair[:1], nil).data,
		"an entry that is none":       {0, 0, 1, 'x'},
		"a length in a longer form":   append([]byte{0, 0, 0x90, 0x00}, long[1:]...),
		"a length of 64 bits":         {0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a page longer than they are": make([]byte, maxPageData+1),
	} {
		if _, _, err := parse(data, looseLeaf, nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	entries := []entry{}
	for i := range 3 {
		e, err := newEntry(fmt.Appendf(nil, "an id of 16 byte%d with a value", i), looseLeaf)
		if err != nil {
			f.Fatal(err)
		}
		entries = append(entries, e)
	}
	f.Add(encode(0, entries[:1], nil).data)
	f.Add(encode(256, entries[1:2], nil).data)
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 0, 0x90, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, depth, err := parse(data, looseLeaf, nil)
		if err != nil {
			return
		}
		if again := encode(depth, merge(nil, c, nil), nil); !bytes.Equal(again.data, data) || len(again.items) != len(c.items) {
			t.Errorf("%x is written back as %x", data, again.data)
		}
	})
}
