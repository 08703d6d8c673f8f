package audittest

import (
	"bytes"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// Path is RFC 6962's definition of an audit path, word by word.
func Path(hashes []tlog.Hash, m int) []tlog.Hash {
	if len(hashes) == 1 {
		return nil
	}
	k := split(hashes)
	if m < k {
		return append(Path(hashes[:k], m), Root(hashes[k:]))
	}
	return append(Path(hashes[k:], m-k), Root(hashes[:k]))
}

// Consistency is RFC 6962's definition of a consistency proof, word by word, for m
// leaves of at least as many.
func Consistency(hashes []tlog.Hash, m int) []tlog.Hash {
	if m == 0 {
		return nil
	}
	return subproof(hashes, m, true)
}

func subproof(hashes []tlog.Hash, m int, whole bool) []tlog.Hash {
	if m == len(hashes) {
		if whole {
			return nil
		}
		return []tlog.Hash{Root(hashes)}
	}
	k := split(hashes)
	if m <= k {
		return append(subproof(hashes[:k], m, whole), Root(hashes[k:]))
	}
	return append(subproof(hashes[k:], m-k, false), Root(hashes[:k]))
}

// split returns the largest power of two below the number of hashes.
func split(hashes []tlog.Hash) int {
	k := 1
	for 2*k < len(hashes) {
		k *= 2
	}
	return k
}

// Proved is a statement with its place in a log.
type Proved struct {
	Index     uint64
	Path      []tlog.Hash
	Statement []byte
}

// Bundle is a bundle of a record's history in its pieces, which a lie changes before
// they are put together.
type Bundle struct {
	Header        history.Header
	Opened        Proved
	Announcements []Proved
	Events        []Proved
}

// Shown is from which state log a bundle is made, and how.
type Shown struct {
	Seen   []Seen
	Sizes  []int       // of its leaves
	Leaf   int         // the one that is proved
	Size   int         // of the log
	Signer note.Signer // of the state log's checkpoint; nil for its own
}

// Shown is how an honest ledger shows what the log says now.
func (h *History) Shown() Shown {
	sizes := h.Batches()
	return Shown{Seen: h.Seen(), Sizes: sizes, Leaf: len(sizes) - 1, Size: len(h.Events)}
}

// Bundle makes the bundle of a record.
func (h *History) Bundle(record events.ID, s Shown) *Bundle {
	leaves := h.States(s.Seen, s.Sizes)
	b := &Bundle{Header: history.Header{
		Record: record, Leaf: leaves[s.Leaf],
		Log: Checkpoint(h.hashes()[:s.Size], h.LogSigner), Consistency: Consistency(h.hashes()[:s.Size], s.Sizes[s.Leaf]),
	}}
	b.Header.State = h.proveLeaf(leaves, s)
	m := NewMap()
	for _, e := range s.Seen {
		if e.At < s.Sizes[s.Leaf] {
			m.Add(e)
		}
	}
	m.Root()
	key := state.Key(record)
	b.Header.Map, _, _ = m.Tree.Prove(key[:])
	if counted := m.Histories[record]; counted != nil {
		summary := counted.Summary()
		b.Header.Summary = &summary
	}
	for i, e := range h.Events[:s.Size] {
		switch e.Data.(type) {
		case *events.StateLogOpened:
			b.Opened = h.Prove(i, s.Size)
		case *events.LedgerOpened, *events.KeyRotated:
			b.Announcements = append(b.Announcements, h.Prove(i, s.Size))
		}
		if e.OnRecord() && e.Subject == record && i < s.Sizes[s.Leaf] {
			b.Events = append(b.Events, h.Prove(i, s.Size))
		}
	}
	return b
}

func (h *History) hashes() []tlog.Hash {
	hashes := make([]tlog.Hash, len(h.Statements))
	for i, raw := range h.Statements {
		hashes[i] = proof.LeafHash(raw)
	}
	return hashes
}

// Prove returns the i-th statement with its path in the log of the given size.
func (h *History) Prove(i, size int) Proved {
	return Proved{uint64(i), Path(h.hashes()[:size], i), h.Statements[i]}
}

func (h *History) proveLeaf(leaves []state.Leaf, s Shown) []byte {
	hashes := make([]tlog.Hash, len(leaves))
	for i, l := range leaves {
		hashes[i] = proof.LeafHash(l.Marshal())
	}
	signer := s.Signer
	if signer == nil {
		signer = h.StateSigner()
	}
	return proof.FormatProof(uint64(s.Leaf), Path(hashes, s.Leaf), Checkpoint(hashes, signer))
}

// Write puts the bundle together, with as many announcements and events as there are.
func (b *Bundle) Write() []byte {
	h := b.Header
	h.Announcements, h.Events = uint64(len(b.Announcements)), uint64(len(b.Events))
	return b.WriteAs(h)
}

// WriteAs puts it together behind another header.
func (b *Bundle) WriteAs(h history.Header) []byte {
	var out bytes.Buffer
	w, err := history.NewWriter(&out, h)
	must(err)
	must(w.Statement(b.Opened.Index, b.Opened.Path, b.Opened.Statement))
	for _, p := range b.Announcements {
		must(w.Statement(p.Index, p.Path, p.Statement))
	}
	for _, p := range b.Events {
		must(w.Statement(p.Index, p.Path, p.Statement))
	}
	must(w.Close())
	return out.Bytes()
}
