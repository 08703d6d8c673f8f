package segment

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // the "sqlite" driver of database/sql

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
)

// indexVersion changes whenever the tables change their meaning.
const indexVersion = 2

// A stream is named in SQLite by the number of its first record.
const indexSchema = `
CREATE TABLE IF NOT EXISTS meta   (version INTEGER NOT NULL, covered INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS event  (id BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream (name BLOB PRIMARY KEY, origin INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry  (origin INTEGER NOT NULL, revision INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (origin, revision)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS filter (keys INTEGER NOT NULL, covered INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS layer  (number INTEGER PRIMARY KEY, bits BLOB NOT NULL);`

const (
	selectNumber  = "SELECT number FROM event WHERE id = ?"
	selectHead    = "SELECT origin, (SELECT max(revision) FROM entry WHERE entry.origin = stream.origin) FROM stream WHERE name = ?"
	selectHeads   = "SELECT name, origin, (SELECT max(revision) FROM entry WHERE entry.origin = stream.origin) FROM stream WHERE name IN "
	selectNumbers = "SELECT number FROM stream JOIN entry USING (origin) WHERE name = ? AND revision >= ? ORDER BY revision LIMIT ?"
)

// sqlite is the part of the index that is on disk. It is derived data, so a
// power failure may cost it its newest transactions (synchronous=NORMAL), which
// the next Open makes good.
type sqlite struct {
	db       *sql.DB
	byID     *sql.Stmt
	byName   *sql.Stmt
	byNames  *sql.Stmt
	byStream *sql.Stmt
}

// savedState is what the database says about itself.
type savedState struct {
	covered uint64 // how many records it has
	filter  *filter
}

func openSQLite(ctx context.Context, path string) (*sqlite, *savedState, error) {
	name := "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path) +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)&_pragma=cache_size(-1024)"
	q := new(sqlite)
	var err error
	if q.db, err = sql.Open("sqlite", name); err != nil {
		return q, nil, fmt.Errorf("opening the event store's index: %w", err)
	}
	q.db.SetMaxOpenConns(4)
	if _, err = q.db.ExecContext(ctx, indexSchema); err != nil {
		return q, nil, fmt.Errorf("opening the event store's index: %w", err)
	}
	for stmt, query := range map[**sql.Stmt]string{
		&q.byID: selectNumber, &q.byName: selectHead,
		&q.byNames: selectHeads + row(headsAQuestion), &q.byStream: selectNumbers,
	} {
		if *stmt, err = q.db.PrepareContext(ctx, query); err != nil {
			return q, nil, fmt.Errorf("opening the event store's index: %w", err)
		}
	}
	state, err := q.load(ctx)
	if err != nil {
		return q, nil, fmt.Errorf("reading the event store's index: %w", err)
	}
	return q, state, nil
}

