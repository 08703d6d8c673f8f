package tilestore

import (
	"container/list"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
)

// tile is a decoded hash tile: its 256 hashes and the seven levels of inner
// nodes between them and its root, so that every node of the tree is a lookup.
//
// A slot is written once, before the tree size that makes its node complete is
// published, and never changes after that. So a reader needs no lock as long as
// it asks only for nodes within a size that was published to it.
type tile struct {
	level int
	index uint64
	nodes [tileNodes]tlog.Hash // sublevel 0 (256 hashes), then 1 (128), ... 7 (2)
}

const (
	tileNodes = 2*proof.TileWidth - 2
	levels    = proof.MaxLevel + 1
)

// slot returns where the i-th node of a sublevel (0 to 7) is in nodes.
func slot(sublevel uint, i uint64) uint64 {
	return 2*proof.TileWidth - 2*proof.TileWidth>>sublevel + i
}

// locate returns the tile that holds a tree node and the node's slot in it.
func locate(level uint, index uint64) (tileLevel int, tileIndex, at uint64) {
	sub := level % proof.TileHeight
	width := uint64(proof.TileWidth) >> sub
	return int(level / proof.TileHeight), index / width, slot(sub, index%width)
}

// set stores hash i of the tile and every inner node that it completes.
func (t *tile) set(i uint64, h tlog.Hash) {
	t.nodes[i] = h
	for sub := uint(0); sub < proof.TileHeight-1 && i&1 == 1; sub++ {
		at := slot(sub, i)
		i >>= 1
		t.nodes[slot(sub+1, i)] = tlog.NodeHash(t.nodes[at-1], t.nodes[at])
	}
}

// root returns the root of a full tile.
func (t *tile) root() tlog.Hash {
	return tlog.NodeHash(t.nodes[tileNodes-2], t.nodes[tileNodes-1])
}

// bytes returns the tile's file at the given width.
func (t *tile) bytes(width int) []byte { return proof.FormatHashTile(t.nodes[:width]) }

// key names a tile of full width.
type key struct {
	level int
	index uint64
}

// cache keeps the full tiles that were used last. Full tiles never change.
type cache struct {
	mu    sync.Mutex
	limit int
	byKey map[key]*list.Element
	order *list.List // of *tile, most recently used first
}

func newCache(limit int) *cache {
	return &cache{limit: limit, byKey: make(map[key]*list.Element), order: list.New()}
}

func (c *cache) get(k key) *tile {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*tile)
}

func (c *cache) put(t *tile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := key{t.level, t.index}
	if e := c.byKey[k]; e != nil {
		c.order.MoveToFront(e)
		return
	}
	c.byKey[k] = c.order.PushFront(t)
	if c.order.Len() > c.limit {
		last := c.order.Remove(c.order.Back()).(*tile)
		delete(c.byKey, key{last.level, last.index})
	}
}
