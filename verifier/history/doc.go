// Package history is the proof that a record's history is complete: all events that
// the ledger's log has of it, with what it takes to see that none is left out. The
// log's verifier key alone checks it, offline and in one reading.
//
// Nothing here uses a network, a clock or a disk. All functions may be called from
// several goroutines at once.
//
// # Format
//
// A bundle is JSON Lines (application/jsonl): lines of canonical JSON (RFC 8785), each
// ended by a newline (U+000A) and at most 256 KiB long with it. The first is the
// header, an object with the members
//
//	announcements  how many announcements of statement keys follow, 1 to 4096
//	consistency    the consistency proof (RFC 6962 section 2.1.2) from the log at
//	               the leaf's size to the checkpoint, its hashes joined; "" if both
//	               are of one size
//	events         how many events of the record follow
//	format         "medledger.history.v1"
//	leaf           a leaf of the state log (package state), 73 bytes
//	log            a signed checkpoint of the log (package proof), as text
//	map            the proof of the record's summary, or that there is none, in the
//	               map of the leaf (package mpt)
//	record         the record's id
//	state          the C2SP tlog-proof of the leaf under a signed checkpoint of the
//	               state log, as text
//	summary        the record's summary in the map, 59 bytes; left out if the map has
//	               no such record
//
// The statements come after it, one a line: the announcement of the state log, those
// of the statement keys by rising index, and the events of the record by rising index.
// Each is an object with the members
//
//	index      the statement's place in the log
//	path       its audit path (RFC 6962 section 2.1.1) to the root of the checkpoint,
//	           the hashes joined
//	statement  the statement (package statement)
//
// Bytes are in standard base64 with padding (RFC 4648 section 4). Nothing follows the
// last line. What a reader accepts has one spelling.
//
// # Verification
//
// A bundle holds if, for the verifier key of the log, whose name is the log's origin:
//
//  1. the checkpoint is signed by it and has its origin;
//  2. every statement is included at its index under the checkpoint;
//  3. the first announcement of keys is the opening of the ledger at index 0, and each
//     further one is a rotation that a key before it signed (statement.Timeline);
//  4. every other statement is signed by a key that the last announcement before it
//     made, and its source is the origin;
//  5. the leaf is in the state log, under a checkpoint that is signed by the key that
//     the first statement announces;
//  6. the log at the checkpoint extends the log that the leaf is of;
//  7. the map of the leaf has the summary for the record, or has nothing for it;
//  8. the events are about the record, their indices rise and lie below the leaf's
//     size, and counting them (state.History) gives the summary, byte by byte.
//
// # What it shows, and what not
//
// The log had exactly these events of the record at the leaf's size. What came later is
// not shown: whoever wants the newest compares the checkpoint with the newest that they
// can get, and the leaf's size with the checkpoint's. That the summary counts all events
// of the log is what an audit shows (medverify audit), which makes the whole map again:
// a ledger that left out an event has signed a map that an auditor finds false, as does
// one that announces a second state log. A record that is not in the map has no events
// in the log.
package history

import (
	"errors"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// MediaType is that of a bundle.
const MediaType = "application/jsonl"

const (
	format  = "medledger.history.v1"
	maxLine = 256 << 10
	// maxAnnouncements is how many announcements of statement keys a bundle may have,
	// as a receipt may.
	maxAnnouncements = 4096
	// maxSafe is the largest integer that canonical JSON has.
	maxSafe = 1<<53 - 1
)

var (
	// ErrMalformed is wrapped by the errors of bytes that are no bundle.
	ErrMalformed = errors.New("malformed history")
	// ErrChain says that the announcements of keys do not hold together.
	ErrChain = errors.New("announcements of the history do not hold together")
	// ErrLeaf says that the leaf of the state log is not of this log, or not proved.
	ErrLeaf = errors.New("leaf of the state log does not belong to the history")
	// ErrForeign says that an event is not about the record, or out of its place.
	ErrForeign = errors.New("event that does not belong to the history")
	// ErrIncomplete says that the events are not those that the summary counts: some
	// are missing, or there are others.
	ErrIncomplete = errors.New("events are not those that the ledger's state commits to")
)

// Verified is what a bundle proves.
type Verified struct {
	Record events.ID
	// Summary is where the record stood; nil if there was no such record.
	Summary *state.Summary
	// Leaf says of which log: the history is complete up to Leaf.Size.
	Leaf state.Leaf
	// Checkpoint is the log's, which is of that size or later.
	Checkpoint proof.Checkpoint
	// StateCheckpoint is the state log's.
	StateCheckpoint proof.Checkpoint
	// StateVerifier is the key of the state log, which the log announces.
	StateVerifier note.Verifier
}
