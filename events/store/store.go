// Package store is the contract of an event store: an append-only collection
// of streams of signed statements with one total order over all of them.
//
// A store knows nothing of what a statement says. It keeps bytes, in order,
// and gives them back unchanged. Each engine has a folder beneath this one and
// passes the same suite, events/store/storetest.
//
// The contract in MUST language:
//
//   - When Append returns without error, what was appended MUST survive the
//     crash of the process and of the machine. An engine whose write or sync
//     failed MUST refuse every later append (ErrStopped): whether the failed
//     append is there is unknown until the store is opened again.
//   - A conflict MUST write nothing and is a *ConflictError.
//   - An event whose id is known MUST NOT be written again. With the same
//     stream and bytes the append succeeds; with others it is a
//     *DuplicateError. An append of several events repeats them all or none.
//   - Positions grow in the order in which events were appended and MAY have
//     gaps. A position means nothing outside the store that issued it.
//   - Every method may be called from several goroutines at once.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/medledger/medledger/events"
)

// MaxStatement is the largest statement in bytes: what one entry of a C2SP
// tlog-tiles entry bundle can hold.
const MaxStatement = 65535

// MaxStream is the longest stream name in bytes.
const MaxStream = 255

// Position is a cursor into the order of all events. Zero lies before the
// first event.
type Position uint64

// Expected says what an append demands of its stream.
type Expected int64

const (
	// Any demands nothing.
	Any Expected = -2
	// NoStream demands that the stream has no events yet.
	NoStream Expected = -1
	// Every other value is the revision that the stream's last event must have.
)

// Event is what a caller appends.
type Event struct {
	ID        events.ID
	Statement []byte
}

// Append asks for events to be appended to one stream, all or none.
type Append struct {
	Stream   string
	Expected Expected
	Events   []Event
}

// Record is a stored event.
type Record struct {
	Position  Position
	Stream    string
	Revision  uint64 // place within the stream, from 0
	ID        events.ID
	Statement []byte // not to be modified
}

// Store is an event store.
type Store interface {
	// Append appends to one stream and returns the position of the last of the
	// events. It is durable when it returns.
	Append(ctx context.Context, a Append) (Position, error)
	// Lookup returns the event with the given id, or ErrNotFound.
	Lookup(ctx context.Context, id events.ID) (Record, error)
	// Read returns the events of a stream from the given revision on, oldest
	// first. A stream that does not exist has no events.
	Read(ctx context.Context, stream string, from uint64) iter.Seq2[Record, error]
	// ReadAll returns the events after the given position, oldest first, up to
	// the newest at some moment after the call.
	ReadAll(ctx context.Context, after Position) iter.Seq2[Record, error]
	// Follow is ReadAll that waits for more; it ends with the context's error
	// or when the store is closed (ErrClosed).
	Follow(ctx context.Context, after Position) iter.Seq2[Record, error]
	// Close releases what the store holds. Later calls return ErrClosed.
	Close() error
}

// Batcher is a Store with one writer that can commit appends to many streams
// in one durable write.
type Batcher interface {
	Store
	// AppendBatch commits all of the appends in the given order, or none of
	// them, also across a crash, and returns the position of each one's last
	// event. The same stream may occur more than once. An append that repeats
	// known events takes no place in the order.
	AppendBatch(ctx context.Context, batch []Append) ([]Position, error)
}

var (
	// ErrNotFound says that no event has the id.
	ErrNotFound = errors.New("no such event")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("event store is closed")
	// ErrStopped is wrapped by every error after a failed write: the store must
	// be closed and opened again, which finds out what is on the disk.
	ErrStopped = errors.New("event store stopped after a failed write; close it and open it again")
	// ErrTooLarge says that a statement or a stream name exceeds its limit.
	ErrTooLarge = errors.New("over the event store's size limit")
	// ErrInvalid says that an append is malformed: no events, no stream, a zero
	// or repeated event id.
	ErrInvalid = errors.New("malformed append")
)

// ConflictError says that a stream was not where the append expected it.
type ConflictError struct {
	Stream   string
	Expected Expected
	Actual   Expected // NoStream or the last revision
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("stream %q is at revision %d, not at %d", e.Stream, e.Actual, e.Expected)
}

// DuplicateError says that an event id is taken by another event.
type DuplicateError struct {
	ID events.ID
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("event id %v is taken by an event with other bytes or another stream", e.ID)
}

// Check returns an error that wraps ErrInvalid or ErrTooLarge if a is malformed.
// Engines call it before anything else.
func (a Append) Check() error {
	switch {
	case a.Stream == "":
		return fmt.Errorf("append without a stream: %w", ErrInvalid)
	case len(a.Stream) > MaxStream:
		return fmt.Errorf("stream name of %d bytes: %w", len(a.Stream), ErrTooLarge)
	case len(a.Events) == 0:
		return fmt.Errorf("append without events: %w", ErrInvalid)
	case a.Expected < Any:
		return fmt.Errorf("append expecting revision %d: %w", a.Expected, ErrInvalid)
	}
	for i, e := range a.Events {
		if e.ID.IsZero() {
			return fmt.Errorf("event without an id: %w", ErrInvalid)
		}
		if len(e.Statement) == 0 {
			return fmt.Errorf("event %v without a statement: %w", e.ID, ErrInvalid)
		}
		if len(e.Statement) > MaxStatement {
			return fmt.Errorf("statement of %d bytes, limit %d: %w", len(e.Statement), MaxStatement, ErrTooLarge)
		}
		for _, earlier := range a.Events[:i] {
			if earlier.ID == e.ID {
				return fmt.Errorf("event id %v twice in one append: %w", e.ID, ErrInvalid)
			}
		}
	}
	return nil
}
