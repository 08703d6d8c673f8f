package tree

import (
	"database/sql"
	"errors"
	"fmt"
)

// newPage adds a page without contents.
func (t *Tree) newPage() *page {
	p := &page{row: t.nextRow}
	t.nextRow++
	t.pages = append(t.pages, p)
	return p
}

// write gives a page new contents.
func (t *Tree) write(p *page, depth int, entries []entry) {
	var space []item
	t.count(p, -1)
	if p.contents != nil {
		space = p.contents.items
		t.entries -= len(space)
	}
	p.contents = encode(depth, entries, space)
	if !p.dirty {
		p.dirty = true
		t.changed = append(t.changed, p)
	}
	t.entries += len(entries)
	t.count(p, +1)
}

// count takes a page out of the sums of bytes, before it changes, or into them,
// afterwards.
func (t *Tree) count(p *page, sign int) {
	if p.contents == nil {
		return
	}
	size := sign * p.contents.size()
	t.loaded += size
	if p.dirty || p.flushing {
		t.pinned += size
	}
	if p.dirty {
		t.dirty += sign * len(p.contents.data)
	}
}

// load reads the page of a node into memory, if it is not there.
func (t *Tree) load(n *node) error {
	n.page.used = true
	if n.page.contents != nil {
		return nil
	}
	c, err := t.peek(n)
	if err != nil {
		return err
	}
	t.loads++
	n.page.contents = c
	t.count(n.page, +1)
	return nil
}

// peek returns the contents of a node's page without keeping them. What is read from
// the file must be what was written there.
func (t *Tree) peek(n *node) (*contents, error) {
	p := n.page
	if p.contents != nil {
		return p.contents, nil
	}
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
	c, _, err := parse(data, t.config.Leaf)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w: %w", p.row, err, ErrCopy)
	}
	return c, nil
}

// sweep drops pages that are in the file from memory until what is left of them is
// within bounds: those that were not used since it came by (the clock algorithm). There
// are more of them after a flush only, as Update changes every page that it loads.
func (t *Tree) sweep() {
	for turns := 2 * len(t.pages); t.loaded-t.pinned > t.config.CacheBytes && turns > 0; turns-- {
		t.hand = (t.hand + 1) % len(t.pages)
		p := t.pages[t.hand]
		switch {
		case p.contents == nil || p.dirty || p.flushing:
		case p.used:
			p.used = false
		default:
			t.count(p, -1)
			p.contents = nil
		}
	}
}
