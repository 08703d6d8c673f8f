package vault

import (
	"sync"

	"github.com/medledger/medledger/events"
)

// registry knows what goes on with each record at this moment, so that a
// destruction leaves nothing behind that was under way.
type registry struct {
	mu      sync.Mutex
	records map[events.ID]*activity
}

// activity is what goes on with one record. There is none for an idle record.
type activity struct {
	closed  bool // being destroyed: nothing may begin
	readers []*reader
	writing []reservation
}

// reservation keeps a version for one writer.
type reservation struct {
	version uint32
	discard bool // it is being discarded: nothing may read it
}

func newRegistry() *registry { return &registry{records: make(map[events.ID]*activity)} }

func (g *registry) get(record events.ID) *activity {
	a := g.records[record]
	if a == nil {
		a = new(activity)
		g.records[record] = a
	}
	return a
}

func (g *registry) tidy(record events.ID, a *activity) {
	if !a.closed && len(a.readers) == 0 && len(a.writing) == 0 {
		delete(g.records, record)
	}
}

// read registers a reader, which ends with unread. It fails with ErrDestroyed
// while the record is being destroyed and with ErrNotFound while the version is
// being discarded.
func (g *registry) read(record events.ID, version uint32) (*reader, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.get(record)
	if a.closed {
		return nil, ErrDestroyed
	}
	for _, w := range a.writing {
		if w.version == version && w.discard {
			return nil, ErrNotFound
		}
	}
	r := &reader{registry: g, record: record, version: version}
	a.readers = append(a.readers, r)
	return r, nil
}

func (g *registry) unread(r *reader) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.records[r.record]
	if a == nil {
		return
	}
	for i, other := range a.readers {
		if other == r {
			last := len(a.readers) - 1
			a.readers[i], a.readers[last] = a.readers[last], nil
			a.readers = a.readers[:last]
			break
		}
	}
	g.tidy(r.record, a)
}

// reserve keeps a version for one writer, until release. It fails with
// ErrDestroyed while the record is being destroyed and with ErrExists while
// another writer has the version.
func (g *registry) reserve(record events.ID, version uint32, discard bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.get(record)
	if a.closed {
		return ErrDestroyed
	}
	for _, w := range a.writing {
		if w.version == version {
			return ErrExists
		}
	}
	a.writing = append(a.writing, reservation{version, discard})
	return nil
}

func (g *registry) release(record events.ID, version uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.records[record]
	for i, w := range a.writing {
		if w.version == version {
			a.writing = append(a.writing[:i], a.writing[i+1:]...)
			break
		}
	}
	g.tidy(record, a)
}

// shut closes a record to everything new and returns its readers.
func (g *registry) shut(record events.ID) []*reader {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.get(record)
	a.closed = true
	return append([]*reader(nil), a.readers...)
}

// forget ends shut, once the record's tombstone says the same.
func (g *registry) forget(record events.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.records[record]; a != nil {
		a.closed = false
		g.tidy(record, a)
	}
}

// readersOf returns the readers of one version.
func (g *registry) readersOf(record events.ID, version uint32) []*reader {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*reader
	if a := g.records[record]; a != nil {
		for _, r := range a.readers {
			if r.version == version {
				list = append(list, r)
			}
		}
	}
	return list
}

// all returns every reader.
func (g *registry) all() []*reader {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*reader
	for _, a := range g.records {
		list = append(list, a.readers...)
	}
	return list
}
