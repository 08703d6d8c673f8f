package vault

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/medledger/medledger/events/store/disk"
)

// An increment is what has come to the ciphertext side of a vault since an earlier one:
//
//	"MLVINC" || 0x00 || 0x01 || parts
//	part:  length of what follows (4) || kind (1) || fields
//
// in the order of their kinds, the last of them once:
//
//	  1  an entry of the file rows of a backup, without its length and checksum: the
//	     vault, the new versions, documents and owners, the terms of the new documents,
//	     and all tombstones, in the order of that file
//	  2  segment (4) || offset (8) || the next bytes of the segment's file
//	  3  record id (16) || version (4) || offset (8) || the next bytes of a large file
//	  4  first serial (8) || last serial (8): versions and documents that there are, of
//	     all increments, by rising serials; what is in none of these is there no more
//	255  number of parts before this one (8)
//
// Rows come before contents, so that of each row the content is there, unless it was
// destroyed or discarded meanwhile: the serials come last and say so.
type partKind uint8

const (
	partRow     partKind = 1
	partSegment partKind = 2
	partLarge   partKind = 3
	partLiving  partKind = 4
	partEnd     partKind = 255
)

const (
	// backupPage is how many rows one query takes, and documentPage how many
	// documents: queries must be short, for the truncation of the write-ahead
	// log that ends a destruction waits for them.
	backupPage   = 2048
	documentPage = 32

	incrementMagic = "MLVINC\x00\x01"
	partPrefix     = 5
	pieceSize      = 32 << 10 // of ciphertext in one part, at most
	maxPart        = maxBackupEntry
)

// Position is how far an increment came. The next one goes on from there.
type Position struct {
	Vault   string `json:"vault"`   // its id
	Serial  int64  `json:"serial"`  // versions and documents
	Slot    int64  `json:"slot"`    // owners
	Segment uint32 `json:"segment"` // the segment that is written to, and how much of it
	Offset  int64  `json:"offset"`  // there was
}

// Follows reports whether an increment can go on from a position: not if it is another
// vault's, such as of one that this one was restored from.
func (v *Vault) Follows(p Position) bool { return p.Vault == v.name() }

func (v *Vault) name() string { return hex.EncodeToString(v.keys.tree.id[:]) }

// Increment writes what has come to the ciphertext side since an earlier position, the
// zero one for everything, and returns how far it came. What was put before it began is
// in it, or in those before, unless it was discarded or destroyed meanwhile. It runs
// beside other calls, at the pace of the writer, and writes nothing to the vault's folder.
func (v *Vault) Increment(ctx context.Context, since Position, w io.Writer) (Position, error) {
	if err := v.enter(ctx); err != nil {
		return since, err
	}
	defer v.leave()
	if since.Serial < 0 || since.Slot < 0 || since.Offset < 0 || since.Vault != "" && !v.Follows(since) {
		return since, fmt.Errorf("an increment since the position of another vault: %w", ErrInvalid)
	}
	i := &incrementing{v: v, ctx: ctx, since: since, w: w, buf: make([]byte, pieceSize)}
	if err := i.run(); err != nil {
		return since, fmt.Errorf("writing an increment of the vault: %w", err)
	}
	if i.lost > 0 {
		v.cfg.Logger.Warn("contents that the vault's folder has not, or not whole, are not in the backup", "versions", i.lost)
	}
	return i.upTo, nil
}

// incrementing is one Increment under way.
type incrementing struct {
	v     *Vault
	ctx   context.Context // of the one call that it lives in
	since Position
	upTo  Position
	w     io.Writer
	buf   []byte
	part  []byte
	count uint64
	lost  int // versions whose content is missing although they live
}

func (i *incrementing) run() error {
	if _, err := io.WriteString(i.w, incrementMagic); err != nil {
		return err
	}
	lastSlot, last, err := lastRows(i.ctx, i.v.keys.reader)
	if err != nil {
		return fmt.Errorf("counting rows: %w", err)
	}
	i.upTo = Position{Vault: i.v.name(), Serial: int64(last), Slot: int64(lastSlot)}
	if i.upTo.Serial < i.since.Serial || i.upTo.Slot < i.since.Slot {
		return fmt.Errorf("the vault has fewer rows than the increment before; is this an older copy of it?: %w", ErrInvalid)
	}
	if err := i.row(entry{kind: entryVault, vaults: i.v.keys.tree.lineage()}); err != nil {
		return err
	}
	for _, part := range []func() error{i.versions, i.documents, i.terms, i.owners, i.tombstones, i.segments, i.large, i.living} {
		if err := part(); err != nil {
			return err
		}
	}
	return i.write(partEnd, binary.BigEndian.AppendUint64(nil, i.count))
}

