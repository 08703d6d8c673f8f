package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/mpt"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

// The state log of a forgery: its leaves, and the map of where every record stands
// that they commit to.

func (f *forgery) stateLog() string            { return filepath.Join(f.dir, "state", "log") }
func (f *forgery) stateCheckpointFile() string { return filepath.Join(f.stateLog(), "checkpoint") }

// leavesFile is where a data folder has the leaves of its state log.
var leavesFile = filepath.Join("state", "leaves")

// readStates reads the state log of the ledger that was copied.
func (f *forgery) readStates(from string) error {
	file, err := os.ReadFile(filepath.Join(from, leavesFile))
	if err != nil {
		return fmt.Errorf("reading the state log: %w", err)
	}
	for ; len(file) >= state.RecordSize; file = file[state.RecordSize:] {
		leaf, ok := state.ParseRecord(file[:state.RecordSize])
		if !ok {
			break // what follows is room for more
		}
		f.states = append(f.states, leaf)
	}
	if f.stateCheckpoint, err = os.ReadFile(f.stateCheckpointFile()); err != nil {
		return fmt.Errorf("reading the state log's checkpoint: %w", err)
	}
	return nil
}

// writeStates writes the copy's state log.
func (f *forgery) writeStates() error {
	var file []byte
	for _, leaf := range f.states {
		file = state.AppendRecord(file, leaf)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(f.dir, leavesFile), file, 0o644),
		writeTiles(f.stateLog(), f.stateHashes()),
		os.WriteFile(f.stateCheckpointFile(), f.stateCheckpoint, 0o644),
	); err != nil {
		return fmt.Errorf("writing a forged state log: %w", err)
	}
	return nil
}

func (f *forgery) stateHashes() []tlog.Hash {
	hashes := make([]tlog.Hash, len(f.states))
	for i, leaf := range f.states {
		hashes[i] = proof.LeafHash(leaf.Marshal())
	}
	return hashes
}

// counting is what an event counts as in the map; state.None leaves it out.
type counting func(events.Event) state.Effect

// truly counts events as what they are.
var truly counting = state.EffectOf

// recount makes the leaves of the state log anew from the statements. Those of a log
// that is longer than the copy stay as they are.
func (f *forgery) recount(as counting) error {
	c := &replay{histories: make(map[events.ID]*state.History)}
	for i := range f.states {
		leaf := &f.states[i]
		if leaf.Size > uint64(len(f.leaves)) {
			return nil
		}
		for c.size < leaf.Size {
			if err := c.add(f.leaves[c.size].Statement, as); err != nil {
				return fmt.Errorf("making the map of records: %w", err)
			}
		}
		leaf.Root, leaf.Map = proof.FrontierRoot(c.log), c.records.Root()
	}
	return nil
}

// replay is the log and the map of records after some events.
type replay struct {
	size      uint64
	log       []tlog.Hash // the frontier of its tree
	records   mpt.Tree
	histories map[events.ID]*state.History
}

// add counts the next event.
func (c *replay) add(raw []byte, as counting) error {
	s, err := statement.Parse(raw)
	if err != nil {
		return err
	}
	index, hash, record := c.size, proof.LeafHash(raw), s.Event.Subject
	c.log = proof.Grow(c.log, index, hash)
	c.size++
	effect := as(s.Event)
	if effect == state.None {
		return nil
	}
	if c.histories[record] == nil {
		c.histories[record] = new(state.History)
	}
	c.histories[record].Add(index, hash, effect)
	key := state.Key(record)
	return c.records.Set(key[:], c.histories[record].Summary().Marshal())
}
