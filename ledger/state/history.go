package state

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/state"
)

// The map keeps of a record what it takes to go on with its summary:
//
//	record id (16) || events, last, violations (uvarints) || phase (1) ||
//	  frontier: a hash for each bit of events that is set
//
// The key and the summary follow from it.

var errStored = errors.New("malformed history of a record")

// encode appends the stored form of a history.
func encode(b []byte, record events.ID, h *state.History) []byte {
	b = append(b, record[:]...)
	b = binary.AppendUvarint(b, h.Events)
	b = binary.AppendUvarint(b, h.Last)
	b = binary.AppendUvarint(b, h.Violations)
	b = append(b, byte(h.Phase))
	for _, hash := range h.Frontier {
		b = append(b, hash[:]...)
	}
	return b
}

// decode reads what encode wrote. The frontier is appended to space.
func decode(b []byte, space []tlog.Hash) (record events.ID, h state.History, err error) {
	if len(b) < len(record) {
		return record, h, errStored
	}
	b = b[copy(record[:], b):]
	for _, to := range []*uint64{&h.Events, &h.Last, &h.Violations} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return record, h, errStored
		}
		*to, b = v, b[n:]
	}
	if len(b) < 1 || h.Events == 0 {
		return record, h, errStored
	}
	h.Phase, b = state.Phase(b[0]), b[1:]
	n := bits.OnesCount64(h.Events)
	if len(b) != n*tlog.HashSize || h.Phase < state.Active || h.Phase > state.Destroyed {
		return record, h, errStored
	}
	h.Frontier = space
	for ; len(b) > 0; b = b[tlog.HashSize:] {
		h.Frontier = append(h.Frontier, tlog.Hash(b[:tlog.HashSize]))
	}
	return record, h, nil
}

// few is how many hashes most frontiers have at most: those of histories of up to 255
// events, and many longer ones.
const few = 8

// leaf returns the key and the value in the map of a stored history.
func leaf(stored []byte) (key [32]byte, value []byte, err error) {
	var space [few]tlog.Hash // a page has many entries: allocated, each would be garbage at once
	record, h, err := decode(stored, space[:0])
	if err != nil {
		return key, nil, err
	}
	return state.Key(record), h.Summary().Marshal(), nil
}
