package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/medledger/medledger/events/store/disk"
)

const (
	keySize   = 32
	nonceSize = 12
	tagSize   = 16

	keyCheckContext = "medledger/vault/key-check/v1\x00"
)

// rootKey is the root key of a vault of an earlier program: a file, under whose key
// that of every record or version is wrapped.
type rootKey struct {
	bytes [keySize]byte
	aead  cipher.AEAD
}

func loadRootKey(fsys disk.FS, path string) (*rootKey, error) {
	info, err := fsys.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing: put it back from your copy of the secrets (without it the contents cannot be read): %w", ErrRootKey, path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRootKey, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %v, others may read it: run chmod 600 on it, and if others could have read it, replace it", ErrRootKey, path, info.Mode())
	}
	text, err := disk.ReadFile(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRootKey, err)
	}
	defer clear(text)
	key, err := parseRootKey(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s %w: put it back from your copy of the secrets", ErrRootKey, path, err)
	}
	return key, nil
}

// parseRootKey reads 64 hex digits and an optional line feed.
func parseRootKey(text []byte) (*rootKey, error) {
	if n := len(text); n == 2*keySize+1 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	key := new(rootKey)
	if len(text) != 2*keySize {
		return nil, fmt.Errorf("does not hold 64 hex digits")
	}
	if _, err := hex.Decode(key.bytes[:], text); err != nil {
		return nil, fmt.Errorf("does not hold 64 hex digits")
	}
	aead, err := newGCM(&key.bytes)
	if err != nil {
		return nil, err
	}
	key.aead = aead
	return key, nil
}

// verify reports whether value is the key check that such a vault keeps of its root
// key.
func (k *rootKey) verify(value []byte) bool {
	if len(value) != nonceSize+tagSize {
		return false
	}
	_, err := k.aead.Open(nil, value[:nonceSize], value[nonceSize:], []byte(keyCheckContext))
	return err == nil
}

func (k *rootKey) wipe() { clear(k.bytes[:]) }

func newGCM(key *[keySize]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
