package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
)

// Source is what a vault is restored from.
type Source struct {
	// Contents is a folder that an Unpacker made.
	Contents string
	// Keys is what BackupKeys wrote, of the same vault, before or after.
	Keys io.Reader
	// Custody has the key of the epoch that Keys is of; Config.Custody if nil.
	Custody custody.Custody
	// After is a generation that there was, also if nothing here tells: the vault that
	// is made is of a later one. The register is trimmed by generations.
	After uint64
}

// restoredGap is how many slots are left out after a restoration: those that the
// vault had given out after its last backup of keys must not be given out again, for
// they may be in the register.
const restoredGap = 1 << 20

// Restore makes a vault in cfg.Dir of a backup, with a root key of its own: what the
// register says was destroyed since the keys were backed up is destroyed again. It
// refuses a folder in which there is a vault (fs.ErrExist), a backup that is damaged
// or lacks a content, or keys of another vault (ErrBackup), and a custody without the
// epoch's key (custody.ErrNoKey). Whether the contents themselves are whole is found
// out when they are read. Collect asks about all of them anew.
//
// Of what is in the backup of contents and has no key in the one of keys, nothing is
// restored. The restored vault takes the place of the one that was backed up: its
// first destruction destroys the root keys of that one, so that copies of the former
// folder are not opened with them.
//
// Crash, at any moment: a folder that Open refuses with ErrUnfinished and another
// Restore begins again with, or the vault.
func Restore(ctx context.Context, cfg Config, src Source) error {
	return restore(ctx, cfg, src, noHook)
}

func restore(ctx context.Context, cfg Config, src Source, hook stepHook) (err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return err
	}
	if src.Keys == nil {
		return fmt.Errorf("restoring without a backup of the keys: %w", ErrInvalid)
	}
	if src.Custody == nil {
		src.Custody = cfg.Custody
	}
	r := restoring{cfg: cfg, src: src.Contents, hook: hook, files: databaseFiles{cfg.Dir}}
	if err := r.run(ctx, src); err != nil {
		return fmt.Errorf("restoring the vault from %s: %w", src.Contents, err)
	}
	return nil
}

type restoring struct {
	cfg   Config
	src   string
	keys  *restoredKeys
	id    vaultID
	hook  stepHook
	files databaseFiles
}

func (r *restoring) run(ctx context.Context, src Source) (err error) {
	// Before anything is written, the rows are read to their end, and the keys opened.
	if r.keys, err = openRestoredKeys(ctx, r.cfg, src); err != nil {
		return err
	}
	defer r.keys.wipe()
	if err := r.visit(func(entry) error { return nil }); err != nil {
		return err
	}
	if err := r.claim(ctx); err != nil {
		return err
	}
	// Crash until the mark is removed: a folder that Open refuses, and a root key that
	// the next Restore makes anew.
	err = r.hook.do(stepBuild, func() error {
		if err := createRoot(ctx, r.cfg.Custody, r.id.rootName(r.keys.generation)); err != nil {
			return err
		}
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
func (r *restoring) claim(ctx context.Context) error {
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
	if r.id, err = claimID(ctx, r.cfg, unfinishedFile); err != nil {
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
	state := treeState{fanOut: r.cfg.fanOut, kind: r.cfg.Custody.Kind()}
	if err := createSchema(ctx, to, r.id, r.keys.lineage, state); err != nil {
		return err
	}
	in := inserter{ctx: ctx, to: to}
	if err := errors.Join(r.visit(in.add), in.close()); err != nil {
		return err
	}
	if err := r.keys.join(ctx, to, r.id, r.cfg); err != nil {
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

// tidyRestored leaves out what hangs on rows that were left out: those without a key,
// and what was destroyed or discarded while the backup was written.
var tidyRestored = []string{
	"DELETE FROM documents WHERE NOT EXISTS (SELECT 1 FROM owners o WHERE o.kind = documents.space + 1 AND o.owner = documents.owner AND o.key = documents.key)",
	"DELETE FROM owners WHERE kind < 4 AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.space = owners.kind - 1 AND d.owner = owners.owner)",
	"DELETE FROM buckets WHERE NOT EXISTS (SELECT 1 FROM documents WHERE serial = buckets.document)",
	"DELETE FROM terms WHERE number NOT IN (SELECT term FROM buckets)",
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
	case entryVault: // it was looked at
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
		err = i.exec(insertOwner, int64(e.name.kind), owner[:], int64(e.slot), e.bytes)
	case entryTombstone:
		err = i.exec("INSERT INTO destroyed (kind, owner, keys) VALUES (?, ?, ?)", int64(e.name.kind), owner[:], int64(e.number))
		if err == nil && e.name.kind == recordKey {
			err = i.exec("DELETE FROM versions WHERE record = ?", owner[:])
		} else if err == nil { // with it go the documents
			err = i.exec("DELETE FROM owners WHERE kind = ? AND owner = ?", int64(e.name.kind), owner[:])
		}
	}
	if err != nil {
		return fmt.Errorf("adding a row of kind %d: %w", e.kind, err)
	}
	return nil
}

// checkLedgerKeys makes sure of the ledger's own keys, without which there is no
// vault. That they open, join has found out.
func (r *restoring) checkLedgerKeys(ctx context.Context, to *sql.Conn) error {
	for _, name := range ledgerKeys {
		var s slot
		there, err := found(to.QueryRowContext(ctx, "SELECT key FROM owners WHERE kind = ?", int64(name.kind)), &s)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("it lacks a key of the ledger's: %w", ErrBackup)
		}
	}
	return nil
}

// copyContents copies every ciphertext that a row names, and holds its length to
// what the row says.
func (r *restoring) copyContents(ctx context.Context, to *sql.Conn) error {
	c := copier{ctx: ctx, fsys: r.cfg.FS}
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

func eachRow(ctx context.Context, on querier, query string, f func(*sql.Rows) error) (err error) {
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
	return readEntries(file, rowsFormat, func(e entry) error {
		if e.kind == entryVault && !related(e.vaults, r.keys.lineage) {
			return fmt.Errorf("the contents are of another vault than the keys: %w", ErrBackup)
		}
		return f(e)
	})
}

// related reports whether of two vaults one is the other, or was restored from it.
func related(a, b []vaultID) bool { return slices.Contains(a, b[0]) || slices.Contains(b, a[0]) }
