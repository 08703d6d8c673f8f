package vault

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/medledger/medledger/events"
)

// ErrBackup says that a backup is damaged, or none.
var ErrBackup = errors.New("the backup is damaged or unfinished; use another one")

const (
	backupMagic    = "MLVBAK\x00\x01"
	backupPrefix   = 8 // length and checksum
	maxBackupEntry = 1 + 8 + 1 + 16 + 16 + 8 + sealOverhead + 32 + MaxDocument
)

// entryKind says which row an entry of a backup is. The numbers are part of the
// format, and the order in which entries come.
type entryKind uint8

const (
	entryCheck     entryKind = 1
	entryVersion   entryKind = 2
	entryDocument  entryKind = 3
	entryTerm      entryKind = 4
	entryOwner     entryKind = 5
	entryKey       entryKind = 6
	entryTombstone entryKind = 7
	entryEnd       entryKind = 255
)

// entry is one row in a backup. Which fields there are depends on its kind.
type entry struct {
	kind    entryKind
	serial  serial    // version, document, term (of the document)
	record  events.ID // version
	version uint32    // version
	place   Place     // document
	name    keyName   // owner, key, tombstone
	slot    slot      // version, document, owner, key
	at      location  // version
	number  uint64    // tombstone: keys; end: entries before it
	bytes   []byte    // check; version: secrets; document: sealed; term: digest; key: wrapped
}

// append appends kind and fields of e.
func (e *entry) append(b []byte) []byte {
	b = append(b, byte(e.kind))
	u64 := binary.BigEndian.AppendUint64
	switch e.kind {
	case entryVersion:
		b = appendName(u64(b, uint64(e.serial)), e.record, e.version)
		b = binary.BigEndian.AppendUint32(u64(b, uint64(e.slot)), e.at.segment)
		b = u64(u64(b, uint64(e.at.offset)), uint64(e.at.length))
	case entryDocument:
		b = append(u64(b, uint64(e.serial)), byte(e.place.Space))
		b = append(append(b, e.place.Owner[:]...), e.place.ID[:]...)
		b = u64(b, uint64(e.slot))
	case entryTerm:
		b = u64(b, uint64(e.serial))
	case entryOwner:
		b = u64(e.name.append(b), uint64(e.slot))
	case entryKey:
		b = e.name.append(u64(b, uint64(e.slot)))
	case entryTombstone:
		b = u64(e.name.append(b), e.number)
	case entryEnd:
		b = u64(b, e.number)
	}
	return append(b, e.bytes...)
}

// entrySizes are the least and the greatest length of entries with their kind.
var entrySizes = map[entryKind][2]int{
	entryCheck:     {1 + nonceSize + tagSize, 1 + nonceSize + tagSize},
	entryVersion:   {57 + minWrapped, 57 + maxWrapped},
	entryDocument:  {50 + sealOverhead + 32, maxBackupEntry},
	entryTerm:      {9 + 32, 9 + 32},
	entryOwner:     {26, 26},
	entryKey:       {26 + wrappedNamedSize, 26 + wrappedNamedSize},
	entryTombstone: {26, 26},
	entryEnd:       {9, 9},
}

// parseEntry is strict: it accepts only what append writes of rows as a vault
// has them. The bytes of the entry are a part of b.
func parseEntry(b []byte) (e entry, err error) {
	if len(b) == 0 {
		return e, fmt.Errorf("empty entry: %w", ErrBackup)
	}
	e.kind = entryKind(b[0])
	size, known := entrySizes[e.kind]
	if !known || len(b) < size[0] || len(b) > size[1] {
		return e, fmt.Errorf("entry of kind %d with %d bytes: %w", e.kind, len(b), ErrBackup)
	}
	f := fields{b[1:]}
	switch e.kind {
	case entryVersion:
		e.serial, e.record, e.version, e.slot = serial(f.u64()), f.id(), f.u32(), slot(f.u64())
		e.at = location{segment: f.u32(), offset: int64(f.u64()), length: int64(f.u64())}
	case entryDocument:
		e.serial = serial(f.u64())
		e.place = Place{Space(f.u8()), f.id(), f.id()}
		e.slot = slot(f.u64())
	case entryTerm:
		e.serial = serial(f.u64())
	case entryOwner:
		e.name, e.slot = f.name(), slot(f.u64())
	case entryKey:
		e.slot, e.name = slot(f.u64()), f.name()
	case entryTombstone:
		e.name, e.number = f.name(), f.u64()
	case entryEnd:
		e.number = f.u64()
	}
	e.bytes = f.rest
	return e, e.check()
}

