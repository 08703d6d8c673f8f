package vault

import (
	"sync"

	"github.com/medledger/medledger/events"
)

// cachedKeys bounds the cache. They take about 200 bytes each, 3 MB in all.
const cachedKeys = 16384

// keyCache holds unwrapped keys of versions lately read. It gives out copies,
// and wipes what it drops.
type keyCache struct {
	mu      sync.Mutex
	max     int
	n       int
	records map[events.ID]*cachedKey
}

// cachedKey is the key of one version of a record, in a list of the record's.
type cachedKey struct {
	secrets secrets
	at      location
	next    *cachedKey
	version uint32
}

func newKeyCache(limit int) *keyCache {
	return &keyCache{max: limit, records: make(map[events.ID]*cachedKey)}
}

func (c *keyCache) get(record events.ID, version uint32) (at location, s secrets, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.records[record]; e != nil; e = e.next {
		if e.version == version {
			return e.at, e.secrets, true
		}
	}
	return location{}, secrets{}, false
}

// put adds a key; if there are too many, those of some other record go.
func (c *keyCache) put(record events.ID, version uint32, at location, s *secrets) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.records[record]; e != nil; e = e.next {
		if e.version == version {
			return
		}
	}
	for c.n >= c.max {
		for id := range c.records { // Go starts at a random one
			c.dropLocked(id)
			break
		}
	}
	c.records[record] = &cachedKey{secrets: *s, at: at, next: c.records[record], version: version}
	c.n++
}

// drop wipes the keys of a record.
func (c *keyCache) drop(record events.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(record)
}

func (c *keyCache) dropLocked(record events.ID) {
	for e := c.records[record]; e != nil; e = e.next {
		e.secrets.wipe()
		c.n--
	}
	delete(c.records, record)
}

// wipe wipes everything.
func (c *keyCache) wipe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.records {
		c.dropLocked(id)
	}
}

// cachedNamed bounds how many keys of patients are kept open.
const cachedNamed = 4096

// namedCache holds named keys lately used for documents. It gives out copies,
// and wipes what it drops.
type namedCache struct {
	mu   sync.Mutex
	max  int
	keys map[keyName]*namedKey
}

type namedKey struct {
	slot slot
	key  [keySize]byte
}

func newNamedCache(limit int) *namedCache {
	return &namedCache{max: limit, keys: make(map[keyName]*namedKey)}
}

// get returns a key if it is the one of the slot.
func (c *namedCache) get(name keyName, s slot) (key [keySize]byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.keys[name]; k != nil && k.slot == s {
		return k.key, true
	}
	return key, false
}

// put adds a key; if there are too many, some other one goes.
func (c *namedCache) put(name keyName, s slot, key *[keySize]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(name)
	for len(c.keys) >= c.max {
		for other := range c.keys { // Go starts at a random one
			c.dropLocked(other)
			break
		}
	}
	c.keys[name] = &namedKey{s, *key}
}

// drop wipes a key.
func (c *namedCache) drop(name keyName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(name)
}

func (c *namedCache) dropLocked(name keyName) {
	if k := c.keys[name]; k != nil {
		clear(k.key[:])
		delete(c.keys, name)
	}
}

// wipe wipes everything.
func (c *namedCache) wipe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.keys {
		c.dropLocked(name)
	}
}
