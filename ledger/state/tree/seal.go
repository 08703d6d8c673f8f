package tree

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// seal authenticates the copy: whoever writes to the disk but lacks the key cannot
// change a page, drop one, add one, or put back an older one. The root alone would not
// do: it covers the values that are hashed, and not all that a stored form may say.
//
// It is a multiset hash (MSet-Add-Hash of Clarke and others, 2003): the sum, modulo
// 2^128, of a keyed digest of every page, so that a flush adds up what it writes and no
// more. The sum itself is kept only in a MAC, together with the position and the root.
// An older copy put back as a whole passes, and is what it claims: the state at an
// older position.
type seal struct {
	key []byte
	sum digest // of the pages that the file has; of the goroutine that writes them
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

func (s *seal) digestOf(row int64, data []byte) digest {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(binary.BigEndian.AppendUint64([]byte("page\x00"), uint64(row)))
	mac.Write(data)
	b := mac.Sum(nil)
	return digest{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// headMAC is the MAC over the format, the sum of the pages' digests and the head.
func (s *seal) headMAC(sum digest, head []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	b := binary.BigEndian.AppendUint64([]byte("head\x00"), formatVersion)
	b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, sum[0]), sum[1])
	mac.Write(append(b, head...))
	return mac.Sum(nil)
}
