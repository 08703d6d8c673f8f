package vault

import (
	"context"
	"crypto/cipher"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/medledger/medledger/events"
)

// conversion copies the key database of an earlier program into an empty one.
type conversion struct {
	cfg     Config
	version int
	from    *sql.Conn
	root    *rootKey // of the old vault
	id      vaultID  // of the new one
	keys    int      // how many there are in the new tree
}

// openRoot loads the old root key and holds it to the one that the vault was made
// with.
func (c *conversion) openRoot(ctx context.Context, path string) (err error) {
	if c.root, err = loadRootKey(c.cfg.FS, path); err != nil {
		return err
	}
	check, err := readMeta(ctx, c.from, "key-check")
	if err != nil {
		return err
	}
	if !c.root.verify(check) {
		return fmt.Errorf("%w: the root key file holds another key than the one that this vault was made with: give the right file or put it back from your copy of the secrets", ErrRootKey)
	}
	return nil
}

func (c *conversion) convert(ctx context.Context, to *sql.Conn) error {
	if err := createSchema(ctx, to, c.id, nil, treeState{fanOut: c.cfg.fanOut, kind: c.cfg.Custody.Kind()}); err != nil {
		return err
	}
	b := newTreeBuilder(to, c.id, c.cfg.fanOut, c.cfg.Random)
	defer b.wipe()
	convert := c.fromSchema2
	if c.version == schema1 {
		convert = c.fromSchema1
	}
	if err := convert(ctx, to, b); err != nil {
		return err
	}
	if err := copyRows(ctx, c.from, to, "SELECT number, live FROM segments", "INSERT INTO segments (number, live) VALUES (?, ?)", 2); err != nil {
		return err
	}
	if err := copyRows(ctx, c.from, to, "SELECT value FROM meta WHERE name = 'collected'", "UPDATE meta SET value = ? WHERE name = 'collected'", 1); err != nil {
		return err
	}
	last := b.last
	if c.version == schema2 {
		// The last slots may be those of keys that are destroyed.
		if err := c.from.QueryRowContext(ctx, "SELECT max(slot) FROM keys").Scan(&last); err != nil {
			return err
		}
	}
	if err := b.finish(ctx, c.cfg.Custody, firstGeneration); err != nil {
		return err
	}
	c.keys = b.count
	_, err := to.ExecContext(ctx, "UPDATE meta SET value = ? WHERE name = ?", slotBytes(last), metaSlot)
	return err
}

// fromSchema2 moves the named keys from rows of their own into the tree.
func (c *conversion) fromSchema2(ctx context.Context, to *sql.Conn, b *treeBuilder) error {
	err := eachRow(ctx, c.from, "SELECT slot, name, wrapped FROM keys WHERE name <> zeroblob(length(name)) ORDER BY slot", func(rows *sql.Rows) error {
		var s slot
		var raw, wrapped []byte
		if err := rows.Scan(&s, &raw, &wrapped); err != nil {
			return err
		}
		if len(raw) != keyNameSize {
			return fmt.Errorf("the key in slot %d has a name of %d bytes: restore %s from its backup", s, len(raw), keysFile)
		}
		f := fields{raw}
		return c.moveKey(ctx, to, b, s, f.name(), wrapped)
	})
	if err != nil {
		return err
	}
	for _, t := range []struct {
		table, columns string
		values         int
	}{
		{"versions", "serial, record, version, key, segment, offset, length, secrets", 8},
		{"documents", "serial, space, owner, id, key, sealed", 6},
		{"terms", "number, digest", 2},
		{"buckets", "bucket, term, document", 3},
		{"destroyed", "kind, owner, keys", 3},
	} {
		marks := "?, ?, ?, ?, ?, ?, ?, ?"[:3*t.values-2]
		insert := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", t.table, t.columns, marks)
		if err := copyRows(ctx, c.from, to, fmt.Sprintf("SELECT %s FROM %s", t.columns, t.table), insert, t.values); err != nil {
			return fmt.Errorf("copying %s: %w", t.table, err)
		}
	}
	return nil
}

