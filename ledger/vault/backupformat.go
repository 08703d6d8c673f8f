package vault

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/custody"
)

// ErrBackup says that a backup is damaged, or none.
var ErrBackup = errors.New("the backup is damaged or unfinished; use another one")

// entryFormat is what a file of entries begins with: its magic, and its first entry.
type entryFormat struct {
	magic string
	first entryKind
}

var (
	rowsFormat = entryFormat{"MLVBAK\x00\x02", entryVault}
	keysFormat = entryFormat{"MLVKEY\x00\x01", entryTree}
)

const (
	backupPrefix   = 8 // length and checksum
	maxBackupEntry = 1 + 8 + 1 + 16 + 16 + 8 + sealOverhead + 32 + MaxDocument
	// maxLineage is how many vaults one was restored from, one from the other.
	maxLineage = 256
	// maxEpoch is the longest name of an epoch's key.
	maxEpoch = 64
)

// entryKind says which row an entry of a backup is. The numbers are part of the
// format, and the order in which entries come.
type entryKind uint8

const (
	entryVault     entryKind = 1
	entryVersion   entryKind = 2
	entryDocument  entryKind = 3
	entryTerm      entryKind = 4
	entryOwner     entryKind = 5
	entryTombstone entryKind = 7
	entryTree      entryKind = 8
	entryNode      entryKind = 9
	entryEnd       entryKind = 255
)

// entry is one row in a backup. Which fields there are depends on its kind.
type entry struct {
	kind    entryKind
	serial  serial    // version, document, term (of the document)
	record  events.ID // version
	version uint32    // version
	place   Place     // document
	name    keyName   // owner, tombstone
	slot    slot      // version, document, owner; tree: the last one
	at      location  // version
	number  uint64    // tombstone: keys; end: entries before it; tree: generation
	vaults  []vaultID // vault, tree: its id, and those of its former ones
	tree    treeShape // tree
	node    nodeID    // node
	// version: secrets; document: sealed; term: digest; owner: proof; tree: the top
	// key, sealed; node: what is sealed of it
	bytes []byte
}

// treeShape is what an entry says of a tree.
type treeShape struct {
	fanOut, height int
	epoch          string // the name of the key that seals the top key
}

// append appends kind and fields of e.
func (e *entry) append(b []byte) []byte {
	b = append(b, byte(e.kind))
	u64 := binary.BigEndian.AppendUint64
	switch e.kind {
	case entryVault:
		b = appendVaults(b, e.vaults)
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
	case entryTombstone:
		b = u64(e.name.append(b), e.number)
	case entryTree:
		b = u64(u64(b, e.number), uint64(e.slot))
		b = binary.BigEndian.AppendUint16(b, uint16(e.tree.fanOut))
		b = append(b, byte(e.tree.height), byte(len(e.tree.epoch)), byte(len(e.bytes)))
		b = append(append(append(b, e.tree.epoch...), e.bytes...), byte(len(e.vaults)-1))
		return appendVaults(b, e.vaults)
	case entryNode:
		b = u64(append(b, byte(e.node.level)), uint64(e.node.index))
	case entryEnd:
		b = u64(b, e.number)
	}
	return append(b, e.bytes...)
}

func appendVaults(b []byte, vaults []vaultID) []byte {
	for _, id := range vaults {
		b = append(b, id[:]...)
	}
	return b
}

// entrySizes are the least and the greatest length of entries with their kind.
var entrySizes = map[entryKind][2]int{
	entryVault:     {1 + 16, 1 + 16*maxLineage},
	entryVersion:   {57 + minWrapped, 57 + maxWrapped},
	entryDocument:  {50 + sealOverhead + 32, maxBackupEntry},
	entryTerm:      {9 + 32, 9 + 32},
	entryOwner:     {26 + proofSize, 26 + proofSize},
	entryTombstone: {26, 26},
	entryTree:      {1 + 21 + 1 + 1 + 1 + 16, 1 + 21 + maxEpoch + custody.MaxSealed + 1 + 16*maxLineage},
	entryNode:      {10 + sealOverhead + minFanOut*keySize, 10 + sealOverhead + maxFanOut*keySize},
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
	case entryVault:
		if e.vaults, err = f.vaults(); err != nil {
			return e, err
		}
	case entryTree:
		if err := e.parseTree(&f); err != nil {
			return e, err
		}
	case entryNode:
		e.node = nodeID{int(f.u8()), int64(f.u64())}
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
	case entryTombstone:
		e.name, e.number = f.name(), f.u64()
	case entryEnd:
		e.number = f.u64()
	}
	if e.kind != entryTree {
		e.bytes = f.rest
	}
	return e, e.check()
}

