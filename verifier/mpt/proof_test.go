package mpt_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/medledger/medledger/verifier/mpt"
)

// keyOf is the key of a number.
func keyOf(i int) []byte {
	key := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	return key[:]
}

// valueOf is as long as a canonical value of the state.
func valueOf(i int) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint32(nil, uint32(i)), 15)[:59]
}

func bigTree(t testing.TB, n int) *mpt.Tree {
	t.Helper()
	tree := new(mpt.Tree)
	for i := range n {
		set(t, tree, keyOf(i), valueOf(i))
	}
	return tree
}

// TestMangledProofs changes every byte of proofs, cuts them everywhere and adds to
// them: nothing verifies but what was proved.
func TestMangledProofs(t *testing.T) {
	tree := bigTree(t, 100)
	root := tree.Root()
	for i := 90; i < 110; i++ {
		key := keyOf(i)
		proof, value, present := tree.Prove(key)
		verify := func(what string, at int, proof []byte) {
			t.Helper()
			err := mpt.VerifyLookup(root, key, value, present, proof)
			if !errors.Is(err, mpt.ErrProof) && !errors.Is(err, mpt.ErrMalformed) {
				t.Errorf("proof of %d, %s at %d: %v", i, what, at, err)
			}
		}
		for at := range proof {
			for _, bit := range []byte{1, 0x10, 0x80} {
				mangled := bytes.Clone(proof)
				mangled[at] ^= bit
				verify("a bit", at, mangled)
			}
			verify("cut", at, proof[:at])
			verify("inserted", at, slices.Insert(bytes.Clone(proof), at, 0))
			verify("left out", at, slices.Delete(bytes.Clone(proof), at, at+1))
		}
		verify("added", len(proof), append(bytes.Clone(proof), 0))
		verify("a step added", len(proof), mpt.AppendStep(bytes.Clone(proof), 0, root))
	}
}

// TestForgedAbsence: a key that is there cannot be proved to be absent by the path of
// any other, nor by its own.
func TestForgedAbsence(t *testing.T) {
	const n = 40
	tree := bigTree(t, n)
	root := tree.Root()
	for i := range n {
		steps, value, _ := tree.Prove(keyOf(i))
		path := append(mpt.AppendLeaf(nil, keyOf(i), value), steps...)
		for j := range n {
			if err := mpt.VerifyLookup(root, keyOf(j), nil, false, path); err == nil {
				t.Errorf("the path of %d proves that %d is absent", i, j)
			}
			if err := mpt.VerifyLookup(root, keyOf(j), value, true, steps); (err == nil) != (i == j) {
				t.Errorf("the path of %d for %d: %v", i, j, err)
			}
		}
	}
}

