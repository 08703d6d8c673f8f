package ledger

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/ledger/state"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/proof"
	stateformat "github.com/medledger/medledger/verifier/state"
)

// Completeness proves what all the events about a record are, at one moment, or that
// there is no such record.
type Completeness struct {
	Record events.ID
	// View says where the record stands, and proves it.
	View *state.View
	// Consistency proves that the log, at its published checkpoint, extends what the
	// view's leaf is of; it is empty if they are the same.
	Consistency []proof.Hash
	// Summary is the view's; the zero Summary if there is no such record.
	Summary stateformat.Summary

	ledger    *Ledger
	published *tlog.Published
}

// Proved is a statement with its place in the log and the audit path from it.
type Proved struct {
	Index     uint64
	Path      []proof.Hash
	Statement []byte
}

// Completeness lets somebody who may read the history of a record have the proof of
// its completeness. That they read it is the last event of it. Auditors, who may read
// all of the log, are also proved that there is no such record; to everybody else it
// looks as it does when they may not see it, for a proof of absence shows what is near.
func (l *Ledger) Completeness(ctx context.Context, c Command, record events.ID) (*Completeness, error) {
	read := func() error { return l.readHistory(ctx, c, record) }
	who, _ := l.Actor(c.Actor)
	if l.unheardOf(record) && slices.Contains(decision.Roles(events.ActionReadLog), who.Role) {
		read = func() error { return l.ReadLog(ctx, c) }
	}
	err := read()
	if err != nil {
		return nil, err
	}
	p := &Completeness{Record: record, ledger: l}
	p.View, err = l.standing.View(ctx, record, func() { p.published = l.log.Published() })
	if err != nil {
		return nil, err
	}
	if p.View.Summary != nil {
		if p.Summary, err = stateformat.ParseSummary(p.View.Summary); err != nil {
			return nil, err
		}
	}
	p.Consistency, err = l.log.ConsistencyProof(ctx, p.View.Leaf.Size, p.published.Checkpoint.Size)
	if err != nil {
		return nil, fmt.Errorf("proving that the log extends where the records stood: %w", err)
	}
	return p, nil
}

// unheardOf reports whether there is no event about a record.
func (l *Ledger) unheardOf(record events.ID) (no bool) {
	l.view(func(s *life.State) { no = s.Record(record) == nil })
	return no
}

// Checkpoint is the log's signed checkpoint that all of it is proved under.
func (p *Completeness) Checkpoint() []byte { return p.published.Note }

// StateLog is the announcement of the state log's key.
func (p *Completeness) StateLog(ctx context.Context) (Proved, error) {
	var index uint64
	p.ledger.view(func(s *life.State) { index = s.Head().StateLog })
	return p.at(ctx, index)
}

// Keys are the announcements of the statement keys, oldest first.
func (p *Completeness) Keys(ctx context.Context) ([]Proved, error) {
	var indices []uint64
	p.ledger.view(func(s *life.State) { indices = s.Head().Announcements })
	var list []Proved
	for _, index := range indices {
		if index >= p.published.Checkpoint.Size {
			break
		}
		one, err := p.at(ctx, index)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

func (p *Completeness) at(ctx context.Context, index uint64) (Proved, error) {
	leaf, err := p.ledger.log.Leaf(ctx, index)
	if err != nil {
		return Proved{}, fmt.Errorf("reading event %d: %w", index, err)
	}
	return p.proved(ctx, index, leaf)
}

func (p *Completeness) proved(ctx context.Context, index uint64, statement []byte) (Proved, error) {
	path, err := p.ledger.log.InclusionProof(ctx, index, p.published.Checkpoint.Size)
	if err != nil {
		return Proved{}, fmt.Errorf("proving event %d: %w", index, err)
	}
	return Proved{index, path, statement}, nil
}

// Events yields the events about the record, oldest first: as many as its summary
// says. They are read one by one, for a record may have very many.
func (p *Completeness) Events(ctx context.Context) iter.Seq2[Proved, error] {
	return func(yield func(Proved, error) bool) {
		left := p.Summary.Events
		if left == 0 {
			return
		}
		for r, err := range p.ledger.store.Read(ctx, events.RecordStream(p.Record), 0) {
			var one Proved
			if err == nil {
				one, err = p.proved(ctx, indexOf(r), r.Statement)
			}
			if err != nil {
				yield(Proved{}, fmt.Errorf("reading a history: %w", err))
				return
			}
			if left--; !yield(one, nil) || left == 0 {
				return
			}
		}
		if left > 0 {
			yield(Proved{}, fmt.Errorf("%d events of a record are not in its stream: %w", left, store.ErrNotFound))
		}
	}
}
