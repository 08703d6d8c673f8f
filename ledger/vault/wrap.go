package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/commitment"
)

const (
	wrapFormat   = 1
	wrapContext  = "medledger/vault/key/v1\x00"
	secretsFixed = keySize + commitment.SaltSize + 8 + 1
	minWrapped   = 1 + nonceSize + secretsFixed + tagSize
)

var errWrapped = errors.New("malformed wrapped key")

// secrets are what the vault keeps wrapped of a version.
type secrets struct {
	key         [keySize]byte
	salt        [commitment.SaltSize]byte
	size        int64 // of the content, in bytes
	contentType string
}

func (s *secrets) wipe() {
	clear(s.key[:])
	clear(s.salt[:])
}

// newSecrets draws a key and a salt.
func newSecrets(random io.Reader) (*secrets, error) {
	s := new(secrets)
	var b [keySize + commitment.SaltSize]byte
	defer clear(b[:])
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("reading randomness for a content key: %w", err)
	}
	copy(s.key[:], b[:])
	copy(s.salt[:], b[keySize:])
	return s, nil
}

func (s *secrets) marshal(b []byte) []byte {
	b = append(b, s.key[:]...)
	b = append(b, s.salt[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.size))
	b = append(b, byte(len(s.contentType)))
	return append(b, s.contentType...)
}

func parseSecrets(b []byte) (*secrets, error) {
	if len(b) < secretsFixed || len(b) != secretsFixed+int(b[secretsFixed-1]) {
		return nil, fmt.Errorf("%d bytes of secrets: %w", len(b), errWrapped)
	}
	size := binary.BigEndian.Uint64(b[keySize+commitment.SaltSize:])
	if size > math.MaxInt64/2 {
		return nil, fmt.Errorf("content of %d bytes: %w", size, errWrapped)
	}
	s := &secrets{size: int64(size), contentType: string(b[secretsFixed:])}
	copy(s.key[:], b)
	copy(s.salt[:], b[keySize:])
	return s, nil
}

// wrap seals the secrets of a version.
func (k *rootKey) wrap(s *secrets, record events.ID, version uint32, random io.Reader) ([]byte, error) {
	b := make([]byte, 1+nonceSize, minWrapped+len(s.contentType))
	b[0] = wrapFormat
	if _, err := io.ReadFull(random, b[1:]); err != nil {
		return nil, fmt.Errorf("reading randomness for a nonce: %w", err)
	}
	plain := s.marshal(make([]byte, 0, secretsFixed+MaxContentType))
	defer clear(plain)
	return k.aead.Seal(b, b[1:], plain, wrapAAD(record, version)), nil
}

// unwrap opens what wrap sealed for the same version.
func (k *rootKey) unwrap(wrapped []byte, record events.ID, version uint32) (*secrets, error) {
	if len(wrapped) < minWrapped || len(wrapped) > minWrapped+MaxContentType {
		return nil, fmt.Errorf("%d bytes: %w", len(wrapped), errWrapped)
	}
	if wrapped[0] != wrapFormat {
		return nil, fmt.Errorf("format %d, this program knows %d: %w", wrapped[0], wrapFormat, errWrapped)
	}
	plain, err := k.aead.Open(nil, wrapped[1:1+nonceSize], wrapped[1+nonceSize:], wrapAAD(record, version))
	if err != nil {
		return nil, fmt.Errorf("wrapped key fails authentication: %w", err)
	}
	defer clear(plain)
	return parseSecrets(plain)
}

func wrapAAD(record events.ID, version uint32) []byte {
	b := make([]byte, 0, len(wrapContext)+20)
	b = append(b, wrapContext...)
	return appendName(b, record, version)
}

// appendName appends the 20 bytes that name a version.
func appendName(b []byte, record events.ID, version uint32) []byte {
	b = append(b, record[:]...)
	return binary.BigEndian.AppendUint32(b, version)
}
