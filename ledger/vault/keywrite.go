package vault

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events"
)

// writeStatements are the prepared statements of the write connection.
type writeStatements struct {
	begin, commit, rollback     *sql.Stmt
	inserts                     []inserts // by size, descending to 1
	slotOf                      *sql.Stmt
	zeroKey, deleteVersion      *sql.Stmt
	versionsOf, deleteVersions  *sql.Stmt
	bury, tombstone             *sql.Stmt
	addLive, setCollected       *sql.Stmt
	liveSegments, sweepSegments *sql.Stmt

	all []*sql.Stmt // for close
}

// close closes the statements. Closing their connection does not: database/sql
// leaves to the caller what was prepared on one connection, and SQLite keeps its
// files open until the last statement is closed.
func (w *writeStatements) close() error {
	var errs []error
	for _, s := range w.all {
		errs = append(errs, s.Close())
	}
	w.all = nil
	return errors.Join(errs...)
}

func (w *writeStatements) prepare(ctx context.Context, conn *sql.Conn) error {
	for _, s := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commit, "COMMIT"},
		{&w.rollback, "ROLLBACK"},
		{&w.slotOf, "SELECT slot FROM versions WHERE record = ? AND version = ?"},
		{&w.zeroKey, "UPDATE keys SET name = zeroblob(length(name)), wrapped = zeroblob(length(wrapped)) WHERE slot = ?"},
		{&w.deleteVersion, "DELETE FROM versions WHERE record = ? AND version = ? RETURNING slot, segment"},
		{&w.versionsOf, "SELECT version, slot, segment FROM versions WHERE record = ?"},
		{&w.deleteVersions, "DELETE FROM versions WHERE record = ?"},
		{&w.bury, "INSERT INTO destroyed (record, keys) VALUES (?, ?)"},
		{&w.tombstone, "SELECT keys FROM destroyed WHERE record = ?"},
		{&w.addLive, "INSERT INTO segments (number, live) VALUES (?, ?) ON CONFLICT (number) DO UPDATE SET live = live + excluded.live"},
		{&w.setCollected, "UPDATE meta SET value = ? WHERE name = 'collected'"},
		{&w.liveSegments, "SELECT number FROM segments WHERE live > 0"},
		{&w.sweepSegments, "DELETE FROM segments WHERE live = 0 AND number < ?"},
	} {
		stmt, err := conn.PrepareContext(ctx, s.query)
		if err != nil {
			return fmt.Errorf("preparing %q: %w", s.query, err)
		}
		*s.to, w.all = stmt, append(w.all, stmt)
	}
	return w.prepareInserts(ctx, conn)
}

// discard removes one version and its key; ErrNotFound writes nothing.
func (k *keyStore) discard(ctx context.Context, record events.ID, version uint32) error {
	var row doomed
	err := k.write.deleteVersion.QueryRowContext(ctx, record[:], version).Scan(&row.slot, &row.segment)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	return k.zero(ctx, row)
}

// doomed is a version whose key is to be zeroed.
type doomed struct {
	version uint32
	slot    slot
	segment uint32
}

func (k *keyStore) zero(ctx context.Context, row doomed) error {
	if _, err := k.write.zeroKey.ExecContext(ctx, row.slot); err != nil {
		return err
	}
	if row.segment == 0 {
		return nil
	}
	_, err := k.write.addLive.ExecContext(ctx, row.segment, -1)
	return err
}

// destroy zeroes every key of a record and buries it, unless that was done
// before. It returns how many keys there were.
func (k *keyStore) destroy(ctx context.Context, record events.ID) (keys int, err error) {
	err = k.write.tombstone.QueryRowContext(ctx, record[:]).Scan(&keys)
	if err == nil {
		return keys, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	rows, err := k.doomedOf(ctx, record)
	if err != nil {
		return 0, err
	}
	for _, row := range rows {
		if err := k.zero(ctx, row); err != nil {
			return 0, err
		}
	}
	if _, err := k.write.deleteVersions.ExecContext(ctx, record[:]); err != nil {
		return 0, err
	}
	_, err = k.write.bury.ExecContext(ctx, record[:], len(rows))
	return len(rows), err
}

func (k *keyStore) doomedOf(ctx context.Context, record events.ID) (list []doomed, err error) {
	rows, err := k.write.versionsOf.QueryContext(ctx, record[:])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var d doomed
		if err := rows.Scan(&d.version, &d.slot, &d.segment); err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// sweep remembers how far Collect came and returns the segments that hold a
// version, of those before current.
func (k *keyStore) sweep(ctx context.Context, upTo slot, current uint32) (live map[uint32]bool, err error) {
	if _, err := k.write.setCollected.ExecContext(ctx, binary.BigEndian.AppendUint64(nil, uint64(upTo))); err != nil {
		return nil, err
	}
	if _, err := k.write.sweepSegments.ExecContext(ctx, current); err != nil {
		return nil, err
	}
	rows, err := k.write.liveSegments.QueryContext(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	live = make(map[uint32]bool)
	for rows.Next() {
		var n uint32
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		live[n] = true
	}
	return live, rows.Err()
}
