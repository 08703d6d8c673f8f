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
	next, err := createStatementKey(l.folder, l.config.FS, l.config.Random)
	if err != nil {
		return nil, err
	}
	var before []events.StatementKey
	g, err := l.submit(ctx, &proposal{
		rotates: next,
		decide: func(s *life.State, _ moment) (events.ID, events.Data, error) {
			head := s.Head()
			before = []events.StatementKey{l.signer.JWK()}
			return head.Ledger, &events.KeyRotated{
				Previous:      head.Announcements[len(head.Announcements)-1],
				StatementKeys: []events.StatementKey{next.JWK()},
			}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	for _, key := range before {
		if err := l.config.FS.Remove(l.folder.statementKey(key.Kid)); err != nil {
			return nil, fmt.Errorf("removing the statement key that was replaced; remove it by hand: %w", err)
		}
	}
	if err := l.config.FS.SyncDir(l.folder.keys()); err != nil {
		return nil, fmt.Errorf("removing the statement key that was replaced: %w", err)
	}
	return l.result(g), nil
}
