package audittest

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/mpt"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// StateKey makes the key that signs checkpoints of a ledger's state log.
func StateKey(origin, seed string) (note.Signer, ed25519.PublicKey) {
	signer, _, public := LogKey(state.Origin(origin), seed+", state")
	key, err := base64.StdEncoding.DecodeString(strings.SplitN(public, "+", 3)[2])
	must(err)
	return signer, key[1:] // after the algorithm
}

// AnnounceState announces the state log.
func (h *History) AnnounceState() {
	_, key := StateKey(h.origin, h.seed)
	h.Add(h.Ledger, state.Announce(key))
}

// OpenState is Open for a ledger that has a state log from its second event on.
func (h *History) OpenState() *History {
	h.open()
	h.AnnounceState()
	return h.people()
}

// StateStory is Story for a ledger with a state log: each event but the first stands
// one place further on.
func (h *History) StateStory() events.ID {
	h.OpenState()
	return h.lives()
}

// Batches returns the sizes of the log after each of the batches that a ledger could
// have made of the history.
func (h *History) Batches() []int {
	var sizes []int
	for at, n := 2, 1; at < len(h.Events); at, n = at+n, n%7+1 {
		sizes = append(sizes, at)
	}
	return append(sizes, len(h.Events))
}

// Seen is an event as a state log counts it.
type Seen struct {
	At     int // from which place in the log on
	Index  uint64
	Leaf   tlog.Hash
	Record events.ID
	Effect state.Effect
}

// Seen returns the events of the history as they are. A lying ledger counts others.
func (h *History) Seen() []Seen {
	seen := make([]Seen, len(h.Events))
	for i, e := range h.Events {
		seen[i] = Seen{i, uint64(i), proof.LeafHash(h.Statements[i]), e.Subject, state.EffectOf(e)}
	}
	return seen
}

// States returns the leaves of the state log at the given sizes, if it counts the
// events as they are seen.
func (h *History) States(seen []Seen, sizes []int) []state.Leaf {
	leaves := make([]state.Leaf, 0, len(sizes))
	m := NewMap()
	var frontier []tlog.Hash
	grown := 0
	for _, size := range sizes {
		for ; len(seen) > 0 && seen[0].At < size; seen = seen[1:] {
			m.Add(seen[0])
		}
		for ; grown < size; grown++ {
			frontier = proof.Grow(frontier, uint64(grown), proof.LeafHash(h.Statements[grown]))
		}
		leaves = append(leaves, state.Leaf{Size: uint64(size), Root: proof.FrontierRoot(frontier), Map: m.Root()})
	}
	return leaves
}

// Map is the map of the summaries of records.
type Map struct {
	Tree      *mpt.Tree
	Histories map[events.ID]*state.History
	changed   map[events.ID]bool // since the last root
}

// NewMap returns an empty map.
func NewMap() *Map {
	return &Map{new(mpt.Tree), make(map[events.ID]*state.History), make(map[events.ID]bool)}
}

// Root returns the map's root.
func (m *Map) Root() tlog.Hash {
	for record := range m.changed {
		key := state.Key(record)
		must(m.Tree.Set(key[:], m.Histories[record].Summary().Marshal()))
	}
	clear(m.changed)
	return m.Tree.Root()
}

// Add counts an event.
func (m *Map) Add(e Seen) {
	if e.Effect == state.None {
		return
	}
	h := m.Histories[e.Record]
	if h == nil {
		h = new(state.History)
		m.Histories[e.Record] = h
	}
	h.Add(e.Index, e.Leaf, e.Effect)
	m.changed[e.Record] = true
}

// HonestStates returns the leaves of an honest state log of the history.
func (h *History) HonestStates() []state.Leaf { return h.States(h.Seen(), h.Batches()) }

// StateSigner returns what signs the state log's checkpoints.
func (h *History) StateSigner() note.Signer {
	signer, _ := StateKey(h.origin, h.seed)
	return signer
}

// ServeState serves a state log.
func (h *History) ServeState(leaves []state.Leaf) Files {
	raws := make([][]byte, len(leaves))
	for i, l := range leaves {
		raws[i] = l.Marshal()
	}
	return Serve(raws, h.StateSigner())
}

// Below returns the files under names that begin with a folder's.
func (f Files) Below(folder string) Files {
	below := make(Files)
	for name, data := range f {
		below[folder+"/"+name] = data
	}
	return below
}

// PutState puts the state log that is served into a data folder.
func (f Files) PutState(served Files, leaves []state.Leaf) {
	for name, data := range served {
		if !strings.HasPrefix(name, "tile/entries/") {
			f["state/log/"+name] = data
		}
	}
	var records []byte
	for _, l := range leaves {
		records = state.AppendRecord(records, l)
	}
	// The file is enlarged ahead of its use.
	f["state/leaves"] = append(records, make([]byte, 4096)...)
}
