// Package state specifies what a ledger's state log says: after every batch of
// events, where every record stands. With it, "this is all that ever happened to
// this record" is a proof, and "it was destroyed, and nothing happened since" is
// another.
//
// Nothing here uses a network, a clock or a disk.
//
// # The map
//
// A Merkle prefix tree (package mpt) maps, of every record that ever was,
//
//	SHA-256(record id (16))   to   a summary of its events
//
// A summary is 59 bytes; integers are unsigned and big-endian:
//
//	offset  bytes  field
//	0       1      0x01, the format
//	1       8      how many events there are about the record
//	9       32     root of the record's own Merkle tree, below
//	41      8      log index of the last of them
//	49      1      phase: 1 active, 2 its destruction has started, 3 destroyed
//	50      1      1 if an event has ended the record's life for good, else 0
//	51      8      violations: how many events followed that one which may not
//
// An event is about a record if its stream is the record's (events.Event.Stream).
// A record is active from its first event on; an event of type
// medledger.destruction.started begins its destruction; one of type
// medledger.record.destroyed ends its life, whatever comes after. After that
// nothing may follow but refusals (medledger.access.refused), readings of the
// history (medledger.record.history-read), and word of a delivery that had failed
// (medledger.record.delivery-failed). Whatever else follows is a violation. No
// event is left out for being one: the log is the truth, and the map says what is
// in it.
//
// # A record's own tree
//
// It is the Merkle tree of RFC 6962 section 2.1 over one leaf an event, in the
// order of the log:
//
//	log index (8) || leaf hash in the log (32)
//
// # The state log
//
// The state log is a transparency log of its own, with the origin
// "<origin of the ledger>/state" and a key that the event
// medledger.ledger.state-log-opened announces. A leaf of it is 73 bytes:
//
//	offset  bytes  field
//	0       1      0x01, the format
//	1       8      size of the log
//	9       32     root hash of the log at that size
//	41      32     root hash of the map after that many events
//
// The sizes in its leaves increase strictly. The last leaf belongs to the log's
// current checkpoint, or to a later one: a log's checkpoint is not published before
// its leaf is durable.
package state

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
)

// ErrMalformed is wrapped by the errors of bytes that are not in the form that the
// package comment specifies.
var ErrMalformed = errors.New("malformed state")

const (
	// SummarySize is how many bytes a summary has.
	SummarySize = 59
	// LeafSize is how many bytes a leaf of the state log has.
	LeafSize = 73

	format = 1
	suffix = "/state"
)

// Origin returns the name of a ledger's state log.
func Origin(ledger string) string { return ledger + suffix }

// Key returns where a record's summary is in the map.
func Key(record events.ID) [sha256.Size]byte { return sha256.Sum256(record[:]) }

// Phase is where a record is in its life.
type Phase uint8

// The phases. The numbers are part of the format.
const (
	Active     Phase = 1
	Destroying Phase = 2
	Destroyed  Phase = 3
)

func (p Phase) String() string {
	switch p {
	case Active:
		return "active"
	case Destroying:
		return "destroying"
	case Destroyed:
		return "destroyed"
	}
	return "unknown"
}

// Summary is what the map says of a record.
type Summary struct {
	Events     uint64    // how many there are about it
	Root       tlog.Hash // of its own tree
	Last       uint64    // log index of the last of them
	Phase      Phase
	Terminal   bool   // an event has ended its life for good
	Violations uint64 // events that followed that one and may not
}

// Marshal returns the summary's one encoding.
func (s Summary) Marshal() []byte {
	b := make([]byte, 0, SummarySize)
	b = binary.BigEndian.AppendUint64(append(b, format), s.Events)
	b = binary.BigEndian.AppendUint64(append(b, s.Root[:]...), s.Last)
	terminal := byte(0)
	if s.Terminal {
		terminal = 1
	}
	return binary.BigEndian.AppendUint64(append(b, byte(s.Phase), terminal), s.Violations)
}

// ParseSummary reads what Marshal wrote, and nothing else. Its errors wrap
// ErrMalformed.
func ParseSummary(b []byte) (Summary, error) {
	if len(b) != SummarySize || b[0] != format {
		return Summary{}, fmt.Errorf("a summary of %d bytes: %w", len(b), ErrMalformed)
	}
	s := Summary{
		Events: binary.BigEndian.Uint64(b[1:]), Last: binary.BigEndian.Uint64(b[41:]),
		Phase: Phase(b[49]), Terminal: b[50] == 1, Violations: binary.BigEndian.Uint64(b[51:]),
	}
	copy(s.Root[:], b[9:])
	switch {
	case s.Events == 0 || s.Events > s.Last+1:
		return Summary{}, fmt.Errorf("a summary of %d events up to index %d: %w", s.Events, s.Last, ErrMalformed)
	case s.Phase < Active || s.Phase > Destroyed || b[50] > 1 || s.Terminal != (s.Phase == Destroyed):
		return Summary{}, fmt.Errorf("a summary of an unknown phase: %w", ErrMalformed)
	case s.Violations >= s.Events || s.Violations > 0 && !s.Terminal:
		return Summary{}, fmt.Errorf("a summary of %d events with %d violations: %w", s.Events, s.Violations, ErrMalformed)
	}
	return s, nil
}

// Leaf is a leaf of the state log.
type Leaf struct {
	Size uint64    // of the log
	Root tlog.Hash // of the log at that size
	Map  tlog.Hash // root of the map after that many events
}

// Marshal returns the leaf's one encoding.
func (l Leaf) Marshal() []byte {
	b := make([]byte, 0, LeafSize)
	b = binary.BigEndian.AppendUint64(append(b, format), l.Size)
	return append(append(b, l.Root[:]...), l.Map[:]...)
}

// ParseLeaf reads what Marshal wrote, and nothing else. Its errors wrap
// ErrMalformed.
func ParseLeaf(b []byte) (Leaf, error) {
	if len(b) != LeafSize || b[0] != format {
		return Leaf{}, fmt.Errorf("a leaf of %d bytes: %w", len(b), ErrMalformed)
	}
	l := Leaf{Size: binary.BigEndian.Uint64(b[1:])}
	if l.Size == 0 || l.Size > proof.MaxSize {
		return Leaf{}, fmt.Errorf("a leaf of a log of %d events: %w", l.Size, ErrMalformed)
	}
	copy(l.Root[:], b[9:])
	copy(l.Map[:], b[41:])
	return l, nil
}
