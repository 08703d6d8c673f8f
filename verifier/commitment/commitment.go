// Package commitment binds the ledger to contents that it does not show. A
// leaf of the log carries a commitment; whoever is given the contents and the
// salt checks, offline and without the ledger, that they are what was recorded.
//
// # Format
//
// The commitment to content under a 32-byte salt is
//
//	SHA-256( domain || salt || content || size )
//
// where domain is the 24 bytes of the ASCII text "medledger/commitment/v1" and
// a zero byte, salt is 32 bytes, content is the content as it is, and size is
// the length of content in bytes as an unsigned 64-bit big-endian integer.
// Domain, salt and size have fixed lengths, so no two triples have the same
// encoding; the size comes last, so the commitment can be computed over a
// stream whose length is not known beforehand.
//
// # What it proves
//
// Binding rests on the collision resistance of SHA-256. Hiding rests on the
// salt: it must be random, used for one content only, and kept with the
// content. When salt and content are destroyed, the commitment that stays in
// the log says nothing about either, even to someone who guesses the content.
//
// testdata/vectors.json holds test vectors: salt and commitment in hex, the
// content as a byte pattern repeated up to a size.
package commitment

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

const (
	// Size is the length of a commitment in bytes.
	Size = sha256.Size
	// SaltSize is the length of a salt in bytes.
	SaltSize = 32

	domain = "medledger/commitment/v1\x00"
)

// ErrMismatch says that content and salt are not what was committed to: the
// content, the salt or the commitment was altered, or they belong to different
// records.
var ErrMismatch = errors.New("the content and salt do not open the commitment")

// Hash computes a commitment over content written to it piece by piece. It is
// not for concurrent use.
type Hash struct {
	h    hash.Hash
	size uint64
}

// New starts a commitment under salt.
func New(salt [SaltSize]byte) *Hash {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(salt[:])
	return &Hash{h: h}
}

// Write adds content. It never fails.
func (c *Hash) Write(p []byte) (int, error) {
	c.size += uint64(len(p))
	return c.h.Write(p)
}

// Len returns how many bytes of content were written.
func (c *Hash) Len() int64 { return int64(c.size) }

// Sum returns the commitment to what was written and ends it: nothing may be
// written afterwards.
func (c *Hash) Sum() [Size]byte {
	c.h.Write(binary.BigEndian.AppendUint64(nil, c.size))
	return [Size]byte(c.h.Sum(nil))
}

// Verify reads content to its end and returns its size in bytes if content and
// salt open the commitment, ErrMismatch if they do not, and a wrapped error of
// content's if it cannot be read. Until Verify returns nil nothing that was
// read may be trusted.
func Verify(commitment [Size]byte, salt [SaltSize]byte, content io.Reader) (int64, error) {
	c := New(salt)
	if _, err := io.Copy(c, content); err != nil {
		return 0, fmt.Errorf("reading the content of a commitment: %w", err)
	}
	size, sum := c.Len(), c.Sum()
	if subtle.ConstantTimeCompare(sum[:], commitment[:]) != 1 {
		return 0, ErrMismatch
	}
	return size, nil
}
