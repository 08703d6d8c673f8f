package vault

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"github.com/medledger/medledger/events"
)

const (
	keysFile      = "keys.sqlite"
	schemaVersion = 1
	nameSize      = 20
	readers       = 4 // connections
)

// schema of keys.sqlite. A row of keys never moves (see the package comment):
// name is record id and version, and zero like wrapped when the key is gone.
const schema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE keys (slot INTEGER PRIMARY KEY, name BLOB NOT NULL, wrapped BLOB NOT NULL) STRICT;
CREATE TABLE versions (
	record BLOB NOT NULL, version INTEGER NOT NULL,
	slot INTEGER NOT NULL,
	segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
	PRIMARY KEY (record, version)) WITHOUT ROWID, STRICT;
CREATE TABLE destroyed (record BLOB PRIMARY KEY, keys INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE segments (number INTEGER PRIMARY KEY, live INTEGER NOT NULL) STRICT;
`

// slot is the place of a wrapped key, from 1, never used twice.
type slot int64

// location is where a ciphertext lies: in a segment, or, if segment is 0, in a
// large file. The length is that of the segment record or of the file.
type location struct {
	segment uint32
	offset  int64
	length  int64
}

// keyStore is keys.sqlite. The write connection, its statements and lastSlot
// belong to the committing goroutine; the reading methods are for everybody.
type keyStore struct {
	writer   *sql.DB
	conn     *sql.Conn // the one connection of writer
	write    writeStatements
	lastSlot slot
	hook     stepHook

	reader   *sql.DB
	find     *sql.Stmt
	findDead *sql.Stmt
	listKeys *sql.Stmt
}

// openKeyStore opens keys.sqlite, or makes it if the vault is empty, and checks
// that it belongs to root.
func openKeyStore(ctx context.Context, dir string, empty bool, root *rootKey, random io.Reader, hook stepHook) (_ *keyStore, err error) {
	path := filepath.Join(dir, keysFile)
	// SQLite would make the file readable by others; its other files take over
	// the mode of this one. Crash: an empty file, which is an empty database.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	k := &keyStore{hook: hook}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("opening %s: %w", path, err), k.close())
		}
	}()
	if k.writer, err = openSQLite(path, "_pragma=cache_size(-32768)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=secure_delete(ON)", 1); err != nil {
		return nil, err
	}
	if k.conn, err = k.writer.Conn(ctx); err != nil {
		return nil, err
	}
	if err = k.prepareFile(ctx, empty, root, random); err != nil {
		return nil, err
	}
	if err = k.write.prepare(ctx, k.conn); err != nil {
		return nil, err
	}
	if err = k.conn.QueryRowContext(ctx, "SELECT coalesce(max(slot), 0) FROM keys").Scan(&k.lastSlot); err != nil {
		return nil, err
	}
	if k.reader, err = openSQLite(path, "_pragma=cache_size(-8192)&_pragma=query_only(ON)", readers); err != nil {
		return nil, err
	}
	return k, k.prepareReads(ctx)
}

// openSQLite opens a pool of connections. Record ids are random, so that every
// insert touches another page of versions: cache_size (in -KiB, a connection)
// keeps those pages in memory.
func openSQLite(path, options string, connections int) (*sql.DB, error) {
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "_pragma=busy_timeout(10000)&_pragma=temp_store(MEMORY)&" + options}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// prepareFile makes the schema in a new file and checks an old one.
func (k *keyStore) prepareFile(ctx context.Context, empty bool, root *rootKey, random io.Reader) error {
	var version, secure int
	if err := k.conn.QueryRowContext(ctx, "PRAGMA secure_delete").Scan(&secure); err != nil {
		return err
	}
	if err := k.conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case secure != 1:
		return fmt.Errorf("this SQLite does not overwrite what it deletes (secure_delete is %d)", secure)
	case version == 0 && !empty:
		// A new one would make Collect take every ciphertext for an orphan.
		return errors.New("it holds no keys, but the vault's folder holds ciphertext: restore it from its backup")
	case version == 0:
		return k.create(ctx, root, random)
	case version != schemaVersion:
		return fmt.Errorf("its format is %d, this program knows %d: use the program that wrote it", version, schemaVersion)
	}
	var check []byte
	if err := k.conn.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'key-check'").Scan(&check); err != nil {
		return fmt.Errorf("reading the key check: %w", err)
	}
	if !root.verify(check) {
		return fmt.Errorf("%w: the root key file holds another key than the one that this vault was made with: give the right file or restore it from its backup", ErrRootKey)
	}
	// A crash between the commit of a destruction and this leaves destroyed
	// keys in the write-ahead log.
	return checkpoint(ctx, k.conn)
}

// create is one transaction: a crash leaves an empty database or a whole schema.
func (k *keyStore) create(ctx context.Context, root *rootKey, random io.Reader) error {
	check, err := root.check(random)
	if err != nil {
		return err
	}
	tx, err := k.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion))
	if err == nil {
		_, err = tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ('key-check', ?), ('collected', ?)", check, make([]byte, 8))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("making the schema: %w", err), tx.Rollback())
	}
	return tx.Commit()
}

func (k *keyStore) prepareReads(ctx context.Context) (err error) {
	prepare := func(query string) *sql.Stmt {
		if err != nil {
			return nil
		}
		var s *sql.Stmt
		s, err = k.reader.PrepareContext(ctx, query)
		return s
	}
	k.find = prepare("SELECT v.segment, v.offset, v.length, k.wrapped FROM versions v JOIN keys k ON k.slot = v.slot WHERE v.record = ? AND v.version = ?")
	k.findDead = prepare("SELECT 1 FROM destroyed WHERE record = ?")
	k.listKeys = prepare("SELECT slot, name FROM keys WHERE slot > ? AND slot <= ? ORDER BY slot LIMIT 4096")
	return err
}

// lookup returns where a version lies and its wrapped key; ErrNotFound or
// ErrDestroyed if there is none. It does not watch the context: the query is
// short, and an interrupted one costs more than it saves.
func (k *keyStore) lookup(ctx context.Context, record events.ID, version uint32) (location, []byte, error) {
	ctx = context.WithoutCancel(ctx)
	var at location
	var wrapped []byte
	err := k.find.QueryRowContext(ctx, record[:], version).Scan(&at.segment, &at.offset, &at.length, &wrapped)
	if err == nil {
		return at, wrapped, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return at, nil, fmt.Errorf("looking up a vault key: %w", err)
	}
	var dead int
	switch err := k.findDead.QueryRowContext(ctx, record[:]).Scan(&dead); {
	case err == nil:
		return at, nil, ErrDestroyed
	case errors.Is(err, sql.ErrNoRows):
		return at, nil, ErrNotFound
	default:
		return at, nil, fmt.Errorf("looking up a tombstone: %w", err)
	}
}

// versionName is a row of keys that holds a key.
type versionName struct {
	slot    slot
	record  events.ID
	version uint32
}

// list returns some of the versions with slots in (after, upTo], ascending, and
// the slot to go on after; that is upTo when there are no more.
func (k *keyStore) list(ctx context.Context, after, upTo slot) (names []versionName, next slot, err error) {
	rows, err := k.listKeys.QueryContext(ctx, after, upTo)
	if err != nil {
		return nil, 0, fmt.Errorf("listing vault keys: %w", err)
	}
	next = upTo
	defer func() { err = errors.Join(err, rows.Close()) }()
	n := 0
	for ; rows.Next(); n++ {
		var s slot
		var name []byte
		if err := rows.Scan(&s, &name); err != nil {
			return nil, 0, fmt.Errorf("listing vault keys: %w", err)
		}
		if len(name) != nameSize {
			return nil, 0, fmt.Errorf("vault key in slot %d has a name of %d bytes: restore %s from its backup", s, len(name), keysFile)
		}
		next = s
		if id := events.ID(name[:16]); !id.IsZero() {
			names = append(names, versionName{s, id, binary.BigEndian.Uint32(name[16:])})
		}
	}
	if n < 4096 {
		next = upTo
	}
	return names, next, rows.Err()
}

// collected returns the slot up to which Collect has asked about every version.
func (k *keyStore) collected(ctx context.Context) (slot, error) {
	var b []byte
	if err := k.reader.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'collected'").Scan(&b); err != nil {
		return 0, fmt.Errorf("reading how far the vault was collected: %w", err)
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("bad mark of how far the vault was collected: restore %s from its backup", keysFile)
	}
	return slot(binary.BigEndian.Uint64(b)), nil
}

// close closes whatever openKeyStore has opened.
func (k *keyStore) close() error {
	errs := []error{k.write.close()}
	if k.reader != nil {
		errs = append(errs, k.reader.Close())
	}
	if k.conn != nil {
		errs = append(errs, k.conn.Close())
	}
	if k.writer != nil {
		errs = append(errs, k.writer.Close())
	}
	return errors.Join(errs...)
}

// checkpoint moves the write-ahead log into the database and truncates it.
func checkpoint(ctx context.Context, conn *sql.Conn) error {
	var busy, log, moved int
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
		return fmt.Errorf("truncating the write-ahead log: %w", err)
	}
	if busy != 0 {
		return errors.New("truncating the write-ahead log: another process reads it; end that process and try again")
	}
	return nil
}
