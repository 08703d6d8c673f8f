package vault

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/commitment"
)

const (
	sealFormat   = 1
	sealOverhead = 1 + nonceSize + tagSize

	namedKeyContext   = "medledger/vault/named-key/v1\x00"
	versionKeyContext = "medledger/vault/version/v1\x00"

	proofSize        = sealOverhead
	wrappedNamedSize = keySize + sealOverhead // in schema 2
	secretsFixed     = keySize + commitment.SaltSize + 8 + 1
	minWrapped       = secretsFixed + sealOverhead
	maxWrapped       = minWrapped + MaxContentType
)

var errWrapped = errors.New("malformed wrapped key")

// seal returns format, nonce and ciphertext of plain, bound to context.
func seal(aead cipher.AEAD, random io.Reader, plain, context []byte) ([]byte, error) {
	b := make([]byte, 1+nonceSize, len(plain)+sealOverhead)
	b[0] = sealFormat
	if _, err := io.ReadFull(random, b[1:]); err != nil {
		return nil, fmt.Errorf("reading randomness for a nonce: %w", err)
	}
	return aead.Seal(b, b[1:], plain, context), nil
}

// unseal opens what seal sealed in the same context. The caller wipes the
// plaintext.
func unseal(aead cipher.AEAD, sealed, context []byte) ([]byte, error) {
	if len(sealed) < sealOverhead {
		return nil, fmt.Errorf("%d bytes: %w", len(sealed), errWrapped)
	}
	if sealed[0] != sealFormat {
		return nil, fmt.Errorf("format %d, this program knows %d: %w", sealed[0], sealFormat, errWrapped)
	}
	plain, err := aead.Open(nil, sealed[1:1+nonceSize], sealed[1+nonceSize:], context)
	if err != nil {
		return nil, fmt.Errorf("it fails authentication: %w", err)
	}
	return plain, nil
}

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

// wrapSecrets seals the secrets of a version under its record's key.
func wrapSecrets(key *[keySize]byte, s *secrets, record events.ID, version uint32, random io.Reader) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	var buf [secretsFixed + MaxContentType]byte
	plain := s.marshal(buf[:0])
	defer clear(plain)
	return seal(aead, random, plain, versionAAD(record, version))
}

// unwrapSecrets opens what wrapSecrets sealed for the same version.
func unwrapSecrets(key *[keySize]byte, wrapped []byte, record events.ID, version uint32) (*secrets, error) {
	if len(wrapped) < minWrapped || len(wrapped) > maxWrapped {
		return nil, fmt.Errorf("version key of %d bytes: %w", len(wrapped), errWrapped)
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	plain, err := unseal(aead, wrapped, versionAAD(record, version))
	if err != nil {
		return nil, fmt.Errorf("version key: %w", err)
	}
	defer clear(plain)
	return parseSecrets(plain)
}

func namedContext(s slot, name keyName) []byte {
	b := make([]byte, 0, len(namedKeyContext)+keyNameSize+8)
	b = name.append(append(b, namedKeyContext...))
	return binary.BigEndian.AppendUint64(b, uint64(s))
}

func versionAAD(record events.ID, version uint32) []byte {
	b := make([]byte, 0, len(versionKeyContext)+20)
	b = append(b, versionKeyContext...)
	return appendName(b, record, version)
}

// appendName appends the 20 bytes that name a version.
func appendName(b []byte, record events.ID, version uint32) []byte {
	b = append(b, record[:]...)
	return binary.BigEndian.AppendUint32(b, version)
}
