package mpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// MaxLength bounds keys and values in bytes.
	MaxLength = 1 << 16

	// maxBit is beyond every bit in which two keys of at most MaxLength can differ.
	maxBit = 8 * (MaxLength + 1)
)

var (
	// ErrMalformed is wrapped by the errors of bytes that are no proof.
	ErrMalformed = errors.New("malformed")
	// ErrProof is wrapped by the errors of well-formed proofs that do not prove what
	// they should.
	ErrProof = errors.New("proof does not verify")
)

// Step is an inner node on the way from a leaf to the root.
type Step struct {
	Bit     int
	Sibling Hash // of the child that is not on the way
}

// Path is a leaf with the steps from it to the root.
type Path struct {
	Key, Value []byte
	Steps      []Step
}

// AppendLeaf appends the encoding of a leaf.
func AppendLeaf(b, key, value []byte) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// AppendStep appends the encoding of a step.
func AppendStep(b []byte, bit int, sibling Hash) []byte {
	return append(binary.AppendUvarint(b, uint64(bit)), sibling[:]...)
}

// AppendSteps appends the encoding of steps.
func AppendSteps(b []byte, steps []Step) []byte {
	for _, s := range steps {
		b = AppendStep(b, s.Bit, s.Sibling)
	}
	return b
}

// AppendPath appends the encoding of a path.
func AppendPath(b []byte, p Path) []byte {
	return AppendSteps(AppendLeaf(b, p.Key, p.Value), p.Steps)
}

// ParsePath reads the path that b is. What it accepts, AppendPath writes back
// unchanged. Its errors wrap ErrMalformed. The key and the value alias b.
func ParsePath(b []byte) (p Path, err error) {
	if p.Key, p.Value, b, err = cutLeaf(b); err != nil {
		return Path{}, err
	}
	if p.Steps, err = ParseSteps(b); err != nil {
		return Path{}, err
	}
	return p, nil
}

// ParseSteps reads the steps that b is. What it accepts, AppendSteps writes back
// unchanged. Its errors wrap ErrMalformed.
func ParseSteps(b []byte) ([]Step, error) {
	var steps []Step
	for below := maxBit; len(b) > 0; {
		bit, rest, ok := cutNumber(b, below-1)
		if !ok {
			return nil, fmt.Errorf("bit index of step %d of a proof, which must be below %d: %w", len(steps), below, ErrMalformed)
		}
		if len(rest) < len(Hash{}) {
			return nil, fmt.Errorf("hash of step %d of a proof: %w", len(steps), ErrMalformed)
		}
		steps = append(steps, Step{bit, Hash(rest[:len(Hash{})])})
		b, below = rest[len(Hash{}):], bit
	}
	return steps, nil
}

// cutLeaf reads the leaf that b begins with.
func cutLeaf(b []byte) (key, value, rest []byte, err error) {
	key, rest, ok := cutString(b)
	if !ok {
		return nil, nil, nil, fmt.Errorf("key in a proof: %w", ErrMalformed)
	}
	value, rest, ok = cutString(rest)
	if !ok {
		return nil, nil, nil, fmt.Errorf("value in a proof: %w", ErrMalformed)
	}
	return key, value, rest, nil
}

// cutString reads the string, after its length, that b begins with.
func cutString(b []byte) (s, rest []byte, ok bool) {
	n, rest, ok := cutNumber(b, MaxLength)
	if !ok || n > len(rest) {
		return nil, nil, false
	}
	return rest[:n:n], rest[n:], true
}

// cutNumber reads the number, of at most limit and in its shortest form, that b
// begins with.
func cutNumber(b []byte, limit int) (n int, rest []byte, ok bool) {
	u, size := binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 || limit < 0 || u > uint64(limit) {
		return 0, nil, false
	}
	return int(u), b[size:], true
}

