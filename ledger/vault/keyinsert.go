package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/medledger/medledger/events"
)

// insertSizes are how many rows one INSERT takes, descending to 1. What a
// statement costs in database/sql and in SQLite, whatever it does, is shared by
// its rows.
var insertSizes = [...]int{32, 8, 2, 1}

// sized is a statement that adds size rows.
type sized struct {
	size int
	stmt *sql.Stmt
}

// prepareSized prepares a query for each of insertSizes; row stands for one row.
func prepareSized(ctx context.Context, conn *sql.Conn, query, row string) (list []sized, err error) {
	for _, size := range insertSizes {
		stmt, err := conn.PrepareContext(ctx, fmt.Sprintf(query, row+strings.Repeat(", "+row, size-1)))
		if err != nil {
			return list, fmt.Errorf("preparing an INSERT of %d rows: %w", size, err)
		}
		list = append(list, sized{size, stmt})
	}
	return list, nil
}

func closeSized(list []sized) error {
	var errs []error
	for _, s := range list {
		errs = append(errs, s.stmt.Close())
	}
	return errors.Join(errs...)
}

// grouped calls f for groups of rows of the sizes that there are statements for.
func grouped[T any](statements []sized, rows []T, f func(stmt *sql.Stmt, group []T) error) error {
	for _, s := range statements {
		for ; len(rows) >= s.size; rows = rows[s.size:] {
			if err := f(s.stmt, rows[:s.size]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Record ids are in versions or destroyed, never in both, and all versions of a
// record lie under one key: a row of a destroyed record, of a version that is
// there, or under another key than the record's is left out. SQLite makes the
// whole list before it adds the first row.
const insertVersions = "INSERT INTO versions (serial, record, version, key, segment, offset, length, secrets)" +
	" SELECT column1, column2, column3, column4, column5, column6, column7, column8 FROM (VALUES %s)" +
	" WHERE NOT EXISTS (SELECT 1 FROM destroyed WHERE kind = 1 AND owner = column2)" +
	" AND CASE column9 WHEN 1 THEN NOT EXISTS (SELECT 1 FROM versions WHERE record = column2)" +
	" ELSE EXISTS (SELECT 1 FROM versions WHERE record = column2 AND key = column4) END" +
	" ON CONFLICT DO NOTHING"

// insert adds versions, and the keys of those records that are new. Of a version
// that cannot be added it writes nothing, and the request's error becomes
// ErrExists, ErrDestroyed or errKeyChanged; the places that it was to have stay
// free for ever.
func (k *keyStore) insert(ctx context.Context, puts []*request) error {
	added := make([]*request, 0, len(puts))
	err := grouped(k.write.insertVersions, k.assign(puts), func(stmt *sql.Stmt, group []*request) error {
		n, err := addVersions(ctx, stmt, group)
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
	keys := make([]newKey, 0, len(added))
	for _, p := range added {
		if p.fresh != nil {
			keys = append(keys, newKey{p.key, p.fresh})
		}
	}
	return k.tree.create(ctx, keys)
}

// assign gives puts their places, and leaves out those that come with a new key
// for a record to which another one gives it.
func (k *keyStore) assign(puts []*request) []*request {
	taken := make(map[events.ID]struct{}, len(puts))
	list := make([]*request, 0, len(puts))
	for _, p := range puts {
		if p.fresh != nil {
			if _, ok := taken[p.record]; ok {
				p.err = errKeyChanged
				continue
			}
			taken[p.record] = struct{}{}
			k.lastSlot++
			p.key = k.lastSlot
		}
		k.lastSerial++
		p.serial = k.lastSerial
		list = append(list, p)
	}
	return list
}

// addVersions returns how many rows it has added.
func addVersions(ctx context.Context, stmt *sql.Stmt, group []*request) (int, error) {
	args := make([]any, 0, 9*len(group))
	for _, p := range group {
		args = append(args, int64(p.serial), p.record[:], int64(p.version), int64(p.key),
			int64(p.at.segment), p.at.offset, p.at.length, p.wrapped, p.fresh != nil)
	}
	res, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// settle answers those of a group whose rows were left out, and returns the
// others: a row that was added has the serial that it was given.
func (k *keyStore) settle(ctx context.Context, group []*request) (added []*request, err error) {
	for _, p := range group {
		var there serial
		err := k.write.serialOf.QueryRowContext(ctx, p.record[:], p.version).Scan(&there)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			if _, p.err, err = k.buried(ctx, recordName(p.record)); err != nil {
				return nil, err
			}
			if p.err == nil {
				p.err = errKeyChanged
			}
		case err != nil:
			return nil, err
		case there != p.serial:
			p.err = ErrExists
		default:
			added = append(added, p)
		}
	}
	return added, nil
}
