package ledger

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/proof"
	stateformat "github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

// errAnnounced says that the log has announced the state log.
var errAnnounced = errors.New("the state log was announced before")

// announceStateLog logs the key of the state log, unless the log has it.
func (l *Ledger) announceStateLog(ctx context.Context) error {
	opened, err := l.stateLogKey()
	if err != nil {
		return err
	}
	_, err = l.submit(ctx, &proposal{decide: func(s *life.State, _ moment) (events.ID, events.Data, error) {
		if s.Head().StateLog != 0 {
			return events.ID{}, nil, errAnnounced
		}
		return s.Head().Ledger, opened, nil
	}})
	if err != nil && !errors.Is(err, errAnnounced) {
		return fmt.Errorf("logging the key of the state log: %w", err)
	}
	return nil
}

// stateLogKey is what the log has to say of the key of the state log.
func (l *Ledger) stateLogKey() (*events.StateLogOpened, error) {
	vkey, err := disk.ReadFile(l.config.FS, l.folder.StateVerifierKey())
	if err != nil {
		return nil, fmt.Errorf("reading the verifier key of the state log: %w", err)
	}
	_, public, err := ed25519Key(vkey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.folder.StateVerifierKey(), err)
	}
	return stateformat.Announce(public), nil
}

// checkStateLog holds the key of the state log against the one that the log has
// announced.
func (l *Ledger) checkStateLog(ctx context.Context) error {
	index := l.state().Head().StateLog
	if index == 0 {
		return nil
	}
	announced, err := l.announcedStateLog(ctx, index)
	if err != nil {
		return err
	}
	own, err := l.stateLogKey()
	if err != nil {
		return err
	}
	if *announced != *own {
		return fmt.Errorf("the key of the state log is not the one that event %d announced: %w", index, ErrOtherOrigin)
	}
	return nil
}

// announcedStateLog reads the event that announced the state log, and holds it
// against the signed tree.
func (l *Ledger) announcedStateLog(ctx context.Context, index uint64) (*events.StateLogOpened, error) {
	leaf, err := l.provedLeaf(ctx, index)
	if err != nil {
		return nil, err
	}
	parsed, err := statement.Parse(leaf)
	if err != nil {
		return nil, fmt.Errorf("reading the announcement of the state log: %w", err)
	}
	announced, ok := parsed.Event.Data.(*events.StateLogOpened)
	if !ok {
		return nil, fmt.Errorf("event %d is not the announcement of the state log that it was; restore the event store from a backup", index)
	}
	return announced, nil
}

// provedLeaf returns a leaf that is in the signed tree.
func (l *Ledger) provedLeaf(ctx context.Context, index uint64) ([]byte, error) {
	at := l.log.Published().Checkpoint
	leaf, err := l.log.Leaf(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("reading an announcement of keys: %w", err)
	}
	var path []tlog.Hash
	if path, err = l.log.InclusionProof(ctx, index, at.Size); err != nil {
		return nil, fmt.Errorf("proving an announcement of keys: %w", err)
	}
	if err := at.CheckLeaf(index, proof.LeafHash(leaf), path); err != nil {
		return nil, fmt.Errorf("event %d is not the one that was signed, restore the event store from a backup: %w", index, err)
	}
	return leaf, nil
}
