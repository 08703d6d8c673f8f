package vault

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events"
)

const (
	chunkSize    = 64 << 10
	sealedChunk  = chunkSize + tagSize
	contextSize  = 32
	contextMagic = "MLVAULT\x01"
)

var errContext = errors.New("malformed header of a large content")

// versionContext is what a ciphertext is bound to, and the header of a large
// file.
type versionContext struct {
	record  events.ID
	version uint32
}

func (c versionContext) marshal() []byte {
	b := make([]byte, 0, contextSize)
	b = append(b, contextMagic...)
	b = appendName(b, c.record, c.version)
	return binary.BigEndian.AppendUint32(b, chunkSize)
}

// parseContext is strict: it accepts only what marshal writes.
func parseContext(b []byte) (versionContext, error) {
	if len(b) != contextSize {
		return versionContext{}, fmt.Errorf("%d bytes: %w", len(b), errContext)
	}
	if string(b[:8]) != contextMagic {
		return versionContext{}, fmt.Errorf("unknown format: %w", errContext)
	}
	if n := binary.BigEndian.Uint32(b[28:]); n != chunkSize {
		return versionContext{}, fmt.Errorf("chunks of %d bytes: %w", n, errContext)
	}
	return versionContext{
		record:  events.ID(b[8:24]),
		version: binary.BigEndian.Uint32(b[24:28]),
	}, nil
}

// chunks returns how many chunks a content of size bytes has.
func chunks(size int64) int64 { return max(1, (size+chunkSize-1)/chunkSize) }

// sealedSize returns the length of the ciphertext of size bytes.
func sealedSize(size int64) int64 { return size + chunks(size)*tagSize }

// stream seals or opens the chunks of one content, in order.
type stream struct {
	aead  cipher.AEAD
	aad   []byte
	chunk uint64 // counter of the next chunk
}

func newStream(key *[keySize]byte, c versionContext) (*stream, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return &stream{aead: aead, aad: c.marshal()}, nil
}

func (s *stream) nonce(last bool) [nonceSize]byte {
	var n [nonceSize]byte
	binary.BigEndian.PutUint64(n[3:11], s.chunk)
	if last {
		n[11] = 1
	}
	s.chunk++
	return n
}

// seal appends the next sealed chunk to dst.
func (s *stream) seal(dst, plain []byte, last bool) []byte {
	n := s.nonce(last)
	return s.aead.Seal(dst, n[:], plain, s.aad)
}

// sealAll appends the whole ciphertext of plain to dst.
func (s *stream) sealAll(dst, plain []byte) []byte {
	for len(plain) > chunkSize {
		dst = s.seal(dst, plain[:chunkSize], false)
		plain = plain[chunkSize:]
	}
	return s.seal(dst, plain, true)
}

// open decrypts the next chunk in place.
func (s *stream) open(sealed []byte, last bool) ([]byte, error) {
	n := s.nonce(last)
	return s.aead.Open(sealed[:0], n[:], sealed, s.aad)
}
