package mpt

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// Tree is a tree in memory. Root hashes again only what lies between the root and
// the entries that were set since, each inner node once. It is for one goroutine.
//
// The zero Tree is empty and ready to use.
type Tree struct {
	root     ref
	rootHash Hash
	size     int
	inners   nodes
	leaves   [][]byte // what is hashed: leafTag, key, value
	path     []*inner // of the latest walk
}

// inner is an inner node. It has its children's hashes rather than its own: on the
// way down and up again a node's neighbours are not touched.
type inner struct {
	hash  [2]Hash
	child [2]ref
	bit   uint32
}

// ref says which node is a child: an index into inners or leaves. The zero ref is
// none.
type ref uint32

const (
	isLeaf  ref = 1 << 31
	isStale ref = 1 << 30 // the hash that stands beside the ref is an old one
	index   ref = isStale - 1

	// maxLeaves is how many leaves have a ref.
	maxLeaves = int(index)
)

// nodes is a list of inner nodes in chunks, which never move: growing copies
// nothing, and the garbage collector finds no pointers in them. The first is not used.
type nodes struct {
	chunks []*[chunk]inner
	n      int
}

const chunk = 512

func (l *nodes) at(r ref) *inner { return &l.chunks[(r&index)/chunk][(r&index)%chunk] }

func (l *nodes) add(n inner) ref {
	if l.n%chunk == 0 {
		l.chunks = append(l.chunks, new([chunk]inner))
		if l.n == 0 {
			l.n = 1 // the zero ref is none
		}
	}
	r := ref(l.n)
	l.n++
	*l.at(r) = n
	return r
}

// Len is how many keys there are.
func (t *Tree) Len() int { return t.size }

// Set gives key the value; both are copied. It fails if one is longer than
// MaxLength, or the tree is full.
func (t *Tree) Set(key, value []byte) error {
	if len(key) > MaxLength || len(value) > MaxLength {
		return fmt.Errorf("a key of %d bytes with a value of %d, limit %d", len(key), len(value), MaxLength)
	}
	if t.size == maxLeaves {
		return fmt.Errorf("the tree has %d keys, and cannot have more", t.size)
	}
	if t.size == 0 {
		t.root = t.newLeaf(key, value) | isStale
		return nil
	}
	found := t.walk(key)
	leaf := &t.leaves[found&index]
	oldKey, oldValue := parts(*leaf)
	if !bytes.Equal(oldKey, key) {
		t.insert(key, value, FirstDifference(oldKey, key))
	} else if !bytes.Equal(oldValue, value) {
		*leaf = encodeLeaf((*leaf)[:0], key, value)
		t.spoil(key, len(t.path))
	}
	return nil
}

// walk finds the leaf that key leads to, and leaves the inner nodes on the way to it
// in t.path. The tree must not be empty.
func (t *Tree) walk(key []byte) ref {
	t.path = t.path[:0]
	r := t.root
	for r&isLeaf == 0 {
		n := t.inners.at(r)
		t.path = append(t.path, n)
		r = n.child[BitOf(key, int(n.bit))]
	}
	return r
}

// insert adds a leaf that differs from the one that was walked to first at bit: a new
// inner node goes in above the first node of the path that asks for a later bit.
func (t *Tree) insert(key, value []byte, bit int) {
	depth := 0
	for depth < len(t.path) && int(t.path[depth].bit) < bit {
		depth++
	}
	at, hash := &t.root, &t.rootHash
	if depth > 0 {
		above := t.path[depth-1]
		side := BitOf(key, int(above.bit))
		at, hash = &above.child[side], &above.hash[side]
	}
	side := BitOf(key, bit)
	n := inner{bit: uint32(bit)}
	n.child[side] = t.newLeaf(key, value) | isStale
	n.child[1-side], n.hash[1-side] = *at, *hash
	*at = t.inners.add(n)
	t.spoil(key, depth)
}

// spoil marks the first nodes of the path, and what is below them, as stale.
func (t *Tree) spoil(key []byte, depth int) {
	t.root |= isStale
	for _, n := range t.path[:depth] {
		n.child[BitOf(key, int(n.bit))] |= isStale
	}
}

func (t *Tree) newLeaf(key, value []byte) ref {
	space := make([]byte, 0, 1+2+len(key)+2+len(value))
	t.leaves = append(t.leaves, encodeLeaf(space, key, value))
	t.size++
	return isLeaf | ref(len(t.leaves)-1)
}

func encodeLeaf(space, key, value []byte) []byte {
	return AppendLeaf(append(space, leafTag), key, value)
}

// parts returns the key and the value of an encoded leaf.
func parts(leaf []byte) (key, value []byte) {
	key, rest, _ := cutString(leaf[1:])
	value, _, _ = cutString(rest)
	return key, value
}

// Root returns the hash of the tree.
func (t *Tree) Root() Hash {
	if t.size == 0 {
		return emptyRoot
	}
	if t.root&isStale != 0 {
		t.rootHash = t.rehash(t.root)
		t.root &^= isStale
	}
	return t.rootHash
}

// rehash returns the hash of a node after those of its stale children.
func (t *Tree) rehash(r ref) Hash {
	if r&isLeaf != 0 {
		return sha256.Sum256(t.leaves[r&index])
	}
	n := t.inners.at(r)
	for side, child := range n.child {
		if child&isStale != 0 {
			n.hash[side] = t.rehash(child)
			n.child[side] &^= isStale
		}
	}
	return InnerHash(int(n.bit), n.hash[0], n.hash[1])
}

// Get returns the value of key, which is good until the next Set.
func (t *Tree) Get(key []byte) (value []byte, ok bool) {
	if t.size == 0 {
		return nil, false
	}
	found, value := parts(t.leaves[t.walk(key)&index])
	if !bytes.Equal(found, key) {
		return nil, false
	}
	return value, true
}

// Prove returns what key has, a copy, and the proof of it for VerifyLookup under
// Root(): that key has the value, or is absent.
func (t *Tree) Prove(key []byte) (proof, value []byte, present bool) {
	p := t.pathOf(key)
	if t.size > 0 && bytes.Equal(p.Key, key) {
		return AppendSteps(nil, p.Steps), bytes.Clone(p.Value), true
	}
	if t.size == 0 {
		return nil, nil, false
	}
	return AppendPath(nil, p), nil, false
}

// ProvePrefix returns the hash of the smallest node that all keys with a prefix lie
// under, EmptyRoot() if there is none, and the proof of it for VerifyPrefix under
// Root().
func (t *Tree) ProvePrefix(prefix []byte) (hash Hash, proof []byte) {
	p := t.pathOf(prefix)
	if t.size == 0 {
		return emptyRoot, nil
	}
	if !hasPrefix(p.Key, prefix) {
		return emptyRoot, AppendPath(nil, p)
	}
	within := 0
	for within < len(p.Steps) && p.Steps[within].Bit >= 8*len(prefix) {
		within++
	}
	hash = climb(LeafHash(p.Key, p.Value), p.Key, p.Steps[:within])
	return hash, AppendSteps(nil, p.Steps[within:])
}

// pathOf returns the path of key under Root(). Key and value alias the tree's.
func (t *Tree) pathOf(key []byte) (p Path) {
	t.Root()
	if t.size == 0 {
		return p
	}
	p.Key, p.Value = parts(t.leaves[t.walk(key)&index])
	p.Steps = make([]Step, 0, len(t.path))
	for i := len(t.path) - 1; i >= 0; i-- {
		n := t.path[i]
		p.Steps = append(p.Steps, Step{int(n.bit), n.hash[1-BitOf(key, int(n.bit))]})
	}
	return p
}
