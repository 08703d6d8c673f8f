package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
)

// Upgrade makes the vault of an earlier program, whose versions lie under the
// root key itself, one of this program; of a vault that is one already it does
// nothing. Nobody else may use the folder meanwhile. The old key database is
// overwritten and removed, so that what is destroyed later is not found in it.
//
// Crash, at any moment: the folder as it was, or one that Open refuses with
// ErrOldFormat and another Upgrade completes, or an upgraded one.
func Upgrade(ctx context.Context, cfg Config) error {
	return upgrade(ctx, cfg, noHook)
}

func upgrade(ctx context.Context, cfg Config, hook stepHook) (err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return err
	}
	root, err := loadRootKey(cfg.FS, cfg.RootKeyFile)
	if err != nil {
		return err
	}
	defer root.wipe()
	u := upgrading{cfg: cfg, root: root, hook: hook, files: databaseFiles{cfg.Dir}}
	if err := u.run(ctx); err != nil {
		return fmt.Errorf("upgrading the vault, which can be repeated: %w", err)
	}
	return nil
}

type upgrading struct {
	cfg   Config
	root  *rootKey
	hook  stepHook
	files databaseFiles
}

func (u *upgrading) run(ctx context.Context) error {
	aside, err := u.files.exist(asideFile)
	if err != nil {
		return err
	}
	if !aside {
		old, err := u.build(ctx)
		if err != nil || !old {
			return err
		}
		// A log that was left behind would be taken for the new database's.
		if log, err := u.files.exist(keysFile + "-wal"); err != nil || log {
			return errors.Join(err, fmt.Errorf("the write-ahead log of %s is in use; end the process that has it open", u.files.path(keysFile)))
		}
		// Crash before: two databases, of which the old one counts. Crash after:
		// no database of this name, which Open refuses, and the new one, whole.
		if err := u.hook.do(stepAside, func() error { return u.files.rename(keysFile, asideFile) }); err != nil {
			return err
		}
	}
	there, err := u.files.exist(keysFile)
	if err != nil {
		return err
	}
	if !there {
		// Crash before: as above. Crash after: the new database has its name,
		// but Open refuses it until the old one is gone.
		if err := u.hook.do(stepSwap, func() error { return u.files.rename(newFile, keysFile) }); err != nil {
			return err
		}
	}
	// Crash before: as above. Crash after: an upgraded vault.
	return u.hook.do(stepErase, func() error { return u.files.erase(asideFile) })
}

// build makes the new database beside the old one, and reports whether there is
// an old one. A crash leaves part of it, which another Upgrade makes anew.
func (u *upgrading) build(ctx context.Context) (old bool, err error) {
	if there, err := u.files.exist(keysFile); err != nil || !there {
		return false, errors.Join(err, fmt.Errorf("%s: %w", filepath.Join(u.cfg.Dir, keysFile), fs.ErrNotExist))
	}
	db, err := openSQLite(filepath.Join(u.cfg.Dir, keysFile), "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", 1)
	if err != nil {
		return false, err
	}
	// Closing removes the write-ahead log.
	defer func() { err = errors.Join(err, db.Close()) }()
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return false, err
	}
	if version == schemaVersion {
		return false, u.files.remove(newFile)
	}
	if version != oldSchema {
		return false, fmt.Errorf("its format is %d, this program knows %d and %d: use the program that wrote it", version, oldSchema, schemaVersion)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := checkRoot(ctx, conn, u.root); err != nil {
		return false, err
	}
	if err := checkpoint(ctx, conn); err != nil {
		return false, err
	}
	return true, u.hook.do(stepBuild, func() error {
		return u.files.build(ctx, newFile, func(to *sql.Conn) error { return u.convert(ctx, conn, to) })
	})
}

// convert copies an old database into an empty one.
func (u *upgrading) convert(ctx context.Context, from, to *sql.Conn) error {
	var check, collected []byte
	err := from.QueryRowContext(ctx, "SELECT (SELECT value FROM meta WHERE name = 'key-check'), (SELECT value FROM meta WHERE name = 'collected')").Scan(&check, &collected)
	if err != nil {
		return err
	}
	if err := createSchema(ctx, to, check); err != nil {
		return err
	}
	// A row keeps its number: the slot of its key becomes its serial.
	if _, err := to.ExecContext(ctx, "UPDATE meta SET value = ? WHERE name = 'collected'", collected); err != nil {
		return err
	}
	if err := createLedgerKeys(ctx, to, u.root, u.cfg.Random, 1); err != nil {
		return err
	}
	if err := u.convertVersions(ctx, from, to); err != nil {
		return err
	}
	err = copyRows(ctx, from, to, "SELECT 1, record, keys FROM destroyed", "INSERT INTO destroyed (kind, owner, keys) VALUES (?, ?, ?)", 3)
	if err != nil {
		return err
	}
	return copyRows(ctx, from, to, "SELECT number, live FROM segments", "INSERT INTO segments (number, live) VALUES (?, ?)", 2)
}

