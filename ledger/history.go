package ledger

import (
	"context"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
)

// History returns the events about a record, oldest first, up to the newest that
// is in the log now. The error is store.ErrNotFound if there are none.
func (l *Ledger) History(ctx context.Context, record events.ID) ([]*Result, error) {
	published := l.log.Published()
	var results []*Result
	for r, err := range l.store.Read(ctx, events.RecordStream(record), 0) {
		if err != nil {
			return nil, fmt.Errorf("reading a history: %w", err)
		}
		if indexOf(r) >= published.Checkpoint.Size {
			break
		}
		result, err := l.recall(r, published)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	if len(results) == 0 {
		return nil, store.ErrNotFound
	}
	return results, nil
}
