package vault

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
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
