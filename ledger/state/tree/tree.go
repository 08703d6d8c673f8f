package tree

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/medledger/medledger/verifier/mpt"
)

// LeafFunc derives from the stored form of an entry its key and the value that is
// hashed. It must always give the same, must not keep stored, and is called from
// several goroutines at once. The value may alias stored. It is also given bytes that
// somebody may have altered, and its errors can reach a log.
type LeafFunc func(stored []byte) (key Key, value []byte, err error)

// Config says where the copy is and how it is kept. The fields without a default are
// needed.
type Config struct {
	// Path is the copy's file.
	Path string
	// Key authenticates the copy; 32 bytes that stay secret.
	Key []byte
	// Leaf reads stored forms.
	Leaf LeafFunc
	// Logger is told of a copy that is thrown away or cannot be written.
	Logger *slog.Logger

	// DirtyBytes is how much may have changed before it is written; 24 MB if 0. That
	// much is in memory, and as much again while it is being written; more if the disk
	// does not keep up, since an Update never waits for it, and at most the whole tree.
	DirtyBytes int
	// FlushEvery is how many events the copy may lag behind before it is written;
	// 65,536 if 0. Fewer means a shorter replay after a crash.
	FlushEvery uint64
	// CacheBytes is how much of what is in the file stays in memory too; 16 MB if 0.
	CacheBytes int
}

// check returns the configuration with its defaults.
func (c Config) check() (Config, error) {
	switch {
	case c.Path == "" || c.Leaf == nil || c.Logger == nil:
		return c, errors.New("the state tree needs a path, a function that reads entries and a logger")
	case len(c.Key) != 32:
		return c, fmt.Errorf("the key of the state tree's copy has %d bytes, and needs 32", len(c.Key))
	case c.DirtyBytes < 0 || c.CacheBytes < 0:
		return c, errors.New("the state tree's bounds on memory are negative")
	}
	if c.DirtyBytes == 0 {
		c.DirtyBytes = 24 << 20
	}
	if c.FlushEvery == 0 {
		c.FlushEvery = 1 << 16
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 16 << 20
	}
	return c, nil
}

// Tree is the tree and its copy.
//
// Update is for one goroutine at a time, and waits for the calls of Get and Prove that
// are under way. Everything else may be called from any goroutine, until Close.
type Tree struct {
	config Config
	seal   seal
	db     *sql.DB // of the goroutine that writes, once it runs
	reads  *sql.DB

	readPage *sql.Stmt // of reads

	kick    chan struct{}
	done    chan struct{}
	closing atomic.Bool
	cancel  context.CancelFunc // ends the writing under way

	mu       sync.RWMutex
	root     *node // nil if empty
	pages    []*page
	entries  int
	position uint64
	changed  []*page  // the dirty ones
	opened   []*page  // those whose contents an Update needs
	spaces   [][]item // that nobody needs any more
	loaded   int      // bytes of pages in memory
	pinned   int      // those of pages that are dirty or flushing
	dirty    int      // bytes of data of the dirty ones
	hand     int      // where in pages the sweep goes on
	written  uint64   // the position that the file has
	nextRow  int64
	merged   []entry // space of apply
	loads    uint64
}

// ErrCopy is wrapped by the errors of a copy that changed under the tree or cannot be
// read any more. The tree is of no use then: close it and open it again, which makes a
// copy that is damaged again from the events.
var ErrCopy = errors.New("the state tree's copy is damaged; start again, and it is made again from the events")

// Position is how many events of the log the tree covers.
func (t *Tree) Position() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.position
}

// Root returns the hash of the tree.
func (t *Tree) Root() mpt.Hash {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.rootHash()
}

func (t *Tree) rootHash() mpt.Hash {
	if t.root == nil {
		return mpt.EmptyRoot()
	}
	return t.root.hash
}

// Len is how many entries there are.
func (t *Tree) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.entries
}

