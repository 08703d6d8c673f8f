package segment

import (
	"slices"

	"github.com/medledger/medledger/events"
)

// entry is what the index knows of a record.
type entry struct {
	id       events.ID
	stream   string
	origin   uint64 // number of the stream's first record
	revision uint64
	earlier  int // the entry before it of the same stream in the overlay, or -1
}

// overlay is a run of records that SQLite does not have yet. A nil overlay is an
// empty one that cannot be added to.
type overlay struct {
	first   uint64 // number of entries[0]
	entries []entry
	ids     map[events.ID]int
	streams map[string]int // the last entry of each
}

func newOverlay(first uint64) *overlay {
	return &overlay{first: first, ids: make(map[events.ID]int), streams: make(map[string]int)}
}

// next is the number of the record behind the overlay's.
func (o *overlay) next() uint64 { return o.first + uint64(len(o.entries)) }

func (o *overlay) add(e entry) {
	i := len(o.entries)
	e.earlier = -1
	if last, ok := o.streams[e.stream]; ok {
		e.earlier = last
	}
	o.entries = append(o.entries, e)
	o.ids[e.id] = i
	o.streams[e.stream] = i
}

func (o *overlay) lookup(id events.ID) (number uint64, ok bool) {
	if o == nil {
		return 0, false
	}
	i, ok := o.ids[id]
	return o.first + uint64(i), ok
}

func (o *overlay) head(stream string) (head, bool) {
	if o == nil {
		return head{}, false
	}
	i, ok := o.streams[stream]
	if !ok {
		return head{}, false
	}
	return head{length: o.entries[i].revision + 1, origin: o.entries[i].origin}, true
}

// numbers appends the numbers of a stream's records from a revision on.
func (o *overlay) numbers(b []uint64, stream string, from uint64) []uint64 {
	if o == nil {
		return b
	}
	i, ok := o.streams[stream]
	if !ok {
		return b
	}
	start := len(b)
	for ; i >= 0 && o.entries[i].revision >= from; i = o.entries[i].earlier {
		b = append(b, o.first+uint64(i))
	}
	slices.Reverse(b[start:])
	return b
}
