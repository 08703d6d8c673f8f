package vault

import (
	"fmt"

	"github.com/medledger/medledger/events"
)

// CorruptError says that a ciphertext or a wrapped key is damaged, misplaced or
// forged. Nothing of the bad part was released. The remedy is a backup.
type CorruptError struct {
	// Record and Version name the content; zero if it is a document.
	Record  events.ID
	Version uint32
	// Document is the place of the document; zero if it is a content.
	Document Place
	Err      error // what was found
}

func (e *CorruptError) Error() string {
	if e.Document != (Place{}) {
		return fmt.Sprintf("document %v is damaged, restore it from a backup: %v", e.Document.ID, e.Err)
	}
	return fmt.Sprintf("content of record %v version %d is damaged, restore it from a backup: %v", e.Record, e.Version, e.Err)
}

// Unwrap returns what was found.
func (e *CorruptError) Unwrap() error { return e.Err }

// TakenError says that a term of a document leads to another document of the
// same space. It wraps ErrTaken.
type TakenError struct {
	Owner, ID events.ID // of the other document
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%v: document %v; find it by the term, or leave the term out", ErrTaken, e.ID)
}

// Unwrap returns ErrTaken.
func (e *TakenError) Unwrap() error { return ErrTaken }
