package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/custody"
)

// restoredKeys is a backup of keys that is being restored.
type restoredKeys struct {
	in         *entryReader
	walk       *treeWalk
	lineage    []vaultID // of the vault that was backed up
	generation uint64    // of the vault to be: later than all that is known
	last       slot      // the last slot that is known
	kill       map[slot]struct{}
}

// openRestoredKeys reads the beginning of a backup of keys and opens its top.
func openRestoredKeys(ctx context.Context, cfg Config, src Source) (*restoredKeys, error) {
	in, err := newEntryReader(src.Keys, keysFormat)
	if err != nil {
		return nil, fmt.Errorf("the keys: %w", err)
	}
	head, err := in.next()
	if err != nil {
		return nil, fmt.Errorf("the keys: %w", err)
	}
	shape := head.tree
	topKey, err := src.Custody.Open(ctx, shape.epoch, head.bytes, head.vaults[0].epochContext(head.number, shape.height, shape.epoch))
	if err != nil {
		return nil, fmt.Errorf("opening the keys with that of epoch %q; restore a backup of keys whose epoch is not retired: %w", shape.epoch, err)
	}
	defer clear(topKey)
	k := &restoredKeys{in: in, lineage: head.vaults, generation: max(head.number, src.After), last: head.slot, kill: make(map[slot]struct{})}
	if k.walk, err = newTreeWalk(head.vaults[0], shape.fanOut, shape.height, topKey); err != nil {
		return nil, fmt.Errorf("the keys: %w: %w", ErrBackup, err)
	}
	var destroyed []Destroyed
	if cfg.Register != "" {
		destroyed, err = ReadRegister(cfg.FS, cfg.Register)
		if errors.Is(err, fs.ErrNotExist) {
			cfg.Logger.Warn("there is no register of what was destroyed: only the log knows", "register", cfg.Register)
		} else if err != nil {
			return nil, err
		}
	}
	for _, d := range destroyed {
		// What was destroyed before the backup is in no node of it, so that
		// generations need not be compared.
		if d.Inherited || slices.Contains(k.lineage, vaultID(d.Vault)) {
			k.kill[slot(d.Slot)] = struct{}{}
		}
		k.generation, k.last = max(k.generation, d.Generation), max(k.last, slot(d.Slot))
	}
	return k, k.follow(ctx, cfg.Custody)
}

// follow makes the generation a later one than any that is known of the vault that
// was backed up.
func (k *restoredKeys) follow(ctx context.Context, in custody.Custody) error {
	names, err := in.Names(ctx)
	if err != nil {
		return fmt.Errorf("looking for former root keys: %w", err)
	}
	for _, name := range names {
		if id, generation, ok := parseRootName(name); ok && slices.Contains(k.lineage, id) {
			k.generation = max(k.generation, generation)
		}
	}
	k.generation++
	return nil
}

func (k *restoredKeys) wipe() {
	for id := range k.walk.keys {
		delete(k.walk.keys, id)
	}
}

// join makes the tree of those keys under which something lies and which were not
// destroyed since, and deletes the rows without a key. That a key fits its rows is
// tried: slots of one vault and of one that was restored from it are not the same.
func (k *restoredKeys) join(ctx context.Context, to *sql.Conn, id vaultID, cfg Config) (err error) {
	rows, err := openKeyedRows(ctx, to)
	defer func() { err = errors.Join(err, rows.close()) }()
	if err != nil {
		return err
	}
	b := newTreeBuilder(to, id, cfg.fanOut, cfg.Random)
	defer b.wipe()
	visit := func(s slot, key *[keySize]byte) error {
		if _, dead := k.kill[s]; dead {
			return nil
		}
		n, err := rows.visit(s, key)
		if err != nil || n == 0 {
			return err
		}
		return b.add(ctx, s, key)
	}
	for {
		e, err := k.in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = k.walk.node(e.node, e.bytes, visit)
		}
		if err != nil {
			return fmt.Errorf("the keys: %w: %w", ErrBackup, err)
		}
	}
	if err := k.walk.end(); err != nil {
		return fmt.Errorf("the keys: %w: %w", ErrBackup, err)
	}
	if _, err := rows.visit(math.MaxInt64, nil); err != nil {
		return err
	}
	if err := errors.Join(rows.finish(ctx, to), rows.bury(ctx, to)); err != nil {
		return err
	}
	if len(rows.left) > 0 {
		cfg.Logger.Warn("contents and documents without a key are left out of the restored vault: they came after the keys were backed up, or were destroyed", "rows", len(rows.left))
	}
	if err := b.finish(ctx, cfg.Custody, k.generation); err != nil {
		return err
	}
	last := max(k.last, b.last, rows.last) + restoredGap
	for name, value := range map[string]slot{metaSlot: last, metaOwn: last + 1} {
		if _, err := to.ExecContext(ctx, "UPDATE meta SET value = ? WHERE name = ?", slotBytes(value), name); err != nil {
			return err
		}
	}
	return nil
}

// keyedRows are the rows that lie under keys, in the order of their slots.
type keyedRows struct {
	tables []*keyedTable
	left   []func(context.Context, *sql.Conn) error // deletions of rows without a key
	dead   map[keyName]int                          // whose key is in no tree any more: keys
	last   slot
}

// keyedTable is a table of them, of which one row is at hand.
type keyedTable struct {
	rows *sql.Rows
	scan func(*sql.Rows) (slot, error)
	fits func(key *[keySize]byte) error
	// drop returns what deletes the row at hand.
	drop func() func(context.Context, *sql.Conn) error
	// name is whose key the row at hand lies under; of a kind that is destroyed by itself.
	name func() (keyName, bool)
	at   slot
	done bool
}

