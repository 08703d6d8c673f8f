package vault

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/medledger/medledger/events"
)

// part is a part of an increment.
type part struct {
	kind       partKind
	row        []byte
	record     events.ID // large
	version    uint32    // large
	segment    uint32
	offset     int64
	bytes      []byte // of a segment or a large file
	from, upTo serial // living
}

// readParts calls visit for each part of an increment. Its bytes are visit's until it
// returns.
func readParts(from io.Reader, visit func(part) error) error {
	magic := make([]byte, len(incrementMagic))
	if _, err := io.ReadFull(from, magic); err != nil {
		return truncated(err)
	}
	if string(magic) != incrementMagic {
		return fmt.Errorf("another format than this program's: %w", ErrBackup)
	}
	buf := make([]byte, maxPart)
	last := partKind(0)
	for n := uint64(0); ; n++ {
		if _, err := io.ReadFull(from, buf[:partPrefix]); err != nil {
			return truncated(err)
		}
		size, kind := int(binary.BigEndian.Uint32(buf))-1, partKind(buf[4])
		if size < 0 || size > len(buf) || kind < last {
			return fmt.Errorf("part %d of kind %d with %d bytes: %w", n, kind, size, ErrBackup)
		}
		last = kind
		if _, err := io.ReadFull(from, buf[:size]); err != nil {
			return truncated(err)
		}
		if kind == partEnd {
			if size != 8 || binary.BigEndian.Uint64(buf) != n {
				return fmt.Errorf("%d parts where the end says otherwise: %w", n, ErrBackup)
			}
			return nil
		}
		p, err := parsePart(kind, buf[:size])
		if err != nil {
			return fmt.Errorf("part %d: %w", n, err)
		}
		if err := visit(p); err != nil {
			return err
		}
	}
}

// partSizes are the least and the greatest length of parts with their kind.
var partSizes = map[partKind][2]int{
	partRow:     {1, maxBackupEntry},
	partSegment: {12 + 1, 12 + pieceSize},
	partLarge:   {28 + 1, 28 + pieceSize},
	partLiving:  {16, 16},
}

func parsePart(kind partKind, b []byte) (p part, err error) {
	size, known := partSizes[kind]
	if !known || len(b) < size[0] || len(b) > size[1] {
		return p, fmt.Errorf("kind %d with %d bytes: %w", kind, len(b), ErrBackup)
	}
	p.kind = kind
	f := fields{b}
	switch kind {
	case partRow:
		p.row = b
	case partSegment:
		p.segment, p.offset, p.bytes = f.u32(), int64(f.u64()), f.rest
	case partLarge:
		p.record, p.version = f.id(), f.u32()
		p.offset, p.bytes = int64(f.u64()), f.rest
	case partLiving:
		p.from, p.upTo = serial(f.u64()), serial(f.u64())
	}
	if p.offset < 0 || p.from < 0 || p.upTo < p.from || kind == partSegment && p.segment == 0 || kind == partLiving && p.from == 0 {
		return p, fmt.Errorf("kind %d with impossible fields: %w", kind, ErrBackup)
	}
	return p, nil
}