// load reads how far the index goes, and its filter.
func (q *sqlite) load(ctx context.Context) (*savedState, error) {
	f := new(filter)
	state := &savedState{filter: f}
	var version int
	err := q.db.QueryRowContext(ctx, "SELECT version, covered FROM meta").Scan(&version, &state.covered)
	if errors.Is(err, sql.ErrNoRows) {
		return state, nil
	}
	if err == nil && version != indexVersion {
		err = fmt.Errorf("version %d, this program writes %d", version, indexVersion)
	}
	if err != nil {
		return nil, err
	}
	err = q.db.QueryRowContext(ctx, "SELECT keys, covered FROM filter").Scan(&f.keys, &f.covered)
	if errors.Is(err, sql.ErrNoRows) {
		return state, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := q.db.QueryContext(ctx, "SELECT bits FROM layer ORDER BY number")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var bits sql.RawBytes
		if err := rows.Scan(&bits); err != nil {
			return nil, err
		}
		if err := f.restore(bits); err != nil {
			return nil, err
		}
	}
	return state, rows.Err()
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

func (q *sqlite) head(ctx context.Context, stream string) (head, error) {
	var h head
	err := q.byName.QueryRowContext(ctx, []byte(stream)).Scan(&h.origin, &h.length)
	if errors.Is(err, sql.ErrNoRows) {
		return head{}, nil
	}
	if err != nil {
		return head{}, fmt.Errorf("looking up a stream: %w", err)
	}
	h.length++ // it was the last revision
	return h, nil
}

// heads calls yield for those of the streams that exist.
func (q *sqlite) heads(ctx context.Context, streams []string, yield func(string, head)) error {
	for chunk := range slices.Chunk(streams, headsAQuestion) {
		args := make([]any, headsAQuestion)
		for i := range args {
			args[i] = []byte(chunk[min(i, len(chunk)-1)])
		}
		rows, err := q.byNames.QueryContext(ctx, args...)
		if err != nil {
			return fmt.Errorf("looking up streams: %w", err)
		}
		for rows.Next() {
			var name []byte
			var h head
			if err := rows.Scan(&name, &h.origin, &h.length); err != nil {
				return errors.Join(fmt.Errorf("looking up streams: %w", err), rows.Close())
			}
			h.length++ // it was the last revision
			yield(string(name), h)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return fmt.Errorf("looking up streams: %w", err)
		}
	}
	return nil
}

func (q *sqlite) numbers(ctx context.Context, stream string, from uint64, limit int) (numbers []uint64, err error) {
	rows, err := q.byStream.QueryContext(ctx, []byte(stream), from, limit)
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
func (q *sqlite) write(o *overlay, f *savedFilter, pace *disk.Pace) error {
	tx, err := q.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := errors.Join(writeEvents(tx, o, pace), writeStreams(tx, o, pace), writeEntries(tx, o, pace)); err != nil {
		return err
	}
	if f != nil {
		if err := writeFilter(tx, f); err != nil {
			return err
		}
	}
	if err := replace(tx, "meta", indexVersion, o.next()); err != nil {
		return err
	}
	return tx.Commit()
}

// replace makes a row the only one of a table.
func replace(tx *sql.Tx, table string, a, b any) error {
	if _, err := tx.Exec("DELETE FROM " + table); err != nil {
		return err
	}
	_, err := tx.Exec("INSERT INTO "+table+" VALUES (?, ?)", a, b)
	return err
}

func writeFilter(tx *sql.Tx, f *savedFilter) error {
	for i, bits := range f.layers {
		if _, err := tx.Exec("INSERT OR REPLACE INTO layer VALUES (?, ?)", f.first+i, bits); err != nil {
			return err
		}
	}
	return replace(tx, "filter", f.keys, f.covered)
}

// The rows of a table are written in the order of its keys: neighbours share
// pages of the tree.

func writeEvents(tx *sql.Tx, o *overlay, pace *disk.Pace) error {
	order := make([]int, len(o.entries))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return slices.Compare(o.entries[a].id[:], o.entries[b].id[:]) })
	w := rows{tx: tx, pace: pace, table: "event", columns: 2}
	for _, i := range order {
		w.add(o.entries[i].id[:], o.first+uint64(i))
	}
	return w.end()
}

func writeStreams(tx *sql.Tx, o *overlay, pace *disk.Pace) error {
	var order []int
	for i, e := range o.entries {
		if e.revision == 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(o.entries[a].stream, o.entries[b].stream) })
	w := rows{tx: tx, pace: pace, table: "stream", columns: 2}
	for _, i := range order {
		w.add([]byte(o.entries[i].stream), o.first+uint64(i))
	}
	return w.end()
}

func writeEntries(tx *sql.Tx, o *overlay, pace *disk.Pace) error {
	order := make([]int, len(o.entries))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch a, b := o.entries[a].origin, o.entries[b].origin; {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	})
	w := rows{tx: tx, pace: pace, table: "entry", columns: 3}
	for _, i := range order {
		w.add(o.entries[i].origin, o.entries[i].revision, o.first+uint64(i))
	}
	return w.end()
}

// rows inserts many rows with few statements.
type rows struct {
	tx      *sql.Tx
	table   string
	columns int
	pace    *disk.Pace
	full    *sql.Stmt
	args    []any
	err     error
}

const (
	rowsAStatement = 64
	headsAQuestion = 64
)

func (w *rows) add(values ...any) {
	w.args = append(w.args, values...)
	if w.err != nil || len(w.args) < rowsAStatement*w.columns {
		return
	}
	if w.full == nil {
		w.full, w.err = w.tx.Prepare(w.statement())
	}
	if w.err == nil {
		_, w.err = w.full.Exec(w.args...)
	}
	w.args = w.args[:0]
	w.pace.Rest()
}

// end inserts what is left.
func (w *rows) end() error {
	if w.err == nil && len(w.args) > 0 {
		_, w.err = w.tx.Exec(w.statement(), w.args...)
	}
	if w.full != nil {
		w.err = errors.Join(w.err, w.full.Close())
	}
	return w.err
}

// statement inserts the rows in args.
func (w *rows) statement() string {
	one := row(w.columns)
	return "INSERT INTO " + w.table + " VALUES " + strings.Repeat(one+", ", len(w.args)/w.columns-1) + one
}

// row is a list of so many parameters.
func row(n int) string { return "(" + strings.Repeat("?, ", n-1) + "?)" }

func (q *sqlite) close() error {
	var errs []error
	for _, stmt := range []*sql.Stmt{q.byID, q.byName, q.byNames, q.byStream} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	if q.db != nil {
		errs = append(errs, q.db.Close())
	}
	return errors.Join(errs...)
}
