package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/mpt"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// stateCheck holds the state log against the events. It belongs to the apply stage.
type stateCheck struct {
	log     *stateLog // nil if there is none, or none that can be read
	absent  bool
	batches <-chan *stateBatch
	current *stateBatch
	at      int // in current

	frontier  []tlog.Hash // of the log so far
	histories map[events.ID]*recordHistory
	changed   []change // since the map's last root, one a record
	tree      mpt.Tree // the map, as of its last root
	blind     bool     // the map cannot be known any more
	covered   bool     // there was a leaf of the log's checkpoint

	announced *item // the event that announced the state log
	end       stateEnd
}

// recordHistory is a record's history, and whether it has changed since the map's
// last root.
type recordHistory struct {
	state.History
	changed bool
}

// change is a record whose summary changes, with the one that it had.
type change struct {
	record events.ID
	had    bool
	former state.Summary
}

// openStates reads the state log's checkpoint. Nothing vouches for it until the log
// has announced its key; what it says is needed to read the leaves beside the log.
func (a *auditor) openStates(ctx context.Context) error {
	s := &stateCheck{histories: make(map[events.ID]*recordHistory)}
	a.states, a.report.State = s, new(StateReport)
	r := a.report.State
	if a.options.KeptState != nil {
		kept, err := proof.PeekCheckpoint(a.options.KeptState)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrKeptState, err)
		}
		r.Kept = &kept
	}
	signed, err := a.options.State.Checkpoint(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		s.absent = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the state log's checkpoint: %w", err)
	}
	r.Signed = signed
	if r.Checkpoint, err = proof.PeekCheckpoint(signed); err == nil {
		s.log = &stateLog{src: a.options.State, signed: signed, size: r.Checkpoint.Size, root: r.Checkpoint.Root, kept: r.Kept}
	}
	return nil // what is false about it is said when its key is known
}

// follow adds an event to the map, and compares the leaf for the log up to it if
// there is one. The error says that the state log could not be read.
func (a *auditor) follow(ctx context.Context, index uint64, it *item) error {
	s := a.states
	if s == nil {
		return nil
	}
	if s.announced == nil && it.err == nil {
		if _, ok := it.statement.Event.Data.(*events.StateLogOpened); ok {
			s.announced, a.report.State.Announced = it, index
		}
	}
	s.frontier = proof.Grow(s.frontier, index, it.hash)
	s.add(index, it)
	for {
		leaf, at, err := s.peek(ctx, a)
		if err != nil || leaf == nil || leaf.Size > index+1 {
			return err
		}
		if leaf.Size == index+1 {
			if err := a.compareState(at, leaf.Leaf); err != nil {
				return fmt.Errorf("making the map of the first %d events: %w", leaf.Size, err)
			}
			s.covered = leaf.Size == a.report.Checkpoint.Size
		}
		s.at++
	}
}

// add counts an event in the history of its record. Whether it is legal is not asked:
// the map says what is in the log.
func (s *stateCheck) add(index uint64, it *item) {
	if s.blind {
		return
	}
	if it.statement == nil {
		s.blind = true // for which there is a finding
		return
	}
	e := it.statement.Event
	effect := state.EffectOf(e)
	if effect == state.None {
		return
	}
	h := s.histories[e.Subject]
	if h == nil {
		h = new(recordHistory)
		s.histories[e.Subject] = h
	}
	if !h.changed {
		h.changed = true
		c := change{record: e.Subject, had: h.Events > 0}
		if c.had {
			c.former = h.Summary()
		}
		s.changed = append(s.changed, c)
	}
	h.Add(index, it.hash, effect)
}

