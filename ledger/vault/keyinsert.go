package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// insertSizes are how many rows one INSERT takes, descending to 1. What a
// statement costs in database/sql and in SQLite, whatever it does, is shared by
// its rows.
var insertSizes = [...]int{32, 8, 2, 1}

// inserts are the two statements that add size versions and their keys.
type inserts struct {
	size           int
	versions, keys *sql.Stmt
}

// Record ids are in versions or destroyed, never in both: a row of a destroyed
// record, or of a version that is there, is left out.
const (
	insertVersions = "INSERT INTO versions (record, version, slot, segment, offset, length)" +
		" SELECT * FROM (VALUES %s)" +
		" WHERE NOT EXISTS (SELECT 1 FROM destroyed WHERE record = column1) ON CONFLICT DO NOTHING"
	insertKeys = "INSERT INTO keys (slot, name, wrapped) VALUES %s"
)

func (w *writeStatements) prepareInserts(ctx context.Context, conn *sql.Conn) error {
	w.inserts = make([]inserts, len(insertSizes))
	for i, size := range insertSizes {
		in := &w.inserts[i]
		in.size = size
		for _, s := range []struct {
			to         **sql.Stmt
			query, row string
		}{
			{&in.versions, insertVersions, "(?, ?, ?, ?, ?, ?)"},
			{&in.keys, insertKeys, "(?, ?, ?)"},
		} {
			stmt, err := conn.PrepareContext(ctx, fmt.Sprintf(s.query, s.row+strings.Repeat(", "+s.row, size-1)))
			if err != nil {
				return fmt.Errorf("preparing an INSERT of %d rows: %w", size, err)
			}
			*s.to, w.all = stmt, append(w.all, stmt)
		}
	}
	return nil
}

// grouped calls f for groups of puts of the sizes that there are statements for.
func (w *writeStatements) grouped(puts []*request, f func(in inserts, group []*request) error) error {
	for _, in := range w.inserts {
		for ; len(puts) >= in.size; puts = puts[in.size:] {
			if err := f(in, puts[:in.size]); err != nil {
				return err
			}
		}
	}
	return nil
}

// insert adds versions and their wrapped keys. Of a version that cannot be added
// it writes nothing, and the request's error becomes ErrExists or ErrDestroyed;
// the slot that it was to have stays free for ever.
func (k *keyStore) insert(ctx context.Context, puts []*request) error {
	for _, p := range puts {
		k.lastSlot++
		p.slot = k.lastSlot
	}
	added := make([]*request, 0, len(puts))
	err := k.write.grouped(puts, func(in inserts, group []*request) error {
		n, err := k.insertVersions(ctx, in, group)
		if err != nil {
			return err
		}
		if n < len(group) {
			if group, err = k.settle(ctx, group); err != nil {
				return err
			}
		}
		added = append(added, group...)
		return nil
	})
	if err != nil {
		return err
	}
	return k.write.grouped(added, func(in inserts, group []*request) error {
		args := make([]any, 0, 3*len(group))
		for _, p := range group {
			args = append(args, int64(p.slot), appendName(make([]byte, 0, nameSize), p.record, p.version), p.wrapped)
		}
		_, err := in.keys.ExecContext(ctx, args...)
		return err
	})
}

// insertVersions returns how many rows it has added.
func (k *keyStore) insertVersions(ctx context.Context, in inserts, group []*request) (int, error) {
	args := make([]any, 0, 6*len(group))
	for _, p := range group {
		args = append(args, p.record[:], int64(p.version), int64(p.slot), int64(p.at.segment), p.at.offset, p.at.length)
	}
	res, err := in.versions.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// settle answers those of a group whose rows were left out, and returns the
// others: a row that was added has the slot that it was given.
func (k *keyStore) settle(ctx context.Context, group []*request) (added []*request, err error) {
	for _, p := range group {
		var there slot
		err := k.write.slotOf.QueryRowContext(ctx, p.record[:], p.version).Scan(&there)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			p.err = ErrDestroyed
		case err != nil:
			return nil, err
		case there != p.slot:
			p.err = ErrExists
		default:
			added = append(added, p)
		}
	}
	return added, nil
}
