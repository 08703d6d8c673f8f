package vault

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The contents of an increment.

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
	const query = "SELECT serial, record, version, length FROM versions " +
		"WHERE serial > ? AND serial <= ? AND segment = 0 ORDER BY serial LIMIT ?"
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
