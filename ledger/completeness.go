package ledger

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/life"
	stateformat "github.com/medledger/medledger/verifier/state"
)

// Completeness proves what all the events about a record are, at one moment, or that
// there is no such record (verifier/history). The caller writes it and closes it.
type Completeness struct {
	ledger    *Ledger
	passage   *passage
	header    history.Header
	published *tlog.Published // of the log
	keys      []uint64        // where statement keys were announced
	stateLog  uint64          // where the state log was
}

// Completeness lets somebody who may read the history of a record have the proof of
// its completeness. That they read it is the last event of it. Auditors, who may read
// all of the log, are also proved that there is no such record; to everybody else it
// looks as it does when they may not see it, for a proof of absence shows what is near.
func (l *Ledger) Completeness(ctx context.Context, c Command, record events.ID) (*Completeness, error) {
	read := l.readHistory
	who, _ := l.Actor(c.Actor)
	if l.unheardOf(record) && slices.Contains(decision.Roles(events.ActionReadLog), who.Role) {
		read = l.readNothing
	}
	passage, err := read(ctx, c, record)
	if err != nil {
		return nil, err
	}
	p := &Completeness{ledger: l, passage: passage}
	err = p.begin(ctx, record)
	if err == nil {
		err = l.goOn(passage)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// unheardOf reports whether there is no event about a record.
func (l *Ledger) unheardOf(record events.ID) (no bool) {
	l.view(func(s *life.State) { no = s.Record(record) == nil })
	return no
}

// readNothing lets an auditor read that there is no such record, as they may read the
// log.
func (l *Ledger) readNothing(ctx context.Context, c Command, _ events.ID) (*passage, error) {
	request := decision.Request{Action: events.ActionReadLog, Actor: c.Actor}
	p := &passage{fence: &l.fence, request: request, token: c.Token}
	l.fence.enter(p) // before it is decided, for that is in no turn most of the time
	if err := l.ReadLog(ctx, c); err != nil {
		l.fence.leave(p)
		return nil, err
	}
	return p, nil
}

// begin fixes the moment that a bundle is of, and makes its header.
func (p *Completeness) begin(ctx context.Context, record events.ID) error {
	l := p.ledger
	view, err := l.standing.View(ctx, record, func() { p.published = l.log.Published() })
	if err != nil {
		return err
	}
	l.view(func(s *life.State) {
		head := s.Head()
		p.stateLog, p.keys = head.StateLog, head.Announcements
	})
	for len(p.keys) > 0 && p.keys[len(p.keys)-1] >= p.published.Checkpoint.Size {
		p.keys = p.keys[:len(p.keys)-1] // of a turn in flight
	}
	p.header = history.Header{
		Record: record, Announcements: uint64(len(p.keys)), Log: p.published.Note, Leaf: view.Leaf, State: view.Proof, Map: view.Map,
	}
	if view.Summary != nil {
		summary, err := stateformat.ParseSummary(view.Summary)
		if err != nil {
			return err
		}
		p.header.Summary, p.header.Events = &summary, summary.Events
	}
	p.header.Consistency, err = l.log.ConsistencyProof(ctx, view.Leaf.Size, p.published.Checkpoint.Size)
	if err != nil {
		return fmt.Errorf("proving that the log extends where the records stood: %w", err)
	}
	return nil
}

// Close ends the reading. It must be called, or the fence goes on deciding on it.
func (p *Completeness) Close() { p.passage.fence.leave(p.passage) }

// Write writes the bundle. Events are read and written one by one, for a record may
// have very many. It fails with ErrRightEnded once the right to read them has ended.
// If it fails, what was written is no bundle.
func (p *Completeness) Write(ctx context.Context, to io.Writer) error {
	w, err := history.NewWriter(to, p.header)
	if err != nil {
		return err
	}
	for _, index := range append([]uint64{p.stateLog}, p.keys...) {
		leaf, err := p.ledger.log.Leaf(ctx, index)
		if err != nil {
			return fmt.Errorf("reading an announcement of keys: %w", err)
		}
		if err := p.prove(ctx, w, index, leaf); err != nil {
			return err
		}
	}
	if err := p.writeEvents(ctx, w); err != nil {
		return err
	}
	return w.Close()
}

func (p *Completeness) writeEvents(ctx context.Context, w *history.Writer) error {
	left := p.header.Events
	if left == 0 {
		return nil
	}
	for r, err := range p.ledger.store.Read(ctx, events.RecordStream(p.header.Record), 0) {
		if err != nil {
			return fmt.Errorf("reading a history: %w", err)
		}
		if err := p.prove(ctx, w, indexOf(r), r.Statement); err != nil {
			return err
		}
		if left--; left == 0 {
			break
		}
	}
	return nil // Close tells whether some are missing
}

// prove writes a statement with the proof that it is in the log, unless the right to
// read it has ended.
func (p *Completeness) prove(ctx context.Context, w *history.Writer, index uint64, statement []byte) error {
	if err := p.ledger.goOn(p.passage); err != nil {
		return err
	}
	path, err := p.ledger.log.InclusionProof(ctx, index, p.published.Checkpoint.Size)
	if err != nil {
		return fmt.Errorf("proving event %d: %w", index, err)
	}
	return w.Statement(index, path, statement)
}
