package ledger

import (
	"context"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/statement"
)

// commitLoop is the second stage. It ends when the first stage has ended and its
// last turn is committed or refused.
func (l *Ledger) commitLoop() {
	defer close(l.ended)
	for t := range l.turns {
		published, err := l.commit(t)
		if err != nil {
			l.fail(err)
		}
		l.answer(t, published, err)
	}
}

// commit makes a turn durable, logs it and publishes the checkpoint that covers
// it. Once a commit has failed no other is tried.
func (l *Ledger) commit(t *turn) (*tlog.Published, error) {
	if err := l.Err(); err != nil {
		return nil, err
	}
	if len(t.items) == 0 {
		return l.log.Published(), nil
	}
	batch := make([]store.Append, len(t.items))
	hashes := make([]proof.Hash, len(t.items))
	for i, it := range t.items {
		batch[i] = store.Append{
			Stream: it.event.Stream(), Expected: it.expected,
			Events: []store.Event{{ID: it.event.ID, Statement: it.raw}},
		}
		hashes[i] = it.hash
	}
	l.standing.Stage(t.items[len(t.items)-1].index+1, standingOf(t.items))
	defer l.standing.Release()
	// A crash before this returns leaves all of the turn or nothing of it, and
	// nobody was told of it. A crash after it leaves events that happened.
	if _, err := l.store.AppendBatch(context.Background(), batch); err != nil {
		l.enforce(t) // what failed may have happened
		return nil, fmt.Errorf("committing events %d to %d: %w", t.items[0].index, t.items[len(t.items)-1].index, err)
	}
	l.access.Persist(t.changes)
	published, err := l.log.IntegrateHashes(context.Background(), hashes)
	l.enforce(t)
	if err != nil {
		return nil, fmt.Errorf("logging events %d to %d: %w", t.items[0].index, t.items[len(t.items)-1].index, err)
	}
	return published, nil
}

// answer tells every command of a turn what became of it.
func (l *Ledger) answer(t *turn, published *tlog.Published, err error) {
	if err != nil {
		err = l.stopped()
	}
	for _, it := range t.items {
		it.proposal.done <- outcome{err: err, result: l.result(it, published)}
	}
	for _, r := range t.repeats {
		o := outcome{err: err}
		switch {
		case err != nil:
		case r.earlier != nil:
			o.result = l.result(r.earlier, published)
		default:
			o.result, o.err = l.recall(r.record, published)
		}
		r.proposal.done <- o
	}
}

func (l *Ledger) result(it *item, published *tlog.Published) *Result {
	return &Result{Event: it.event, Index: it.index, Statement: it.raw, published: published, ledger: l}
}

// recall reads a stored event back, which published covers.
func (l *Ledger) recall(r store.Record, published *tlog.Published) (*Result, error) {
	parsed, err := statement.Parse(r.Statement)
	if err != nil {
		return nil, fmt.Errorf("reading event %v back: %w", r.ID, err)
	}
	return &Result{
		Event: events.Upcast(parsed.Event), Index: indexOf(r), Statement: r.Statement, published: published, ledger: l,
	}, nil
}

// indexOf is the log index of a stored event: the embedded store numbers its
// records from one, without gaps.
func indexOf(r store.Record) uint64 { return uint64(r.Position) - 1 }
