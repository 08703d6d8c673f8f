package tree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/medledger/medledger/verifier/mpt"
)

const idBytes = 16

// looseLeaf derives the value from the beginning of what is stored only, so that the
// root does not cover the rest. Ids of which the first byte is 0xFF have keys that agree
// in half of their bits.
func looseLeaf(stored []byte) (key Key, value []byte, err error) {
	if len(stored) < idBytes {
		return key, nil, errors.New("an entry without an id")
	}
	if stored[0] == 0xff {
		copy(key[len(key)-idBytes:], stored)
	} else {
		key = sha256.Sum256(stored[:idBytes])
	}
	return key, stored[idBytes:min(len(stored), idBytes+20)], nil
}

func small(path string) Config {
	return Config{
		Path: path, Key: bytes.Repeat([]byte{7}, 32), Leaf: looseLeaf, Logger: slog.New(slog.DiscardHandler),
		DirtyBytes: 30_000, FlushEvery: 500, CacheBytes: 12_000,
	}
}

// history is what was put into a tree: the changes up to each position, the roots, and
// what should be there after the last.
type history struct {
	rng    *rand.Rand
	turns  []turn
	tree   mpt.Tree
	stored map[Key][]byte
}

type turn struct {
	position uint64
	changes  [][]byte
	root     mpt.Hash
}

func newHistory(seed uint64) *history {
	return &history{rng: rand.New(rand.NewPCG(seed, 1)), stored: make(map[Key][]byte)}
}

func (h *history) id() []byte {
	id := make([]byte, idBytes)
	if h.rng.IntN(4) == 0 {
		id[0] = 0xff
	}
	id[idBytes-2], id[idBytes-1] = byte(h.rng.IntN(3)), byte(h.rng.IntN(256))
	return id
}

// turn makes up a turn of n changes.
func (h *history) turn(t *testing.T, n int) turn {
	t.Helper()
	next := turn{position: h.position() + uint64(n) + 1}
	for range n {
		stored := h.id()
		for range h.rng.IntN(150) {
			stored = append(stored, byte(h.rng.Uint32()))
		}
		if h.rng.IntN(200) == 0 {
			stored = append(stored, make([]byte, pageBytes)...) // larger than a page
		}
		key, value, err := looseLeaf(stored)
		if err := errors.Join(err, h.tree.Set(key[:], value)); err != nil {
			t.Fatal(err)
		}
		h.stored[key] = stored
		next.changes = append(next.changes, stored)
	}
	next.root = h.tree.Root()
	h.turns = append(h.turns, next)
	return next
}

func (h *history) position() uint64 {
	if len(h.turns) == 0 {
		return 0
	}
	return h.turns[len(h.turns)-1].position
}

// feed puts in what the tree lacks, and holds each root on the way against the history.
func (h *history) feed(t *testing.T, tree *Tree) {
	t.Helper()
	if tree.Position() == 0 && (tree.Len() != 0 || tree.Root() != mpt.EmptyRoot()) {
		t.Fatalf("a tree at position 0 has %d entries", tree.Len())
	}
	for _, turn := range h.turns {
		switch {
		case turn.position < tree.Position():
		case turn.position == tree.Position():
			if tree.Root() != turn.root {
				t.Fatalf("at %d the root is %x, want %x", turn.position, tree.Root(), turn.root)
			}
		default:
			root, err := tree.Update(turn.position, turn.changes)
			if err != nil || root != turn.root {
				t.Fatalf("at %d the root became %x, %v, want %x", turn.position, root, err, turn.root)
			}
		}
	}
	if tree.Position() != h.position() {
		t.Fatalf("at %d after %d", tree.Position(), h.position())
	}
}