// parseTree reads the fields of a tree's entry, of which several have lengths of
// their own.
func (e *entry) parseTree(f *fields) (err error) {
	e.number, e.slot = f.u64(), slot(f.u64())
	e.tree.fanOut, e.tree.height = int(f.u16()), int(f.u8())
	epoch, sealed := int(f.u8()), int(f.u8())
	if epoch < 1 || epoch > maxEpoch || sealed < 1 || sealed > custody.MaxSealed || len(f.rest) < epoch+sealed+1 {
		return fmt.Errorf("tree with %d bytes of an epoch, %d sealed: %w", epoch, sealed, ErrBackup)
	}
	e.tree.epoch, e.bytes = string(f.take(epoch)), f.take(sealed)
	former := int(f.u8())
	if e.vaults, err = f.vaults(); err == nil && len(e.vaults) != former+1 {
		err = fmt.Errorf("%d vaults instead of %d: %w", len(e.vaults), former+1, ErrBackup)
	}
	return err
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
	case entryTree:
		bad = bad || e.number == 0 || e.tree.fanOut < minFanOut || e.tree.fanOut > maxFanOut ||
			e.tree.height < 1 || e.tree.height > maxHeight || custody.CheckName(e.tree.epoch) != nil
	case entryNode:
		bad = bad || e.node.level >= maxHeight || e.node.index < 0 || e.node.index >= 1<<indexBits
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

// vaults reads ids to the end.
func (f *fields) vaults() (list []vaultID, err error) {
	if len(f.rest)%len(vaultID{}) != 0 || len(f.rest) == 0 || len(f.rest) > maxLineage*len(vaultID{}) {
		return nil, fmt.Errorf("%d bytes of ids: %w", len(f.rest), ErrBackup)
	}
	for len(f.rest) > 0 {
		list = append(list, vaultID(f.take(len(vaultID{}))))
	}
	return list, nil
}

func (f *fields) u16() uint16   { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) u8() uint8     { return f.take(1)[0] }
func (f *fields) u32() uint32   { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) u64() uint64   { return binary.BigEndian.Uint64(f.take(8)) }
func (f *fields) id() events.ID { return events.ID(f.take(16)) }
func (f *fields) name() keyName { return keyName{keyKind(f.u8()), f.id()} }

// entryWriter writes a file of entries.
type entryWriter struct {
	w     *bufio.Writer
	count uint64
	buf   []byte
}

func newEntryWriter(w io.Writer, format entryFormat) (*entryWriter, error) {
	e := &entryWriter{w: bufio.NewWriterSize(w, 256<<10)}
	_, err := e.w.WriteString(format.magic)
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

// entryReader reads a file of entries: it is strict about their order, and about the
// file's end.
type entryReader struct {
	r      *bufio.Reader
	first  entryKind
	buf    []byte
	last   entryKind
	number uint64 // of entries read
}

func newEntryReader(from io.Reader, format entryFormat) (*entryReader, error) {
	r := &entryReader{r: bufio.NewReaderSize(from, 256<<10), first: format.first, buf: make([]byte, maxBackupEntry)}
	magic := make([]byte, len(format.magic))
	if _, err := io.ReadFull(r.r, magic); err != nil {
		return nil, truncated(err)
	}
	if string(magic) != format.magic {
		return nil, fmt.Errorf("another format than this program's: %w", ErrBackup)
	}
	return r, nil
}

// next returns the next entry, whose bytes are the caller's until the one after it,
// and io.EOF at the end.
func (r *entryReader) next() (entry, error) {
	e, err := readEntry(r.r, r.buf)
	if err != nil {
		return e, err
	}
	if e.kind < r.last || (e.kind == r.first) != (r.number == 0) {
		return e, fmt.Errorf("entry of kind %d in its place %d: %w", e.kind, r.number, ErrBackup)
	}
	if r.last = e.kind; r.last == entryEnd {
		if _, err := r.r.ReadByte(); err != io.EOF || e.number != r.number {
			return e, fmt.Errorf("%d entries where the end says %d, or bytes after it: %w", r.number, e.number, ErrBackup)
		}
		return e, io.EOF
	}
	r.number++
	return e, nil
}

// readEntries calls visit for each entry of a file, in order.
func readEntries(from io.Reader, format entryFormat, visit func(entry) error) error {
	r, err := newEntryReader(from, format)
	if err != nil {
		return err
	}
	for {
		e, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
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
