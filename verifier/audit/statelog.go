package audit

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// stateLog reads the state log and judges it by itself: the form and the order of
// its leaves, its tiles, its root. It runs in a goroutine of its own, which hands the
// leaves to the apply stage, where they are held against the events.
type stateLog struct {
	src    Source
	signed []byte    // its checkpoint
	size   uint64    // as that says; nobody has vouched for it yet
	root   tlog.Hash // likewise
	kept   *proof.Checkpoint

	tree     tree
	last     uint64     // the size in the last leaf that has one
	keptRoot *tlog.Hash // of as many leaves as the kept checkpoint covers
}

// stateBatch is one bundle of leaves, or the end of them.
type stateBatch struct {
	first    uint64 // index of the first of the leaves
	leaves   []stateLeaf
	findings []Finding
	err      error // could not read
	end      *stateEnd
}

// stateLeaf is a leaf that can be held against the events: it has its form, and a
// greater size than those before it.
type stateLeaf struct {
	state.Leaf
	sound bool
}

// stateEnd is what is known once all leaves have been read.
type stateEnd struct {
	complete bool       // none was missing
	holds    bool       // they give the root
	keptRoot *tlog.Hash // of as many as the kept checkpoint covers, if there are
}

// run reads the leaves and hands them out in order. The last batch is the end,
// unless something could not be read.
func (s *stateLog) run(ctx context.Context, out chan<- *stateBatch) {
	defer close(out)
	var edge []tlog.Hash // of the last bundle, if it is not full
	for t := range proof.TilesOf(s.size, 0) {
		b := &stateBatch{first: t.FirstLeaf()}
		edge = s.read(ctx, t, b)
		missing := len(b.leaves) == 0
		if missing && b.err == nil {
			b.end = new(stateEnd)
		}
		if !send(ctx, out, b) || missing {
			return
		}
	}
	b := &stateBatch{first: s.size}
	var err error
	b.findings, err = compareTiles(ctx, s.src, s.tree.edges(s.size), ofState)
	root := s.tree.root(edge)
	if b.err = stateError(err); b.err == nil {
		b.end = &stateEnd{complete: true, holds: root == s.root, keptRoot: s.keptRoot}
	}
	if root != s.root {
		b.findings = append(b.findings, Finding{
			What:     StateTreeMismatch,
			Why:      fmt.Sprintf("the %d leaves of the state log do not give the root hash that its checkpoint has", s.size),
			Evidence: []Exhibit{{"checkpoint of the state log", string(s.signed)}, {"computed root", root.String()}},
		})
	}
	send(ctx, out, b)
}

// read reads one bundle and returns its leaves' hashes if it is not full. A bundle
// that has no leaves is missing, for which there is a finding or an error.
func (s *stateLog) read(ctx context.Context, t proof.Tile, b *stateBatch) []tlog.Hash {
	raws, err := s.fetch(ctx, t)
	if err != nil {
		b.blame(err)
		return nil
	}
	hashes := make([]tlog.Hash, len(raws))
	b.leaves = make([]stateLeaf, len(raws))
	for i, raw := range raws {
		hashes[i] = proof.LeafHash(raw)
		b.leaves[i] = s.judge(t.FirstLeaf()+uint64(i), raw, b)
	}
	differs, err := compare(ctx, s.src, t, hashes)
	if err != nil {
		b.blame(err)
	}
	if differs != nil {
		b.findings = append(b.findings, differs.finding(t, ofState))
	}
	if root := s.tree.rootWithin(s.kept, b.first, hashes); root != nil {
		s.keptRoot = root
	}
	if t.Width < proof.TileWidth {
		return hashes
	}
	findings, err := compareTiles(ctx, s.src, s.tree.add(t.Index, subtree(hashes)), ofState)
	b.findings = append(b.findings, findings...)
	if err != nil {
		b.blame(err)
	}
	return nil
}

func (s *stateLog) fetch(ctx context.Context, t proof.Tile) ([][]byte, error) {
	bundle, err := s.src.Entries(ctx, t.Index, t.Width)
	if err != nil {
		return nil, err
	}
	raws, err := proof.ParseBundle(bundle, t.Width)
	if err != nil {
		return nil, &DefectError{Err: err, Finding: Finding{
			What: StateBundleMalformed, Located: true, Index: t.FirstLeaf(),
			Why: fmt.Sprintf("entry bundle %d of the state log: %v", t.Index, err),
		}}
	}
	return raws, nil
}

// judge reads a leaf and compares its place with those before it.
func (s *stateLog) judge(index uint64, raw []byte, b *stateBatch) stateLeaf {
	leaf, err := state.ParseLeaf(raw)
	if err != nil {
		b.findings = append(b.findings, s.finding(StateLeafMalformed, index, err.Error(), raw))
		return stateLeaf{}
	}
	if leaf.Size <= s.last {
		why := fmt.Sprintf("it is of a log of %d events, and an earlier leaf is of %d: sizes have to rise", leaf.Size, s.last)
		b.findings = append(b.findings, s.finding(StateOrder, index, why, raw))
		return stateLeaf{}
	}
	s.last = leaf.Size
	return stateLeaf{leaf, true}
}

// finding makes a finding about a leaf.
func (s *stateLog) finding(what Code, index uint64, why string, raw []byte) Finding {
	return Finding{What: what, Located: true, Index: index, Why: why, Evidence: []Exhibit{
		{"leaf of the state log", base64.StdEncoding.EncodeToString(raw)},
		{"checkpoint of the state log", string(s.signed)},
	}}
}

// blame keeps an error of the source as a finding, or as the reason why something
// could not be checked.
func (b *stateBatch) blame(err error) {
	if f, ok := defectIn(err); ok {
		f.What = ofState.code(f.What)
		b.findings = append(b.findings, f)
		return
	}
	b.err = stateError(err)
}

func stateError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading the state log: %w", err)
}

// kind is which of the two logs a tile is of: the words and codes for it.
type kind struct {
	log          string
	leaf, leaves string
	codes        map[Code]Code // in place of the log's
}

var (
	ofLog   = kind{log: "the log", leaf: "statement", leaves: "statements"}
	ofState = kind{log: "the state log", leaf: "leaf", leaves: "leaves", codes: map[Code]Code{
		TileMismatch: StateTileMismatch, TileMissing: StateTileMissing, BundleMalformed: StateBundleMalformed,
		CheckpointMalformed: StateCheckpointMalformed, CheckpointSignature: StateCheckpointSignature, CheckpointOrigin: StateCheckpointOrigin,
		KeptFork: StateKeptFork, KeptMismatch: StateKeptMismatch, KeptLarger: StateKeptLarger,
	}}
)

// code returns what a code of the log is called here.
func (k kind) code(c Code) Code {
	if own, ok := k.codes[c]; ok {
		return own
	}
	return c
}

// OfState reports whether the finding's index counts leaves of the state log. (That
// there is none is a finding about the event that announces it.)
func (f Finding) OfState() bool {
	return f.What != StateMissing && strings.HasPrefix(string(f.What), "state-")
}
