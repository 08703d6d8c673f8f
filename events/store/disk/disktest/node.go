package disktest

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is what a disk writes whole or not at all, in bytes.
const sector = 512

// node is a file or a folder: what a program sees of it, what the disk has, and
// what was done since, in order.
type node struct {
	mode   fs.FileMode
	folder bool

	entries map[string]*node // of a folder, as programs see it
	durable map[string]*node // as the disk has it
	changes [][]change       // since; each is atomic

	data   []byte  // of a file, as programs see it
	stored []byte  // as the disk has it
	writes []write // since
}

// change gives a name in a folder to a node, or takes it away.
type change struct {
	name string
	node *node
}

// write is a write at an offset, or if data is nil a cut to a size.
type write struct {
	at   int64
	data []byte
}

func newFolder() *node {
	return &node{folder: true, mode: fs.ModeDir, entries: make(map[string]*node), durable: make(map[string]*node)}
}

func apply(entries map[string]*node, changes []change) {
	for _, c := range changes {
		if c.node == nil {
			delete(entries, c.name)
		} else {
			entries[c.name] = c.node
		}
	}
}

func (n *node) change(changes ...change) {
	apply(n.entries, changes)
	n.changes = append(n.changes, changes)
}

func (n *node) syncEntries() {
	n.durable, n.changes = maps.Clone(n.entries), nil
}

func (w write) apply(b []byte) []byte {
	if w.data == nil {
		if w.at <= int64(len(b)) {
			return b[:w.at:w.at]
		}
		return append(b, make([]byte, w.at-int64(len(b)))...)
	}
	if end := w.at + int64(len(w.data)); end > int64(len(b)) {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[w.at:], w.data)
	return b
}

func (n *node) do(w write) {
	n.data = w.apply(n.data)
	n.writes = append(n.writes, w)
}

func (n *node) truncate(size int64) { n.do(write{at: size}) }

func (n *node) sync() {
	for _, w := range n.writes {
		n.stored = w.apply(n.stored)
	}
	n.writes = nil
}

// giveUp forgets what was written since the last sync: nothing will ever write
// it. Sizes are the file system's own affair, which it does not give up.
func (n *node) giveUp() {
	n.writes = slices.DeleteFunc(n.writes, func(w write) bool { return w.data != nil })
}

// Loss says what a crash keeps of what was not made durable.
type Loss string

const (
	// LoseAll keeps nothing of it.
	LoseAll Loss = "lose all"
	// KeepPrefix keeps of every file and of every folder the first of the
	// changes, up to a random one; a write perhaps in part.
	KeepPrefix Loss = "keep a prefix"
	// KeepSectors keeps a random choice of the 512-byte sectors of the writes to
	// files, in no order, as a disk with a cache does; of a folder the first of
	// the changes. Where a sector is missing a new file has zeros.
	KeepSectors Loss = "keep some sectors"
)

// Losses are all of them, for fault tables.
var Losses = [...]Loss{LoseAll, KeepPrefix, KeepSectors}

// Crash stops the machine and starts it again: files that were open are dead,
// and what was not durable is lost as loss says. random may be nil with LoseAll.
func (f *FS) Crash(loss Loss, random *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.age++
	f.root.crash(loss, random)
}

// crash visits names in order, so that the same seed gives the same crash.
func (n *node) crash(loss Loss, random *rand.Rand) {
	if !n.folder {
		n.stored = crashed(n.stored, n.writes, loss, random)
		n.data, n.writes = append([]byte(nil), n.stored...), nil
		return
	}
	keep := 0
	if loss != LoseAll {
		keep = random.IntN(len(n.changes) + 1)
	}
	for _, changes := range n.changes[:keep] {
		apply(n.durable, changes)
	}
	n.entries, n.changes = maps.Clone(n.durable), nil
	for _, name := range sorted(n.entries) {
		n.entries[name].crash(loss, random)
	}
}

// crashed returns what a disk that had b has after a crash during some writes.
func crashed(b []byte, writes []write, loss Loss, random *rand.Rand) []byte {
	switch loss {
	case KeepPrefix:
		keep := random.IntN(len(writes) + 1)
		for _, w := range writes[:keep] {
			b = w.apply(b)
		}
		if keep < len(writes) && len(writes[keep].data) > 0 {
			w := writes[keep]
			w.data = w.data[:random.IntN(len(w.data))]
			b = w.apply(b)
		}
	case KeepSectors:
		for _, w := range writes {
			for _, part := range w.sectors() {
				if random.IntN(2) == 0 {
					b = part.apply(b)
				}
			}
		}
	}
	return b
}

// sectors splits a write where the sectors of the file do.
func (w write) sectors() []write {
	if w.data == nil {
		return []write{w}
	}
	var all []write
	for at, data := w.at, w.data; len(data) > 0; {
		n := min(sector-int(at%sector), len(data))
		all = append(all, write{at, data[:n]})
		at, data = at+int64(n), data[n:]
	}
	return all
}
