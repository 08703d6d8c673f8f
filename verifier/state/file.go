package state

import (
	"encoding/binary"
	"hash/crc32"
)

// A ledger keeps the leaves of its state log in the file state/leaves of its data
// folder, one record each, in order:
//
//	leaf (73) || three zero bytes || CRC-32C of those 76 bytes (4)
//
// The file is made larger ahead of its use: what follows the last record are zero
// bytes, or, after a crash, a record that does not parse.

// RecordSize is how many bytes a record of the file of leaves has.
const RecordSize = 80

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendRecord appends the record of a leaf.
func AppendRecord(b []byte, l Leaf) []byte {
	begin := len(b)
	b = append(append(b, l.Marshal()...), 0, 0, 0)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[begin:], castagnoli))
}

// ParseRecord reads what AppendRecord wrote. It reports false for anything else,
// which is the end of the file.
func ParseRecord(b []byte) (Leaf, bool) {
	const sum = RecordSize - crc32.Size
	if len(b) != RecordSize || binary.BigEndian.Uint32(b[sum:]) != crc32.Checksum(b[:sum], castagnoli) {
		return Leaf{}, false
	}
	if b[LeafSize] != 0 || b[LeafSize+1] != 0 || b[LeafSize+2] != 0 {
		return Leaf{}, false
	}
	l, err := ParseLeaf(b[:LeafSize])
	return l, err == nil
}
