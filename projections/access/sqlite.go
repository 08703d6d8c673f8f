package access

import (
	"bytes"
	"context"
	"crypto/hmac"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/life"
)

const schema = `
CREATE TABLE IF NOT EXISTS head   (version INTEGER NOT NULL, value BLOB NOT NULL, mac BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS actor  (id BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS patient (id BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (id BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;`

// load opens the copy and reads all of it.
func load(ctx context.Context, c Config) (*Projection, error) {
	// The copy is derived data, so it need not survive a power failure whole:
	// with synchronous=NORMAL a torn WAL loses transactions, not consistency.
	db, err := sql.Open("sqlite", "file:"+escape(c.Path)+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=cache_size(-512)")
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", c.Path, err)
	}
	db.SetMaxOpenConns(1)
	p := &Projection{
		state: life.NewState(), db: db, logger: c.Logger,
		seal:    seal{key: c.Key, rows: make(map[events.ID]digest)},
		pending: make(map[events.ID]row), kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if err := p.read(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", c.Path, err), db.Close())
	}
	go p.run()
	return p, nil
}

func escape(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

// Remove deletes the copy at path, if there is one.
func Remove(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the copy of a projection: %w", err)
		}
	}
	return nil
}

func (p *Projection) read(ctx context.Context) error {
	if _, err := p.db.ExecContext(ctx, schema); err != nil {
		return err
	}
	var version int
	var value, mac []byte
	err := p.db.QueryRowContext(ctx, "SELECT version, value, mac FROM head").Scan(&version, &value, &mac)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if version != formatVersion {
		return fmt.Errorf("it is of version %d, this program reads %d", version, formatVersion)
	}
	if err := cbor.Unmarshal(value, &p.head); err != nil {
		return err
	}
	p.written = p.head.Size
	p.state.Restore(p.head)
	if err := readRows(ctx, p, "actor", p.state.RestoreActor); err != nil {
		return err
	}
	if err := readRows(ctx, p, "patient", p.state.RestorePatient); err != nil {
		return err
	}
	if err := readRows(ctx, p, "record", p.state.RestoreRecord); err != nil {
		return err
	}
	if !hmac.Equal(mac, headMAC(p.seal.key, p.seal.sum, value)) {
		return errors.New("it was altered, or written with another key")
	}
	return nil
}

func readRows[V life.Actor | life.Patient | life.Record](ctx context.Context, p *Projection, table string, put func(events.ID, V)) error {
	rows, err := p.db.QueryContext(ctx, "SELECT id, value FROM "+table)
	if err != nil {
		return err
	}
	defer rows.Close()
	var id, value sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&id, &value); err != nil {
			return err
		}
		var v V
		if err := cbor.Unmarshal(value, &v); err != nil {
			return err
		}
		if len(id) != len(events.ID{}) {
			return fmt.Errorf("a row has an id of %d bytes", len(id))
		}
		subject := events.ID(id)
		if _, twice := p.seal.rows[subject]; twice {
			return errors.New("an id stands in two rows")
		}
		p.seal.add(subject, p.seal.digestOf(table, subject, value))
		put(subject, v)
	}
	return rows.Err()
}

// flush writes what is pending in one transaction. A crash before the commit
// leaves the copy where it was, one after it at the new head. What could not be
// written is put back behind whatever has come since.
func (p *Projection) flush(pace *disk.Pace) error {
	p.mu.Lock()
	rows, head := p.pending, p.head
	p.pending = make(map[events.ID]row)
	p.mu.Unlock()
	if len(rows) == 0 {
		return nil
	}
	err := p.write(rows, head, pace)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.written = head.Size
		return nil
	}
	for id, r := range rows {
		if _, newer := p.pending[id]; !newer {
			p.pending[id] = r
		}
	}
	return fmt.Errorf("writing the copy of a projection: %w", err)
}

func (p *Projection) write(rows map[events.ID]row, head life.Head, pace *disk.Pace) error {
	tx, err := p.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, table := range []string{"actor", "patient", "record"} {
		if err := writeTable(tx, table, rows, pace); err != nil {
			return err
		}
	}
	value, err := cbor.Marshal(head)
	if err != nil {
		return err
	}
	digests, sum := make(map[events.ID]digest, len(rows)), p.seal.sum
	for id, r := range rows {
		digests[id] = p.seal.digestOf(r.table, id, r.value)
		sum = sum.minus(p.seal.rows[id]).plus(digests[id])
	}
	if _, err := tx.Exec("DELETE FROM head"); err != nil {
		return err
	}
	if _, err := tx.Exec("INSERT INTO head VALUES (?, ?, ?)", formatVersion, value, headMAC(p.seal.key, sum, value)); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for id, d := range digests {
		p.seal.add(id, d)
	}
	return nil
}

// rowsPerInsert is how many rows one statement writes: with one row each, the
// calls through database/sql cost more than SQLite itself.
const rowsPerInsert = 64

// writeTable writes the rows of one table, in the order of their ids, which is
// the order of the table's pages.
func writeTable(tx *sql.Tx, table string, rows map[events.ID]row, pace *disk.Pace) error {
	var ids []events.ID
	for id, r := range rows {
		if r.table == table {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b events.ID) int { return bytes.Compare(a[:], b[:]) })
	for chunk := range slices.Chunk(ids, rowsPerInsert) {
		args := make([]any, 0, 2*len(chunk))
		for i := range chunk {
			args = append(args, chunk[i][:], rows[chunk[i]].value)
		}
		query := "INSERT INTO " + table + " VALUES (?, ?)" + strings.Repeat(", (?, ?)", len(chunk)-1) +
			" ON CONFLICT DO UPDATE SET value = excluded.value"
		if _, err := tx.Exec(query, args...); err != nil {
			return err
		}
		pace.Rest()
	}
	return nil
}
