package ledger

import (
	"context"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// RotateStatementKey replaces the key that signs statements. The new key is on
// disk before the event that announces it, and the old one is removed after it:
// a crash in between leaves both, and the log says which one holds.
func (l *Ledger) RotateStatementKey(ctx context.Context) (*Result, error) {
	// One at a time: the end of a rotation removes every key but its own.
	l.rotating.Lock()
	defer l.rotating.Unlock()
	next, err := createStatementKey(l.folder, l.config.FS, l.config.Random)
	if err != nil {
		return nil, err
	}
	result, err := l.submit(ctx, &proposal{
		rotates: next,
		decide: func(s *life.State, _ moment) (events.ID, events.Data, error) {
			head := s.Head()
			return head.Ledger, &events.KeyRotated{
				Previous:      head.Announcements[len(head.Announcements)-1],
				StatementKeys: []events.StatementKey{next.JWK()},
			}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	return result, l.removeRetiredKeys(map[string]bool{next.JWK().Kid: true})
}

// removeRetiredKeys removes the statement keys that may not sign any more, or
// never might: a rotation that a crash interrupted leaves one of either sort.
func (l *Ledger) removeRetiredKeys(current map[string]bool) error {
	onDisk, err := statementKeys(l.folder, l.config.FS)
	if err != nil {
		return err
	}
	removed := false
	for kid := range onDisk {
		if current[kid] {
			continue
		}
		if err := l.config.FS.Remove(l.folder.statementKey(kid)); err != nil {
			return fmt.Errorf("removing a retired statement key; remove it by hand: %w", err)
		}
		removed = true
	}
	if !removed {
		return nil
	}
	if err := l.config.FS.SyncDir(l.folder.Secrets); err != nil {
		return fmt.Errorf("removing a retired statement key: %w", err)
	}
	return nil
}
