package audit

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/proof"
)

// found adds a finding to the report.
func (a *auditor) found(f Finding) {
	a.report.Counts[f.What]++
	if len(a.report.Findings) < a.options.MaxFindings {
		a.report.Findings = append(a.report.Findings, f)
	}
}

// blame makes a finding of a source's defect, and returns every other error.
func (a *auditor) blame(err error) error {
	if f, ok := defectIn(err); ok {
		a.found(f)
		return nil
	}
	return err
}

// applyStage takes the batches in the order of the log and ends with the tree.
func (a *auditor) applyStage(ctx context.Context, toApply <-chan *batch) error {
	size := a.report.Checkpoint.Size
	a.keptRoot = a.tree.rootWithin(a.report.Kept, 0, nil)
	var edge []tlog.Hash // of the last bundle, if it is not full
	for a.report.Checked < size {
		b, err := next(ctx, toApply)
		if err != nil {
			return err
		}
		for _, f := range b.findings {
			a.found(f)
		}
		if b.err != nil {
			return fmt.Errorf("reading the statements from index %d on: %w", b.first(), b.err)
		}
		if b.missing {
			a.judgeKept(false)
			return nil // there is no more to be checked, and a finding says so
		}
		for i := range b.items {
			a.apply(b.first()+uint64(i), &b.items[i])
			if err := a.follow(ctx, b.first()+uint64(i), &b.items[i]); err != nil {
				return err
			}
		}
		if edge, err = a.grow(ctx, b); err != nil {
			return err
		}
		a.report.Checked += uint64(len(b.items))
		if a.options.Progress != nil {
			a.options.Progress(a.report.Checked, size)
		}
	}
	if src, ok := a.src.(sealedSource); ok {
		findings, err := src.seals(ctx)
		if err != nil {
			return fmt.Errorf("reading the seals of the event store: %w", err)
		}
		for _, f := range findings {
			a.found(f)
		}
	}
	return a.finish(ctx, edge)
}

// next returns the next batch when it has been through the stages before.
func next(ctx context.Context, toApply <-chan *batch) (*batch, error) {
	select {
	case b, open := <-toApply:
		if open && wait(ctx, b.verified) {
			return b, nil
		}
	case <-ctx.Done():
	}
	return nil, fmt.Errorf("auditing: %w", context.Cause(ctx))
}

// apply checks a statement against everything before it. One that is not
// verified says nothing, so its event is not applied.
func (a *auditor) apply(index uint64, it *item) {
	defer a.advance(index)
	if it.err != nil {
		a.found(it.bad(index))
		return
	}
	a.report.Verified++
	e := events.Upcast(it.statement.Event)
	if origin := a.options.Verifier.Name(); index == 0 && e.Source != origin {
		a.found(it.finding(index, StatementOrigin, fmt.Sprintf("it opens the ledger %q in the log %q", e.Source, origin)))
	}
	a.label(index, it)
	if earlier, repeated := a.seen[e.ID]; repeated {
		a.found(it.finding(index, EventRepeated, fmt.Sprintf("event %v stands at index %d already", e.ID, earlier)))
		return
	}
	a.seen[e.ID] = index
	wrong := decision.Replay(a.state, index, e) // on the state before the event
	if err := a.state.Apply(index, e); err != nil {
		a.found(it.illegal(index, err))
		return
	}
	if wrong != nil {
		a.found(it.finding(index, DecisionWrong, wrong.Error()))
	}
	a.count(index, e)
}

// advance makes the state expect the event after index, also if the one at index
// was not applied: it is one finding, and not one for every event after it.
func (a *auditor) advance(index uint64) {
	if h := a.state.Head(); h.Size == index {
		h.Size++
		a.state.Restore(h)
	}
}

// label checks that a store keeps a statement under its own id and stream.
func (a *auditor) label(index uint64, it *item) {
	if !it.leaf.label {
		return
	}
	e := it.statement.Event
	if it.id != e.ID {
		a.found(it.finding(index, StoreLabel, fmt.Sprintf("the event store keeps it as event %v, but it is event %v", it.id, e.ID)))
	}
	if want := e.Stream(); it.stream != want {
		a.found(it.finding(index, StoreLabel, fmt.Sprintf("the event store keeps it in the stream %.80q, but it belongs to %q", it.stream, want)))
	}
}

// count adds a legal event to the report.
func (a *auditor) count(index uint64, e events.Event) {
	r := a.report
	if r.First == 0 {
		r.First = e.Time
	}
	r.Last = e.Time
	r.ByType[e.Type]++
	if _, restored := e.Data.(*events.LedgerRestored); restored {
		r.Restored = append(r.Restored, index)
	}
	if keys := e.StatementKeys(); len(keys) > 0 {
		announced := Announcement{Index: index}
		for _, k := range keys {
			announced.Keys = append(announced.Keys, k.Kid)
		}
		r.Announcements = append(r.Announcements, announced)
	}
}