func (c *conversion) moveKey(ctx context.Context, to *sql.Conn, b *treeBuilder, s slot, name keyName, wrapped []byte) error {
	key, err := unwrapNamed(c.root.aead, s, name, wrapped)
	if err != nil {
		return fmt.Errorf("opening the key in slot %d, restore %s from its backup: %w", s, keysFile, err)
	}
	defer clear(key[:])
	if err := b.add(ctx, s, &key); err != nil || name.kind == recordKey {
		return err
	}
	proof, err := prove(&key, name, s, c.cfg.Random)
	if err != nil {
		return err
	}
	_, err = to.ExecContext(ctx, insertOwner, int64(name.kind), name.owner[:], int64(s), proof)
	return err
}

// oldVersion is a version in an old database.
type oldVersion struct {
	record  events.ID
	version uint32
	slot    int64
	at      location
	wrapped []byte
}

// fromSchema1 gives each record a key and wraps its versions under it. A row keeps
// its number: the slot of its key becomes its serial.
func (c *conversion) fromSchema1(ctx context.Context, to *sql.Conn, b *treeBuilder) error {
	if err := b.addLedgerKeys(ctx, 1); err != nil {
		return err
	}
	var record events.ID
	var key [keySize]byte
	defer func() { clear(key[:]) }()
	const query = "SELECT v.record, v.version, v.slot, v.segment, v.offset, v.length, k.wrapped " +
		"FROM versions v JOIN keys k ON k.slot = v.slot ORDER BY v.record, v.version"
	err := eachRow(ctx, c.from, query, func(rows *sql.Rows) error {
		var v oldVersion
		if err := rows.Scan((*idColumn)(&v.record), &v.version, &v.slot, &v.at.segment, &v.at.offset, &v.at.length, &v.wrapped); err != nil {
			return err
		}
		if v.record != record {
			record = v.record
			if _, err := io.ReadFull(c.cfg.Random, key[:]); err != nil {
				return fmt.Errorf("reading randomness for a record key: %w", err)
			}
			if err := b.add(ctx, b.last+1, &key); err != nil {
				return err
			}
		}
		return c.convertVersion(ctx, to, b.last, &key, v)
	})
	if err != nil {
		return err
	}
	return copyRows(ctx, c.from, to, "SELECT 1, record, keys FROM destroyed", "INSERT INTO destroyed (kind, owner, keys) VALUES (?, ?, ?)", 3)
}

func (c *conversion) convertVersion(ctx context.Context, to *sql.Conn, at slot, key *[keySize]byte, v oldVersion) error {
	s, err := c.root.unwrapOld(v.wrapped, v.record, v.version)
	if err != nil {
		return &CorruptError{Record: v.record, Version: v.version, Err: err}
	}
	defer s.wipe()
	wrapped, err := wrapSecrets(key, s, v.record, v.version, c.cfg.Random)
	if err != nil {
		return err
	}
	_, err = to.ExecContext(ctx, "INSERT INTO versions (serial, record, version, key, segment, offset, length, secrets) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		v.slot, v.record[:], int64(v.version), int64(at), int64(v.at.segment), v.at.offset, v.at.length, wrapped)
	return err
}

// oldContext is what a version's secrets were bound to under the root key.
const oldContext = "medledger/vault/key/v1\x00"

// unwrapOld opens the secrets of a version in an old database.
func (k *rootKey) unwrapOld(wrapped []byte, record events.ID, version uint32) (*secrets, error) {
	plain, err := unseal(k.aead, wrapped, appendName([]byte(oldContext), record, version))
	if err != nil {
		return nil, fmt.Errorf("version key: %w", err)
	}
	defer clear(plain)
	return parseSecrets(plain)
}

// unwrapNamed opens a named key in a database of schema 2.
func unwrapNamed(above cipher.AEAD, s slot, name keyName, wrapped []byte) (key [keySize]byte, err error) {
	if len(wrapped) != wrappedNamedSize {
		return key, fmt.Errorf("named key of %d bytes: %w", len(wrapped), errWrapped)
	}
	plain, err := unseal(above, wrapped, namedContext(s, name))
	if err != nil {
		return key, fmt.Errorf("named key: %w", err)
	}
	copy(key[:], plain)
	clear(plain)
	return key, nil
}

// copyRows copies rows of columns values from one database to another.
func copyRows(ctx context.Context, from, to *sql.Conn, query, insert string, columns int) (err error) {
	rows, err := from.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values, targets := make([]any, columns), make([]any, columns)
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		if _, err := to.ExecContext(ctx, insert, values...); err != nil {
			return err
		}
	}
	return rows.Err()
}