func TestVerifyIsStrict(t *testing.T) {
	key, value := []byte("key"), []byte("value")
	leaf, hash := mpt.LeafHash(key, value), sha256.Sum256([]byte("sibling"))
	root := mpt.InnerHash(300, leaf, hash) // "key" is continued with 0xFF: bit 300 is 1
	if mpt.BitOf(key, 300) == 1 {
		root = mpt.InnerHash(300, hash, leaf)
	}
	good := mpt.AppendStep(nil, 300, hash)
	if err := mpt.VerifyLookup(root, key, value, true, good); err != nil {
		t.Fatal(err)
	}
	long := make([]byte, mpt.MaxLength+1)
	for name, c := range map[string]struct {
		root       mpt.Hash
		key, value []byte
		present    bool
		proof      []byte
	}{
		"a bit index in a longer form":   {root, key, value, true, append([]byte{0xac, 0x82, 0x00}, hash[:]...)},
		"a bit index beyond all keys":    {root, key, value, true, mpt.AppendStep(nil, 8*(mpt.MaxLength+1), hash)},
		"a bit index of 64 bits":         {root, key, value, true, append(binary.AppendUvarint(nil, 1<<63+300), hash[:]...)},
		"a length of 64 bits":            {root, key, nil, false, binary.AppendUvarint(nil, 1<<63)},
		"a key that is too long":         {mpt.LeafHash(long, nil), long, nil, true, nil},
		"a neighbour that is too long":   {mpt.LeafHash(long, nil), key, nil, false, mpt.AppendLeaf(nil, long, nil)},
		"an absent key with a value":     {mpt.EmptyRoot(), key, value, false, nil},
		"something in an empty tree":     {mpt.EmptyRoot(), key, value, true, nil},
		"a path in an empty tree":        {mpt.EmptyRoot(), key, nil, false, mpt.AppendLeaf(nil, nil, nil)},
		"no path in a tree with entries": {root, key, nil, false, nil},
	} {
		if err := mpt.VerifyLookup(c.root, c.key, c.value, c.present, c.proof); !errors.Is(err, mpt.ErrProof) && !errors.Is(err, mpt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Roots that no tree has, since a bit cannot be asked for twice, or a later one first.
	for _, bits := range [][2]int{{7, 7}, {6, 7}} {
		odd := mpt.AppendSteps(nil, []mpt.Step{{Bit: bits[0], Sibling: hash}, {Bit: bits[1], Sibling: hash}})
		root := leaf
		for _, bit := range bits {
			if mpt.BitOf(key, bit) == 0 {
				root = mpt.InnerHash(bit, root, hash)
			} else {
				root = mpt.InnerHash(bit, hash, root)
			}
		}
		if err := mpt.VerifyLookup(root, key, value, true, odd); !errors.Is(err, mpt.ErrMalformed) {
			t.Errorf("bits %v: %v", bits, err)
		}
	}
	// Half of what begins with "k": the other half is left out.
	half := mpt.InnerHash(10, leaf, hash)
	if err := mpt.VerifyPrefix(half, key[:1], leaf, mpt.AppendStep(nil, 10, hash)); !errors.Is(err, mpt.ErrProof) {
		t.Errorf("a node that leaves out keys with the prefix: %v", err)
	}
	if err := mpt.VerifyPrefix(root, long, root, nil); !errors.Is(err, mpt.ErrProof) {
		t.Errorf("a prefix that is too long: %v", err)
	}
}

func FuzzParsePath(f *testing.F) {
	tree := bigTree(f, 50)
	tree.Root()
	proof, _, _ := tree.Prove([]byte("absent"))
	f.Add(proof)
	f.Add([]byte{})
	f.Add([]byte{0, 0})
	f.Add([]byte{0x81, 0x00, 'k', 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := mpt.ParsePath(b)
		if err == nil && !bytes.Equal(mpt.AppendPath(nil, p), b) {
			t.Errorf("%x is written back as %x", b, mpt.AppendPath(nil, p))
		}
		steps, stepsErr := mpt.ParseSteps(b)
		if stepsErr == nil && !bytes.Equal(mpt.AppendSteps(nil, steps), b) {
			t.Errorf("the steps %x are written back as %x", b, mpt.AppendSteps(nil, steps))
		}
		for _, err := range []error{err, stepsErr} {
			if err != nil && !errors.Is(err, mpt.ErrMalformed) {
				t.Errorf("error of another kind: %v", err)
			}
		}
	})
}

func FuzzVerifyLookup(f *testing.F) {
	tree := bigTree(f, 50)
	root := tree.Root()
	for _, i := range []int{1, 60} {
		proof, value, present := tree.Prove(keyOf(i))
		f.Add(i, value, present, proof)
	}
	f.Fuzz(func(t *testing.T, i int, value []byte, present bool, proof []byte) {
		if mpt.VerifyLookup(root, keyOf(i), value, present, proof) != nil {
			return
		}
		if wantProof, want, there := tree.Prove(keyOf(i)); there != present || !bytes.Equal(want, value) || !bytes.Equal(wantProof, proof) {
			t.Errorf("%d: %x, %t was proved with %x", i, value, present, proof)
		}
	})
}

// TestProofSizes holds the proofs of random keys to a kilobyte; with
// MEDLEDGER_LONG=1 also at a million keys.
func TestProofSizes(t *testing.T) {
	sizes := []int{10_000}
	if os.Getenv("MEDLEDGER_LONG") == "1" {
		sizes = []int{200_000, 1_000_000}
	}
	for _, n := range sizes {
		tree := bigTree(t, n)
		for _, first := range []int{0, n} {
			var lengths []int
			for i := range n / 10 {
				proof, _, _ := tree.Prove(keyOf(first + i))
				lengths = append(lengths, len(proof))
			}
			slices.Sort(lengths)
			line := fmt.Sprintf("%d keys, present: %t: p50 %d, p99 %d, max %d bytes", n, first == 0,
				lengths[len(lengths)/2], lengths[len(lengths)*99/100], lengths[len(lengths)-1])
			t.Log(line)
			if lengths[len(lengths)*99/100] > 1024 {
				t.Errorf("proofs longer than 1 KiB: %s", line)
			}
		}
	}
}