// Update puts in the entries that the events up to position changed, each in its
// stored form, of which it makes copies; of several with one key the last one counts.
// It returns the new root. After an error the tree is as it was before.
func (t *Tree) Update(position uint64, changes [][]byte) (mpt.Hash, error) {
	entries, err := t.sorted(changes)
	if err != nil {
		return mpt.Hash{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.shutAll()
	if position < t.position {
		return mpt.Hash{}, fmt.Errorf("the state tree covers %d events already, and cannot go back to %d", t.position, position)
	}
	for i := range entries {
		if n := t.root.pageOf(entries[i].key); n != nil {
			if err := t.load(n); err != nil {
				return mpt.Hash{}, err
			}
		}
	}
	t.root = t.apply(t.root, 0, entries)
	t.position = position
	if t.dirty >= t.config.DirtyBytes || t.position-t.written >= t.config.FlushEvery {
		select {
		case t.kick <- struct{}{}:
		default: // the writer has been told
		}
	}
	return t.rootHash(), nil
}

// Fetch opens the pages that keys belong to, for an Update that is to change them:
// without it Get and then Update would each open them. Its errors wrap ErrCopy.
func (t *Tree) Fetch(keys []Key) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		if n := t.root.pageOf(key); n != nil {
			if err := t.load(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// sorted returns the entries of stored forms in the order of their keys, the last one
// of each.
func (t *Tree) sorted(changes [][]byte) ([]entry, error) {
	entries := make([]entry, 0, len(changes))
	for _, stored := range changes {
		e, err := newEntry(stored, t.config.Leaf)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return bytes.Compare(a.key[:], b.key[:]) })
	kept := entries[:0]
	for i, e := range entries {
		if i+1 == len(entries) || entries[i+1].key != e.key {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

// Get returns the stored form of a key's entry, which must not be changed. Its errors
// wrap ErrCopy.
func (t *Tree) Get(key Key) (stored []byte, ok bool, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.root.pageOf(key)
	if n == nil {
		return nil, false, nil
	}
	c, err := t.peek(n, nil)
	if err != nil {
		return nil, false, err
	}
	i, ok := c.find(key)
	if !ok {
		return nil, false, nil
	}
	return c.stored(i), true, nil
}

// Prove returns the value of a key and the proof of it, for mpt.VerifyLookup under
// Root(): that the key has the value, or is absent. Its errors wrap ErrCopy.
func (t *Tree) Prove(key Key) (proof, value []byte, present bool, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.prove(key)
}

func (t *Tree) prove(key Key) (proof, value []byte, present bool, err error) {
	if t.root == nil {
		return nil, nil, false, nil
	}
	n, steps := t.root.pathTo(key)
	c, err := t.peek(n, nil)
	if err != nil {
		return nil, nil, false, err
	}
	low, high := 0, len(c.items)
	for high-low > 1 {
		bit, zeros := fork(c.items[low:high])
		left, right := c.items[low:low+zeros], c.items[low+zeros:high]
		if mpt.BitOf(key[:], bit) == 0 {
			steps, high = append(steps, mpt.Step{Bit: bit, Sibling: hashOf(right)}), low+zeros
		} else {
			steps, low = append(steps, mpt.Step{Bit: bit, Sibling: hashOf(left)}), low+zeros
		}
	}
	found, value, err := t.config.Leaf(c.stored(low))
	if err != nil {
		return nil, nil, false, fmt.Errorf("an entry that cannot be read: %w", err)
	}
	slices.Reverse(steps)
	if found != key {
		return mpt.AppendPath(nil, mpt.Path{Key: found[:], Value: value, Steps: steps}), nil, false, nil
	}
	return mpt.AppendSteps(nil, steps), bytes.Clone(value), true, nil
}

// Stats says how the tree is.
type Stats struct {
	Entries     int
	Pages       int
	LoadedBytes int    // of pages in memory
	DirtyBytes  int    // of those, not being written yet
	Loads       uint64 // pages that Update had to read
	Position    uint64
	Written     uint64 // the position that the file has
}

// Stats says how the tree is.
func (t *Tree) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return Stats{
		Entries: t.entries, Pages: len(t.pages), LoadedBytes: t.loaded, DirtyBytes: t.dirty,
		Loads: t.loads, Position: t.position, Written: t.written,
	}
}