// grow adds a batch to the tree, compares the tiles that this completes, and
// compares the kept checkpoint if it falls within. It returns the hashes of a
// bundle that is not full.
func (a *auditor) grow(ctx context.Context, b *batch) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(b.items))
	for i := range b.items {
		hashes[i] = b.items[i].hash
	}
	if root := a.tree.rootWithin(a.report.Kept, b.first(), hashes); root != nil {
		a.keptRoot = root
	}
	if len(hashes) < proof.TileWidth {
		return hashes, nil
	}
	return nil, a.compareTiles(ctx, a.tree.add(b.tile.Index, b.root))
}

func (a *auditor) compareTiles(ctx context.Context, tiles []wantedTile) error {
	findings, err := compareTiles(ctx, a.src, tiles, ofLog)
	for _, f := range findings {
		a.found(f)
	}
	return err
}

// finish compares the partial tiles above the leaves and the root, and ends with the
// state log.
func (a *auditor) finish(ctx context.Context, edge []tlog.Hash) error {
	c := a.report.Checkpoint
	if err := a.compareTiles(ctx, a.tree.edges(c.Size)); err != nil {
		return err
	}
	root := a.tree.root(edge)
	if root != c.Root {
		a.found(Finding{
			What:     RootMismatch,
			Why:      fmt.Sprintf("the %d statements do not give the root hash that the log's key signed for them", c.Size),
			Evidence: []Exhibit{{"checkpoint", string(a.report.Signed)}, {"computed root", root.String()}},
		})
	}
	a.judgeKept(root == c.Root)
	if err := a.endStates(ctx); err != nil {
		return err
	}
	a.report.Complete = true
	return nil
}

// judgeKept reports what became of the kept checkpoint.
func (a *auditor) judgeKept(signedNow bool) {
	r := a.report
	if r.Kept == nil {
		return
	}
	r.KeptHolds = a.keptRoot != nil && *a.keptRoot == r.Kept.Root
	k := keptCheckpoint{*r.Kept, a.options.Kept, r.Checkpoint, r.Signed, a.keptRoot}
	if f := k.judge(signedNow, ofLog); f != nil {
		a.found(*f)
	}
}

// keptCheckpoint is a checkpoint from an earlier time, beside the one of now.
type keptCheckpoint struct {
	kept       proof.Checkpoint
	keptSigned []byte
	now        proof.Checkpoint
	nowSigned  []byte
	root       *tlog.Hash // of as many leaves as kept covers; nil if they are not there
}

// judge explains what is false if the log does not extend the kept checkpoint. That
// the log's key has signed two histories is only shown if the leaves are those that
// it signed now.
func (c keptCheckpoint) judge(signedNow bool, k kind) *Finding {
	if c.root != nil && *c.root == c.kept.Root {
		return nil
	}
	f := Finding{Evidence: []Exhibit{{"kept checkpoint", string(c.keptSigned)}, {"checkpoint", string(c.nowSigned)}}}
	switch {
	case c.kept.Size > c.now.Size:
		f.What, f.Located, f.Index = KeptLarger, true, c.now.Size
		f.Why = fmt.Sprintf("the kept checkpoint covers %d %s, %s has only %d left: its tail was removed, or it was put back to an older state", c.kept.Size, k.leaves, k.log, c.now.Size)
	case c.root == nil:
		return nil // the leaves that it covers are missing, which is a finding
	case signedNow:
		f.What = KeptFork
		f.Why = fmt.Sprintf("%s's first %d %s are not those of the kept checkpoint: %s's key has signed two histories", k.log, c.kept.Size, k.leaves, k.log)
	default:
		f.What = KeptMismatch
		f.Why = fmt.Sprintf("%s's first %d %s are not those of the kept checkpoint", k.log, c.kept.Size, k.leaves)
	}
	if c.root != nil {
		f.Evidence = append(f.Evidence, Exhibit{fmt.Sprintf("computed root of the first %d", c.kept.Size), c.root.String()})
	}
	f.What = k.code(f.What)
	return &f
}

// summarise reports what the state has come to.
func (a *auditor) summarise() {
	r := a.report
	r.Actors, r.Records = a.state.Counts()
	a.state.Records(func(_ events.ID, record *life.Record) bool {
		switch record.Phase {
		case life.Destroying:
			r.Destroying++
		case life.Destroyed:
			r.Destroyed++
		}
		return true
	})
}
