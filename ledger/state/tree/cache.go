package tree

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/medledger/medledger/verifier/mpt"
)

// newPage adds a page without contents.
func (t *Tree) newPage() *page {
	p := &page{row: t.nextRow}
	t.nextRow++
	t.pages = append(t.pages, p)
	return p
}

// write gives a page new entries, and returns the hash of the node above them.
func (t *Tree) write(p *page, depth int, entries []entry) mpt.Hash {
	t.count(p, -1)
	if p.contents != nil {
		t.entries -= len(p.contents.items)
		t.shut(p)
	}
	c := encode(depth, entries, t.space())
	p.data = c.data
	if !p.dirty {
		p.dirty = true
		t.changed = append(t.changed, p)
	}
	t.entries += len(entries)
	t.count(p, +1)
	hash := hashOf(c.items)
	t.spaces = append(t.spaces, c.items)
	return hash
}

// space is where items can be made.
func (t *Tree) space() []item {
	n := len(t.spaces)
	if n == 0 {
		return nil
	}
	space := t.spaces[n-1]
	t.spaces = t.spaces[:n-1]
	return space
}

// shut forgets what was derived of a page.
func (t *Tree) shut(p *page) {
	if p.contents != nil {
		t.spaces = append(t.spaces, p.contents.items)
		p.contents = nil
	}
}

// shutAll forgets what was derived of the pages that were opened for an Update.
func (t *Tree) shutAll() {
	for _, p := range t.opened {
		t.shut(p)
	}
	clear(t.opened)
	t.opened = t.opened[:0]
}

// count takes a page out of the sums of bytes, before it changes, or into them,
// afterwards.
func (t *Tree) count(p *page, sign int) {
	size := sign * cap(p.data)
	t.loaded += size
	if p.dirty || p.flushing {
		t.pinned += size
	}
	if p.dirty {
		t.dirty += sign * len(p.data)
	}
}

// load opens the page of a node for an Update, and reads it into memory if it is not
// there.
func (t *Tree) load(n *node) error {
	p := n.page
	p.used = true
	if p.contents != nil {
		return nil
	}
	c, err := t.peek(n, t.space())
	if err != nil {
		return err
	}
	if p.data == nil {
		t.loads++
		p.data = c.data
		t.count(p, +1)
	}
	p.contents = c
	t.opened = append(t.opened, p)
	return nil
}

// peek returns the contents of a node's page without keeping them, in the space of items
// that nobody needs any more.
func (t *Tree) peek(n *node, space []item) (*contents, error) {
	p := n.page
	if p.contents != nil {
		return p.contents, nil
	}
	data := p.data
	if data == nil {
		var err error
		if data, err = t.readData(p); err != nil {
			return nil, err
		}
	}
	c, _, err := parse(data, t.config.Leaf, space)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w: %w", p.row, err, ErrCopy)
	}
	return c, nil
}

// readData reads a page from the file, which must be what was written there.
func (t *Tree) readData(p *page) ([]byte, error) {
	var data []byte
	err := t.readPage.QueryRow(p.row).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("page %d is missing: %w", p.row, ErrCopy)
	}
	if err != nil {
		return nil, fmt.Errorf("reading page %d: %w: %w", p.row, err, ErrCopy)
	}
	if t.seal.digestOf(p.row, data) != p.digest {
		return nil, fmt.Errorf("page %d is not what was written: %w", p.row, ErrCopy)
	}
	return data, nil
}

// sweep drops pages that are in the file from memory until what is left of them is
// within bounds: those that were not used since it came by (the clock algorithm). There
// are more of them after a flush only, as Update changes every page that it loads.
func (t *Tree) sweep() {
	for turns := 2 * len(t.pages); t.loaded-t.pinned > t.config.CacheBytes && turns > 0; turns-- {
		t.hand = (t.hand + 1) % len(t.pages)
		p := t.pages[t.hand]
		switch {
		case p.data == nil || p.dirty || p.flushing:
		case p.used:
			p.used = false
		default:
			t.count(p, -1)
			p.data = nil
		}
	}
}