// oldVersion is a version in an old database.
type oldVersion struct {
	record  events.ID
	version uint32
	slot    int64
	at      location
	wrapped []byte
}

// convertVersions gives each record a key and wraps its versions under it.
func (u *upgrading) convertVersions(ctx context.Context, from, to *sql.Conn) (err error) {
	ring, err := newFlatKeyring(ctx, to, u.root, u.cfg.Random)
	defer func() { err = errors.Join(err, ring.closeStatements()) }()
	if err != nil {
		return err
	}
	rows, err := from.QueryContext(ctx, "SELECT v.record, v.version, v.slot, v.segment, v.offset, v.length, k.wrapped FROM versions v JOIN keys k ON k.slot = v.slot ORDER BY v.record, v.version")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	key := newKey{slot: slot(len(ledgerKeys)), key: new([keySize]byte)}
	defer func() { clear(key.key[:]) }()
	for rows.Next() {
		var v oldVersion
		if err := rows.Scan((*idColumn)(&v.record), &v.version, &v.slot, &v.at.segment, &v.at.offset, &v.at.length, &v.wrapped); err != nil {
			return err
		}
		if v.record != key.name.owner {
			key.slot, key.name = key.slot+1, recordName(v.record)
			if _, err := io.ReadFull(u.cfg.Random, key.key[:]); err != nil {
				return fmt.Errorf("reading randomness for a record key: %w", err)
			}
			if err := ring.create(ctx, []newKey{key}); err != nil {
				return err
			}
		}
		if err := u.convertVersion(ctx, to, key, v); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (u *upgrading) convertVersion(ctx context.Context, to *sql.Conn, key newKey, v oldVersion) error {
	s, err := u.root.unwrapOld(v.wrapped, v.record, v.version)
	if err != nil {
		return &CorruptError{Record: v.record, Version: v.version, Err: err}
	}
	defer s.wipe()
	wrapped, err := wrapSecrets(key.key, s, v.record, v.version, u.cfg.Random)
	if err != nil {
		return err
	}
	_, err = to.ExecContext(ctx, "INSERT INTO versions (serial, record, version, key, segment, offset, length, secrets) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		v.slot, v.record[:], int64(v.version), int64(key.slot), int64(v.at.segment), v.at.offset, v.at.length, wrapped)
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

// databaseFiles are the files of key databases in a vault's folder, which are
// the operating system's as SQLite's are.
type databaseFiles struct{ dir string }

func (d databaseFiles) path(name string) string { return filepath.Join(d.dir, name) }

func (d databaseFiles) exist(name string) (bool, error) {
	_, err := os.Stat(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// rename is durable when it returns.
func (d databaseFiles) rename(from, to string) error {
	if err := os.Rename(d.path(from), d.path(to)); err != nil {
		return err
	}
	return disk.OS{}.SyncDir(d.dir)
}

// remove removes a database that nobody uses, if it is there.
func (d databaseFiles) remove(name string) error {
	for _, suffix := range []string{"-journal", "-wal", "-shm", ""} {
		if err := os.Remove(d.path(name + suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// erase overwrites a file with zeros, durably, and then removes it. What a disk
// or file system keeps of overwritten blocks is beyond it.
func (d databaseFiles) erase(name string) (err error) {
	f, err := os.OpenFile(d.path(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	zeros := make([]byte, 1<<20)
	for at := int64(0); err == nil && at < info.Size(); at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), info.Size()-at)], at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("overwriting %s: %w", d.path(name), err)
	}
	if err := d.remove(name); err != nil {
		return err
	}
	return disk.OS{}.SyncDir(d.dir)
}

// build makes a key database of one file, in one transaction that fill fills,
// and syncs it. It needs no journal: what a crash leaves has not its name yet.
func (d databaseFiles) build(ctx context.Context, name string, fill func(*sql.Conn) error) (err error) {
	if err := d.remove(name); err != nil {
		return err
	}
	if err := touch(d.path(name)); err != nil {
		return err
	}
	if err := d.fill(ctx, name, fill); err != nil {
		return err
	}
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", d.path(name), err)
	}
	return disk.OS{}.SyncDir(d.dir)
}

func (d databaseFiles) fill(ctx context.Context, name string, fill func(*sql.Conn) error) (err error) {
	db, err := openSQLite(d.path(name), "_pragma=cache_size(-32768)&_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=locking_mode(EXCLUSIVE)", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := fill(conn); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}