// check holds the tree against the one in memory.
func (h *history) check(t *testing.T, tree *Tree, keys int) {
	t.Helper()
	if tree.Root() != h.tree.Root() || tree.Len() != h.tree.Len() || tree.Position() != h.position() {
		t.Fatalf("root %x of %d at %d, want %x of %d at %d", tree.Root(), tree.Len(), tree.Position(), h.tree.Root(), h.tree.Len(), h.position())
	}
	for range keys {
		key, _, _ := looseLeaf(h.id())
		if h.rng.IntN(4) == 0 {
			key[h.rng.IntN(len(key))] ^= 1 << h.rng.IntN(8)
		}
		stored, ok, err := tree.Get(key)
		want, there := h.stored[key]
		if err != nil || ok != there || !bytes.Equal(stored, want) {
			t.Fatalf("key %x: %x, %t, %v, want %x, %t", key, stored, ok, err, want, there)
		}
		proof, value, present, err := tree.Prove(key)
		wantProof, wantValue, _ := h.tree.Prove(key[:])
		if err != nil || present != there || !bytes.Equal(proof, wantProof) || !bytes.Equal(value, wantValue) {
			t.Fatalf("key %x: proof %x of %x, %t, %v, want %x of %x", key, proof, value, present, err, wantProof, wantValue)
		}
		if err := mpt.VerifyLookup(tree.Root(), key[:], value, present, proof); err != nil {
			t.Fatalf("key %x: %v", key, err)
		}
	}
}

// TestTreeEqualsMemory updates, reads and opens again at random, with a cache that holds
// a few pages, and also opens what a crash would leave.
func TestTreeEqualsMemory(t *testing.T) {
	for seed := range uint64(8) {
		h, path := newHistory(seed), filepath.Join(t.TempDir(), "tree.sqlite")
		tree := mustOpen(t, small(path))
		h.check(t, tree, 3)
		for range 120 {
			switch h.rng.IntN(8) {
			case 0:
				mustClose(t, tree)
				tree = mustOpen(t, small(path))
			case 1:
				crashed := mustOpen(t, small(copyOf(t, path)))
				h.feed(t, crashed)
				h.check(t, crashed, 5)
				mustClose(t, crashed)
			default:
				next := h.turn(t, h.rng.IntN(1+h.rng.IntN(80)))
				if root, err := tree.Update(next.position, next.changes); err != nil || root != next.root {
					t.Fatalf("root %x, %v, want %x", root, err, next.root)
				}
			}
			h.check(t, tree, 5)
		}
		s := tree.Stats()
		if s.Loads == 0 || s.Pages < 10 || s.Entries != h.tree.Len() || s.Written == 0 {
			t.Errorf("the test does not test what it should: %+v", s)
		}
		mustClose(t, tree)
	}
}

// copyOf copies the files of a copy, as a crash would leave them.
func copyOf(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.sqlite")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(err, os.WriteFile(to+suffix, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestUpdateRefuses(t *testing.T) {
	h := newHistory(1)
	tree := mustOpen(t, small(filepath.Join(t.TempDir(), "tree.sqlite")))
	defer mustClose(t, tree)
	h.turn(t, 50)
	h.feed(t, tree)
	id := bytes.Repeat([]byte{1}, idBytes)
	for name, update := range map[string]func() (mpt.Hash, error){
		"a position that is past":      func() (mpt.Hash, error) { return tree.Update(1, [][]byte{id}) },
		"an entry that cannot be read": func() (mpt.Hash, error) { return tree.Update(1000, [][]byte{id, {1}}) },
		"an entry that is too long": func() (mpt.Hash, error) {
			return tree.Update(1000, [][]byte{id, append(id, make([]byte, MaxStored)...)})
		},
	} {
		if _, err := update(); err == nil {
			t.Errorf("%s was taken", name)
		}
		h.check(t, tree, 3)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no path":         func(c *Config) { c.Path = "" },
		"a short key":     func(c *Config) { c.Key = c.Key[1:] },
		"no leaf":         func(c *Config) { c.Leaf = nil },
		"no logger":       func(c *Config) { c.Logger = nil },
		"a negative size": func(c *Config) { c.DirtyBytes = -1 },
	} {
		c := small(filepath.Join(t.TempDir(), "tree.sqlite"))
		spoil(&c)
		if tree, err := Open(t.Context(), c); err == nil {
			t.Errorf("%s was taken", name)
			mustClose(t, tree)
		}
	}
}

