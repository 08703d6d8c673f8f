// Package segment is the format in which the embedded event store keeps its
// events: files of records, each file a segment of the one order of all events.
// The store writes it (events/store/segment); an auditor who holds a copy of the
// folder, or the folder itself while a store appends to it, reads it without the
// store.
//
// # Files
//
// A store is a folder of files named by the number of their first record, in
// twenty decimal digits, and the ending ".seg". Records are numbered from 0
// without gaps. All files but the last are sealed. Files with other names are no
// part of the format.
//
// All integers are big-endian. CRC is CRC-32C (Castagnoli).
//
//	file    = header *record [footer]
//	header  = "medlseg" version:1 base:8 crc:4  crc over the 16 bytes before it
//	record  = length:4 crc:4 body               length of body; crc over length and body
//	body    = flags:1 number:8 id:16 revision:8 n:1 stream:n statement
//	footer  = zero:4 count:4 offset:4*count digest:32 size:4 crc:4 "medlseal"
//
// version is the character "1". base is the number of the first record.
// number is the record's own.
// revision is the event's place in its stream, from 0.
// stream has 1 to 255 bytes, statement 1 to 65,535, so that length is never 0
// and four zero bytes mark the end of the records.
//
// flags is the sum of
//
//	1  more   the next record belongs to the same group
//	2  write  the record is the first one of a write
//
// A group is what is committed whole; it never spans files, and a file never
// ends within one. A write is what the store hands to the disk at one time: some
// groups, the first record of which has the flag. A store begins a write, or a
// file, only when everything before it is durable.
//
// The footer seals a file of at least one record. offset is where each record
// begins; digest is the SHA-256 of everything before the footer; size is the
// footer's length in bytes, and crc covers the footer up to itself.
//
// # Torn tails
//
// A crash may leave the last write of the last file in part: cut off, or with
// holes. Then whatever is behind the last whole group before the first damage is
// the torn tail. Nobody was told that it is durable; a store cuts it off and a
// reader leaves it out. The same goes for a footer that is not whole, and for a
// last file that has no more than a part of its header.
//
// Damage behind which there is a whole record with the write flag is no torn
// tail: it hit what had been durable (ErrDamaged). Nor is damage in a file that
// another follows. In the last write alone a crash and a decayed disk look the
// same; there the size of the last signed checkpoint tells them apart.
//
// # What a checksum is for
//
// CRCs and digests find accidents, and where they happened. They do not stop
// anybody who writes to the disk, who can compute them again: signatures and the
// tree do.
package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/medledger/medledger/events"
)

