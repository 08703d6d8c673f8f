package segment

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	_ "modernc.org/sqlite" // the "sqlite" driver of database/sql

	"github.com/medledger/medledger/events"
)

// indexVersion changes whenever the tables change their meaning.
const indexVersion = 1

const indexSchema = `
CREATE TABLE IF NOT EXISTS meta   (version INTEGER NOT NULL, covered INTEGER NOT NULL, filter_keys INTEGER NOT NULL, filter_covered INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS event  (id BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, length INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS entry  (stream INTEGER NOT NULL, revision INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (stream, revision)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS filter (layer INTEGER PRIMARY KEY, bits BLOB NOT NULL);`

// sqlite is the part of the index that is on disk. It is derived data, so a
// power failure may cost it its newest transactions (synchronous=NORMAL), which
// the next Open makes good.
type sqlite struct {
	db       *sql.DB
	byID     *sql.Stmt
	byName   *sql.Stmt
	byStream *sql.Stmt
}

func openSQLite(ctx context.Context, path string) (_ *sqlite, covered uint64, _ *filter, err error) {
	name := "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path) +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)&_pragma=cache_size(-4096)"
	q := new(sqlite)
	if q.db, err = sql.Open("sqlite", name); err != nil {
		return q, 0, nil, fmt.Errorf("opening the event store's index: %w", err)
	}
	q.db.SetMaxOpenConns(4)
	if _, err = q.db.ExecContext(ctx, indexSchema); err != nil {
		return q, 0, nil, fmt.Errorf("opening the event store's index: %w", err)
	}
	for query, stmt := range map[string]**sql.Stmt{
		"SELECT number FROM event WHERE id = ?":                                                              &q.byID,
		"SELECT length FROM stream WHERE name = ?":                                                           &q.byName,
		"SELECT e.number FROM stream s JOIN entry e ON e.stream = s.id WHERE s.name = ? ORDER BY e.revision": &q.byStream,
	} {
		if *stmt, err = q.db.PrepareContext(ctx, query); err != nil {
			return q, 0, nil, fmt.Errorf("opening the event store's index: %w", err)
		}
	}
	f := new(filter)
	if covered, err = q.load(ctx, f); err != nil {
		return q, 0, nil, fmt.Errorf("reading the event store's index: %w", err)
	}
	return q, covered, f, nil
}

// load reads how far the index goes, and its filter.
func (q *sqlite) load(ctx context.Context, f *filter) (covered uint64, err error) {
	var version int
	err = q.db.QueryRowContext(ctx, "SELECT version, covered, filter_keys, filter_covered FROM meta").
		Scan(&version, &covered, &f.keys, &f.covered)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err == nil && version != indexVersion {
		err = fmt.Errorf("version %d, this program writes %d", version, indexVersion)
	}
	if err != nil {
		return 0, err
	}
	rows, err := q.db.QueryContext(ctx, "SELECT layer, bits FROM filter ORDER BY layer")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var n int
		var bits sql.RawBytes
		if err := rows.Scan(&n, &bits); err != nil {
			return 0, err
		}
		l, err := parseLayer(bits)
		if err != nil || n != len(f.layers) {
			return 0, errors.Join(fmt.Errorf("layer %d of the filter where %d comes next", n, len(f.layers)), err)
		}
		f.layers = append(f.layers, l)
	}
	f.saved = max(0, len(f.layers)-1)
	return covered, rows.Err()
}

func (q *sqlite) lookup(ctx context.Context, id events.ID) (number uint64, ok bool, err error) {
	err = q.byID.QueryRowContext(ctx, id[:]).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("looking up an event: %w", err)
	}
	return number, true, nil
}

func (q *sqlite) length(ctx context.Context, stream string) (length uint64, err error) {
	err = q.byName.QueryRowContext(ctx, stream).Scan(&length)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking up a stream: %w", err)
	}
	return length, nil
}

func (q *sqlite) numbers(ctx context.Context, stream string) (numbers []uint64, err error) {
	rows, err := q.byStream.QueryContext(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("looking up a stream: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var n uint64
		if err := rows.Scan(&n); err != nil {
			return nil, fmt.Errorf("looking up a stream: %w", err)
		}
		numbers = append(numbers, n)
	}
	return numbers, rows.Err()
}

// write adds an overlay in one transaction. A crash before its commit leaves the
// index where it was, one after it with the overlay in it.
func (q *sqlite) write(o *overlay, f savedFilter) error {
	tx, err := q.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := writeEntries(tx, o); err != nil {
		return err
	}
	for i, bits := range f.layers {
		if _, err := tx.Exec("INSERT OR REPLACE INTO filter VALUES (?, ?)", f.first+i, bits); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("DELETE FROM meta"); err != nil {
		return err
	}
	if _, err := tx.Exec("INSERT INTO meta VALUES (?, ?, ?, ?)", indexVersion, o.first+uint64(len(o.entries)), f.keys, f.covered); err != nil {
		return err
	}
	return tx.Commit()
}

func writeEntries(tx *sql.Tx, o *overlay) error {
	event, err := tx.Prepare("INSERT INTO event VALUES (?, ?)")
	if err != nil {
		return err
	}
	defer event.Close()
	entry, err := tx.Prepare("INSERT INTO entry VALUES (?, ?, ?)")
	if err != nil {
		return err
	}
	defer entry.Close()
	stream, err := tx.Prepare("INSERT INTO stream (name, length) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET length = excluded.length RETURNING id")
	if err != nil {
		return err
	}
	defer stream.Close()
	ids := make(map[string]int64, len(o.streams))
	for name, numbers := range o.streams {
		var id int64
		last := o.entries[numbers[len(numbers)-1]-o.first]
		if err := stream.QueryRow(name, last.revision+1).Scan(&id); err != nil {
			return err
		}
		ids[name] = id
	}
	for i, e := range o.entries {
		number := o.first + uint64(i)
		if _, err := event.Exec(e.id[:], number); err != nil {
			return err
		}
		if _, err := entry.Exec(ids[e.stream], e.revision, number); err != nil {
			return err
		}
	}
	return nil
}

func (q *sqlite) close() error {
	var errs []error
	for _, stmt := range []*sql.Stmt{q.byID, q.byName, q.byStream} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	if q.db != nil {
		errs = append(errs, q.db.Close())
	}
	return errors.Join(errs...)
}
