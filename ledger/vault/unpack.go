package vault

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medledger/medledger/events/store/disk"
)

// rowsFile holds the rows of a backup.
const rowsFile = "rows"

// Unpacker makes of increments, in order, the folder that Restore takes: rows and
// contents as they were when the last increment was written. A folder that was not
// finished is none; it is removed and made again.
type Unpacker struct {
	ctx   context.Context // of the restoration that it lives in
	fsys  disk.FS
	dst   string
	spool map[entryKind]*spool
	file  *unpacked        // the content being written
	ends  map[uint32]int64 // how much of each segment there is
	alive []living         // of the last increment
	owner map[keyName]slot // the last one of each
	dead  map[keyName]bool // of them, in the last increment
	last  slot
	lost  int             // versions without their content
	made  map[string]bool // folders of large files
}

type living struct{ from, upTo serial }

// unpacked is a content file that is written to.
type unpacked struct {
	path     string
	f        disk.File
	end      int64
	unsynced int64
}

// adds says of which kinds an increment has only what is new. Of all others it has
// everything, and the last one counts.
var adds = map[entryKind]bool{entryVersion: true, entryDocument: true, entryTerm: true, entryOwner: true}

// NewUnpacker begins in a folder that is empty, and made if missing.
func NewUnpacker(ctx context.Context, fsys disk.FS, dst string) (*Unpacker, error) {
	for _, dir := range []string{segmentsDir(dst), largeDir(dst)} {
		if err := disk.MakeDir(fsys, dir, 0o700); err != nil {
			return nil, fmt.Errorf("unpacking increments of a vault: %w", err)
		}
	}
	return &Unpacker{
		ctx: ctx, fsys: fsys, dst: dst, spool: map[entryKind]*spool{}, ends: map[uint32]int64{}, made: map[string]bool{},
		owner: map[keyName]slot{}, dead: map[keyName]bool{},
	}, nil
}

// LastSlot is the last slot of a key that what was unpacked names. A key tree that was
// backed up before that slot was given out lacks keys.
func (u *Unpacker) LastSlot() int64 { return int64(u.last) }

// Lost is how many versions were left out because their content had been lost before it
// was backed up: no increment has it.
func (u *Unpacker) Lost() int { return u.lost }

// Add unpacks the next increment.
func (u *Unpacker) Add(increment io.Reader) error {
	u.alive = u.alive[:0]
	clear(u.dead)
	for kind, s := range u.spool {
		if !adds[kind] {
			if err := s.empty(); err != nil {
				return err
			}
		}
	}
	err := readParts(increment, u.part)
	if err := errors.Join(err, u.closeFile()); err != nil {
		return fmt.Errorf("unpacking an increment of a vault: %w", err)
	}
	return nil
}

func (u *Unpacker) part(p part) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	switch p.kind {
	case partRow:
		return u.row(p.row)
	case partSegment:
		if p.offset != u.ends[p.segment] {
			return fmt.Errorf("segment %d goes on at %d where %d bytes are there: %w", p.segment, p.offset, u.ends[p.segment], ErrBackup)
		}
		u.ends[p.segment] += int64(len(p.bytes))
		return u.content(filepath.Join(segmentsDir(u.dst), segmentName(p.segment)), p)
	case partLarge:
		shard := shardDir(u.dst, p.record)
		if !u.made[shard] {
			if err := disk.MakeDir(u.fsys, shard, 0o700); err != nil {
				return err
			}
			u.made[shard] = true
		}
		return u.content(largePath(u.dst, p.record, p.version), p)
	case partLiving:
		if n := len(u.alive); n > 0 && p.from <= u.alive[n-1].upTo {
			return fmt.Errorf("serials out of order: %w", ErrBackup)
		}
		u.alive = append(u.alive, living{p.from, p.upTo})
	}
	return nil
}

