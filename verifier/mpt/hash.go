package mpt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Hash is a node's SHA-256. It can be assigned to a tlog.Hash and back.
type Hash = [sha256.Size]byte

// leafTag and innerTag begin what is hashed, so that no leaf is an inner node.
const (
	leafTag  = 0x00
	innerTag = 0x01
)

// emptyRoot is SHA-256 of nothing.
var emptyRoot = sha256.Sum256(nil)

// EmptyRoot is the root of a tree without leaves.
func EmptyRoot() Hash { return emptyRoot }

// LeafHash returns the hash of a leaf.
func LeafHash(key, value []byte) Hash {
	var space [160]byte // enough for a key of 32 bytes and a value of 120
	return sha256.Sum256(AppendLeaf(append(space[:0], leafTag), key, value))
}

// InnerHash returns the hash of the inner node at a bit index.
func InnerHash(bit int, left, right Hash) Hash {
	var space [1 + binary.MaxVarintLen64 + 2*sha256.Size]byte
	b := binary.AppendUvarint(append(space[:0], innerTag), uint64(bit))
	b = append(b, left[:]...)
	return sha256.Sum256(append(b, right[:]...))
}

// BitOf returns a bit of the continued key: 0 or 1.
func BitOf(key []byte, bit int) int {
	return int(byteOf(key, bit/8)>>(7-bit%8)) & 1
}

// byteOf returns a byte of the continued key.
func byteOf(key []byte, i int) byte {
	switch {
	case i < len(key):
		return key[i]
	case i == len(key):
		return 0
	}
	return 0xff
}

// FirstDifference returns the index of the first bit in which two keys, continued,
// differ. They must differ.
func FirstDifference(a, b []byte) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	for byteOf(a, i) == byteOf(b, i) {
		i++
	}
	return 8*i + bits.LeadingZeros8(byteOf(a, i)^byteOf(b, i))
}

// hasPrefix reports whether the key, continued, begins with prefix.
func hasPrefix(key, prefix []byte) bool {
	if len(prefix) <= len(key) {
		return bytes.HasPrefix(key, prefix)
	}
	for i := range prefix {
		if byteOf(key, i) != prefix[i] {
			return false
		}
	}
	return true
}
