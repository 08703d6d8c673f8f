package state

import (
	"encoding/binary"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
)

// Effect is what an event does to the summary of the record that it is about.
type Effect uint8

// The effects.
const (
	None     Effect = iota // the event is about no record
	Any                    // it counts
	Seen                   // it counts, and may follow the end of the record's life
	Starts                 // it begins the record's destruction
	Destroys               // it ends the record's life
)

// EffectOf returns what an event does, which may be of any version.
func EffectOf(e events.Event) Effect {
	if !e.OnRecord() {
		return None
	}
	switch e.Data.(type) {
	case *events.DestructionStarted:
		return Starts
	case *events.RecordDestroyed:
		return Destroys
	case *events.HistoryRead, *events.DeliveryFailed, *events.AccessRefused:
		return Seen
	}
	return Any
}

// History is what it takes to go on with a record's summary: the summary but for
// its root, and the record's own tree as far as its growth needs it. The zero
// History has no events.
type History struct {
	Events     uint64
	Last       uint64
	Phase      Phase
	Violations uint64
	// Frontier is that of the tree, whose size is Events (proof.Grow).
	Frontier []tlog.Hash
}

// Add adds the event at a log index with a leaf hash. It changes Frontier in place.
func (h *History) Add(index uint64, leaf tlog.Hash, effect Effect) {
	switch {
	case h.Phase == Destroyed:
		if effect != Seen {
			h.Violations++
		}
	case effect == Destroys:
		h.Phase = Destroyed
	case effect == Starts:
		h.Phase = Destroying
	case h.Phase == 0:
		h.Phase = Active
	}
	h.Frontier = proof.Grow(h.Frontier, h.Events, MiniLeaf(index, leaf))
	h.Events++
	h.Last = index
}

// MiniLeaf returns the leaf hash, in a record's own tree, of the event at a log
// index with a leaf hash in the log.
func MiniLeaf(index uint64, leaf tlog.Hash) tlog.Hash {
	var b [8 + tlog.HashSize]byte
	binary.BigEndian.PutUint64(b[:], index)
	copy(b[8:], leaf[:])
	return proof.LeafHash(b[:])
}

// Summary returns the record's summary. There must be an event.
func (h *History) Summary() Summary {
	return Summary{
		Events: h.Events, Root: proof.FrontierRoot(h.Frontier), Last: h.Last, Phase: h.Phase,
		Terminal: h.Phase == Destroyed, Violations: h.Violations,
	}
}