// TestNowhere: a place where there can be no copy is an error, and not thrown away.
func TestNowhere(t *testing.T) {
	if _, err := Open(t.Context(), small(filepath.Join(t.TempDir(), "none", "tree.sqlite"))); err == nil {
		t.Error("a copy in a folder that is not there was opened")
	}
	path := filepath.Join(t.TempDir(), "tree.sqlite")
	mustClose(t, mustOpen(t, small(path)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, small(path)); !errors.Is(err, context.Canceled) {
		t.Errorf("opened in no time: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the copy was thrown away: %v", err)
	}
}

// TestOtherValues: a program that hashes other values for the same stored forms makes
// the tree again.
func TestOtherValues(t *testing.T) {
	h, path := newHistory(1), filepath.Join(t.TempDir(), "tree.sqlite")
	tree := mustOpen(t, small(path))
	h.turn(t, 300)
	h.feed(t, tree)
	mustClose(t, tree)
	c := small(path)
	c.Leaf = func(stored []byte) (Key, []byte, error) {
		key, value, err := looseLeaf(stored)
		return key, append([]byte{1}, value...), err
	}
	tree = mustOpen(t, c)
	if tree.Position() != 0 || tree.Len() != 0 {
		t.Errorf("a copy at %d with other hashes was believed", tree.Position())
	}
	mustClose(t, tree)
}

// TestUpdateDuringFlush changes and reads the tree at every step of a flush, with a cache
// that keeps nothing: what is being written is not in the file yet.
func TestUpdateDuringFlush(t *testing.T) {
	h := newHistory(2)
	c := patient(filepath.Join(t.TempDir(), "tree.sqlite"))
	c.CacheBytes = 1
	tree := mustOpen(t, c)
	more := func() {
		t.Helper()
		h.turn(t, 30)
		h.feed(t, tree)
		h.check(t, tree, 200)
	}
	for range 3 {
		h.turn(t, 400)
		h.feed(t, tree)
		s, needed := tree.snapshot()
		more()
		sum, err := tree.commit(t.Context(), s, nil)
		if err != nil || !needed {
			t.Fatal(err)
		}
		more()
		tree.settle(s, sum, nil)
		if written := tree.Stats().Written; written != s.at {
			t.Errorf("written is %d, want %d", written, s.at)
		}
		more()
	}
	mustClose(t, tree)
	if found := reopened(t, h, c.Path); found != h.position() {
		t.Errorf("the next start is at %d of %d", found, h.position())
	}
}

// TestReadersDuringUpdates reads and proves from other goroutines while the tree
// changes and is written. Each proof is of some root that the tree had.
func TestReadersDuringUpdates(t *testing.T) {
	h := newHistory(3)
	tree := mustOpen(t, small(filepath.Join(t.TempDir(), "tree.sqlite")))
	turns := make([]turn, 150)
	for i := range turns {
		turns[i] = h.turn(t, 20)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for seed := range uint64(3) {
		readers.Go(func() {
			ids := newHistory(100 + seed)
			for {
				select {
				case <-done:
					return
				default:
				}
				key, _, _ := looseLeaf(ids.id())
				before := tree.Root()
				proof, value, present, err := tree.Prove(key)
				after := tree.Root()
				if err == nil && before == after {
					err = mpt.VerifyLookup(before, key[:], value, present, proof)
				}
				_, _, getErr := tree.Get(key)
				if err := errors.Join(err, getErr); err != nil {
					t.Error(err)
					return
				}
				tree.Stats()
			}
		})
	}
	for _, next := range turns {
		if root, err := tree.Update(next.position, next.changes); err != nil || root != next.root {
			t.Errorf("root %x, %v, want %x", root, err, next.root)
		}
	}
	close(done)
	readers.Wait()
	h.check(t, tree, 50)
	mustClose(t, tree)
}

// TestClosedInAHurry: a Close that may not take its time leaves the copy usable.
func TestClosedInAHurry(t *testing.T) {
	h, path := newHistory(4), filepath.Join(t.TempDir(), "tree.sqlite")
	tree := mustOpen(t, small(path))
	h.turn(t, 300)
	h.feed(t, tree)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tree.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	tree = mustOpen(t, small(path))
	h.feed(t, tree)
	h.check(t, tree, 20)
	mustClose(t, tree)
}
