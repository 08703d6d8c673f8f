package vault

import (
	"sync"

	"github.com/medledger/medledger/events"
)

// cachedKeys bounds the cache: about 200 bytes each.
const cachedKeys = 16384

// keyCache holds unwrapped keys of versions lately read. It gives out copies,
// and wipes what it drops.
type keyCache struct {
	mu      sync.Mutex
	max     int
	n       int
	records map[events.ID][]*cachedKey
}

type cachedKey struct {
	version uint32
	at      location
	secrets secrets
}

func newKeyCache(limit int) *keyCache {
	return &keyCache{max: limit, records: make(map[events.ID][]*cachedKey)}
}

func (c *keyCache) get(record events.ID, version uint32) (at location, s secrets, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.records[record] {
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
	for _, e := range c.records[record] {
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
	c.records[record] = append(c.records[record], &cachedKey{version, at, *s})
	c.n++
}

// drop wipes the keys of a record.
func (c *keyCache) drop(record events.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(record)
}

func (c *keyCache) dropLocked(record events.ID) {
	for _, e := range c.records[record] {
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
