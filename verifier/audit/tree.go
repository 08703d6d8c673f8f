package audit

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
)

// tree is a Merkle tree that grows by whole tiles: for each tile level the
// hashes of its rightmost tile, which is never full.
type tree struct {
	edge [proof.MaxLevel + 1][]tlog.Hash
}

// wantedTile is a tile with the hashes that it should have.
type wantedTile struct {
	tile   proof.Tile
	hashes []tlog.Hash
}

// add adds the root of full tile n of level 0 and returns the tiles of higher
// levels that it completes.
func (t *tree) add(n uint64, root tlog.Hash) []wantedTile {
	var full []wantedTile
	for level := 1; level <= proof.MaxLevel; level++ {
		t.edge[level] = append(t.edge[level], root)
		if len(t.edge[level]) < proof.TileWidth {
			break
		}
		n /= proof.TileWidth
		hashes := t.edge[level]
		full = append(full, wantedTile{proof.Tile{Level: level, Index: n, Width: proof.TileWidth}, hashes})
		t.edge[level] = nil
		root = subtree(hashes)
	}
	return full
}

// edges returns the partial tiles above the leaves of a tree of size leaves; the one
// of the leaves themselves is compared with their bundle.
func (t *tree) edges(size uint64) []wantedTile {
	var tiles []wantedTile
	for _, e := range proof.EdgeTiles(size) {
		if e.Level > 0 {
			tiles = append(tiles, wantedTile{e, t.edge[e.Level]})
		}
	}
	return tiles
}

// rootWithin returns the root of the tree that a kept checkpoint covers, if that ends
// among the given hashes, which follow the first leaves of the tree so far.
func (t *tree) rootWithin(kept *proof.Checkpoint, first uint64, hashes []tlog.Hash) *tlog.Hash {
	if kept == nil || kept.Size < first || kept.Size > first+uint64(len(hashes)) {
		return nil
	}
	root := t.root(hashes[:kept.Size-first])
	return &root
}

// root returns the root of the tree with further leaves, fewer than a tile, at
// its right edge.
func (t *tree) root(leaves []tlog.Hash) tlog.Hash {
	var root tlog.Hash
	empty := true
	fold := func(hashes []tlog.Hash) {
		// The perfect subtrees of the tile, the smallest and rightmost first.
		for end := len(hashes); end > 0; {
			width := 1 << bits.TrailingZeros(uint(end))
			h := subtree(hashes[end-width : end])
			if empty {
				root, empty = h, false
			} else {
				root = tlog.NodeHash(h, root)
			}
			end -= width
		}
	}
	fold(leaves)
	for level := 1; level <= proof.MaxLevel; level++ {
		fold(t.edge[level])
	}
	if empty {
		return proof.EmptyRoot()
	}
	return root
}

// subtree returns the root of a perfect subtree. Its number of hashes is a power
// of two, at most a tile's.
func subtree(hashes []tlog.Hash) tlog.Hash {
	var buf [proof.TileWidth]tlog.Hash
	n := copy(buf[:], hashes)
	for ; n > 1; n /= 2 {
		for i := range n / 2 {
			buf[i] = tlog.NodeHash(buf[2*i], buf[2*i+1])
		}
	}
	return buf[0]
}
