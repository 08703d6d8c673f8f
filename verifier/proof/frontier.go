package proof

import "golang.org/x/mod/sumdb/tlog"

// The frontier of a tree are the roots of its perfect subtrees from left to right,
// largest first: one for each bit of its size that is set. It is all that it takes
// to add leaves and to know the root.

// Grow adds a leaf hash to the frontier of a tree of size leaves, which it changes
// in place.
func Grow(frontier []tlog.Hash, size uint64, leafHash tlog.Hash) []tlog.Hash {
	node := leafHash
	for ; size&1 == 1; size >>= 1 {
		last := len(frontier) - 1
		node = tlog.NodeHash(frontier[last], node)
		frontier = frontier[:last]
	}
	return append(frontier, node)
}

// FrontierRoot returns the root of the tree that has the frontier.
func FrontierRoot(frontier []tlog.Hash) tlog.Hash {
	if len(frontier) == 0 {
		return EmptyRoot()
	}
	root := frontier[len(frontier)-1]
	for i := len(frontier) - 2; i >= 0; i-- {
		root = tlog.NodeHash(frontier[i], root)
	}
	return root
}
