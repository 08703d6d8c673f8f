// Package mpt is a Merkle prefix tree: a map from byte strings to byte strings
// whose root hash commits to every entry, with short proofs that an entry is there
// and that one is not. The ledger's state is such a map, and an auditor recomputes
// its root with Tree. The package is pure: it reads no file, socket or clock.
//
// It has the format of filippo.io/torchwood's mpt (v0.10.0), and its test vectors.
//
// # Tree
//
// The tree is a binary trie over the bits of the keys, most significant first,
// without nodes that have one child: a node is a leaf, which has a key and its
// value, or an inner node, which has a bit index B and two children, whose keys
// agree in all bits before B and differ in bit B; the left one's have 0 there. So
// the shape follows from the set of keys, and not from the order in which they came.
//
// To be compared, a key of L bytes is continued with a byte 0x00 and then bytes 0xFF
// without end. No two keys become the same by this, and a key of text comes before
// those that it begins.
//
// # Hashes
//
// H is SHA-256; lengths and bit indexes are unsigned varints in their shortest form
// (as of encoding/binary):
//
//	empty tree  H()
//	leaf        H(0x00 || len(key) || key || len(value) || value)
//	inner node  H(0x01 || B || hash of the left child || hash of the right child)
//
// # Proofs
//
// The path of a key K is that of the leaf which is found when one takes at every
// inner node the side that K's bit B says, be the leaf's key K or not: the leaf, and
// from there up to the root each inner node's bit index and the hash of its other
// child:
//
//	path   leaf || steps
//	leaf   len(key) || key || len(value) || value
//	steps  B1 || H1 || B2 || H2 || ... || Bn || Hn   with B1 > B2 > ... > Bn
//
// The hash of the leaf, joined with each Hi by the rule of the inner node, is the
// root; bit Bi of the leaf's key says on which side Hi goes. Of it are made:
//
//	K has the value V       the steps; K and V are the leaf
//	K is absent             the path, whose key is another than K and has K's bits
//	                        at all Bi. It shows a neighbour of K to whoever reads it.
//	no key begins with P    the path of P taken as a key; its key does not begin
//	                        with P and has P's bits at all Bi
//	the keys that begin     the steps with Bi < bits of P; h and they give the root.
//	with P lie under h      h may cover more keys, but leaves out none.
//
// In an empty tree nothing is there, and every proof is empty. A proof is taken in
// this form only, so that there is one for each statement about a tree.
package mpt