const (
	// HeaderSize is the length of a file's header.
	HeaderSize = 20
	// MaxStatement is the largest statement in bytes.
	MaxStatement = 65535
	// MaxStream is the longest stream name in bytes.
	MaxStream = 255
	// MaxRecord is the largest record in bytes.
	MaxRecord = frameSize + bodyHead + MaxStream + MaxStatement

	magic       = "medlseg"
	version     = '1'
	sealMagic   = "medlseal"
	frameSize   = 8 // length and crc
	bodyHead    = 1 + 8 + 16 + 8 + 1
	minRecord   = frameSize + bodyHead + 1 + 1
	footerFixed = 4 + 4 + sha256.Size + 4 + 4 + 8

	flagMore  = 1
	flagWrite = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Record is one event as it is stored.
type Record struct {
	// Number is the record's place in the order of all, from 0.
	Number uint64
	// More says that the next record belongs to the same group.
	More bool
	// Write says that the record is the first one of a write.
	Write bool
	// ID is the event's id.
	ID events.ID
	// Revision is the event's place in its stream, from 0.
	Revision uint64
	// Stream is the name of the stream that the event belongs to.
	Stream string
	// Statement is the event, signed.
	Statement []byte
}

var (
	// ErrMalformed says that bytes are not what they should be.
	ErrMalformed = errors.New("malformed")
	// ErrTorn says that the bytes end within what they should be: what a crash
	// leaves of a write.
	ErrTorn = errors.New("ends too early")
	// ErrDamaged says that damage is not what a crash leaves of a write.
	ErrDamaged = errors.New("whole records of a later write follow, so this was durable once")
	// errEnd says that the records end here and a footer begins.
	errEnd = errors.New("end of the records")
)

// FileName returns the name of the file that begins with record number base.
func FileName(base uint64) string { return fmt.Sprintf("%020d.seg", base) }

// ParseFileName reads a file's name. ok is false if it is not a segment's.
func ParseFileName(name string) (base uint64, ok bool) {
	digits, found := strings.CutSuffix(name, ".seg")
	base, err := strconv.ParseUint(digits, 10, 64)
	return base, found && err == nil && FileName(base) == name
}

// AppendHeader appends the header of the file that begins with record base.
func AppendHeader(b []byte, base uint64) []byte {
	start := len(b)
	b = append(append(b, magic...), version)
	b = binary.BigEndian.AppendUint64(b, base)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// ParseHeader reads a file's header. Its errors wrap ErrMalformed or ErrTorn.
func ParseHeader(b []byte) (base uint64, err error) {
	if len(b) < HeaderSize {
		return 0, fmt.Errorf("header of %d bytes: %w", len(b), ErrTorn)
	}
	b = b[:HeaderSize]
	if !bytes.HasPrefix(b, []byte(magic)) {
		return 0, fmt.Errorf("header does not begin with %q: %w", magic, ErrMalformed)
	}
	if binary.BigEndian.Uint32(b[16:]) != crc32.Checksum(b[:16], castagnoli) {
		return 0, fmt.Errorf("header has a wrong checksum: %w", ErrMalformed)
	}
	if v := b[len(magic)]; v != version {
		return 0, fmt.Errorf("file of format version %q, where this program reads %q; use the medledger that wrote it: %w", v, version, ErrMalformed)
	}
	return binary.BigEndian.Uint64(b[8:]), nil
}

// Append appends a record. The record must be within the limits: the store has
// checked it.
func (r Record) Append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(bodyHead+len(r.Stream)+len(r.Statement)))
	b = append(b, 0, 0, 0, 0)
	var flags byte
	if r.More {
		flags |= flagMore
	}
	if r.Write {
		flags |= flagWrite
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint64(b, r.Number)
	b = append(b, r.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Revision)
	b = append(b, byte(len(r.Stream)))
	b = append(b, r.Stream...)
	b = append(b, r.Statement...)
	binary.BigEndian.PutUint32(b[start+4:], checksum(b[start:]))
	return b
}

// Size returns how many bytes Append appends.
func (r Record) Size() int { return frameSize + bodyHead + len(r.Stream) + len(r.Statement) }

// checksum is the CRC of a record: over its length and its body.
func checksum(record []byte) uint32 {
	return crc32.Update(crc32.Checksum(record[:4], castagnoli), castagnoli, record[frameSize:])
}

// Parse reads the record at the beginning of b and returns its size. The
// record's statement is a part of b. The errors wrap ErrTorn if b ends within
// the record and ErrMalformed if it is damaged.
func Parse(b []byte) (r Record, size int, err error) {
	if len(b) < 4 {
		return r, 0, fmt.Errorf("record of %d bytes: %w", len(b), ErrTorn)
	}
	length := binary.BigEndian.Uint32(b)
	if length == 0 {
		return r, 0, errEnd
	}
	if length > MaxRecord-frameSize {
		return r, 0, fmt.Errorf("record of %d bytes: %w", length, ErrMalformed)
	}
	size = frameSize + int(length)
	if len(b) < size {
		return r, 0, fmt.Errorf("record of %d bytes has %d: %w", size, len(b), ErrTorn)
	}
	b = b[:size]
	if binary.BigEndian.Uint32(b[4:]) != checksum(b) {
		return r, 0, fmt.Errorf("record has a wrong checksum: %w", ErrMalformed)
	}
	r, err = parseBody(b[frameSize:])
	return r, size, err
}

func parseBody(body []byte) (r Record, err error) {
	if len(body) < bodyHead+2 {
		return r, fmt.Errorf("record with a body of %d bytes: %w", len(body), ErrMalformed)
	}
	if body[0]&^(flagMore|flagWrite) != 0 {
		return r, fmt.Errorf("record with flags %#x: %w", body[0], ErrMalformed)
	}
	r.More, r.Write = body[0]&flagMore != 0, body[0]&flagWrite != 0
	r.Number = binary.BigEndian.Uint64(body[1:])
	r.ID = events.ID(body[9:])
	r.Revision = binary.BigEndian.Uint64(body[25:])
	n := int(body[33])
	rest := body[bodyHead:]
	if r.ID.IsZero() || n == 0 || len(rest) <= n || len(rest)-n > MaxStatement {
		return r, fmt.Errorf("record without an id, a stream or a statement: %w", ErrMalformed)
	}
	r.Stream, r.Statement = string(rest[:n]), rest[n:]
	return r, nil
}

// startsWrite reports whether b begins with a whole record that is the first of
// a write and whose number is within bounds. It is quick to say no.
func startsWrite(b []byte, least, most uint64) bool {
	if len(b) < minRecord || b[0] != 0 || b[frameSize]&flagWrite == 0 {
		return false
	}
	if n := binary.BigEndian.Uint64(b[frameSize+1:]); n < least || n > most {
		return false
	}
	_, _, err := Parse(b)
	return err == nil
}

// AppendFooter appends the footer that seals a file whose records begin at the
// given offsets and whose bytes so far have the given SHA-256 digest.
func AppendFooter(b []byte, offsets []uint32, digest [sha256.Size]byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(offsets)))
	for _, o := range offsets {
		b = binary.BigEndian.AppendUint32(b, o)
	}
	b = append(b, digest[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(b)-start+16))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, sealMagic...)
}

