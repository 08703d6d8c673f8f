package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/medledger/medledger/events/store/disk"
)

const (
	// rowsFile holds the rows of a backup.
	rowsFile = "rows"
	// backupPage is how many rows one query takes, and documentPage how many
	// documents: queries must be short, for the truncation of the write-ahead
	// log that ends a destruction waits for them.
	backupPage   = 2048
	documentPage = 32
)

// Backup writes the ciphertext of the vault to a folder, made if missing, from which
// Restore makes a vault with the keys that BackupKeys has written: contents, and rows
// without keys. It may be kept for as long as one likes: of what is destroyed after
// it, it says nothing once no backup of keys opens that has its key. It runs beside
// other calls: what was put before it began is in the backup, unless it was discarded
// or destroyed meanwhile. Contents that the folder has from an earlier Backup are not
// copied again; what the vault has no longer is removed from it.
//
// Crash, at any moment: the backup that was in the folder before, or the new one
// once its rows have their name; and perhaps files of neither, which the next
// Backup removes. One Backup at a time runs, others wait, and so does Close: the
// context ends it.
func (v *Vault) Backup(ctx context.Context, dst string) error {
	if err := v.enter(ctx); err != nil {
		return err
	}
	defer v.leave()
	if dst == "" || filepath.Clean(dst) == filepath.Clean(v.cfg.Dir) {
		return fmt.Errorf("a backup wants a folder of its own: %w", ErrInvalid)
	}
	v.backup.Lock()
	defer v.backup.Unlock()
	b := &backup{
		v: v, ctx: ctx, copier: copier{ctx: ctx, fsys: v.cfg.FS}, dst: dst,
		segments: map[uint32]int64{}, large: map[versionName]struct{}{}, shards: map[string]struct{}{},
	}
	if err := b.run(); err != nil {
		return fmt.Errorf("backing up the vault to %s: %w", dst, err)
	}
	if b.left > 0 {
		v.cfg.Logger.Warn("contents that the vault's folder has not, or not whole, are left out of the backup", "versions", b.left)
	}
	return nil
}

// backup is one Backup under way.
type backup struct {
	v        *Vault
	ctx      context.Context // of the one call that backup lives in
	copier   copier
	dst      string
	upTo     serial
	segments map[uint32]int64         // how much of each is in the backup
	large    map[versionName]struct{} // what is
	shards   map[string]struct{}      // folders of large, made and to be synced
	left     int                      // versions whose content is missing
	rows     *entryWriter
}

func (b *backup) run() error {
	fsys := b.v.cfg.FS
	// Crash: some of the folders.
	for _, dir := range []string{segmentsDir(b.dst), largeDir(b.dst)} {
		if err := disk.MakeDir(fsys, dir, 0o700); err != nil {
			return err
		}
	}
	// The rows come first, as a number: whatever they are, their contents are
	// durable, and those in segments lie before the segments' ends.
	var err error
	if _, b.upTo, err = lastRows(b.ctx, b.v.keys.reader); err != nil {
		return fmt.Errorf("counting rows: %w", err)
	}
	if err := b.copySegments(); err != nil {
		return err
	}
	tmp := filepath.Join(b.dst, rowsFile+".tmp")
	if err := b.writeRows(tmp); err != nil {
		return err
	}
	for shard := range b.shards {
		if err := fsys.SyncDir(shard); err != nil {
			return err
		}
	}
	// Crash before: the backup that was there; its contents are, too, for
	// nothing was removed. Crash after: the new one, whole.
	if err := fsys.Rename(tmp, filepath.Join(b.dst, rowsFile)); err != nil {
		return err
	}
	if err := fsys.SyncDir(b.dst); err != nil {
		return err
	}
	// Crash before or between the removals: files that no row needs.
	return b.removeSurplus()
}

// copySegments brings every segment up to its length at this moment. One that
// Collect removes meanwhile has no living version.
func (b *backup) copySegments() error {
	s := b.v.segments
	numbers, err := s.list()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		size, err := b.copier.bring(s.path(n), filepath.Join(segmentsDir(b.dst), segmentName(n)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("copying segment %d: %w", n, err)
		}
		b.segments[n] = size
	}
	return b.v.cfg.FS.SyncDir(segmentsDir(b.dst))
}

// writeRows writes and syncs the rows' file. Versions and documents come before
// owners and tombstones: what is destroyed meanwhile is missing, or has no owner, or
// has a tombstone.
func (b *backup) writeRows(path string) (err error) {
	f, err := b.v.cfg.FS.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}()
	if b.rows, err = newEntryWriter(f, rowsFormat); err != nil {
		return err
	}
	if err := b.rows.write(entry{kind: entryVault, vaults: b.v.keys.tree.lineage()}); err != nil {
		return err
	}
	for _, part := range []func() error{b.versions, b.documents, b.terms, b.owners, b.tombstones} {
		if err := part(); err != nil {
			return err
		}
	}
	return b.rows.end()
}

func (b *backup) versions() error {
	const query = "SELECT serial, record, version, key, segment, offset, length, secrets FROM versions WHERE serial > ? AND serial <= ? ORDER BY serial LIMIT ?"
	after := serial(0)
	return b.pages(backupPage, func() (string, []any) { return query, []any{int64(after), int64(b.upTo)} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryVersion
			err = rows.Scan(&e.serial, (*idColumn)(&e.record), &e.version, &e.slot, &e.at.segment, &e.at.offset, &e.at.length, &e.bytes)
			after = e.serial
			return e, err
		}, b.hasContent)
}

