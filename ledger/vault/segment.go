package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/medledger/medledger/events"
)

const (
	segmentMagic        = "MLVSEG\x00\x01"
	segmentHeaderSize   = 16
	segmentRecordHeader = 28
	maxSegmentPayload   = MaxSmallLimit + MaxSmallLimit/chunkSize*tagSize
)

var (
	errSegment = errors.New("malformed segment")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func segmentHeader(number uint32) []byte {
	return binary.BigEndian.AppendUint64([]byte(segmentMagic), uint64(number))
}

func parseSegmentHeader(b []byte) (number uint32, err error) {
	if len(b) != segmentHeaderSize || string(b[:8]) != segmentMagic {
		return 0, fmt.Errorf("header: %w", errSegment)
	}
	n := binary.BigEndian.Uint64(b[8:])
	if n == 0 || n > 1<<32-1 {
		return 0, fmt.Errorf("segment number %d: %w", n, errSegment)
	}
	return uint32(n), nil
}

// segmentRecord is one small ciphertext in a segment.
type segmentRecord struct {
	record  events.ID
	version uint32
	payload []byte // the ciphertext
}

// newSegmentRecord returns the header of a record, to which the caller appends
// the ciphertext before finishSegmentRecord.
func newSegmentRecord(record events.ID, version uint32, payload int) []byte {
	b := make([]byte, 8, segmentRecordHeader+payload)
	return appendName(b, record, version)
}

// finishSegmentRecord fills in length and checksum.
func finishSegmentRecord(b []byte) {
	binary.BigEndian.PutUint32(b, uint32(len(b)-segmentRecordHeader))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
}

// payloadSize reads the length from the first bytes of a record.
func payloadSize(b []byte) (int, error) {
	if len(b) < segmentRecordHeader {
		return 0, fmt.Errorf("record of %d bytes: %w", len(b), errSegment)
	}
	n := binary.BigEndian.Uint32(b)
	if n < tagSize || n > maxSegmentPayload {
		return 0, fmt.Errorf("ciphertext of %d bytes: %w", n, errSegment)
	}
	return int(n), nil
}

// parseSegmentRecord reads the record at the start of b and returns how many
// bytes it takes. The payload is a part of b.
func parseSegmentRecord(b []byte) (segmentRecord, int, error) {
	n, err := payloadSize(b)
	if err != nil {
		return segmentRecord{}, 0, err
	}
	size := segmentRecordHeader + n
	if len(b) < size {
		return segmentRecord{}, 0, fmt.Errorf("%d of %d bytes: %w", len(b), size, errSegment)
	}
	if crc32.Checksum(b[8:size], castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return segmentRecord{}, 0, fmt.Errorf("checksum: %w", errSegment)
	}
	return segmentRecord{
		record:  events.ID(b[8:24]),
		version: binary.BigEndian.Uint32(b[24:28]),
		payload: b[segmentRecordHeader:size],
	}, size, nil
}
