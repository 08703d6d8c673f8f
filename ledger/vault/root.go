package vault

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/medledger/medledger/events/store/disk"
)

// ErrRootKey is wrapped by the errors of Open about the root key file.
var ErrRootKey = errors.New("root key refused")

const (
	keySize   = 32
	nonceSize = 12
	tagSize   = 16

	keyCheckContext = "medledger/vault/key-check/v1\x00"
)

// rootKey wraps the keys of versions. It is the seam at which a hierarchy of
// keys takes the place of the single one.
type rootKey struct {
	bytes [keySize]byte
	aead  cipher.AEAD
}

// CreateRootKey writes a new root key, 32 bytes from random in hex, to a file
// that must not exist yet (fs.ErrExist), readable by its owner only. The file is
// durable when CreateRootKey returns. Nobody else may create it at the same time.
// Whoever loses it loses every content of the vault.
func CreateRootKey(fsys disk.FS, path string, random io.Reader) error {
	var key [keySize]byte
	defer clear(key[:])
	if _, err := io.ReadFull(random, key[:]); err != nil {
		return fmt.Errorf("reading randomness for a root key: %w", err)
	}
	if _, err := fsys.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("creating root key file %s: %w", path, cmp.Or(err, fs.ErrExist))
	}
	text := append(hex.AppendEncode(nil, key[:]), '\n')
	defer clear(text)
	// Crash before: no key, and no vault that would need it. Crash after: a whole
	// one.
	if err := disk.WriteFile(fsys, path, text, 0o600); err != nil {
		return fmt.Errorf("writing root key file %s: %w", path, err)
	}
	return nil
}

func loadRootKey(fsys disk.FS, path string) (*rootKey, error) {
	info, err := fsys.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing: for a new vault create a root key, for an existing one restore its root key file from its backup (without it the contents cannot be read): %w", ErrRootKey, path, err)
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
		return nil, fmt.Errorf("%w: %s %w: restore it from its backup, or if no vault was made with it yet, remove it and create a new one", ErrRootKey, path, err)
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

// check returns a value by which verify recognises the key.
func (k *rootKey) check(random io.Reader) ([]byte, error) {
	nonce := make([]byte, nonceSize, nonceSize+tagSize)
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("reading randomness for a nonce: %w", err)
	}
	return k.aead.Seal(nonce, nonce, nil, []byte(keyCheckContext)), nil
}

// verify reports whether value was made by check of the same key.
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
