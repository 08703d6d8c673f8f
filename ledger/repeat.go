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
	return l.submit(ctx, &proposal{id: id, decide: func(*life.State, moment) (events.ID, events.Data, error) {
		return events.ID{}, nil, ErrConflict
	}})
}

// repeatedContent answers a repeated command whose content must be the same as
// the first time: the commitment in the event is opened with it. same says
// whether everything else is.
func (l *Ledger) repeatedContent(ctx context.Context, found *Result, same bool, version uint32, content io.Reader) (*Result, error) {
	if err := refusal(found); err != nil {
		return nil, err
	}
	if !same {
		return nil, ErrKeyReused
	}
	salt, err := l.vault.Opening(ctx, found.Event.Subject, version)
	if errors.Is(err, vault.ErrDestroyed) {
		return found, nil // nobody can tell any more
	}
	if err != nil {
		return nil, fmt.Errorf("comparing a repeated content: %w", err)
	}
	hash := commitment.New(salt)
	if _, err := io.Copy(hash, content); err != nil {
		return nil, fmt.Errorf("reading a repeated content: %w", err)
	}
	if !commits(found.Event.Data, hash.Sum()) {
		return nil, ErrKeyReused
	}
	return found, nil
}