// check holds the fields of an entry to what a vault can have.
func (e *entry) check() error {
	bad := e.serial < 0 || e.slot < 0 || e.at.offset < 0 || e.at.length < 0 || int64(e.number) < 0
	switch e.kind {
	case entryVersion:
		bad = bad || e.serial == 0 || e.slot == 0 || e.record.IsZero()
	case entryDocument:
		bad = bad || e.serial == 0 || e.slot == 0 || e.place.check() != nil
	case entryTerm:
		bad = bad || e.serial == 0
	case entryOwner:
		bad = bad || e.slot == 0 || !e.name.valid() || e.name.kind == recordKey
	case entryKey:
		bad = bad || e.slot == 0 || !e.name.valid()
	case entryTombstone:
		bad = bad || !e.name.valid() || e.name.owner.IsZero()
	}
	if bad {
		return fmt.Errorf("entry of kind %d with impossible fields: %w", e.kind, ErrBackup)
	}
	return nil
}

func (n keyName) valid() bool {
	if n.kind < recordKey || n.kind > indexKey {
		return false
	}
	return n.owner.IsZero() == (n.kind == directoryKey || n.kind == indexKey)
}

// fields reads fields of fixed sizes from bytes that are long enough.
type fields struct{ rest []byte }

func (f *fields) take(n int) []byte {
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) u8() uint8     { return f.take(1)[0] }
func (f *fields) u32() uint32   { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) u64() uint64   { return binary.BigEndian.Uint64(f.take(8)) }
func (f *fields) id() events.ID { return events.ID(f.take(16)) }
func (f *fields) name() keyName { return keyName{keyKind(f.u8()), f.id()} }

// entryWriter writes the rows' file of a backup.
type entryWriter struct {
	w     *bufio.Writer
	count uint64
	buf   []byte
}

func newEntryWriter(w io.Writer) (*entryWriter, error) {
	e := &entryWriter{w: bufio.NewWriterSize(w, 256<<10)}
	_, err := e.w.WriteString(backupMagic)
	return e, err
}

func (w *entryWriter) write(e entry) error {
	w.buf = e.append(append(w.buf[:0], make([]byte, backupPrefix)...))
	body := w.buf[backupPrefix:]
	binary.BigEndian.PutUint32(w.buf, uint32(len(body)))
	binary.BigEndian.PutUint32(w.buf[4:], crc32.Checksum(body, castagnoli))
	w.count++
	_, err := w.w.Write(w.buf)
	return err
}

// end writes the trailer.
func (w *entryWriter) end() error {
	if err := w.write(entry{kind: entryEnd, number: w.count}); err != nil {
		return err
	}
	return w.w.Flush()
}

// readEntries calls visit for each row of a backup's rows' file, in order, and
// after the trailer for none. The bytes of an entry are visit's until it returns.
func readEntries(from io.Reader, visit func(entry) error) error {
	r := bufio.NewReaderSize(from, 256<<10)
	var magic [len(backupMagic)]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil {
		return truncated(err)
	}
	if string(magic[:]) != backupMagic {
		return fmt.Errorf("another format than this program's: %w", ErrBackup)
	}
	buf := make([]byte, maxBackupEntry)
	last := entryKind(0)
	for n := uint64(0); ; n++ {
		e, err := readEntry(r, buf)
		if err != nil {
			return err
		}
		if e.kind < last || (e.kind == entryCheck) != (n == 0) {
			return fmt.Errorf("entry of kind %d in its place %d: %w", e.kind, n, ErrBackup)
		}
		if last = e.kind; last == entryEnd {
			if _, err := r.ReadByte(); err != io.EOF || e.number != n {
				return fmt.Errorf("%d entries where the end says %d, or bytes after it: %w", n, e.number, ErrBackup)
			}
			return nil
		}
		if err := visit(e); err != nil {
			return err
		}
	}
}

func readEntry(r io.Reader, buf []byte) (entry, error) {
	var prefix [backupPrefix]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return entry{}, truncated(err)
	}
	n := binary.BigEndian.Uint32(prefix[:])
	if n > uint32(len(buf)) {
		return entry{}, fmt.Errorf("entry of %d bytes: %w", n, ErrBackup)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return entry{}, truncated(err)
	}
	if crc32.Checksum(buf[:n], castagnoli) != binary.BigEndian.Uint32(prefix[4:]) {
		return entry{}, fmt.Errorf("checksum of an entry: %w", ErrBackup)
	}
	return parseEntry(buf[:n])
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it ends early: %w", ErrBackup)
	}
	return fmt.Errorf("reading a backup: %w", err)
}
