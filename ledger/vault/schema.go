package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"github.com/medledger/medledger/events"
)

const (
	keysFile      = "keys.sqlite"
	schemaVersion = 2
	readers       = 4 // connections
)

// schema of keys.sqlite; the package comment says what is in it.
const schema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE keys (slot INTEGER PRIMARY KEY, name BLOB NOT NULL, wrapped BLOB NOT NULL) STRICT;
CREATE TABLE owners (kind INTEGER NOT NULL, owner BLOB NOT NULL, key INTEGER NOT NULL,
	PRIMARY KEY (kind, owner)) WITHOUT ROWID, STRICT;
CREATE TABLE versions (
	serial INTEGER PRIMARY KEY,
	record BLOB NOT NULL, version INTEGER NOT NULL,
	key INTEGER NOT NULL,
	segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
	secrets BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX versions_by_name ON versions (record, version);
CREATE TABLE documents (
	serial INTEGER PRIMARY KEY,
	space INTEGER NOT NULL, owner BLOB NOT NULL, id BLOB NOT NULL,
	key INTEGER NOT NULL,
	sealed BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX documents_by_place ON documents (space, owner, id);
CREATE TABLE terms (number INTEGER PRIMARY KEY, digest BLOB NOT NULL) STRICT;
CREATE TABLE buckets (bucket INTEGER NOT NULL, term INTEGER NOT NULL, document INTEGER NOT NULL,
	PRIMARY KEY (bucket, term)) WITHOUT ROWID, STRICT;
CREATE INDEX buckets_by_document ON buckets (document, term);
CREATE TABLE destroyed (kind INTEGER NOT NULL, owner BLOB NOT NULL, keys INTEGER NOT NULL,
	PRIMARY KEY (kind, owner)) WITHOUT ROWID, STRICT;
CREATE TABLE segments (number INTEGER PRIMARY KEY, live INTEGER NOT NULL) STRICT;
`

// ledgerKeys are the named keys that are made with the vault.
var ledgerKeys = []keyName{{kind: directoryKey}, {kind: indexKey}}

// openSQLite opens a pool of connections. Record ids are random, so that every
// insert touches another page of an index: cache_size (in -KiB, a connection)
// keeps those pages in memory.
func openSQLite(path, options string, connections int) (*sql.DB, error) {
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "_pragma=busy_timeout(10000)&_pragma=temp_store(MEMORY)&_pragma=secure_delete(ON)&" + options}
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
		return create(ctx, k.conn, root, random)
	case version == oldSchema:
		return fmt.Errorf("its format is %d, %w", version, ErrOldFormat)
	case version != schemaVersion:
		return fmt.Errorf("its format is %d, this program knows %d: use the program that wrote it", version, schemaVersion)
	}
	if err := checkRoot(ctx, k.conn, root); err != nil {
		return err
	}
	// A crash between the commit of a destruction and this leaves destroyed
	// keys in the write-ahead log.
	return checkpoint(ctx, k.conn)
}

// checkRoot holds a root key to the one that the vault was made with.
func checkRoot(ctx context.Context, conn *sql.Conn, root *rootKey) error {
	var check []byte
	if err := conn.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'key-check'").Scan(&check); err != nil {
		return fmt.Errorf("reading the key check: %w", err)
	}
	if !root.verify(check) {
		return fmt.Errorf("%w: the root key file holds another key than the one that this vault was made with: give the right file or restore it from its backup", ErrRootKey)
	}
	return nil
}

// create is one transaction: a crash leaves an empty database or a whole schema.
func create(ctx context.Context, conn *sql.Conn, root *rootKey, random io.Reader) error {
	check, err := root.check(random)
	if err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err = createSchema(ctx, tx, check); err == nil {
		err = createLedgerKeys(ctx, tx, root, random, 1)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("making the schema: %w", err), tx.Rollback())
	}
	return tx.Commit()
}

// execer is a connection or a transaction.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func createSchema(ctx context.Context, on execer, keyCheck []byte) error {
	_, err := on.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion))
	if err != nil {
		return err
	}
	_, err = on.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ('key-check', ?), ('collected', ?)", keyCheck, make([]byte, 8))
	return err
}

// createLedgerKeys makes the ledger's own keys, in slots from first on.
func createLedgerKeys(ctx context.Context, on execer, root *rootKey, random io.Reader, first slot) error {
	for i, name := range ledgerKeys {
		key, err := newKeyBytes(random)
		if err != nil {
			return err
		}
		s := first + slot(i)
		wrapped, err := wrapNamed(root.aead, random, newKey{s, name, key})
		clear(key[:])
		if err != nil {
			return err
		}
		if _, err := on.ExecContext(ctx, "INSERT INTO keys (slot, name, wrapped) VALUES (?, ?, ?)", int64(s), name.append(nil), wrapped); err != nil {
			return err
		}
		if _, err := on.ExecContext(ctx, "INSERT INTO owners (kind, owner, key) VALUES (?, ?, ?)", int64(name.kind), name.owner[:], int64(s)); err != nil {
			return err
		}
	}
	return nil
}

// newKeyBytes draws a named key.
func newKeyBytes(random io.Reader) (*[keySize]byte, error) {
	key := new([keySize]byte)
	if _, err := io.ReadFull(random, key[:]); err != nil {
		return nil, fmt.Errorf("reading randomness for a key: %w", err)
	}
	return key, nil
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

// idColumn scans an id.
type idColumn events.ID

// Scan implements sql.Scanner.
func (c *idColumn) Scan(value any) error {
	b, ok := value.([]byte)
	if !ok || len(b) != len(c) {
		return fmt.Errorf("an id of another size than %d bytes: restore %s from its backup", len(c), keysFile)
	}
	copy(c[:], b)
	return nil
}