func openKeyedRows(ctx context.Context, on *sql.Conn) (*keyedRows, error) {
	r := &keyedRows{dead: make(map[keyName]int)}
	for _, table := range []string{"versions", "documents", "owners"} {
		if _, err := on.ExecContext(ctx, fmt.Sprintf("CREATE INDEX restored_%s ON %s (key)", table, table)); err != nil {
			return r, err
		}
	}
	for _, open := range []struct {
		query string
		table func() *keyedTable
	}{
		{"SELECT key, serial, record, version, secrets FROM versions ORDER BY key", keyedVersions},
		{"SELECT key, serial, space, owner, id, sealed FROM documents ORDER BY key", keyedDocuments},
		{"SELECT key, kind, owner, proof FROM owners ORDER BY key", keyedOwners},
	} {
		rows, err := on.QueryContext(ctx, open.query)
		if err != nil {
			return r, err
		}
		t := open.table()
		t.rows = rows
		r.tables = append(r.tables, t)
		if err := t.next(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func deletion(query string, args ...any) func(context.Context, *sql.Conn) error {
	return func(ctx context.Context, on *sql.Conn) error {
		_, err := on.ExecContext(ctx, query, args...)
		return err
	}
}

func keyedVersions() *keyedTable {
	var at serial
	var record events.ID
	var version uint32
	var wrapped []byte
	return &keyedTable{
		scan: func(rows *sql.Rows) (s slot, err error) {
			err = rows.Scan(&s, &at, (*idColumn)(&record), &version, &wrapped)
			return s, err
		},
		fits: func(key *[keySize]byte) error {
			s, err := unwrapSecrets(key, wrapped, record, version)
			if err == nil {
				s.wipe()
			}
			return err
		},
		drop: func() func(context.Context, *sql.Conn) error {
			return deletion("DELETE FROM versions WHERE serial = ?", int64(at))
		},
		name: func() (keyName, bool) { return recordName(record), true },
	}
}

func keyedDocuments() *keyedTable {
	var at serial
	var p Place
	var sealed []byte
	return &keyedTable{
		scan: func(rows *sql.Rows) (s slot, err error) {
			err = rows.Scan(&s, &at, &p.Space, (*idColumn)(&p.Owner), (*idColumn)(&p.ID), &sealed)
			return s, err
		},
		fits: func(key *[keySize]byte) error {
			plain, err := unsealDocument(key, p, sealed)
			clear(plain)
			return err
		},
		drop: func() func(context.Context, *sql.Conn) error {
			return deletion("DELETE FROM documents WHERE serial = ?", int64(at))
		},
		name: func() (keyName, bool) { return keyName{}, false }, // its owner's row tells
	}
}

func keyedOwners() *keyedTable {
	var s slot
	var name keyName
	var proof []byte
	return &keyedTable{
		scan: func(rows *sql.Rows) (slot, error) {
			err := rows.Scan(&s, &name.kind, (*idColumn)(&name.owner), &proof)
			return s, err
		},
		fits: func(key *[keySize]byte) error { return proven(key, name, s, proof) },
		drop: func() func(context.Context, *sql.Conn) error {
			return deletion("DELETE FROM owners WHERE kind = ? AND owner = ?", int64(name.kind), append([]byte(nil), name.owner[:]...))
		},
		name: func() (keyName, bool) { return name, name.kind == patientKey || name.kind == accountingKey },
	}
}

func (t *keyedTable) next() (err error) {
	if !t.rows.Next() {
		t.done = true
		return t.rows.Err()
	}
	t.at, err = t.scan(t.rows)
	return err
}

// visit goes on to the rows of a slot, and returns how many fit its key. Those before
// have none.
func (r *keyedRows) visit(s slot, key *[keySize]byte) (fit int, err error) {
	for _, t := range r.tables {
		for !t.done && t.at <= s {
			r.last = max(r.last, t.at)
			if t.at == s && t.fits(key) == nil {
				fit++
			} else {
				r.left = append(r.left, t.drop())
				if name, dies := t.name(); dies && t.at < s {
					r.dead[name]++
				}
			}
			if err := t.next(); err != nil {
				return fit, err
			}
		}
	}
	return fit, nil
}

// finish deletes the rows that have no key.
func (r *keyedRows) finish(ctx context.Context, on *sql.Conn) error {
	if err := r.close(); err != nil {
		return err
	}
	for _, remove := range r.left {
		if err := remove(ctx, on); err != nil {
			return err
		}
	}
	for _, table := range []string{"versions", "documents", "owners"} {
		if _, err := on.ExecContext(ctx, "DROP INDEX restored_"+table); err != nil {
			return err
		}
	}
	return nil
}

// bury puts tombstones on what was destroyed after the rows were backed up: its rows are
// there, and its key is in no tree. So it is closed, as it was where it was destroyed, and
// whoever asks for its destruction again is told what there was to destroy. The rows were
// backed up before the tree, so that a key that is missing was there then.
func (r *keyedRows) bury(ctx context.Context, on *sql.Conn) error {
	for name, keys := range r.dead {
		if name.kind == recordKey {
			keys++ // the record's, beside those of its versions
		}
		_, err := on.ExecContext(ctx, "INSERT INTO destroyed (kind, owner, keys) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", int64(name.kind), name.owner[:], keys)
		if err != nil {
			return fmt.Errorf("burying what has no key: %w", err)
		}
	}
	return nil
}

func (r *keyedRows) close() error {
	var errs []error
	for _, t := range r.tables {
		errs = append(errs, t.rows.Close())
	}
	return errors.Join(errs...)
}
