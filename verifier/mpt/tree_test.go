package mpt_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/medledger/medledger/verifier/mpt"
)

type entry struct{ key, value []byte }

// naiveHash is the definition of the hash: of entries whose keys agree in all bits
// before the given one.
func naiveHash(entries []entry, bit int) mpt.Hash {
	var tagged []byte
	switch len(entries) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		tagged = binary.AppendUvarint([]byte{0}, uint64(len(entries[0].key)))
		tagged = binary.AppendUvarint(append(tagged, entries[0].key...), uint64(len(entries[0].value)))
		return sha256.Sum256(append(tagged, entries[0].value...))
	}
	var sides [2][]entry
	for _, e := range entries {
		side := continued(e.key, bit/8+1)[bit/8] >> (7 - bit%8) & 1
		sides[side] = append(sides[side], e)
	}
	if len(sides[0]) == 0 || len(sides[1]) == 0 {
		return naiveHash(entries, bit+1)
	}
	tagged = binary.AppendUvarint([]byte{1}, uint64(bit))
	for _, side := range sides {
		hash := naiveHash(side, bit+1)
		tagged = append(tagged, hash[:]...)
	}
	return sha256.Sum256(tagged)
}

// continued is the first n bytes of a key with what follows it.
func continued(key []byte, n int) []byte {
	b := append(bytes.Clone(key), 0)
	for len(b) < n {
		b = append(b, 0xff)
	}
	return b[:n]
}

func withPrefix(entries []entry, prefix []byte) (with []entry) {
	for _, e := range entries {
		if bytes.Equal(continued(e.key, len(prefix)), prefix) {
			with = append(with, e)
		}
	}
	return with
}

// model is what a tree should have.
type model map[string][]byte

func (m model) root() mpt.Hash {
	var entries []entry
	for key, value := range m {
		entries = append(entries, entry{[]byte(key), value})
	}
	return naiveHash(entries, 0)
}

// check holds a tree against the model: its root, and for some keys what is there,
// what is proved of it, and that nothing else is.
func (m model) check(t *testing.T, tree *mpt.Tree, keys [][]byte) {
	t.Helper()
	root := m.root()
	if got := tree.Root(); got != root || tree.Len() != len(m) {
		t.Fatalf("root %x of %d keys, want %x of %d", got, tree.Len(), root, len(m))
	}
	for _, key := range keys {
		want, there := m[string(key)]
		got, ok := tree.Get(key)
		proof, value, present := tree.Prove(key)
		if ok != there || present != there || !bytes.Equal(got, want) || !bytes.Equal(value, want) {
			t.Fatalf("key %x has %x, %t and is proved to have %x, %t, want %x, %t", key, got, ok, value, present, want, there)
		}
		if err := mpt.VerifyLookup(root, key, value, present, proof); err != nil {
			t.Fatalf("key %x: %v", key, err)
		}
		for name, refused := range map[string]error{
			"the contrary":  mpt.VerifyLookup(root, key, nil, !present, proof),
			"another value": mpt.VerifyLookup(root, key, append(bytes.Clone(value), 1), present, proof),
			"another root":  mpt.VerifyLookup(mpt.LeafHash(key, nil), key, value, present, proof),
		} {
			if refused == nil {
				t.Errorf("key %x, present: %t: %s verifies as well", key, present, name)
			}
		}
		for n := range min(len(key), 3) {
			hash, proof := tree.ProvePrefix(key[:n])
			if err := mpt.VerifyPrefix(root, key[:n], hash, proof); err != nil {
				t.Errorf("prefix %x: %v", key[:n], err)
			}
		}
	}
}

// someKey makes a key, of few different ones so that they meet, in one of the ways in
// which keys can be close.
func someKey(rng *rand.Rand) []byte {
	switch rng.IntN(3) {
	case 0:
		key := sha256.Sum256([]byte{byte(rng.IntN(64))})
		return key[:]
	case 1: // prefixes of each other, with what they are continued with
		return []byte{0, 0xff, 0, 0xff, 0xff, 0xff}[:rng.IntN(7)]
	}
	key := make([]byte, rng.IntN(5))
	for i := range key {
		key[i] = []byte{0, 1, 0x80, 0xff}[rng.IntN(4)]
	}
	return key
}

func TestTreeEqualsDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		tree, m := new(mpt.Tree), model{}
		var keys [][]byte
		m.check(t, tree, [][]byte{{}, {1}})
		for range 20 {
			for range rng.IntN(12) {
				key, value := someKey(rng), make([]byte, rng.IntN(70))
				value = binary.AppendUvarint(value, rng.Uint64N(3))
				lent := bytes.Clone(key)
				m[string(key)] = bytes.Clone(value)
				keys = append(keys, key)
				set(t, tree, lent, value)
				clear(lent) // the tree has copies
				clear(value)
			}
			m.check(t, tree, append(keys[max(0, len(keys)-6):], someKey(rng), someKey(rng)))
		}
	}
}

func TestSetRefusesWhatNoProofCanHave(t *testing.T) {
	var tree mpt.Tree
	long := make([]byte, mpt.MaxLength+1)
	if tree.Set(long, nil) == nil || tree.Set(nil, long) == nil || tree.Len() != 0 {
		t.Error("a key or a value that is too long was taken")
	}
	a, b := long[:mpt.MaxLength], long[:mpt.MaxLength-1]
	set(t, &tree, a, a)
	set(t, &tree, b, b)
	// b is continued with 0x00 and then 0xFF, a with 0x00 where b has its first 0xFF.
	root := mpt.InnerHash(8*mpt.MaxLength, mpt.LeafHash(a, a), mpt.LeafHash(b, b))
	if tree.Root() != root {
		t.Error("the root of the longest keys is another")
	}
	for _, key := range [][]byte{a, b, {1}} {
		proof, value, present := tree.Prove(key)
		if err := mpt.VerifyLookup(root, key, value, present, proof); err != nil {
			t.Error(err)
		}
	}
}

func TestRootAfterNothingChanged(t *testing.T) {
	var tree mpt.Tree
	set(t, &tree, []byte("k"), []byte("v"))
	before := tree.Root()
	set(t, &tree, []byte("k"), []byte("v"))
	if tree.Root() != before || before != mpt.LeafHash([]byte("k"), []byte("v")) {
		t.Error("setting what is there changed the root")
	}
}

func FuzzTree(f *testing.F) {
	f.Add([]byte("\x01a\x01b\x00\x02ab\x03a\x00\xff"))
	f.Add([]byte{0, 1, 0, 2, 0, 0xff, 3, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, script []byte) {
		tree, m := new(mpt.Tree), model{}
		var keys [][]byte
		for len(script) > 0 && len(keys) < 40 {
			n := min(int(script[0]%8), len(script)-1)
			key := script[1 : 1+n]
			value := []byte{script[0], byte(len(script))}
			script = script[1+n:]
			set(t, tree, key, value)
			m[string(key)] = value
			keys = append(keys, key)
			if value[0] >= 0x80 {
				m.check(t, tree, keys[len(keys)-1:])
			}
		}
		m.check(t, tree, keys)
	})
}
