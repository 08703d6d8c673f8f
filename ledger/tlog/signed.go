package tlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/proof"
)

// The last signed checkpoint is kept twice.
//
// The file `signed` is the one that no crash can lose. It has two slots of 4096
// bytes, written in turn, each write followed by an fsync before anybody sees the
// checkpoint. A crash in the middle damages at most the slot being written; the
// other has the checkpoint before it. All numbers are big-endian:
//
//	offset  bytes  field
//	0       8      "mdlgsig1"
//	8       8      sequence number: the slot with the higher one is newer, and
//	               its lowest bit is the slot's place in the file
//	16      8      time of Trillian's root, nanoseconds since 1970
//	24      4      length n of the note
//	28      n      the signed note
//	28+n    4      CRC-32C of all before it
//
// The file `checkpoint` is for readers: the signed note and nothing else. It is
// overwritten in place by one small write after the slot is durable, and not
// synced. Replacing it by renaming, which would cost several times as much as
// the slot, is only done when the log is opened. Another process that reads it in
// the middle of that write may see a note whose signature does not verify, and
// should read again. A crash of the process leaves it whole. A crash of the
// machine may leave an older note or a damaged file; Open puts it right from the
// slots. LastSigned reads both.
const (
	signedFile     = "signed"
	checkpointFile = "checkpoint"
	slotSize       = 4096
	slotHeader     = 28
	slotMagic      = "mdlgsig1"
	maxNote        = slotSize - slotHeader - 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is what a slot holds.
type record struct {
	sequence uint64
	nanos    uint64
	note     []byte
}

// encode returns the slot of r.
func (r record) encode() ([]byte, error) {
	if len(r.note) > maxNote {
		return nil, fmt.Errorf("signed checkpoint of %d bytes, limit %d", len(r.note), maxNote)
	}
	b := make([]byte, 0, slotSize)
	b = append(b, slotMagic...)
	b = binary.BigEndian.AppendUint64(b, r.sequence)
	b = binary.BigEndian.AppendUint64(b, r.nanos)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.note)))
	b = append(b, r.note...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// decodeSlot reads a slot. It reports false for one that was never written whole.
func decodeSlot(b []byte) (record, bool) {
	if len(b) < slotHeader+4 || string(b[:8]) != slotMagic {
		return record{}, false
	}
	n := binary.BigEndian.Uint32(b[24:])
	if n > maxNote || len(b) < slotHeader+int(n)+4 {
		return record{}, false
	}
	end := slotHeader + int(n)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return record{}, false
	}
	return record{
		sequence: binary.BigEndian.Uint64(b[8:]),
		nanos:    binary.BigEndian.Uint64(b[16:]),
		note:     bytes.Clone(b[slotHeader:end]),
	}, true
}

// lastSigned is what a folder says was signed last.
type lastSigned struct {
	Published
	sequence uint64
	nanos    uint64
}

// rootTime is the time of one of Trillian's roots.
func rootTime(nanos uint64) time.Time {
	return time.Unix(0, int64(min(nanos, math.MaxInt64))).UTC()
}

// LastSigned returns the last checkpoint that the log in a folder is known to
// have signed, the newest of those that can be read, or nil if it has signed
// none. An event store must never be cut below its size.
//
// Its errors wrap ErrForeign, ErrNoCheckpoint (something is there, but none of it
// can be read), are a *proof.ForkError, or are the file system's.
func LastSigned(fsys disk.FS, dir string, v note.Verifier) (*Published, error) {
	last, err := readLast(fsys, dir, v)
	if last == nil || err != nil {
		return nil, err
	}
	return &last.Published, nil
}

// LastShown returns the size of the checkpoint that readers of a log's folder find; 0 if
// there is none that can be read, as after a crash of the machine.
func LastShown(fsys disk.FS, dir string, v note.Verifier) (uint64, error) {
	public, err := readIfThere(fsys, filepath.Join(dir, checkpointFile))
	if err != nil {
		return 0, err
	}
	c, err := verifyOwn(public, v)
	if err != nil {
		return 0, nil // readLast judges it
	}
	return c.Size, nil
}

