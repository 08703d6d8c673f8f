package ledger

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/projections/access"
	"github.com/medledger/medledger/verifier/statement"
)

// replayChunk is how many events are verified at a time.
const replayChunk = 1024

// replay brings the state up to the end of the store. It takes nothing at its
// word: every event that it applies is parsed strictly, signed by a key that the
// log announced for its place, and kept under its own id and in its own stream. So
// whoever writes to the store without a key can stop a ledger from opening, and
// cannot make it decide or sign on what they wrote.
func (l *Ledger) replay(ctx context.Context) error {
	keys, err := l.announcedKeys(ctx)
	if err != nil {
		return err
	}
	return l.inChunks(ctx, l.state().Head().Size, l.store.Len(), func(first uint64, records []store.Record) error {
		var statements []*statement.Statement
		if statements, keys, err = verifyChunk(records, first, keys); err != nil {
			return fmt.Errorf("%w; find out more with 'medverify audit --dir', restore the event store from a backup", err)
		}
		var changes access.Changes
		for i, s := range statements {
			if err := l.access.Apply(first+uint64(i), events.Upcast(s.Event), &changes); err != nil {
				return fmt.Errorf("replaying the event store; find out more with 'medverify audit --dir': %w", err)
			}
			if announced := s.Event.StatementKeys(); announced != nil {
				l.announced = announced
			}
		}
		l.access.Persist(changes)
		return nil
	})
}

// inChunks reads the events from one to another, and calls f with some at a time.
func (l *Ledger) inChunks(ctx context.Context, first, to uint64, f func(first uint64, records []store.Record) error) error {
	for first < to {
		records, err := l.store.ReadRange(ctx, first, int(min(to-first, replayChunk)))
		if err != nil {
			return fmt.Errorf("replaying the event store: %w", err)
		}
		if len(records) == 0 {
			return fmt.Errorf("the event store has no event %d, which was logged; restore it from a backup", first)
		}
		if err := f(first, records); err != nil {
			return err
		}
		first += uint64(len(records))
	}
	return nil
}

// announcedKeys reads the statement keys that the log has announced as far as the
// state goes.
func (l *Ledger) announcedKeys(ctx context.Context) (keys statement.KeySet, err error) {
	for _, index := range l.state().Head().Announcements {
		records, err := l.store.ReadRange(ctx, index, 1)
		if err != nil {
			return keys, fmt.Errorf("reading an announcement of statement keys: %w", err)
		}
		parsed, err := statement.Parse(records[0].Statement)
		if err == nil {
			keys, err = keys.Announce(parsed, index)
		}
		if err != nil {
			return keys, fmt.Errorf("event %d announces no statement keys any more, restore the event store from a backup: %w", index, err)
		}
		l.announced = parsed.Event.StatementKeys()
	}
	return keys, nil
}

// verifyChunk parses and verifies consecutive records, of which the first has the
// given index, on all cores.
func verifyChunk(records []store.Record, first uint64, keys statement.KeySet) ([]*statement.Statement, statement.KeySet, error) {
	statements := make([]*statement.Statement, len(records))
	err := inParallel(len(records), func(i int) (err error) {
		r := records[i]
		if statements[i], err = statement.Parse(r.Statement); err != nil {
			return fmt.Errorf("event %d: %w", first+uint64(i), err)
		}
		if e := statements[i].Event; e.ID != r.ID || e.Stream() != r.Stream {
			return fmt.Errorf("event %d is kept as another event, or in another stream", first+uint64(i))
		}
		return nil
	})
	if err != nil {
		return nil, keys, err
	}
	// Between two announcements the keys are the same.
	for begin := 0; begin < len(statements); {
		end := begin
		for end < len(statements) && statements[end].Event.StatementKeys() == nil {
			end++
		}
		err := inParallel(end-begin, func(i int) error {
			if err := keys.Check(statements[begin+i]); err != nil {
				return fmt.Errorf("event %d: %w", first+uint64(begin+i), err)
			}
			return nil
		})
		if err == nil && end < len(statements) {
			keys, err = keys.Announce(statements[end], first+uint64(end))
		}
		if err != nil {
			return nil, keys, err
		}
		begin = end + 1
	}
	return statements, keys, nil
}

// inParallel calls f for 0 to n-1 on all cores and returns the error of the
// lowest.
func inParallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	workers := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				errs[i] = f(i)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkAnnouncements holds the announcements of statement keys, which everything
// else was verified with, against the tree that was signed.
func (l *Ledger) checkAnnouncements(ctx context.Context) error {
	for _, index := range l.state().Head().Announcements {
		if _, err := l.provedLeaf(ctx, index); err != nil {
			return err
		}
	}
	return nil
}
