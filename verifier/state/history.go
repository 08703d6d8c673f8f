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
	// Frontier are the roots of the tree's perfect subtrees from left to right,
	// largest first: one for each bit of Events that is set.
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
	h.Frontier = grow(h.Frontier, h.Events, index, leaf)
	h.Events++
	h.Last = index
}

// grow adds a leaf to the tree of n leaves with the given frontier.
func grow(frontier []tlog.Hash, n, index uint64, leaf tlog.Hash) []tlog.Hash {
	node := MiniLeaf(index, leaf)
	for ; n&1 == 1; n >>= 1 {
		last := len(frontier) - 1
		node = tlog.NodeHash(frontier[last], node)
		frontier = frontier[:last]
	}
	return append(frontier, node)
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
	root := h.Frontier[len(h.Frontier)-1]
	for i := len(h.Frontier) - 2; i >= 0; i-- {
		root = tlog.NodeHash(h.Frontier[i], root)
	}
	return Summary{
		Events: h.Events, Root: root, Last: h.Last, Phase: h.Phase,
		Terminal: h.Phase == Destroyed, Violations: h.Violations,
	}
}