// Footer is what a footer says.
type Footer struct {
	Offsets []uint32
	Digest  [sha256.Size]byte
}

// ParseFooter reads a whole footer. Its errors wrap ErrMalformed.
func ParseFooter(b []byte) (*Footer, error) {
	if len(b) < footerFixed || string(b[len(b)-8:]) != sealMagic {
		return nil, fmt.Errorf("footer of %d bytes: %w", len(b), ErrMalformed)
	}
	crcAt := len(b) - 12
	if binary.BigEndian.Uint32(b[crcAt:]) != crc32.Checksum(b[:crcAt], castagnoli) {
		return nil, fmt.Errorf("footer has a wrong checksum: %w", ErrMalformed)
	}
	count := binary.BigEndian.Uint32(b[4:])
	if count == 0 || binary.BigEndian.Uint32(b) != 0 || int64(len(b)) != footerFixed+4*int64(count) ||
		binary.BigEndian.Uint32(b[crcAt-4:]) != uint32(len(b)) {
		return nil, fmt.Errorf("footer of %d bytes for %d records: %w", len(b), count, ErrMalformed)
	}
	f := &Footer{Offsets: make([]uint32, count)}
	for i := range f.Offsets {
		f.Offsets[i] = binary.BigEndian.Uint32(b[8+4*i:])
		if i == 0 && f.Offsets[0] != HeaderSize || i > 0 && !plausible(f.Offsets[i-1], int64(f.Offsets[i])) {
			return nil, fmt.Errorf("footer with offsets that no records have: %w", ErrMalformed)
		}
	}
	copy(f.Digest[:], b[8+4*len(f.Offsets):])
	return f, nil
}

// plausible reports whether a record can lie between two offsets.
func plausible(from uint32, to int64) bool {
	size := to - int64(from)
	return minRecord <= size && size <= MaxRecord
}
