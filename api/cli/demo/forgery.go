package demo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/segment"
	"github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

// forgery is a copy of a log and its state log in the hands of somebody who knows
// every format of them: what he changes, he writes with whole records, right
// checksums and digests, the hash tiles that the changed statements give, and the
// map that follows from them.
type forgery struct {
	dir        string
	leaves     []segment.Record
	events     []events.Event // what the leaves said when they were copied
	kids       []string       // the keys that they were signed with
	checkpoint []byte

	states          []state.Leaf // the leaves of the state log
	stateCheckpoint []byte
}

// newForgery copies what an auditor reads of a ledger to a new folder.
func newForgery(from, to string) (*forgery, error) {
	for _, part := range []string{"store", "log", "state/log"} {
		part = filepath.FromSlash(part)
		if err := os.CopyFS(filepath.Join(to, part), os.DirFS(filepath.Join(from, part))); err != nil {
			return nil, fmt.Errorf("copying the log: %w", err)
		}
	}
	f := &forgery{dir: to}
	var err error
	if f.checkpoint, err = os.ReadFile(f.checkpointFile()); err != nil {
		return nil, fmt.Errorf("reading the copy's checkpoint: %w", err)
	}
	return f, errors.Join(f.read(), f.readStates(from))
}

func (f *forgery) store() string          { return filepath.Join(f.dir, "store") }
func (f *forgery) log() string            { return filepath.Join(f.dir, "log") }
func (f *forgery) checkpointFile() string { return filepath.Join(f.log(), "checkpoint") }

// read reads the records of the copy.
func (f *forgery) read() (err error) {
	folder, err := segment.OpenFolder(os.DirFS(f.store()))
	if err != nil {
		return fmt.Errorf("reading the copy's events: %w", err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	for n := folder.Len(); uint64(len(f.leaves)) < n; {
		records, err := folder.Read(context.Background(), uint64(len(f.leaves)), 1024)
		if err != nil {
			return fmt.Errorf("reading the copy's events: %w", err)
		}
		f.leaves = append(f.leaves, records...)
	}
	for i, leaf := range f.leaves {
		s, err := statement.Parse(leaf.Statement)
		if err != nil {
			return fmt.Errorf("reading event %d of the copy: %w", i, err)
		}
		f.events, f.kids = append(f.events, s.Event), append(f.kids, s.KeyID.String())
	}
	return nil
}

// errNothingToAttack says that the log lacks what an attack works on.
var errNothingToAttack = errors.New("the log has no event to tamper with in this way")

// first returns the index of the first event of some kind.
func (f *forgery) first(is func(events.Event) bool) (int, error) {
	if i := slices.IndexFunc(f.events, is); i >= 0 {
		return i, nil
	}
	return 0, errNothingToAttack
}

// last returns the index of the last event of some kind.
func (f *forgery) last(is func(events.Event) bool) (int, error) {
	for i, e := range slices.Backward(f.events) {
		if is(e) {
			return i, nil
		}
	}
	return 0, errNothingToAttack
}

// write puts the copy's files in accord with what was changed of the statements, the
// map of records too.
func (f *forgery) write() error {
	if err := f.recount(truly); err != nil {
		return err
	}
	return f.put()
}

// put writes the copy's files as they are to be.
func (f *forgery) put() error {
	if err := f.writeSegments(); err != nil {
		return fmt.Errorf("writing forged events: %w", err)
	}
	if err := writeTiles(f.log(), f.leafHashes()); err != nil {
		return fmt.Errorf("writing forged tiles: %w", err)
	}
	if err := os.WriteFile(f.checkpointFile(), f.checkpoint, 0o644); err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	return f.writeStates()
}

// writeSegments writes the first half of the records to a sealed segment, with
// its digest, and the second half to one that is not sealed yet.
func (f *forgery) writeSegments() error {
	old, err := filepath.Glob(filepath.Join(f.store(), "*.seg"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	half := len(f.leaves) / 2
	sealed, offsets := segmentOf(0, f.leaves[:half])
	sealed = segment.AppendFooter(sealed, offsets, sha256.Sum256(sealed))
	if err := os.WriteFile(filepath.Join(f.store(), segment.FileName(0)), sealed, 0o600); err != nil {
		return err
	}
	open, _ := segmentOf(uint64(half), f.leaves[half:])
	return os.WriteFile(filepath.Join(f.store(), segment.FileName(uint64(half))), open, 0o600)
}

// segmentOf returns a segment and where its records begin.
func segmentOf(base uint64, records []segment.Record) (file []byte, offsets []uint32) {
	file = segment.AppendHeader(nil, base)
	for i, r := range records {
		r.Number, r.More = base+uint64(i), false
		offsets = append(offsets, uint32(len(file)))
		file = r.Append(file)
	}
	return file, offsets
}

// writeTiles writes the hash tiles of the leaves of a log to its folder.
func writeTiles(log string, hashes []tlog.Hash) error {
	if err := os.RemoveAll(filepath.Join(log, "tile")); err != nil {
		return err
	}
	size := uint64(len(hashes))
	for level := 0; level <= proof.MaxLevel && len(hashes) > 0; level++ {
		for t := range proof.TilesOf(size, level) {
			path := filepath.Join(log, filepath.FromSlash(proof.FormatPath(t)))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			first := t.Index * proof.TileWidth
			tile := proof.FormatHashTile(hashes[first : first+uint64(t.Width)])
			if err := os.WriteFile(path, tile, 0o600); err != nil {
				return err
			}
		}
		for range proof.TileHeight {
			hashes = parents(hashes)
		}
	}
	return nil
}

func (f *forgery) leafHashes() []tlog.Hash {
	hashes := make([]tlog.Hash, len(f.leaves))
	for i, leaf := range f.leaves {
		hashes[i] = proof.LeafHash(leaf.Statement)
	}
	return hashes
}

// parents returns the hashes of the whole nodes above a level.
func parents(level []tlog.Hash) []tlog.Hash {
	above := make([]tlog.Hash, len(level)/2)
	for i := range above {
		above[i] = tlog.NodeHash(level[2*i], level[2*i+1])
	}
	return above
}

// checkpointOf is the checkpoint of a log that has some leaves.
func checkpointOf(origin string, hashes []tlog.Hash) proof.Checkpoint {
	var frontier []tlog.Hash
	for i, h := range hashes {
		frontier = proof.Grow(frontier, uint64(i), h)
	}
	return proof.Checkpoint{Origin: origin, Size: uint64(len(hashes)), Root: proof.FrontierRoot(frontier)}
}