// write writes a part: all fields in turn.
func (i *incrementing) write(k partKind, fields ...[]byte) error {
	i.part = append(i.part[:0], 0, 0, 0, 0, byte(k))
	for _, f := range fields {
		i.part = append(i.part, f...)
	}
	binary.BigEndian.PutUint32(i.part, uint32(len(i.part)-4))
	i.count++
	_, err := i.w.Write(i.part)
	return err
}

func (i *incrementing) row(e entry) error { return i.write(partRow, e.append(nil)) }

func (i *incrementing) versions() error {
	const query = "SELECT serial, record, version, key, segment, offset, length, secrets FROM versions WHERE serial > ? AND serial <= ? ORDER BY serial LIMIT ?"
	after := serial(i.since.Serial)
	return i.pages(backupPage, func() (string, []any) { return query, []any{int64(after), i.upTo.Serial} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryVersion
			err = rows.Scan(&e.serial, (*idColumn)(&e.record), &e.version, &e.slot, &e.at.segment, &e.at.offset, &e.at.length, &e.bytes)
			after = e.serial
			return e, err
		})
}

func (i *incrementing) documents() error {
	const query = "SELECT serial, space, owner, id, key, sealed FROM documents WHERE serial > ? AND serial <= ? ORDER BY serial LIMIT ?"
	after := serial(i.since.Serial)
	return i.pages(documentPage, func() (string, []any) { return query, []any{int64(after), i.upTo.Serial} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryDocument
			err = rows.Scan(&e.serial, &e.place.Space, (*idColumn)(&e.place.Owner), (*idColumn)(&e.place.ID), &e.slot, &e.bytes)
			after = e.serial
			return e, err
		})
}

func (i *incrementing) terms() error {
	const query = "SELECT b.document, b.term, t.digest FROM buckets b JOIN terms t ON t.number = b.term WHERE (b.document, b.term) > (?, ?) AND b.document <= ? ORDER BY b.document, b.term LIMIT ?"
	document, term := serial(i.since.Serial)+1, int64(0)
	return i.pages(backupPage, func() (string, []any) { return query, []any{int64(document), term, i.upTo.Serial} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryTerm
			err = rows.Scan(&document, &term, &e.bytes)
			e.serial = document
			return e, err
		})
}

func (i *incrementing) owners() error {
	const query = "SELECT kind, owner, key, proof FROM owners WHERE (kind, owner) > (?, ?) AND key > ? AND key <= ? ORDER BY kind, owner LIMIT ?"
	var after keyName
	return i.pages(backupPage, func() (string, []any) {
		return query, []any{int64(after.kind), after.owner[:], i.since.Slot, i.upTo.Slot}
	},
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryOwner
			err = rows.Scan(&e.name.kind, (*idColumn)(&e.name.owner), &e.slot, &e.bytes)
			after = e.name
			return e, err
		})
}

func (i *incrementing) tombstones() error {
	const query = "SELECT kind, owner, keys FROM destroyed WHERE (kind, owner) > (?, ?) ORDER BY kind, owner LIMIT ?"
	var after keyName
	return i.pages(backupPage, func() (string, []any) { return query, []any{int64(after.kind), after.owner[:]} },
		func(rows *sql.Rows) (e entry, err error) {
			e.kind = entryTombstone
			err = rows.Scan(&e.name.kind, (*idColumn)(&e.name.owner), &e.number)
			after = e.name
			return e, err
		})
}

// pages writes the rows of a table, page by page; scan moves on what args of the next
// page are. Between pages no query is open, for the truncation of the write-ahead log
// that ends a destruction waits for them.
func (i *incrementing) pages(size int, next func() (query string, args []any), scan func(*sql.Rows) (entry, error)) error {
	for {
		query, args := next()
		list, err := page(i.ctx, i.v.keys.reader, query, append(args, size), scan)
		if err != nil {
			return fmt.Errorf("reading rows: %w", err)
		}
		for _, e := range list {
			if err := i.row(e); err != nil {
				return err
			}
		}
		if len(list) < size {
			return nil
		}
	}
}

