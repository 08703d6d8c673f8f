package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/medledger/medledger/verifier/mpt"
)

const (
	// pageBytes is the size beyond which a page is split. Smaller pages cost more
	// memory for the directory, larger ones more time for each change.
	pageBytes = 1024
	// MaxStored bounds the stored form of an entry in bytes.
	MaxStored = 16 << 10

	pageHeader = 2
	maxEntry   = binary.MaxVarintLen32 + MaxStored
	// sqlitePage is SQLite's page_size.
	sqlitePage = 16384

	maxPageData = pageHeader + max(pageBytes, maxEntry)
	keyBits     = 256
)

// Key is a key of the map.
type Key = [keyBits / 8]byte

// page is a page of entries, whether it is in memory or not.
type page struct {
	row      int64
	data     []byte    // what is written; replaced, never modified; nil if only in the file
	contents *contents // of data, while an Update needs it; nil otherwise
	digest   digest    // of what the file has; good if data may be dropped

	dirty    bool // changed since the last snapshot
	flushing bool // in a snapshot that is not committed
	used     bool // since the sweep came by
}

// contents are the entries of a page. items is what is derived from data: it would take
// as much memory again, and making it anew takes a tenth of reading data from the file.
type contents struct {
	data  []byte
	items []item
}

// item is an entry: its key, its leaf's hash, and where it ends in data.
type item struct {
	key  Key
	leaf mpt.Hash
	end  uint32
}

// stored returns the stored form of an entry.
func (c *contents) stored(i int) []byte {
	start := uint32(pageHeader)
	if i > 0 {
		start = c.items[i-1].end
	}
	b := c.data[start:c.items[i].end]
	_, n := binary.Uvarint(b)
	return b[n:len(b):len(b)]
}

// find returns where key is, or where it would be.
func (c *contents) find(key Key) (i int, ok bool) {
	return slices.BinarySearchFunc(c.items, key, func(it item, key Key) int { return bytes.Compare(it.key[:], key[:]) })
}

// entry is an entry on its way into a page.
type entry struct {
	key    Key
	leaf   mpt.Hash
	stored []byte
}

// merge appends to entries those of a page with changes put in. Both are in the
// order of their keys.
func merge(entries []entry, c *contents, changes []entry) []entry {
	i := 0
	for _, change := range changes {
		for ; i < len(c.items) && bytes.Compare(c.items[i].key[:], change.key[:]) < 0; i++ {
			entries = append(entries, entry{c.items[i].key, c.items[i].leaf, c.stored(i)})
		}
		if i < len(c.items) && c.items[i].key == change.key {
			i++
		}
		entries = append(entries, change)
	}
	for ; i < len(c.items); i++ {
		entries = append(entries, entry{c.items[i].key, c.items[i].leaf, c.stored(i)})
	}
	return entries
}

// sizeOf is how long the data of a page with the entries is.
func sizeOf(entries []entry) int {
	size := pageHeader
	for _, e := range entries {
		n := len(e.stored)
		size += n + 1
		for ; n >= 0x80; n >>= 7 {
			size++
		}
	}
	return size
}

// encode makes the contents of a page at a depth, in the space of items that nobody
// needs any more.
func encode(depth int, entries []entry, space []item) *contents {
	c := &contents{data: make([]byte, pageHeader, sizeOf(entries)), items: space[:0]}
	binary.BigEndian.PutUint16(c.data, uint16(depth))
	if cap(space) < len(entries) {
		c.items = make([]item, 0, len(entries)+2)
	}
	for _, e := range entries {
		c.data = append(binary.AppendUvarint(c.data, uint64(len(e.stored))), e.stored...)
		c.items = append(c.items, item{e.key, e.leaf, uint32(len(c.data))})
	}
	return c
}

// parse reads the data of a page, in the space of items that nobody needs any more. What
// it accepts, encode writes back unchanged. data is kept.
func parse(data []byte, leaf LeafFunc, space []item) (c *contents, depth int, err error) {
	if len(data) <= pageHeader || len(data) > maxPageData {
		return nil, 0, fmt.Errorf("a page of %d bytes", len(data))
	}
	c, depth = &contents{data: data, items: space[:0]}, int(binary.BigEndian.Uint16(data))
	if depth > keyBits {
		return nil, 0, fmt.Errorf("a page at depth %d", depth)
	}
	for at := pageHeader; at < len(data); {
		stored, size, err := cutEntry(data[at:])
		if err != nil {
			return nil, 0, err
		}
		e, err := newEntry(stored, leaf)
		if err != nil {
			return nil, 0, err
		}
		if last := len(c.items) - 1; last >= 0 && bytes.Compare(c.items[last].key[:], e.key[:]) >= 0 {
			return nil, 0, errors.New("entries out of order")
		}
		if cap(c.items) == 0 { // the others are as long, as a rule
			c.items = make([]item, 0, (len(data)-at)/size+1)
		}
		at += size
		c.items = append(c.items, item{e.key, e.leaf, uint32(at)})
	}
	first, last := c.items[0].key, c.items[len(c.items)-1].key
	if first != last && mpt.FirstDifference(first[:], last[:]) < depth {
		return nil, 0, fmt.Errorf("a page at depth %d with entries of another", depth)
	}
	return c, depth, nil
}

// cutEntry reads the stored form that b begins with, and how long it is with its length.
func cutEntry(b []byte) (stored []byte, size int, err error) {
	n, start := binary.Uvarint(b)
	if start <= 0 || start > 1 && b[start-1] == 0 || n > MaxStored || int(n) > len(b)-start {
		return nil, 0, errors.New("an entry without its end")
	}
	size = start + int(n)
	return b[start:size:size], size, nil
}

// newEntry derives what is needed of a stored form, which it keeps.
func newEntry(stored []byte, leaf LeafFunc) (entry, error) {
	if len(stored) > MaxStored {
		return entry{}, fmt.Errorf("an entry of %d bytes, limit %d", len(stored), MaxStored)
	}
	key, value, err := leaf(stored)
	if err != nil {
		return entry{}, fmt.Errorf("an entry that cannot be read: %w", err)
	}
	if len(value) > mpt.MaxLength {
		return entry{}, fmt.Errorf("an entry with a value of %d bytes, limit %d", len(value), mpt.MaxLength)
	}
	return entry{key, mpt.LeafHash(key[:], value), stored}, nil
}

// fork returns the bit in which the keys of items differ first, and how many of them
// have 0 there. There must be two.
func fork(items []item) (bit, zeros int) {
	last := len(items) - 1
	bit = mpt.FirstDifference(items[0].key[:], items[last].key[:])
	low, high := 0, last // items[low] has 0, items[high] has 1
	for high-low > 1 {
		if middle := (low + high) / 2; mpt.BitOf(items[middle].key[:], bit) == 0 {
			low = middle
		} else {
			high = middle
		}
	}
	return bit, high
}

// hashOf returns the hash of the node above items. There must be one.
func hashOf(items []item) mpt.Hash {
	if len(items) == 1 {
		return items[0].leaf
	}
	bit, zeros := fork(items)
	return mpt.InnerHash(bit, hashOf(items[:zeros]), hashOf(items[zeros:]))
}