func (u *Unpacker) row(row []byte) error {
	e, err := parseEntry(row)
	if err != nil {
		return err
	}
	kind := e.kind
	switch {
	case kind == entryOwner:
		u.owner[e.name] = e.slot
	case kind == entryTombstone && e.name.kind != recordKey:
		u.dead[e.name] = true
	}
	u.last = max(u.last, e.slot)
	s := u.spool[kind]
	if s == nil {
		f, err := u.fsys.OpenFile(filepath.Join(u.dst, fmt.Sprintf("%s-%d.tmp", rowsFile, kind)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		s = newSpool(f)
		u.spool[kind] = s
	}
	return s.add(row)
}

// content writes the next piece of a content. Nothing is durable before closeFile.
func (u *Unpacker) content(path string, p part) error {
	if u.file == nil || u.file.path != path {
		if err := u.closeFile(); err != nil {
			return err
		}
		flag := os.O_WRONLY | os.O_CREATE
		if p.offset == 0 {
			flag |= os.O_TRUNC
		}
		f, err := u.fsys.OpenFile(path, flag, 0o600)
		if err != nil {
			return err
		}
		u.file = &unpacked{path: path, f: f, end: p.offset}
	}
	if p.offset != u.file.end {
		return fmt.Errorf("a content goes on at %d where %d bytes are there: %w", p.offset, u.file.end, ErrBackup)
	}
	if _, err := u.file.f.WriteAt(p.bytes, p.offset); err != nil {
		return err
	}
	u.file.end += int64(len(p.bytes))
	if u.file.unsynced += int64(len(p.bytes)); u.file.unsynced < copySync {
		return nil
	}
	u.file.unsynced = 0
	return u.file.f.Sync()
}

func (u *Unpacker) closeFile() error {
	if u.file == nil {
		return nil
	}
	err := errors.Join(u.file.f.Sync(), u.file.f.Close())
	u.file = nil
	return err
}

// Finish writes the rows. Crash before they have their name: no folder that Restore
// takes.
func (u *Unpacker) Finish() error {
	if err := u.finish(); err != nil {
		return fmt.Errorf("unpacking increments of a vault: %w", err)
	}
	return nil
}

func (u *Unpacker) finish() error {
	tmp := filepath.Join(u.dst, rowsFile+".tmp")
	if err := u.writeRows(tmp); err != nil {
		return err
	}
	for dir := range u.made {
		if err := u.fsys.SyncDir(dir); err != nil {
			return err
		}
	}
	if err := u.fsys.SyncDir(segmentsDir(u.dst)); err != nil {
		return err
	}
	if err := u.fsys.Rename(tmp, filepath.Join(u.dst, rowsFile)); err != nil {
		return err
	}
	return errors.Join(u.fsys.SyncDir(u.dst), u.Close())
}

func (u *Unpacker) writeRows(path string) (err error) {
	f, err := u.fsys.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}()
	w, err := newEntryWriter(f, rowsFormat)
	if err != nil {
		return err
	}
	var kinds []entryKind
	for kind := range u.spool {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		err := u.spool[kind].each(func(row []byte) error {
			e, err := parseEntry(row)
			if err != nil || !u.lives(e) {
				return err
			}
			if there, err := u.hasContent(e); err != nil || !there {
				return err
			}
			return w.write(e)
		})
		if err != nil {
			return err
		}
	}
	return w.end()
}

// lives reports whether a row was there when the last increment was written. An owner who
// had another key before is in an earlier increment with that.
func (u *Unpacker) lives(e entry) bool {
	if e.kind == entryOwner {
		return u.owner[e.name] == e.slot && !u.dead[e.name]
	}
	if e.kind != entryVersion && e.kind != entryDocument && e.kind != entryTerm {
		return true
	}
	n, exactly := slices.BinarySearchFunc(u.alive, e.serial, func(l living, s serial) int { return cmp.Compare(l.from, s) })
	return exactly || n > 0 && e.serial <= u.alive[n-1].upTo
}

// hasContent reports whether the content of a version was unpacked whole.
func (u *Unpacker) hasContent(e entry) (there bool, err error) {
	switch {
	case e.kind != entryVersion:
		return true, nil
	case e.at.segment != 0:
		there = u.ends[e.at.segment] >= e.at.offset+e.at.length
	default:
		info, err := u.fsys.Stat(largePath(u.dst, e.record, e.version))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		there = err == nil && info.Size() == e.at.length
	}
	if !there {
		u.lost++
	}
	return there, nil
}

// Close releases what is open, and removes what only unpacking needed.
func (u *Unpacker) Close() error {
	errs := []error{u.closeFile()}
	for _, s := range u.spool {
		errs = append(errs, s.f.Close())
	}
	u.spool = nil
	entries, err := u.fsys.ReadDir(u.dst)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errs...)
	}
	errs = append(errs, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			errs = append(errs, u.fsys.Remove(filepath.Join(u.dst, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// spool is a file of rows, each after its length.
type spool struct {
	f   disk.File
	w   *bufio.Writer
	buf []byte
}

func newSpool(f disk.File) *spool {
	return &spool{f: f, w: bufio.NewWriterSize(io.NewOffsetWriter(f, 0), 64<<10)}
}

func (s *spool) add(row []byte) error {
	s.buf = append(binary.BigEndian.AppendUint32(s.buf[:0], uint32(len(row))), row...)
	_, err := s.w.Write(s.buf)
	return err
}

// empty forgets all rows.
func (s *spool) empty() error {
	s.w.Reset(io.NewOffsetWriter(s.f, 0))
	return s.f.Truncate(0)
}

func (s *spool) each(do func(row []byte) error) error {
	if err := s.w.Flush(); err != nil {
		return err
	}
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(s.f, 0, info.Size()), 64<<10)
	buf := make([]byte, maxBackupEntry)
	var prefix [4]byte
	for {
		if _, err := io.ReadFull(r, prefix[:]); err != nil {
			return ignoreEOF(err)
		}
		row := buf[:binary.BigEndian.Uint32(prefix[:])]
		if _, err := io.ReadFull(r, row); err != nil {
			return err
		}
		if err := do(row); err != nil {
			return err
		}
	}
}
