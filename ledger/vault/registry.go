package vault

import (
	"sync"
)

// registry knows what goes on below each named key at this moment, so that a
// destruction leaves nothing behind that was under way.
type registry struct {
	mu    sync.Mutex
	names map[keyName]*activity
}

// activity is what goes on with a record, or with a patient's documents. There
// is none for an idle one.
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

func newRegistry() *registry { return &registry{names: make(map[keyName]*activity)} }

func (g *registry) get(name keyName) *activity {
	a := g.names[name]
	if a == nil {
		a = new(activity)
		g.names[name] = a
	}
	return a
}

func (g *registry) tidy(name keyName, a *activity) {
	if !a.closed && len(a.readers) == 0 && len(a.writing) == 0 {
		delete(g.names, name)
	}
}

// read registers a reader, which ends with unread. It fails with ErrDestroyed
// while the record is being destroyed and with ErrNotFound while the version is
// being discarded.
func (g *registry) read(name keyName, version uint32) (*reader, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.get(name)
	if a.closed {
		return nil, ErrDestroyed
	}
	for _, w := range a.writing {
		if w.version == version && w.discard {
			return nil, ErrNotFound
		}
	}
	r := &reader{registry: g, name: name, version: version}
	a.readers = append(a.readers, r)
	return r, nil
}

func (g *registry) unread(r *reader) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.names[r.name]
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
	g.tidy(r.name, a)
}

// reserve keeps a version for one writer, until release. It fails with
// ErrDestroyed while the record is being destroyed and with ErrExists while
// another writer has the version.
func (g *registry) reserve(name keyName, version uint32, discard bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.get(name)
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

func (g *registry) release(name keyName, version uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.names[name]
	for i, w := range a.writing {
		if w.version == version {
			a.writing = append(a.writing[:i], a.writing[i+1:]...)
			break
		}
	}
	g.tidy(name, a)
}

// shut closes a record to everything new and returns its readers.
func (g *registry) shut(name keyName) []*reader {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.get(name)
	a.closed = true
	return append([]*reader(nil), a.readers...)
}

// forget ends shut, once the record's tombstone says the same.
func (g *registry) forget(name keyName) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.names[name]; a != nil {
		a.closed = false
		g.tidy(name, a)
	}
}

// readersOf returns the readers of one version.
func (g *registry) readersOf(name keyName, version uint32) []*reader {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*reader
	if a := g.names[name]; a != nil {
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
	for _, a := range g.names {
		list = append(list, a.readers...)
	}
	return list
}