func readLast(fsys disk.FS, dir string, v note.Verifier) (*lastSigned, error) {
	var last *lastSigned
	var sequence uint64 // the highest
	slots, err := readIfThere(fsys, filepath.Join(dir, signedFile))
	if err != nil {
		return nil, err
	}
	for ; len(slots) > 0; slots = slots[min(slotSize, len(slots)):] {
		r, ok := decodeSlot(slots[:min(slotSize, len(slots))])
		if !ok {
			continue
		}
		c, err := verifyOwn(r.note, v)
		if err != nil {
			return nil, err
		}
		if last == nil || r.sequence > last.sequence {
			last = &lastSigned{Published{c, r.note, rootTime(r.nanos)}, r.sequence, r.nanos}
			sequence = r.sequence
		}
	}
	public, err := readIfThere(fsys, filepath.Join(dir, checkpointFile))
	if err != nil || len(public) == 0 { // empty: made, but never written to
		return last, err
	}
	c, err := verifyOwn(public, v)
	switch {
	case errors.Is(err, ErrForeign) && last == nil:
		return nil, err
	case err != nil && last == nil:
		return nil, fmt.Errorf("%s cannot be read (%w): %w", filepath.Join(dir, checkpointFile), err, ErrNoCheckpoint)
	case err != nil:
		// A crash damaged the copy for readers, which is overwritten in place:
		// what is half the old and half the new note can bear any name.
		return last, nil
	case last == nil || c.Size > last.Checkpoint.Size:
		return &lastSigned{Published{c, public, time.Time{}}, sequence, 0}, nil
	case c.Size == last.Checkpoint.Size && c.Root != last.Checkpoint.Root:
		return nil, &proof.ForkError{A: last.Checkpoint, B: c}
	}
	return last, nil
}

// verifyOwn verifies a checkpoint found in the log's own folder. The error wraps
// ErrForeign if it is whole but another log's, and is another if it is damaged.
func verifyOwn(signed []byte, v note.Verifier) (proof.Checkpoint, error) {
	c, err := proof.VerifyCheckpoint(signed, v)
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		found := unverified.Note.UnverifiedSigs[0]
		return proof.Checkpoint{}, fmt.Errorf("checkpoint signed by %s+%08x, key is %s+%08x: %w",
			found.Name, found.Hash, v.Name(), v.KeyHash(), ErrForeign)
	}
	if errors.Is(err, proof.ErrOrigin) {
		return proof.Checkpoint{}, fmt.Errorf("%w: %w", err, ErrForeign)
	}
	return c, err
}

// readIfThere returns nil for a file that does not exist.
func readIfThere(fsys disk.FS, path string) ([]byte, error) {
	data, err := disk.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the last checkpoint: %w", err)
	}
	return data, nil
}

// signedStore writes the two files. It is for one goroutine.
type signedStore struct {
	slots    disk.File
	public   disk.File
	sequence uint64
	length   int  // of public
	lazy     bool // do not sync
}

// openSigned opens the two files of a folder for writing and puts them right:
// both hold last, unless it is nil.
//
// A crash while a slot file is made leaves none or an empty one, both of which
// hold nothing; the checkpoint beside it is whole all the time.
func openSigned(fsys disk.FS, dir string, last *lastSigned, lazy bool) (*signedStore, error) {
	s := &signedStore{lazy: lazy}
	if last != nil {
		s.sequence, s.length = last.sequence, len(last.Note)
		if err := disk.WriteFile(fsys, filepath.Join(dir, checkpointFile), last.Note, 0o644); err != nil {
			return nil, fmt.Errorf("writing the checkpoint: %w", err)
		}
	}
	var err error
	if s.slots, err = fsys.OpenFile(filepath.Join(dir, signedFile), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, fmt.Errorf("opening the last checkpoint: %w", err)
	}
	if s.public, err = fsys.OpenFile(filepath.Join(dir, checkpointFile), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the checkpoint: %w", err), s.slots.Close())
	}
	if last != nil {
		err = s.writeSlot(last.nanos, last.Note)
	}
	if err := errors.Join(err, s.slots.Sync(), fsys.SyncDir(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the last checkpoint: %w", err), s.close())
	}
	return s, nil
}

// store makes a checkpoint durable, unless the store is lazy.
//
// A crash before the slot is synced leaves the last checkpoint, or this one if
// its write got through; nobody was told of this one. A crash after it leaves
// this one, whatever became of the other file.
func (s *signedStore) store(nanos uint64, signed []byte) error {
	if err := s.writeSlot(nanos, signed); err != nil {
		return fmt.Errorf("storing the signed checkpoint: %w", err)
	}
	return nil
}

// show writes a checkpoint that is stored for readers of the folder.
func (s *signedStore) show(signed []byte) error {
	_, err := s.public.WriteAt(signed, 0)
	if err == nil && len(signed) < s.length {
		err = s.public.Truncate(int64(len(signed)))
	}
	if err != nil {
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	s.length = len(signed)
	return nil
}

func (s *signedStore) writeSlot(nanos uint64, signed []byte) error {
	s.sequence++
	b, err := record{s.sequence, nanos, signed}.encode()
	if err != nil {
		return err
	}
	// The first is synced in any case. It lies within a sector, and so do those that
	// are written over it: whatever a crash loses, one of them is left.
	if _, err := s.slots.WriteAt(b, int64(s.sequence&1)*slotSize); err != nil || s.lazy && s.sequence > 1 {
		return err
	}
	return s.slots.Sync()
}

func (s *signedStore) close() error { return errors.Join(s.slots.Close(), s.public.Close()) }
