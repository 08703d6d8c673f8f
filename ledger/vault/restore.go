package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
)

// Restore makes a vault in cfg.Dir of a folder that Backup wrote, with the root
// key of the vault that was backed up (else an error that wraps ErrRootKey). It
// refuses a folder in which there is a vault (fs.ErrExist) and a backup that is
// damaged or lacks a content (ErrBackup). Whether the contents themselves are
// whole is found out when they are read. Collect asks about all of them anew.
//
// Crash, at any moment: a folder that Open refuses with ErrUnfinished and another
// Restore begins again with, or the vault.
func Restore(ctx context.Context, cfg Config, src string) error {
	return restore(ctx, cfg, src, noHook)
}

func restore(ctx context.Context, cfg Config, src string, hook stepHook) (err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return err
	}
	root, err := loadRootKey(cfg.FS, cfg.RootKeyFile)
	if err != nil {
		return err
	}
	defer root.wipe()
	r := restoring{cfg: cfg, src: src, root: root, hook: hook, files: databaseFiles{cfg.Dir}}
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("restoring the vault from %s: %w", src, err)
	}
	return nil
}

type restoring struct {
	cfg   Config
	src   string
	root  *rootKey
	hook  stepHook
	files databaseFiles
}

func (r *restoring) run(ctx context.Context) error {
	// The whole of it is read before anything is written.
	if err := r.visit(func(entry) error { return nil }); err != nil {
		return err
	}
	if err := r.claim(); err != nil {
		return err
	}
	// Crash until the mark is removed: a folder that Open refuses.
	err := r.hook.do(stepBuild, func() error {
		return r.files.build(ctx, newFile, func(to *sql.Conn) error { return r.fill(ctx, to) })
	})
	if err != nil {
		return err
	}
	if err := r.hook.do(stepSwap, func() error { return r.files.rename(newFile, keysFile) }); err != nil {
		return err
	}
	if err := r.cfg.FS.Remove(r.mark()); err != nil {
		return err
	}
	return r.cfg.FS.SyncDir(r.cfg.Dir)
}

func (r *restoring) mark() string { return filepath.Join(r.cfg.Dir, unfinishedFile) }

// claim marks the folder as unfinished, durably, and empties it if an earlier
// Restore had marked it. Crash before: no mark, and nothing in the folder. Crash
// after: the mark.
func (r *restoring) claim() error {
	fsys := r.cfg.FS
	for _, dir := range []string{segmentsDir(r.cfg.Dir), largeDir(r.cfg.Dir)} {
		if err := disk.MakeDir(fsys, dir, 0o700); err != nil {
			return err
		}
	}
	_, err := fsys.Stat(r.mark())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if marked := err == nil; !marked {
		there, err := Exists(r.cfg.Dir)
		if err != nil {
			return err
		}
		empty, err := holdsNothing(fsys, r.cfg.Dir)
		if err != nil {
			return err
		}
		if there || !empty {
			return fmt.Errorf("there is a vault in %s; move it away, or restore into another folder: %w", r.cfg.Dir, fs.ErrExist)
		}
	}
	if err := disk.WriteFile(fsys, r.mark(), []byte("A vault is being restored into this folder.\n"), 0o600); err != nil {
		return err
	}
	return r.empty()
}

