package vault

import (
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

// slot is the place of a named key in the tree, from 1, never used twice.
type slot int64

// newKey is a named key that is to be kept.
type newKey struct {
	slot slot
	key  *[keySize]byte
}

// prove returns what shows that a key is the one of a name and a slot: whoever
// writes to the database without knowing keys cannot give a name another's key,
// under which things would outlive the name's destruction. What lies under a
// record's key is bound to the record itself.
func prove(key *[keySize]byte, n keyName, s slot, random io.Reader) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return seal(aead, random, nil, namedContext(s, n))
}

// proven holds a key to what prove made.
func proven(key *[keySize]byte, n keyName, s slot, proof []byte) error {
	if len(proof) != proofSize {
		return fmt.Errorf("proof of a named key with %d bytes: %w", len(proof), errWrapped)
	}
	aead, err := newGCM(key)
	if err != nil {
		return err
	}
	if _, err := unseal(aead, proof, namedContext(s, n)); err != nil {
		return fmt.Errorf("proof of a named key: %w", err)
	}
	return nil
}

var (
	// errNoKey says that a slot has no key, or none any more.
	errNoKey = errors.New("there is no key in the slot")
	// errUnread says that nothing is known of a key: the database or custody could
	// not be read.
	errUnread = errors.New("the key tree could not be read")
)