// VerifyLookup checks that in the tree with the given root the key has the value,
// or, if present is false, that the key is absent; value is empty then. Its errors
// wrap ErrMalformed or ErrProof.
func VerifyLookup(root Hash, key, value []byte, present bool, proof []byte) error {
	switch {
	case len(key) > MaxLength || len(value) > MaxLength:
		return fmt.Errorf("key of %d bytes, value of %d, limit %d: %w", len(key), len(value), MaxLength, ErrProof)
	case present:
		return verifyPresent(root, key, value, proof)
	case len(value) != 0:
		return fmt.Errorf("an absent key with a value: %w", ErrProof)
	}
	_, err := verifyAbsent(root, key, proof)
	return err
}

func verifyPresent(root Hash, key, value, proof []byte) error {
	steps, err := ParseSteps(proof)
	if err != nil {
		return err
	}
	if climb(LeafHash(key, value), key, steps) != root {
		return fmt.Errorf("the path from the leaf ends at another root: %w", ErrProof)
	}
	return nil
}

// verifyAbsent returns the path that ends in place of the absent key's; in an empty tree
// there is none.
func verifyAbsent(root Hash, key, proof []byte) (Path, error) {
	if root == emptyRoot {
		if len(proof) != 0 {
			return Path{}, fmt.Errorf("%d bytes of proof for an empty tree: %w", len(proof), ErrProof)
		}
		return Path{}, nil
	}
	p, err := ParsePath(proof)
	if err != nil {
		return Path{}, err
	}
	if bytes.Equal(p.Key, key) {
		return Path{}, fmt.Errorf("the path ends at the key that should be absent: %w", ErrProof)
	}
	for _, s := range p.Steps {
		if BitOf(p.Key, s.Bit) != BitOf(key, s.Bit) {
			return Path{}, fmt.Errorf("the path leaves that of the absent key at bit %d: %w", s.Bit, ErrProof)
		}
	}
	if climb(LeafHash(p.Key, p.Value), p.Key, p.Steps) != root {
		return Path{}, fmt.Errorf("the path from the neighbour ends at another root: %w", ErrProof)
	}
	return p, nil
}

// VerifyPrefix checks that in the tree with the given root all keys that begin with
// prefix lie under the node with the given hash, or that there are none if the hash
// is EmptyRoot(). Others may lie under it as well: whoever was given the entries
// checks that each begins with prefix and that they hash to it. Its errors wrap
// ErrMalformed or ErrProof.
func VerifyPrefix(root Hash, prefix []byte, hash Hash, proof []byte) error {
	if len(prefix) > MaxLength {
		return fmt.Errorf("prefix of %d bytes, limit %d: %w", len(prefix), MaxLength, ErrProof)
	}
	if hash == emptyRoot {
		return verifyNone(root, prefix, proof)
	}
	steps, err := ParseSteps(proof)
	if err != nil {
		return err
	}
	if len(steps) > 0 && steps[0].Bit >= 8*len(prefix) {
		return fmt.Errorf("the node at bit %d leaves out keys with a prefix of %d bits: %w", steps[0].Bit, 8*len(prefix), ErrProof)
	}
	if climb(hash, prefix, steps) != root {
		return fmt.Errorf("the path from the node ends at another root: %w", ErrProof)
	}
	return nil
}

func verifyNone(root Hash, prefix, proof []byte) error {
	p, err := verifyAbsent(root, prefix, proof)
	if err != nil {
		return err
	}
	if root != emptyRoot && hasPrefix(p.Key, prefix) {
		return fmt.Errorf("the path ends at a key with the prefix: %w", ErrProof)
	}
	return nil
}

// climb returns the root above a node of the given hash on the way to key.
func climb(hash Hash, key []byte, steps []Step) Hash {
	for _, s := range steps {
		if BitOf(key, s.Bit) == 0 {
			hash = InnerHash(s.Bit, hash, s.Sibling)
		} else {
			hash = InnerHash(s.Bit, s.Sibling, hash)
		}
	}
	return hash
}
