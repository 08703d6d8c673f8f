package history

import (
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/mpt"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

// Verify checks a bundle with the verifier key of the log; the package comment says
// how, and what it proves. It calls each, if that is not nil, with every event of the
// record in their order; nothing is proved before Verify has returned without an error.
// It keeps a line in memory, and the announcements of keys.
//
// Its errors wrap ErrMalformed, ErrChain, ErrLeaf, ErrForeign or ErrIncomplete, or are
// those of packages proof, mpt and statement for the part that is wrong, or the
// reader's or each's.
func Verify(r io.Reader, v note.Verifier, each func(index uint64, e events.Event) error) (*Verified, error) {
	b := &bundle{lines: readLines(r), verifier: v}
	if err := b.readHeader(); err != nil {
		return nil, err
	}
	opened, err := b.next("announcement of the state log")
	if err != nil {
		return nil, err
	}
	if err := b.readAnnouncements(); err != nil {
		return nil, err
	}
	key, err := b.stateKey(opened)
	if err != nil {
		return nil, err
	}
	states, err := b.checkLeaf(key)
	if err != nil {
		return nil, err
	}
	if err := b.checkMap(); err != nil {
		return nil, err
	}
	if err := b.readEvents(each); err != nil {
		return nil, err
	}
	if err := b.lines.end(); err != nil {
		return nil, err
	}
	return &Verified{
		Record: b.header.Record, Summary: b.header.Summary, Leaf: b.header.Leaf, Checkpoint: b.checkpoint, StateCheckpoint: states, StateVerifier: key,
	}, nil
}

// bundle is a bundle that is being verified.
type bundle struct {
	lines      *lines
	verifier   note.Verifier
	header     *Header
	checkpoint proof.Checkpoint // verified
	keys       statement.Timeline
}

func (b *bundle) readHeader() error {
	text, err := b.lines.next()
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if b.header, err = parseHeader(text); err != nil {
		return err
	}
	if b.checkpoint, err = proof.VerifyCheckpoint(b.header.Log, b.verifier); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// next reads a statement and checks that it is in the log. What it is of is for the
// errors.
func (b *bundle) next(of string) (*proved, error) {
	text, err := b.lines.next()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", of, err)
	}
	p, err := parseProved(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", of, err)
	}
	if err := b.checkpoint.CheckLeaf(p.index, proof.LeafHash(p.raw), p.path); err != nil {
		return nil, fmt.Errorf("%s: %w", of, err)
	}
	return p, nil
}

func (b *bundle) readAnnouncements() error {
	for i := range b.header.Announcements {
		of := fmt.Sprintf("announcement %d of the history", i)
		p, err := b.next(of)
		if err != nil {
			return err
		}
		if err := b.keys.Announce(p.raw, p.index); err != nil {
			return fmt.Errorf("%s: %w: %w", of, ErrChain, err)
		}
	}
	if origin := b.keys.Origin(); origin != b.checkpoint.Origin {
		return fmt.Errorf("ledger of %q in the log of %q: %w", origin, b.checkpoint.Origin, statement.ErrOrigin)
	}
	return nil
}

// verify checks a statement that is in the log.
func (b *bundle) verify(p *proved) (events.Event, error) {
	keys, err := b.keys.At(p.index)
	if err != nil {
		return events.Event{}, err
	}
	s, err := statement.Verify(p.raw, keys)
	if err != nil {
		return events.Event{}, err
	}
	return s.Event, nil
}

// stateKey returns the key of the state log, which the log announces.
func (b *bundle) stateKey(opened *proved) (note.Verifier, error) {
	e, err := b.verify(opened)
	if err != nil {
		return nil, fmt.Errorf("announcement of the state log: %w", err)
	}
	key, err := state.Verifier(e)
	if err != nil {
		return nil, fmt.Errorf("announcement of the state log: %w: %w", ErrChain, err)
	}
	return key, nil
}

// checkLeaf checks that the leaf is in the state log, and of the log of the checkpoint.
func (b *bundle) checkLeaf(key note.Verifier) (proof.Checkpoint, error) {
	h := b.header
	_, states, err := proof.VerifyInclusion(proof.LeafHash(h.Leaf.Marshal()), h.State, key)
	if err != nil {
		return proof.Checkpoint{}, fmt.Errorf("%w: %w", ErrLeaf, err)
	}
	then := proof.Checkpoint{Origin: b.checkpoint.Origin, Size: h.Leaf.Size, Root: h.Leaf.Root}
	if err := proof.VerifyConsistency(then, b.checkpoint, h.Consistency); err != nil {
		return proof.Checkpoint{}, fmt.Errorf("%w: %w", ErrLeaf, err)
	}
	return states, nil
}

// checkMap checks that the map says of the record what the header says.
func (b *bundle) checkMap() error {
	var value []byte
	if b.header.Summary != nil {
		value = b.header.Summary.Marshal()
	}
	key := state.Key(b.header.Record)
	if err := mpt.VerifyLookup(b.header.Leaf.Map, key[:], value, value != nil, b.header.Map); err != nil {
		return fmt.Errorf("the record's summary: %w", err)
	}
	return nil
}

// readEvents checks the events, and that they are those that the summary counts.
func (b *bundle) readEvents(each func(index uint64, e events.Event) error) error {
	var counted state.History
	for i := range b.header.Events {
		of := fmt.Sprintf("event %d of the history", i)
		p, err := b.next(of)
		if err != nil {
			return err
		}
		e, err := b.verify(p)
		if err != nil {
			return fmt.Errorf("%s: %w", of, err)
		}
		switch {
		case !e.OnRecord() || e.Subject != b.header.Record:
			return fmt.Errorf("%s is not about the record: %w", of, ErrForeign)
		case i > 0 && p.index <= counted.Last:
			return fmt.Errorf("%s stands at index %d, the one before at %d: %w", of, p.index, counted.Last, ErrForeign)
		case p.index >= b.header.Leaf.Size:
			return fmt.Errorf("%s stands at index %d, the leaf is of %d events: %w", of, p.index, b.header.Leaf.Size, ErrForeign)
		}
		counted.Add(p.index, proof.LeafHash(p.raw), state.EffectOf(e))
		if each != nil {
			if err := each(p.index, e); err != nil {
				return err
			}
		}
	}
	if b.header.Summary != nil && counted.Summary() != *b.header.Summary {
		return ErrIncomplete
	}
	return nil
}
