package vault

import (
	"container/list"
	"sync"
)

// defaultFanOut is the fan-out of a new vault's tree: with it a node and its row fill
// a page of SQLite. Measured by BenchmarkFanOut at 200,000 and at 1,000,000 records
// (two cores of an AMD EPYC, the best of several rounds): levels; microseconds a put of
// 1 KiB by 64 writers, a read of a key that no cache has, a destruction, one of 1,000
// handed in at once; bytes a slot in SQLite's pages.
//
//	fan-out  levels  put      read     destruction  of 1,000   bytes
//	     16  5  6    44  89   47  80   2369  2600   189  247   41.0
//	     32  4  5    49  41   51  54   3046  2627   208  219   46.0
//	     64  3  4    49  38   49  57   3062  2399   199  230   65.3
//	    125  3  3    35  38   41  42   2295  2181   170  189   33.2
//	    128  3  3    47  99   49  81   2763  2789   208  338   36.4
//	    256  3  3    62  48   74  66   3116  3624   271  301   34.2
const defaultFanOut = 125

// DefaultNodeCache is how many bytes of opened nodes are kept in memory: with the
// fan-out that new vaults have, the keys of some 250,000 slots.
const DefaultNodeCache = 8 << 20

// node is an opened node.
type node struct {
	id       nodeID
	key      [keySize]byte
	children []byte // keys, one after the other; zeros where there is none
	pinned   bool   // being changed: it must not go
	place    *list.Element
}

func (n *node) child(i int) (key [keySize]byte) {
	copy(key[:], n.children[i*keySize:])
	return key
}

func (n *node) set(i int, key *[keySize]byte) { copy(n.children[i*keySize:(i+1)*keySize], key[:]) }

func (n *node) wipe() {
	clear(n.key[:])
	clear(n.children)
}

// nodeOverhead is what a node takes in memory beside its children, measured.
const nodeOverhead = 300

// nodeCache holds opened nodes, those used last. It gives out copies of keys, and
// wipes what it drops. Only the committing goroutine pins nodes, and changes them
// under mu.
type nodeCache struct {
	mu     sync.Mutex
	max    int // bytes
	bytes  int
	nodes  map[nodeID]*node
	recent *list.List // of *node, the last used first
	// released counts how often changed nodes were let go: what somebody read from
	// the database before that may be older than what was let go.
	released uint64
}

func newNodeCache(limit int) *nodeCache {
	return &nodeCache{max: limit, nodes: make(map[nodeID]*node), recent: list.New()}
}

// child returns a key that a node holds, if the node is there, and else what add
// wants to know.
func (c *nodeCache) child(id nodeID, child int) (key [keySize]byte, released uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	if n == nil {
		return key, c.released, false
	}
	c.recent.MoveToFront(n.place)
	return n.child(child), c.released, true
}

// add takes over a node that was read when the count was released, unless there is
// one, or it may be out of date.
func (c *nodeCache) add(n *node, released uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes[n.id] != nil || released != c.released {
		n.wipe()
		return
	}
	c.insert(n)
}

// insert adds a node that is not there; mu is held. Others go.
func (c *nodeCache) insert(n *node) {
	n.place = c.recent.PushFront(n)
	c.nodes[n.id] = n
	c.bytes += len(n.children) + nodeOverhead
	for e := c.recent.Back(); e != nil && c.bytes > c.max; {
		old := e.Value.(*node)
		e = e.Prev()
		if !old.pinned && old != n {
			c.remove(old)
		}
	}
}

// pin returns a node that will stay until it is let go, if it is there.
func (c *nodeCache) pin(id nodeID) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	if n != nil {
		n.pinned = true
	}
	return n
}

// addPinned adds a node that somebody will change.
func (c *nodeCache) addPinned(n *node) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if there := c.nodes[n.id]; there != nil { // a reader was faster
		n.wipe()
		there.pinned = true
		return there
	}
	n.pinned = true
	c.insert(n)
	return n
}

// change changes a child of a pinned node.
func (c *nodeCache) change(n *node, child int, key *[keySize]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.set(child, key)
}

// release lets changed nodes go.
func (c *nodeCache) release(changed map[nodeID]*node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released++
	for _, n := range changed {
		n.pinned = false
	}
}

// drop wipes a node, if it is there.
func (c *nodeCache) drop(id nodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released++
	if n := c.nodes[id]; n != nil {
		c.remove(n)
	}
}

func (c *nodeCache) remove(n *node) {
	n.wipe()
	c.recent.Remove(n.place)
	delete(c.nodes, n.id)
	c.bytes -= len(n.children) + nodeOverhead
}

// wipe wipes everything.
func (c *nodeCache) wipe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released++
	for _, n := range c.nodes {
		c.remove(n)
	}
}

func (c *nodeCache) size() (nodes, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.nodes), c.bytes
}
