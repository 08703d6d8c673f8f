package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/commitment"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// repeated looks for the event of a command that was given before, and returns
// nil if there is none.
func (l *Ledger) repeated(ctx context.Context, c Command) (*Result, error) {
	id, err := l.commandID(c)
	if err != nil || id.IsZero() {
		return nil, err
	}
	_, err = l.store.Lookup(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a repeated command: %w", err)
	}
	// The event is durable and perhaps not logged yet. Submitting its id again
	// waits for the turn that it is in; what is to be decided is never asked.
	return l.submit(ctx, &proposal{id: id, actor: c.Actor, token: c.Token, decide: func(*life.State, moment) (events.ID, events.Data, error) {
		return events.ID{}, nil, ErrConflict
	}})
}

// repetition is how a repeated command compares with its event, the content aside.
type repetition struct {
	same        bool   // in everything that the event shows
	version     uint32 // of the record, which the event announced
	contentType string // this time
}

// repeatedContent answers a repeated command whose content must be the same as
// the first time: the commitment in the event is opened with it.
func (l *Ledger) repeatedContent(ctx context.Context, found *Result, request decision.Request, r repetition, content io.Reader) (*Result, error) {
	if err := l.refusal(found, request); err != nil {
		return nil, err
	}
	if !r.same {
		return nil, ErrKeyReused
	}
	kept, err := l.vault.Get(ctx, found.Event.Subject, r.version)
	if errors.Is(err, vault.ErrDestroyed) {
		return found, nil // nobody can tell any more
	}
	if err != nil {
		return nil, fmt.Errorf("comparing a repeated content: %w", err)
	}
	if err := kept.Reader.Close(); err != nil {
		return nil, fmt.Errorf("comparing a repeated content: %w", err)
	}
	salt, err := l.vault.Opening(ctx, found.Event.Subject, r.version)
	if errors.Is(err, vault.ErrDestroyed) {
		return found, nil
	}
	if err != nil {
		return nil, fmt.Errorf("comparing a repeated content: %w", err)
	}
	hash := commitment.New(salt)
	if _, err := io.Copy(hash, content); err != nil {
		return nil, fmt.Errorf("reading a repeated content: %w", err)
	}
	if kept.ContentType != r.contentType || !commits(found.Event.Data, hash.Sum()) {
		return nil, ErrKeyReused
	}
	return found, nil
}

// oneAtATime lets one of the commands of an actor and an idempotency key through
// at a time, so that its repetitions find what it led to. The caller calls what it
// returns when the command is done. The error is ctx's.
func (l *Ledger) oneAtATime(ctx context.Context, c Command) (done func(), err error) {
	if c.IdempotencyKey == "" {
		return func() {}, nil
	}
	name := commandName{c.Actor, c.IdempotencyKey}
	for {
		mine := make(chan struct{})
		other, taken := l.running.LoadOrStore(name, mine)
		if !taken {
			return func() {
				l.running.Delete(name)
				close(mine)
			}, nil
		}
		select {
		case <-other.(chan struct{}):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// commandName tells commands apart.
type commandName struct {
	actor events.ID
	key   string
}
