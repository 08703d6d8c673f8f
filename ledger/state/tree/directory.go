package tree

import (
	"errors"

	"github.com/medledger/medledger/verifier/mpt"
)

// node is a node of the directory, a binary trie over the bits of the keys: its depth
// is the index of the bit that its children differ in. It has a page, or one or two
// children; one with a single child is none in the Merkle tree, and has its hash.
type node struct {
	hash  mpt.Hash
	child [2]*node
	page  *page
}

// join sets the hash of a node at a depth from its children's.
func (n *node) join(depth int) {
	left, right := n.child[0], n.child[1]
	switch {
	case left == nil:
		n.hash = right.hash
	case right == nil:
		n.hash = left.hash
	default:
		n.hash = mpt.InnerHash(depth, left.hash, right.hash)
	}
}

// pageOf returns the node whose page key belongs to, or nil if there is none yet.
func (n *node) pageOf(key Key) *node {
	for depth := 0; n != nil && n.page == nil; depth++ {
		n = n.child[mpt.BitOf(key[:], depth)]
	}
	return n
}

// pathTo returns the node with the page that the Merkle tree leads key to, and the
// steps to it, from the root down.
func (n *node) pathTo(key Key) (*node, []mpt.Step) {
	var steps []mpt.Step
	for depth := 0; n.page == nil; depth++ {
		side := mpt.BitOf(key[:], depth)
		to, other := n.child[side], n.child[1-side]
		if to == nil {
			to = other
		} else if other != nil {
			steps = append(steps, mpt.Step{Bit: depth, Sibling: other.hash})
		}
		n = to
	}
	return n, steps
}

// zeros is how many of the entries, whose keys are in order, have 0 in a bit that is
// the first that they may differ in.
func zeros(entries []entry, bit int) int {
	low, high := 0, len(entries)
	for low < high {
		if middle := (low + high) / 2; mpt.BitOf(entries[middle].key[:], bit) == 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// apply puts changes, in the order of their keys, below a node that may be nil, and
// returns what is there then. The pages that they belong to must be in memory.
func (t *Tree) apply(n *node, depth int, changes []entry) *node {
	switch {
	case len(changes) == 0:
		return n
	case n == nil:
		return t.place(nil, nil, depth, changes)
	case n.page != nil:
		t.merged = merge(t.merged[:0], n.page.contents, changes)
		return t.place(n, n.page, depth, t.merged)
	}
	k := zeros(changes, depth)
	n.child[0] = t.apply(n.child[0], depth+1, changes[:k])
	n.child[1] = t.apply(n.child[1], depth+1, changes[k:])
	n.join(depth)
	return n
}

// place makes the node for entries at a depth: with one page if they fit, or with two
// children. Node and page are used again if they are not nil.
func (t *Tree) place(n *node, p *page, depth int, entries []entry) *node {
	if len(entries) == 0 {
		return nil
	}
	if n == nil {
		n = new(node)
	}
	if len(entries) == 1 || sizeOf(entries) <= pageBytes {
		if p == nil {
			p = t.newPage()
		}
		n.page = p
		n.hash = t.write(p, depth, entries)
		return n
	}
	n.page = nil
	k := zeros(entries, depth)
	n.child[0] = t.place(nil, p, depth+1, entries[:k])
	if k > 0 {
		p = nil // it has the left half
	}
	n.child[1] = t.place(nil, p, depth+1, entries[k:])
	n.join(depth)
	return n
}

// graft puts the node of a page that was read below n, which may be nil. The hashes
// above it are set later, by rejoin.
func (n *node) graft(leaf node, key Key, depth int) (*node, error) {
	if n == nil {
		n = new(node)
	}
	at := n
	for d := range depth {
		if at.page != nil {
			return nil, errors.New("a page within another")
		}
		side := mpt.BitOf(key[:], d)
		if at.child[side] == nil {
			at.child[side] = new(node)
		}
		at = at.child[side]
	}
	if at.page != nil || at.child != [2]*node{} {
		return nil, errors.New("a page within another")
	}
	*at = leaf
	return n, nil
}

// rejoin sets the hashes of all nodes without a page.
func (n *node) rejoin(depth int) {
	if n.page != nil {
		return
	}
	for _, child := range n.child {
		if child != nil {
			child.rejoin(depth + 1)
		}
	}
	n.join(depth)
}
