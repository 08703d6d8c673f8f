package vault

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"github.com/medledger/medledger/events"
)

const (
	keysFile      = "keys.sqlite"
	schemaVersion = 3
	readers       = 4 // connections
)

// schema of keys.sqlite; the package comment says what is in it.
const schema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE nodes (id INTEGER PRIMARY KEY, blob BLOB NOT NULL) STRICT;
CREATE TABLE staged (id INTEGER PRIMARY KEY, blob BLOB NOT NULL) STRICT;
CREATE TABLE pending (slot INTEGER PRIMARY KEY, promised INTEGER NOT NULL) STRICT;
CREATE TABLE owners (kind INTEGER NOT NULL, owner BLOB NOT NULL, key INTEGER NOT NULL, proof BLOB NOT NULL,
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

// openSQLite opens a pool of connections. cache_size is in -KiB, for each
// connection, and takes twice that in memory.
func openSQLite(path, options string, connections int) (*sql.DB, error) {
	name := url.URL{
		Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(),
		RawQuery: "_pragma=busy_timeout(10000)&_pragma=temp_store(MEMORY)&_pragma=secure_delete(ON)&" + options,
	}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// prepareFile makes the schema in a new file and checks an old one.
func (k *keyStore) prepareFile(ctx context.Context, empty bool, cfg Config) error {
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
		return create(ctx, k.conn, cfg)
	case version == schema1 || version == schema2:
		return fmt.Errorf("its format is %d, %w", version, ErrOldFormat)
	case version != schemaVersion:
		return fmt.Errorf("its format is %d, this program knows %d: use the program that wrote it", version, schemaVersion)
	}
	return nil
}

// create is one transaction: a crash leaves an empty database or a whole schema,
// with a tree of no generation yet, which start makes.
func create(ctx context.Context, conn *sql.Conn, cfg Config) error {
	id, err := newVaultID(cfg.Random)
	if err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := createSchema(ctx, tx, id, nil, treeState{fanOut: cfg.fanOut, kind: cfg.Custody.Kind()}); err != nil {
		return errors.Join(fmt.Errorf("making the schema: %w", err), tx.Rollback())
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES (?, ?)", metaGuarded, slotBytes(0)); err != nil {
		return errors.Join(fmt.Errorf("making the schema: %w", err), tx.Rollback())
	}
	return tx.Commit()
}

// execer is a connection or a transaction.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func createSchema(ctx context.Context, on execer, id vaultID, former []vaultID, state treeState) error {
	_, err := on.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion))
	if err != nil {
		return err
	}
	ids := []byte{}
	for _, f := range former {
		ids = append(ids, f[:]...)
	}
	_, err = on.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), ('collected', ?)",
		metaVault, id[:], metaFormer, ids, metaTree, state.marshal(), metaSlot, slotBytes(0), metaOwn, slotBytes(0), make([]byte, 8))
	return err
}

func slotBytes(s slot) []byte { return binary.BigEndian.AppendUint64(nil, uint64(s)) }

// newKeyBytes draws a named key.
func newKeyBytes(random io.Reader) (*[keySize]byte, error) {
	key := new([keySize]byte)
	if _, err := io.ReadFull(random, key[:]); err != nil {
		return nil, fmt.Errorf("reading randomness for a key: %w", err)
	}
	return key, nil
}

// checkpoint moves the write-ahead log into the database and truncates it, unless
// somebody reads it.
func checkpoint(ctx context.Context, conn *sql.Conn) (busy bool, err error) {
	var log, moved int
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
		return false, fmt.Errorf("truncating the write-ahead log: %w", err)
	}
	return busy, nil
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