// hasContent makes sure that the content of a version is in the backup.
func (b *backup) hasContent(e entry) (bool, error) {
	if e.at.segment != 0 {
		size, whole := b.segments[e.at.segment]
		if whole = whole && e.at.offset+e.at.length <= size; !whole {
			return false, b.leaveOut(e)
		}
		return true, nil
	}
	shard := shardDir(b.dst, e.record)
	if _, made := b.shards[shard]; !made {
		if err := disk.MakeDir(b.v.cfg.FS, shard, 0o700); err != nil {
			return false, err
		}
		b.shards[shard] = struct{}{}
	}
	size, err := b.copier.bring(largePath(b.v.cfg.Dir, e.record, e.version), largePath(b.dst, e.record, e.version))
	if errors.Is(err, fs.ErrNotExist) || err == nil && size != e.at.length {
		return false, b.leaveOut(e)
	}
	if err != nil {
		return false, fmt.Errorf("copying a large content: %w", err)
	}
	b.large[versionName{e.record, e.version}] = struct{}{}
	return true, nil
}

// leaveOut counts a version whose content is missing although it lives.
func (b *backup) leaveOut(e entry) error {
	row, err := b.v.keys.lookup(b.ctx, e.record, e.version)
	if err == nil && row.at == e.at {
		b.left++
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDestroyed) {
		return nil
	}
	return err
}

func (b *backup) documents() error {
	const query = "SELECT serial, space, owner, id, key, sealed FROM documents WHERE serial > ? AND serial <= ? ORDER BY serial LIMIT ?"
	after := serial(0)
	return b.pages(documentPage, func() (string, []any) { return query, []any{int64(after), int64(b.upTo)} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryDocument
			err = rows.Scan(&e.serial, &e.place.Space, (*idColumn)(&e.place.Owner), (*idColumn)(&e.place.ID), &e.slot, &e.bytes)
			after = e.serial
			return e, err
		}, nil)
}

func (b *backup) terms() error {
	const query = "SELECT b.bucket, b.term, b.document, t.digest FROM buckets b JOIN terms t ON t.number = b.term WHERE (b.bucket, b.term) > (?, ?) ORDER BY b.bucket, b.term LIMIT ?"
	bucket, term := int64(-1), int64(0)
	return b.pages(backupPage, func() (string, []any) { return query, []any{bucket, term} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryTerm
			err = rows.Scan(&bucket, &term, &e.serial, &e.bytes)
			return e, err
		}, func(e entry) (bool, error) { return e.serial <= b.upTo, nil })
}

func (b *backup) owners() error {
	const query = "SELECT kind, owner, key, proof FROM owners WHERE (kind, owner) > (?, ?) ORDER BY kind, owner LIMIT ?"
	var after keyName
	return b.pages(backupPage, func() (string, []any) { return query, []any{int64(after.kind), after.owner[:]} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryOwner
			err = rows.Scan(&e.name.kind, (*idColumn)(&e.name.owner), &e.slot, &e.bytes)
			after = e.name
			return e, err
		}, nil)
}

func (b *backup) tombstones() error {
	const query = "SELECT kind, owner, keys FROM destroyed WHERE (kind, owner) > (?, ?) ORDER BY kind, owner LIMIT ?"
	var after keyName
	return b.pages(backupPage, func() (string, []any) { return query, []any{int64(after.kind), after.owner[:]} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryTombstone
			err = rows.Scan(&e.name.kind, (*idColumn)(&e.name.owner), &e.number)
			after = e.name
			return e, err
		}, nil)
}

// pages writes the rows of a table, page by page; scan moves on what args of the
// next page are. Between pages no query is open.
func (b *backup) pages(size int, next func() (query string, args []any), scan func(*sql.Rows) (entry, error), keep func(entry) (bool, error)) error {
	for {
		b.copier.pace.Begin()
		query, args := next()
		list, err := b.page(query, append(args, size), scan)
		if err != nil {
			return fmt.Errorf("reading rows: %w", err)
		}
		for _, e := range list {
			wanted := true
			if keep != nil {
				if wanted, err = keep(e); err != nil {
					return err
				}
			}
			if !wanted {
				continue
			}
			if err := b.rows.write(e); err != nil {
				return err
			}
		}
		b.copier.pace.Rest()
		if len(list) < size {
			return nil
		}
	}
}

func (b *backup) page(query string, args []any, scan func(*sql.Rows) (entry, error)) (list []entry, err error) {
	rows, err := b.v.keys.reader.QueryContext(b.ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// removeSurplus removes from the backup the files of contents that are not in
// it, and what an interrupted copy left.
func (b *backup) removeSurplus() error {
	err := b.removeFrom(segmentsDir(b.dst), func(name string) bool {
		n, ok := parseSegmentName(name)
		_, there := b.segments[n]
		return ok && !there
	})
	if err != nil {
		return err
	}
	shards, err := b.v.cfg.FS.ReadDir(largeDir(b.dst))
	if err != nil {
		return err
	}
	for _, s := range shards {
		err := b.removeFrom(filepath.Join(largeDir(b.dst), s.Name()), func(name string) bool {
			record, version, ok := parseLargeName(name)
			_, there := b.large[versionName{record, version}]
			return ok && !there
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *backup) removeFrom(dir string, surplus func(name string) bool) error {
	entries, err := b.v.cfg.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	removed := false
	for _, e := range entries {
		if !surplus(e.Name()) && !strings.HasSuffix(e.Name(), copySuffix) {
			continue
		}
		if err := b.v.cfg.FS.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return b.v.cfg.FS.SyncDir(dir)
}
