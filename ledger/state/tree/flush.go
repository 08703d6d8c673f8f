package tree

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/medledger/medledger/events/store/disk"
)

// change is a page that changed, as a flush writes it. Contents never change, so that a
// snapshot of them is a pointer each.
type change struct {
	page     *page
	row      int64
	data     []byte
	old, new digest
}

// snapshot is what a flush writes: the pages that changed, as they were at a position.
type snapshot struct {
	changes []change
	head    []byte
	at      uint64
}

// run writes the copy until Close.
func (t *Tree) run(ctx context.Context) {
	defer close(t.done)
	for range t.kick {
		if err := t.flush(ctx, &disk.Pace{Hurry: t.behind}); err != nil {
			t.config.Logger.ErrorContext(ctx, "the copy of the state tree lags behind; the next start replays more", "cause", err)
		}
	}
}

// behind reports whether the copy lags by more than two flushes, or is to be closed.
func (t *Tree) behind() bool {
	if t.closing.Load() {
		return true
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirty >= t.config.DirtyBytes || t.position-t.written >= 2*t.config.FlushEvery
}

// Close writes what changed and closes the copy. If ctx ends before that, the copy
// stays where it was. Nothing may be called afterwards.
func (t *Tree) Close(ctx context.Context) error {
	t.closing.Store(true)
	close(t.kick)
	select {
	case <-t.done:
	case <-ctx.Done():
		t.cancel()
		<-t.done
	}
	t.cancel()
	err := t.flush(ctx, nil)
	return errors.Join(err, t.readPage.Close(), t.reads.Close(), t.db.Close())
}

// flush writes what changed in one transaction. A crash before the commit leaves the
// copy where it was, one after it at the new position; the next start replays the
// events from there. What could not be written, or of which that is not known, is
// written again by the next flush.
//
// The commit leaves the transaction in the WAL. The checkpoint moves it to the file, and
// the WAL is cut off, as it would stay as large as the largest flush. A crash within the
// checkpoint leaves the WAL, from which SQLite makes it again.
func (t *Tree) flush(ctx context.Context, pace *disk.Pace) error {
	s, needed := t.snapshot()
	if !needed {
		return nil
	}
	sum, err := t.commit(ctx, s, pace)
	t.settle(s, sum, err)
	if err != nil {
		return fmt.Errorf("writing the copy of the state tree: %w", err)
	}
	pace.Rest()
	if _, err := t.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return fmt.Errorf("moving the copy of the state tree from its WAL: %w", err)
	}
	return nil
}

// settle notes what became of a snapshot.
func (t *Tree) settle(s snapshot, sum digest, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range s.changes {
		p := s.changes[i].page
		t.count(p, -1)
		p.flushing = false
		if err == nil {
			p.digest = s.changes[i].new
		} else if !p.dirty {
			p.dirty = true
			t.changed = append(t.changed, p)
		}
		t.count(p, +1)
	}
	if err == nil {
		t.seal.sum, t.written = sum, s.at
		t.sweep()
	}
}

// snapshot takes the changed pages. It reports whether there is something to write.
func (t *Tree) snapshot() (s snapshot, needed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.position == t.written && len(t.changed) == 0 {
		return s, false
	}
	s = snapshot{make([]change, 0, len(t.changed)), encodeHead(t.position, t.rootHash()), t.position}
	for _, p := range t.changed {
		s.changes = append(s.changes, change{page: p, row: p.row, data: p.data, old: p.digest})
		t.count(p, -1)
		p.dirty, p.flushing = false, true
		t.count(p, +1)
	}
	t.changed = nil
	return s, true
}

// commit writes a snapshot, and sets the digests of what it wrote. It returns their sum
// with those of the other pages.
func (t *Tree) commit(ctx context.Context, s snapshot, pace *disk.Pace) (sum digest, err error) {
	// In the order of the file.
	slices.SortFunc(s.changes, func(a, b change) int { return cmp.Compare(a.row, b.row) })
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return digest{}, err
	}
	defer tx.Rollback()
	sum = t.seal.sum
	for changes := range slices.Chunk(s.changes, rowsPerBatch) {
		if err := upsert(ctx, tx, changes); err != nil {
			return digest{}, err
		}
		for i := range changes {
			changes[i].new = t.seal.digestOf(changes[i].row, changes[i].data)
			sum = sum.minus(changes[i].old).plus(changes[i].new)
		}
		pace.Rest()
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM head"); err != nil {
		return digest{}, err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO head VALUES (?, ?, ?)", formatVersion, s.head, t.seal.headMAC(sum, s.head)); err != nil {
		return digest{}, err
	}
	if err := tx.Commit(); err != nil {
		// SQLite may leave a transaction open that it could not commit, and database/sql
		// takes it for ended: no other could begin. Mostly there is none, which is an
		// error too.
		_, _ = t.db.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return digest{}, err
	}
	return sum, nil
}

// upsert writes rows with one statement: with one each, the calls through database/sql
// cost more than SQLite itself.
func upsert(ctx context.Context, tx *sql.Tx, changes []change) error {
	args := make([]any, 0, 2*len(changes))
	for _, c := range changes {
		args = append(args, c.row, c.data)
	}
	query := "INSERT INTO page VALUES (?, ?)" + strings.Repeat(", (?, ?)", len(changes)-1) +
		" ON CONFLICT DO UPDATE SET data = excluded.data"
	_, err := tx.ExecContext(ctx, query, args...)
	return err
}