func page[T any](ctx context.Context, db *sql.DB, query string, args []any, scan func(*sql.Rows) (T, error)) (list []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
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

// segments writes what there is more of the segments at this moment. Before the last
// one none grows. One that Collect removes meanwhile has no living version.
func (i *incrementing) segments() error {
	numbers, err := i.v.segments.list()
	if err != nil {
		return err
	}
	i.upTo.Segment, i.upTo.Offset = i.since.Segment, i.since.Offset
	for _, n := range numbers {
		if n < i.since.Segment {
			continue
		}
		from := int64(0)
		if n == i.since.Segment {
			from = i.since.Offset
		}
		number := binary.BigEndian.AppendUint32(nil, n)
		size, err := i.file(i.v.segments.path(n), from, partSegment, number)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading segment %d: %w", n, err)
		}
		i.upTo.Segment, i.upTo.Offset = n, max(size, from)
	}
	return nil
}

// large writes the large files of the new versions.
func (i *incrementing) large() error {
	const query = "SELECT serial, record, version, length FROM versions WHERE serial > ? AND serial <= ? AND segment = 0 ORDER BY serial LIMIT ?"
	type content struct {
		versionName
		length int64
	}
	after := serial(i.since.Serial)
	for {
		list, err := page(i.ctx, i.v.keys.reader, query, []any{int64(after), i.upTo.Serial, backupPage}, func(rows *sql.Rows) (c content, err error) {
			err = rows.Scan(&after, (*idColumn)(&c.record), &c.version, &c.length)
			return c, err
		})
		if err != nil {
			return fmt.Errorf("reading rows: %w", err)
		}
		for _, c := range list {
			size, err := i.file(largePath(i.v.cfg.Dir, c.record, c.version), 0, partLarge, appendName(nil, c.record, c.version))
			if errors.Is(err, fs.ErrNotExist) || err == nil && size != c.length {
				err = i.miss(c.versionName)
			}
			if err != nil {
				return fmt.Errorf("reading a large content: %w", err)
			}
		}
		if len(list) < backupPage {
			return nil
		}
	}
}

// miss counts a version whose content is not there, unless it was destroyed or discarded
// meanwhile.
func (i *incrementing) miss(n versionName) error {
	_, err := i.v.keys.lookup(i.ctx, n.record, n.version)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDestroyed) {
		return nil
	}
	i.lost++
	return err
}

// file writes a file from an offset to its end at this moment, in pieces, and returns
// where that is.
func (i *incrementing) file(path string, from int64, k partKind, name []byte) (size int64, err error) {
	f, err := i.v.cfg.FS.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size = info.Size()
	for at := from; at < size; {
		if err := i.ctx.Err(); err != nil {
			return 0, err
		}
		piece := i.buf[:min(size-at, pieceSize)]
		if n, err := f.ReadAt(piece, at); n < len(piece) {
			return 0, err
		}
		if err := i.write(k, name, binary.BigEndian.AppendUint64(nil, uint64(at)), piece); err != nil {
			return 0, err
		}
		at += int64(len(piece))
	}
	return size, nil
}

// living writes which serials there are.
func (i *incrementing) living() error {
	const query = "SELECT serial FROM versions WHERE serial > ?1 AND serial <= ?2 UNION ALL SELECT serial FROM documents WHERE serial > ?1 AND serial <= ?2 ORDER BY serial LIMIT ?3"
	var first, last serial // of the range at hand; 0: none
	emit := func() error {
		if first == 0 {
			return nil
		}
		b := binary.BigEndian.AppendUint64(nil, uint64(first))
		return i.write(partLiving, binary.BigEndian.AppendUint64(b, uint64(last)))
	}
	var pace disk.Pace // there is little to write, at which the writer would rest
	for after := serial(0); ; {
		pace.Begin()
		list, err := page(i.ctx, i.v.keys.reader, query, []any{int64(after), i.upTo.Serial, backupPage}, func(rows *sql.Rows) (s serial, err error) {
			err = rows.Scan(&s)
			return s, err
		})
		if err != nil {
			return fmt.Errorf("reading serials: %w", err)
		}
		for _, s := range list {
			if first == 0 || s != last+1 {
				if err := emit(); err != nil {
					return err
				}
				first = s
			}
			last = s
		}
		pace.Rest()
		if len(list) < backupPage {
			return emit()
		}
		after = last
	}
}
