package vault

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events/store/disk"
)

// The rows of an increment.

func (i *incrementing) versions() error {
	const query = "SELECT serial, record, version, key, segment, offset, length, secrets " +
		"FROM versions WHERE serial > ? AND serial <= ? ORDER BY serial LIMIT ?"
	after := serial(i.since.Serial)
	return i.pages(backupPage, func() (string, []any) { return query, []any{int64(after), i.upTo.Serial} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryVersion
			err = rows.Scan(&e.serial, (*idColumn)(&e.record), &e.version, &e.slot, &e.at.segment, &e.at.offset, &e.at.length, &e.bytes)
			after = e.serial
			return e, err
		})
}

func (i *incrementing) documents() error {
	const query = "SELECT serial, space, owner, id, key, sealed FROM documents " +
		"WHERE serial > ? AND serial <= ? ORDER BY serial LIMIT ?"
	after := serial(i.since.Serial)
	return i.pages(documentPage, func() (string, []any) { return query, []any{int64(after), i.upTo.Serial} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryDocument
			err = rows.Scan(&e.serial, &e.place.Space, (*idColumn)(&e.place.Owner), (*idColumn)(&e.place.ID), &e.slot, &e.bytes)
			after = e.serial
			return e, err
		})
}

func (i *incrementing) terms() error {
	const query = "SELECT b.document, b.term, t.digest FROM buckets b JOIN terms t ON t.number = b.term " +
		"WHERE (b.document, b.term) > (?, ?) AND b.document <= ? ORDER BY b.document, b.term LIMIT ?"
	document, term := serial(i.since.Serial)+1, int64(0)
	return i.pages(backupPage, func() (string, []any) { return query, []any{int64(document), term, i.upTo.Serial} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryTerm
			err = rows.Scan(&document, &term, &e.bytes)
			e.serial = document
			return e, err
		})
}

func (i *incrementing) owners() error {
	const query = "SELECT kind, owner, key, proof FROM owners " +
		"WHERE (kind, owner) > (?, ?) AND key > ? AND key <= ? ORDER BY kind, owner LIMIT ?"
	var after keyName
	return i.pages(backupPage, func() (string, []any) {
		return query, []any{int64(after.kind), after.owner[:], i.since.Slot, i.upTo.Slot}
	},
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryOwner
			err = rows.Scan(&e.name.kind, (*idColumn)(&e.name.owner), &e.slot, &e.bytes)
			after = e.name
			return e, err
		})
}

func (i *incrementing) tombstones() error {
	const query = "SELECT kind, owner, keys FROM destroyed WHERE (kind, owner) > (?, ?) ORDER BY kind, owner LIMIT ?"
	var after keyName
	return i.pages(backupPage, func() (string, []any) { return query, []any{int64(after.kind), after.owner[:]} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryTombstone
			err = rows.Scan(&e.name.kind, (*idColumn)(&e.name.owner), &e.number)
			after = e.name
			return e, err
		})
}

// pages writes the rows of a table, page by page; scan moves on what args of the next
// page are. Between pages no query is open, for the truncation of the write-ahead log
// that ends a destruction waits for them.
func (i *incrementing) pages(size int, next func() (query string, args []any), scan func(*sql.Rows) (entry, error)) error {
	for {
		query, args := next()
		list, err := page(i.ctx, i.v.keys.reader, query, append(args, size), scan)
		if err != nil {
			return fmt.Errorf("reading rows: %w", err)
		}
		for _, e := range list {
			if err := i.row(e); err != nil {
				return err
			}
		}
		if len(list) < size {
			return nil
		}
	}
}

func page[T any](ctx context.Context, db *sql.DB, query string, args []any, scan func(*sql.Rows) (T, error)) (list []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// living writes which serials there are.
func (i *incrementing) living() error {
	const query = "SELECT serial FROM versions WHERE serial > ?1 AND serial <= ?2 UNION ALL " +
		"SELECT serial FROM documents WHERE serial > ?1 AND serial <= ?2 ORDER BY serial LIMIT ?3"
	var first, last serial // of the range at hand; 0: none
	emit := func() error {
		if first == 0 {
			return nil
		}
		b := binary.BigEndian.AppendUint64(nil, uint64(first))
		return i.write(partLiving, binary.BigEndian.AppendUint64(b, uint64(last)))
	}
	var pace disk.Pace // there is little to write, at which the writer would rest
	for after := serial(0); ; {
		pace.Begin()
		list, err := page(i.ctx, i.v.keys.reader, query, []any{int64(after), i.upTo.Serial, backupPage}, func(rows *sql.Rows) (s serial, err error) {
			err = rows.Scan(&s)
			return s, err
		})
		if err != nil {
			return fmt.Errorf("reading serials: %w", err)
		}
		for _, s := range list {
			if first == 0 || s != last+1 {
				if err := emit(); err != nil {
					return err
				}
				first = s
			}
			last = s
		}
		pace.Rest()
		if len(list) < backupPage {
			return emit()
		}
		after = last
	}
}
