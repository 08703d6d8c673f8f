// Package custody keeps the keys that must be able to die: the root keys of the
// vault's key tree, and the keys of its backups. Everything that a destruction
// proves rests on one promise of this package, that a key which Destroy has
// destroyed is nowhere any more; what stands between that promise and whoever
// steals a disk depends on the kind of custody.
//
// Only ledger/vault and ledger/backup call it.
package custody

import (
	"context"
	"errors"
)

// KeySize is the size of what is sealed most often, an AES-256 key, in bytes.
const KeySize = 32

// MaxPlain is how many bytes Seal takes at most, and MaxSealed how many it makes of
// them at most.
const (
	MaxPlain  = 64
	MaxSealed = MaxPlain + 64
)

// Kind says where keys are, and with it what their destruction withstands. It
// stands in the events that attest a destruction.
type Kind string

const (
	// File is a folder outside the data folder. Destruction does not withstand an
	// image of the disk that it was on.
	File Kind = "file"
	// Token is a PKCS #11 token, which keys never leave in the clear. Destruction
	// withstands images of every disk.
	Token Kind = "token"
)

var (
	// ErrNoKey says that there is no key of the name, or none any more.
	ErrNoKey = errors.New("no such key in custody")
	// ErrExists says that there is a key of the name already.
	ErrExists = errors.New("there is such a key in custody already")
	// ErrSealed says that something sealed cannot be opened: it was made with
	// another key or for another context, or was altered.
	ErrSealed = errors.New("it was not sealed with this key for this use")
	// ErrUnavailable says that custody cannot be reached: the token's helper does
	// not answer, the folder cannot be read, or it was closed. Nothing is known of
	// the keys.
	ErrUnavailable = errors.New("custody is not available")
	// ErrName says that a name is not 1 to 64 of a-z, 0-9 and '-'.
	ErrName = errors.New("malformed name of a key")
	// ErrTooLong says that there is more to be sealed than MaxPlain bytes.
	ErrTooLong = errors.New("too long to be sealed in custody")
)

// Custody keeps AES-256 keys by their names. Every method that takes a name answers
// ErrName if it is malformed. Its methods may be called from
// several goroutines at once; two calls that change the key of one name MUST NOT
// be made at once.
type Custody interface {
	// Kind is where the keys are.
	Kind() Kind
	// Create makes a new random key. It is durable when Create returns; a crash
	// leaves it or nothing of it. ErrExists if the name is taken.
	Create(ctx context.Context, name string) error
	// Seal encrypts and authenticates at most MaxPlain bytes, bound to a context
	// that Open must be given again (AES-256-GCM with a random nonce, NIST SP
	// 800-38D), and returns at most MaxSealed bytes. ErrNoKey, ErrTooLong.
	Seal(ctx context.Context, name string, plain, context []byte) ([]byte, error)
	// Open opens what Seal sealed. ErrNoKey, ErrSealed. The caller wipes the
	// result.
	Open(ctx context.Context, name string, sealed, context []byte) ([]byte, error)
	// Destroy destroys a key, durably: once it has returned without an error, what
	// was sealed with it cannot be opened. A key that is not there is no error, so
	// that a destruction can be completed after a crash.
	Destroy(ctx context.Context, name string) error
	// Names lists the keys that there are, sorted.
	Names(ctx context.Context) ([]string, error)
	// Close releases what is held, and wipes keys from memory. Calls after it fail
	// with ErrUnavailable; a second Close does nothing.
	Close() error
}

// CheckName returns an error that wraps ErrName unless name can be a key's.
func CheckName(name string) error {
	if len(name) < 1 || len(name) > 64 {
		return ErrName
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return ErrName
		}
	}
	return nil
}