// empty removes what an earlier Restore has left.
func (r *restoring) empty() error {
	for _, name := range []string{keysFile, newFile} {
		if err := r.files.remove(name); err != nil {
			return err
		}
	}
	folders := []string{segmentsDir(r.cfg.Dir)}
	shards, err := r.cfg.FS.ReadDir(largeDir(r.cfg.Dir))
	if err != nil {
		return err
	}
	for _, s := range shards {
		folders = append(folders, filepath.Join(largeDir(r.cfg.Dir), s.Name()))
	}
	for _, dir := range folders {
		entries, err := r.cfg.FS.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := r.cfg.FS.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill adds the rows to a new database, and copies the contents that they name.
func (r *restoring) fill(ctx context.Context, to *sql.Conn) (err error) {
	in := inserter{ctx: ctx, to: to}
	if err := errors.Join(r.visit(in.add), in.close()); err != nil {
		return err
	}
	for _, statement := range tidyRestored {
		if _, err := to.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("putting rows together: %w", err)
		}
	}
	if err := r.checkLedgerKeys(ctx, to); err != nil {
		return err
	}
	return r.copyContents(ctx, to)
}

// tidyRestored leaves out what was destroyed or discarded while the backup was
// written: what has no key, and keys that nothing lies under.
var tidyRestored = []string{
	"DELETE FROM versions WHERE NOT EXISTS (SELECT 1 FROM keys WHERE slot = versions.key)",
	"DELETE FROM documents WHERE NOT EXISTS (SELECT 1 FROM keys WHERE slot = documents.key)",
	"DELETE FROM owners WHERE NOT EXISTS (SELECT 1 FROM keys WHERE slot = owners.key)",
	"DELETE FROM buckets WHERE NOT EXISTS (SELECT 1 FROM documents WHERE serial = buckets.document)",
	"DELETE FROM terms WHERE number NOT IN (SELECT term FROM buckets)",
	"DELETE FROM keys WHERE slot NOT IN (SELECT key FROM versions UNION SELECT key FROM owners)",
	"INSERT INTO segments (number, live) SELECT segment, count(*) FROM versions WHERE segment > 0 GROUP BY segment",
}

// inserter adds the rows of a backup to an empty database.
type inserter struct {
	ctx        context.Context // of the one call that inserter lives in
	to         *sql.Conn
	statements map[string]*sql.Stmt
	terms      int64 // added
}

func (i *inserter) exec(query string, args ...any) error {
	stmt := i.statements[query]
	if stmt == nil {
		var err error
		if stmt, err = i.to.PrepareContext(i.ctx, query); err != nil {
			return err
		}
		if i.statements == nil {
			i.statements = make(map[string]*sql.Stmt)
		}
		i.statements[query] = stmt
	}
	_, err := stmt.ExecContext(i.ctx, args...)
	return err
}

func (i *inserter) close() error {
	var errs []error
	for _, s := range i.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (i *inserter) add(e entry) (err error) {
	switch owner := e.name.owner; e.kind {
	case entryCheck:
		err = createSchema(i.ctx, i.to, e.bytes)
	case entryVersion:
		err = i.exec("INSERT INTO versions (serial, record, version, key, segment, offset, length, secrets) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			int64(e.serial), e.record[:], int64(e.version), int64(e.slot), int64(e.at.segment), e.at.offset, e.at.length, e.bytes)
	case entryDocument:
		err = i.exec("INSERT INTO documents (serial, space, owner, id, key, sealed) VALUES (?, ?, ?, ?, ?, ?)",
			int64(e.serial), int64(e.place.Space), e.place.Owner[:], e.place.ID[:], int64(e.slot), e.bytes)
	case entryTerm:
		i.terms++
		err = i.exec("INSERT INTO terms (number, digest) VALUES (?, ?)", i.terms, e.bytes)
		if err == nil {
			err = i.exec("INSERT INTO buckets (bucket, term, document) VALUES (?, ?, ?)", bucketOf(e.bytes), i.terms, int64(e.serial))
		}
	case entryOwner:
		err = i.exec("INSERT INTO owners (kind, owner, key) VALUES (?, ?, ?)", int64(e.name.kind), owner[:], int64(e.slot))
	case entryKey:
		err = i.exec("INSERT INTO keys (slot, name, wrapped) VALUES (?, ?, ?)", int64(e.slot), e.name.append(nil), e.bytes)
	case entryTombstone:
		err = i.exec("INSERT INTO destroyed (kind, owner, keys) VALUES (?, ?, ?)", int64(e.name.kind), owner[:], int64(e.number))
		if err == nil && e.name.kind == recordKey {
			err = i.exec("DELETE FROM keys WHERE slot IN (SELECT key FROM versions WHERE record = ?)", owner[:])
		} else if err == nil {
			err = i.exec("DELETE FROM keys WHERE slot IN (SELECT key FROM owners WHERE kind = ? AND owner = ?)", int64(e.name.kind), owner[:])
		}
	}
	if err != nil {
		return fmt.Errorf("adding a row of kind %d: %w", e.kind, err)
	}
	return nil
}

// checkLedgerKeys opens the ledger's own keys, without which there is no vault.
func (r *restoring) checkLedgerKeys(ctx context.Context, to *sql.Conn) error {
	for _, name := range ledgerKeys {
		var s slot
		var wrapped []byte
		there, err := found(to.QueryRowContext(ctx, "SELECT k.slot, k.wrapped FROM owners o JOIN keys k ON k.slot = o.key WHERE o.kind = ?", int64(name.kind)), &s, &wrapped)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("it lacks a key of the ledger's: %w", ErrBackup)
		}
		key, err := unwrapNamed(r.root.aead, s, name, wrapped)
		clear(key[:])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBackup, err)
		}
	}
	return nil
}

// copyContents copies every ciphertext that a row names, and holds its length to
// what the row says.
func (r *restoring) copyContents(ctx context.Context, to *sql.Conn) error {
	c := copier{ctx: ctx, fsys: r.cfg.FS, pace: disk.Pace{Hurry: func() bool { return true }}}
	bring := func(name func(dir string) string, fits func(size int64) bool) error {
		dst := name(r.cfg.Dir)
		if err := disk.MakeDir(r.cfg.FS, filepath.Dir(dst), 0o700); err != nil {
			return err
		}
		size, err := c.bring(name(r.src), dst)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !fits(size) {
			return fmt.Errorf("%s is missing or cut: %w", name(r.src), errors.Join(ErrBackup, err))
		}
		if err != nil {
			return err
		}
		return r.cfg.FS.SyncDir(filepath.Dir(dst))
	}
	err := eachRow(ctx, to, "SELECT segment, max(offset + length) FROM versions WHERE segment > 0 GROUP BY segment", func(rows *sql.Rows) error {
		var number uint32
		var end int64
		if err := rows.Scan(&number, &end); err != nil {
			return err
		}
		return bring(func(dir string) string { return filepath.Join(segmentsDir(dir), segmentName(number)) },
			func(size int64) bool { return size >= end })
	})
	if err != nil {
		return err
	}
	return eachRow(ctx, to, "SELECT record, version, length FROM versions WHERE segment = 0", func(rows *sql.Rows) error {
		var record events.ID
		var version uint32
		var length int64
		if err := rows.Scan((*idColumn)(&record), &version, &length); err != nil {
			return err
		}
		return bring(func(dir string) string { return largePath(dir, record, version) },
			func(size int64) bool { return size == length })
	})
}

func eachRow(ctx context.Context, on *sql.Conn, query string, f func(*sql.Rows) error) (err error) {
	rows, err := on.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// visit reads the rows of the backup.
func (r *restoring) visit(f func(entry) error) (err error) {
	file, err := r.cfg.FS.OpenFile(filepath.Join(r.src, rowsFile), 0, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it has no %s: %w: %w", rowsFile, ErrBackup, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return readEntries(file, func(e entry) error {
		if e.kind == entryCheck && !r.root.verify(e.bytes) {
			return fmt.Errorf("%w: the root key file holds another key than the one of the vault that was backed up: give the right file or restore it from its backup", ErrRootKey)
		}
		return f(e)
	})
}