// peek returns the next leaf that can be compared, and its index in the state log;
// nil if there are no more.
func (s *stateCheck) peek(ctx context.Context, a *auditor) (*stateLeaf, uint64, error) {
	for {
		if b := s.current; b != nil {
			for ; s.at < len(b.leaves); s.at++ {
				if l := &b.leaves[s.at]; l.sound {
					return l, b.first + uint64(s.at), nil
				}
			}
			if b.err != nil {
				return nil, 0, b.err
			}
		}
		if s.batches == nil {
			return nil, 0, nil
		}
		select {
		case b, open := <-s.batches:
			if !open {
				s.batches = nil
				return nil, 0, ctx.Err()
			}
			s.current, s.at = b, 0
			for _, f := range b.findings {
				a.found(f)
			}
			if b.end != nil {
				s.end = *b.end
			}
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// compareState compares a leaf with the log and the map as they are now.
func (a *auditor) compareState(index uint64, leaf state.Leaf) error {
	s := a.states
	if root := proof.FrontierRoot(s.frontier); root != leaf.Root {
		f := s.log.finding(StateLogRoot, index, fmt.Sprintf("it says another root of the log at %d events than the statements give", leaf.Size), leaf.Marshal())
		f.Evidence = append(f.Evidence, Exhibit{"root of the log in the leaf", leaf.Root.String()}, Exhibit{"computed root", root.String()})
		a.found(f)
	}
	if s.blind {
		return nil
	}
	before := s.root()
	for i := range s.changed {
		h := s.histories[s.changed[i].record]
		if err := s.set(s.changed[i].record, h.Summary()); err != nil {
			return err
		}
		h.changed = false
	}
	if root := s.root(); root != leaf.Map {
		f, err := s.mismatch(index, leaf, before, root)
		a.found(f)
		// Later roots differ as a consequence.
		s.blind, s.histories, s.changed, s.tree = true, nil, nil, mpt.Tree{}
		return err
	}
	s.changed = s.changed[:0]
	r := a.report.State
	r.Map, r.Records = leaf.Map, len(s.histories)
	r.Compared++
	return nil
}

func (s *stateCheck) set(record events.ID, summary state.Summary) error {
	key := state.Key(record)
	return s.tree.Set(key[:], summary.Marshal())
}

func (s *stateCheck) root() tlog.Hash { return s.tree.Root() }

// shownRecords is how many of the records that changed are told of.
const shownRecords = 16

// mismatch explains a leaf whose map is not what the events give. It changes the map.
func (s *stateCheck) mismatch(index uint64, leaf state.Leaf, before, root tlog.Hash) (Finding, error) {
	f := s.log.finding(StateRootMismatch, index, fmt.Sprintf("the first %d events give another root of the map than it has", leaf.Size), leaf.Marshal())
	f.Evidence = append(f.Evidence, Exhibit{"root of the map in the leaf", leaf.Map.String()},
		Exhibit{"computed root", root.String()})
	for i, c := range s.changed {
		if i == shownRecords {
			f.Why += fmt.Sprintf("; %d records changed since the leaf before, the evidence has the first %d", len(s.changed), shownRecords)
			break
		}
		f.Evidence = append(f.Evidence, Exhibit{"record " + c.record.String(), describe(s.histories[c.record].Summary())})
	}
	guilty, err := s.stale(leaf.Map)
	switch {
	case leaf.Map == before:
		f.Why += "; it has the root before the events since the last leaf"
	case guilty != nil:
		f.Why += fmt.Sprintf("; it has the root in which record %v is left as it was before, with %s", guilty.record, describe(guilty.former))
	}
	return f, err
}

// stale returns the one change without which the map has the given root; nil if
// there is none such.
func (s *stateCheck) stale(root tlog.Hash) (*change, error) {
	for i := range s.changed {
		c := &s.changed[i]
		if !c.had {
			continue // there is no map without it that ever was
		}
		if err := s.set(c.record, c.former); err != nil {
			return nil, err
		}
		if s.root() == root {
			return c, nil
		}
		if err := s.set(c.record, s.histories[c.record].Summary()); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// describe says what a summary says.
func describe(s state.Summary) string {
	text := fmt.Sprintf("%d events up to index %d, %s", s.Events, s.Last, s.Phase)
	if s.Violations > 0 {
		text += fmt.Sprintf(", %d of them after its end that may not be", s.Violations)
	}
	return text + ", root " + s.Root.String()
}

// endStates reads what the state log has beyond the log, and judges it as a whole.
// The error wraps ErrNoState or ErrKeptState, or says that it could not be read.
func (a *auditor) endStates(ctx context.Context) error {
	s, r := a.states, a.report.State
	if s == nil {
		return nil
	}
	for {
		leaf, _, err := s.peek(ctx, a)
		if err != nil {
			return err
		}
		if leaf == nil {
			break
		}
		r.Beyond++
		s.at++
	}
	if s.announced == nil {
		return ErrNoState
	}
	v, err := state.Verifier(s.announced.statement.Event)
	if err != nil {
		return fmt.Errorf("the key that event %d announces: %w", r.Announced, err)
	}
	if s.absent {
		a.found(s.announced.finding(r.Announced, StateMissing,
			fmt.Sprintf("the log announces a state log at index %d, and there is none", r.Announced)))
		return nil
	}
	signed := a.judgeStateCheckpoint(v)
	if s.end.complete && !s.covered {
		a.found(Finding{
			What:     StateBehind,
			Why:      fmt.Sprintf("the state log has no leaf of the log's checkpoint, of %d events: one is made before a checkpoint is given out", a.report.Checkpoint.Size),
			Evidence: []Exhibit{{"checkpoint", string(a.report.Signed)}, {"checkpoint of the state log", string(r.Signed)}},
		})
	}
	return a.judgeKeptState(v, signed && s.end.holds)
}

// judgeStateCheckpoint reports whether the key signed the state log's checkpoint.
func (a *auditor) judgeStateCheckpoint(v note.Verifier) bool {
	r := a.report.State
	_, err := proof.VerifyCheckpoint(r.Signed, v)
	if err == nil {
		return true
	}
	f := badCheckpoint(r.Signed, v, err)
	f.What = ofState.code(f.What)
	a.found(f)
	return false
}

// judgeKeptState reports what became of the kept checkpoint of the state log.
func (a *auditor) judgeKeptState(v note.Verifier, signedNow bool) error {
	r, end := a.report.State, a.states.end
	if r.Kept == nil {
		return nil
	}
	if _, err := proof.VerifyCheckpoint(a.options.KeptState, v); err != nil {
		return fmt.Errorf("%w: %w", ErrKeptState, err)
	}
	r.KeptHolds = end.keptRoot != nil && *end.keptRoot == r.Kept.Root
	k := keptCheckpoint{*r.Kept, a.options.KeptState, r.Checkpoint, r.Signed, end.keptRoot}
	if f := k.judge(signedNow, ofState); f != nil {
		a.found(*f)
	}
	return nil
}
