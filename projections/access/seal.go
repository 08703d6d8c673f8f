package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/medledger/medledger/events"
)

// seal authenticates the copy: whoever writes to the disk but lacks the key
// cannot change a row, drop one, add one, or put back an older one.
//
// It is a multiset hash (MSet-Add-Hash of Clarke and others, 2003): the sum,
// modulo 2^128, of a keyed digest of every row. A changed row costs two additions
// however many rows there are. The sum itself is kept only under a MAC, together
// with the head. An older copy put back as a whole passes, and is what it claims:
// the state at an older position.
type seal struct {
	key  []byte
	sum  digest
	rows map[events.ID]digest
}

// digest is a number of 128 bits, high half first.
type digest [2]uint64

func (d digest) plus(e digest) digest {
	low, carry := bits.Add64(d[1], e[1], 0)
	high, _ := bits.Add64(d[0], e[0], carry)
	return digest{high, low}
}

func (d digest) minus(e digest) digest {
	low, borrow := bits.Sub64(d[1], e[1], 0)
	high, _ := bits.Sub64(d[0], e[0], borrow)
	return digest{high, low}
}

func (s *seal) digestOf(table string, id events.ID, value []byte) digest {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(table))
	mac.Write([]byte{0})
	mac.Write(id[:])
	mac.Write(value)
	b := mac.Sum(nil)
	return digest{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// add counts a row in.
func (s *seal) add(id events.ID, d digest) {
	s.sum = s.sum.minus(s.rows[id]).plus(d)
	s.rows[id] = d
}

// headMAC is the MAC over the sum of the rows and the encoded head.
func headMAC(key []byte, sum digest, head []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("head\x00"))
	mac.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, sum[0]), sum[1]))
	mac.Write(head)
	return mac.Sum(nil)
}
