package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/ledger/state"
	"github.com/medledger/medledger/verifier/proof"
	stateformat "github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

// openStanding opens the map of where every record stands, and its log.
func (l *Ledger) openStanding(ctx context.Context) (err error) {
	c := state.Config{
		Dir: l.folder.State(), Signer: l.keys.state, Verifier: l.keys.stateVerifier, Key: l.keys.mapKey(), Known: l.notes(ofState),
		Events: l.store.Len(), FS: l.config.FS, Clock: l.config.Clock, Logger: l.config.Logger,
	}
	if l.opening == rebuilding {
		l.standing, err = state.Rebuild(ctx, c)
	} else {
		l.standing, err = state.Open(ctx, c)
	}
	return err
}

// catchUpStanding brings both to the end of the log, which it then brings to the end of
// the store.
func (l *Ledger) catchUpStanding(ctx context.Context) error {
	published := l.log.Published().Checkpoint
	// A log's checkpoint is shown after its leaf is durable, so that one which lacks its
	// leaf tells of leaves that are lost: a state log that went on without them would be
	// a second history under the same key.
	last, any := l.standing.Last()
	announced := l.state().Head().StateLog != 0
	if announced && (!any || last.Size < l.shown) {
		return fmt.Errorf("the state log's last leaf is of %d events, a checkpoint of %d was shown: %w", last.Size, l.shown, state.ErrLost)
	}
	// A crash may have lost the leaf of the last checkpoint.
	if err := l.alongside(ctx, published)(); err != nil {
		return err
	}
	if _, err := l.log.CatchUp(ctx); err != nil {
		return fmt.Errorf("logging what was stored: %w", err)
	}
	return l.checkLastLeaf(ctx)
}

// alongside is what the log calls with each checkpoint that it is about to publish.
func (l *Ledger) alongside(ctx context.Context, next proof.Checkpoint) (wait func() error) {
	if next.Size == 0 {
		return func() error { return nil }
	}
	if !l.serving.Load() { // there are no turns yet
		if err := l.replayStanding(ctx, next.Size); err != nil {
			return func() error { return err }
		}
	}
	return l.standing.Alongside(ctx, next)
}

// checkLastLeaf holds the last leaf of the state log against the log.
func (l *Ledger) checkLastLeaf(ctx context.Context) error {
	last, any := l.standing.Last()
	if !any {
		return nil
	}
	root, err := l.log.Root(ctx, last.Size)
	if err != nil {
		return fmt.Errorf("the last leaf of the state log is of %d events: %w: %w", last.Size, state.ErrLost, err)
	}
	if root != last.Root {
		return fmt.Errorf("the last leaf of the state log is of another log of %d events: %w", last.Size, state.ErrLost)
	}
	return nil
}

// errFar ends a walk over the leaves of the state log.
var errFar = errors.New("the next leaf lies beyond")

// replayStanding brings the map to the given number of events. Wherever a leaf was
// made on the way, the log and the map must have the roots that stand in it.
func (l *Ledger) replayStanding(ctx context.Context, to uint64) error {
	err := l.standing.From(ctx, l.standing.Position(), func(leaf stateformat.Leaf) error {
		if leaf.Size > to {
			return errFar
		}
		if err := l.replayRange(ctx, leaf.Size); err != nil {
			return err
		}
		return l.checkLeaf(ctx, leaf)
	})
	if err != nil && !errors.Is(err, errFar) {
		return err
	}
	return l.replayRange(ctx, to)
}

// checkLeaf holds a leaf of the state log against the map, which is where it was
// when the leaf was made, and against the log, as far as that was signed: what was
// not yet is checked at the end of Open.
func (l *Ledger) checkLeaf(ctx context.Context, leaf stateformat.Leaf) error {
	if root := l.standing.Root(); root != leaf.Map {
		return fmt.Errorf("the map of records was logged with root %v after %d events, which now give %v; run 'medledger rebuild', and if that says the same, restore a backup: %w",
			leaf.Map, leaf.Size, root, state.ErrLost)
	}
	if leaf.Size > l.log.Published().Checkpoint.Size {
		return nil
	}
	root, err := l.log.Root(ctx, leaf.Size)
	if err != nil {
		return err
	}
	if root != leaf.Root {
		return fmt.Errorf("a leaf of the state log is of another log of %d events: %w", leaf.Size, state.ErrLost)
	}
	return nil
}

func (l *Ledger) replayRange(ctx context.Context, to uint64) error {
	return l.inChunks(ctx, l.standing.Position(), to, func(first uint64, records []store.Record) error {
		list, err := l.aboutRecords(ctx, records, first)
		if err != nil {
			return err
		}
		return l.standing.Replay(first+uint64(len(records)), list)
	})
}

// aboutRecords reads from the store what the map has to know. The store is not taken
// at its word: what the log has signed is held against it. What it has not, replay
// has verified.
func (l *Ledger) aboutRecords(ctx context.Context, records []store.Record, first uint64) ([]state.Event, error) {
	at := l.log.Published().Checkpoint
	all := make([]state.Event, len(records))
	err := inParallel(len(records), func(i int) error {
		index := first + uint64(i)
		parsed, err := statement.Parse(records[i].Statement)
		if err != nil {
			return fmt.Errorf("event %d: %w", index, err)
		}
		all[i] = state.Event{
			Index: index, Hash: proof.LeafHash(records[i].Statement), Record: parsed.Event.Subject,
			Effect: stateformat.EffectOf(parsed.Event),
		}
		if index >= at.Size {
			return nil
		}
		path, err := l.log.InclusionProof(ctx, index, at.Size)
		if err != nil {
			return err
		}
		if err := at.CheckLeaf(index, all[i].Hash, path); err != nil {
			return fmt.Errorf("event %d is not the one that was logged; restore the event store from a backup: %w", index, err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("replaying the event store: %w", err)
	}
	return withEffect(all), nil
}

// standingOf is what the map has to know of a turn.
func standingOf(items []*item) []state.Event {
	all := make([]state.Event, len(items))
	for i, it := range items {
		all[i] = state.Event{Index: it.index, Hash: it.hash, Record: it.event.Subject, Effect: stateformat.EffectOf(it.event)}
	}
	return withEffect(all)
}

// withEffect leaves out the events that are about no record.
func withEffect(all []state.Event) []state.Event {
	n := 0
	for _, e := range all {
		if e.Effect != stateformat.None {
			all[n] = e
			n++
		}
	}
	return all[:n]
}
