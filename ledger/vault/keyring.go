package vault

import (
	"context"
	"crypto/cipher"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/medledger/medledger/events"
)

// keyKind says what a named key is for. The numbers are part of the format.
type keyKind uint8

const (
	recordKey     keyKind = 1 // of a record: wraps the secrets of its versions
	patientKey    keyKind = 2 // of a patient: seals identity documents
	accountingKey keyKind = 3 // of a patient: seals accounting documents
	directoryKey  keyKind = 4 // of the ledger: seals directory documents
	indexKey      keyKind = 5 // of the ledger: digests terms
)

// keyName names a named key. The owner is a record or a patient, and zero for a
// key of the ledger's.
type keyName struct {
	kind  keyKind
	owner events.ID
}

const keyNameSize = 17

func recordName(record events.ID) keyName { return keyName{recordKey, record} }

func (n keyName) append(b []byte) []byte {
	return append(append(b, byte(n.kind)), n.owner[:]...)
}

// slot is the place of a named key, from 1, never used twice.
type slot int64

// newKey is a named key that is to be kept.
type newKey struct {
	slot slot
	name keyName
	key  *[keySize]byte
}

// keyring keeps the named keys below the root key. It is the seam at which a
// tree of keys, whose path to the root is made anew with each destruction,
// takes the place of wrapping under the root key: everything above knows a
// named key by its slot and name, so no format above it changes.
//
// A named key has one row in the table keys. create and destroy belong to the
// committing goroutine and are called inside its transaction: they MUST write
// through the same connection and MUST NOT commit. If the transaction is rolled
// back, nothing of them counts and the vault stops. complete is called after the
// commit of a transaction with destructions that somebody is promised, once for
// all of them, and when it returns without error every key that was destroyed
// until then MUST be gone; what a discard destroyed waits for the next one, or for
// the next Open. After an error it MAY be called again without another
// destruction. open is for every goroutine at once.
type keyring interface {
	// create wraps keys and adds their rows.
	create(ctx context.Context, keys []newKey) error
	// open unwraps a key. wrapped is the column of its row, read just now; a
	// keyring that wraps anew MUST read it again itself before it says that the
	// key is damaged.
	open(s slot, name keyName, wrapped []byte) ([keySize]byte, error)
	// destroy makes the key of a slot unreadable.
	destroy(ctx context.Context, s slot) error
	// complete ends what destroy began.
	complete(ctx context.Context) error
	// close wipes what is in memory. Nothing may be called after it.
	close() error
}

// flatKeyring wraps every named key under the root key.
type flatKeyring struct {
	root   *rootKey
	random io.Reader
	conn   *sql.Conn
	insert []sized
	zero   *sql.Stmt
}

const (
	insertKeys = "INSERT INTO keys (slot, name, wrapped) VALUES %s"
	zeroKey    = "UPDATE keys SET name = zeroblob(length(name)), wrapped = zeroblob(length(wrapped)) WHERE slot = ?"
)

// newFlatKeyring returns a keyring that writes through conn.
func newFlatKeyring(ctx context.Context, conn *sql.Conn, root *rootKey, random io.Reader) (*flatKeyring, error) {
	k := &flatKeyring{root: root, random: random, conn: conn}
	var err error
	if k.insert, err = prepareSized(ctx, conn, insertKeys, "(?, ?, ?)"); err != nil {
		return k, err
	}
	k.zero, err = conn.PrepareContext(ctx, zeroKey)
	return k, err
}

func (k *flatKeyring) create(ctx context.Context, keys []newKey) error {
	return grouped(k.insert, keys, func(stmt *sql.Stmt, group []newKey) error {
		args := make([]any, 0, 3*len(group))
		for _, n := range group {
			wrapped, err := wrapNamed(k.root.aead, k.random, n)
			if err != nil {
				return err
			}
			args = append(args, int64(n.slot), n.name.append(make([]byte, 0, keyNameSize)), wrapped)
		}
		_, err := stmt.ExecContext(ctx, args...)
		return err
	})
}

func (k *flatKeyring) open(s slot, name keyName, wrapped []byte) ([keySize]byte, error) {
	return unwrapNamed(k.root.aead, s, name, wrapped)
}

func (k *flatKeyring) destroy(ctx context.Context, s slot) error {
	_, err := k.zero.ExecContext(ctx, int64(s))
	return err
}

// complete truncates the write-ahead log. Crash before: the destroyed keys can
// still be found in it, or in a database file that it has not reached; nothing
// opens them (the tombstone is durable) and the next Open truncates it. Crash
// after: they are nowhere in SQLite's files.
func (k *flatKeyring) complete(ctx context.Context) error { return checkpoint(ctx, k.conn) }

func (k *flatKeyring) close() error {
	k.root.wipe()
	return k.closeStatements()
}

func (k *flatKeyring) closeStatements() error {
	err := closeSized(k.insert)
	if k.zero != nil {
		err = errors.Join(err, k.zero.Close())
	}
	return err
}

// wrapNamed seals a named key under the one above it.
func wrapNamed(above cipher.AEAD, random io.Reader, n newKey) ([]byte, error) {
	return seal(above, random, n.key[:], namedContext(n.slot, n.name))
}

// unwrapNamed opens what wrapNamed sealed for the same slot and name.
func unwrapNamed(above cipher.AEAD, s slot, name keyName, wrapped []byte) (key [keySize]byte, err error) {
	if len(wrapped) != wrappedNamedSize {
		return key, fmt.Errorf("named key of %d bytes: %w", len(wrapped), errWrapped)
	}
	plain, err := unseal(above, wrapped, namedContext(s, name))
	if err != nil {
		return key, fmt.Errorf("named key: %w", err)
	}
	copy(key[:], plain)
	clear(plain)
	return key, nil
}
