package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sort"
)

var errStaged = errors.New("the staged tree is another one")

// verify reads the staged tree back through a connection that did not write it, from
// the custody down, and holds it to the tree that it follows: every path to a doomed
// slot has new keys, the slot has none any more, and everything else is as it was.
func (s *swap) verify(ctx context.Context) error {
	raw, err := readMeta(ctx, s.reader, metaStaged)
	if err != nil {
		return err
	}
	state, err := parseTreeState(raw)
	if err != nil {
		return err
	}
	if !bytes.Equal(state.marshal(), s.next.marshal()) {
		return fmt.Errorf("its state: %w", errStaged)
	}
	key, err := s.to.Open(ctx, s.root, state.top, s.id.topContext(state.generation, state.height))
	if err != nil {
		return fmt.Errorf("opening it with the new root key: %w", err)
	}
	defer clear(key)
	if len(key) != keySize {
		return fmt.Errorf("its top key has %d bytes: %w", len(key), errStaged)
	}
	v := verification{swap: s}
	if err := v.node(ctx, s.state.topID(), s.tree.topKey, [keySize]byte(key), s.doomed); err != nil {
		return err
	}
	var staged int
	if err := s.reader.QueryRowContext(ctx, "SELECT count(*) FROM staged").Scan(&staged); err != nil {
		return err
	}
	if staged != v.nodes {
		return fmt.Errorf("%d nodes, of which %d lead to what is destroyed: %w", staged, v.nodes, errStaged)
	}
	return nil
}

type verification struct {
	*swap
	nodes int // compared
}

// node compares a staged node with the one that it follows, and then those below.
// doomed are the slots below it.
func (v *verification) node(ctx context.Context, id nodeID, former, next [keySize]byte, doomed []doomedSlot) error {
	was, err := v.read(ctx, readNode, id, &former)
	if err != nil {
		return fmt.Errorf("opening what it follows: %w", err)
	}
	defer clear(was)
	is, err := v.read(ctx, "SELECT blob FROM staged WHERE id = ?", id, &next)
	if err != nil {
		return fmt.Errorf("opening it: %w", err)
	}
	defer clear(is)
	v.nodes++
	if next == former {
		return fmt.Errorf("node %d of level %d keeps its key: %w", id.index, id.level, errStaged)
	}
	width := int64(1) // slots below a child
	for range id.level {
		width *= int64(v.state.fanOut)
	}
	for i := range v.state.fanOut {
		first := (id.index*int64(v.state.fanOut) + int64(i)) * width
		n := sort.Search(len(doomed), func(n int) bool { return int64(doomed[n].slot) >= first+width })
		below := doomed[:n]
		doomed = doomed[n:]
		old, new := [keySize]byte(was[i*keySize:]), [keySize]byte(is[i*keySize:])
		switch {
		case len(below) == 0 && old != new:
			return fmt.Errorf("child %d of node %d of level %d: %w", i, id.index, id.level, errStaged)
		case len(below) > 0 && id.level == 0 && new != [keySize]byte{}:
			return fmt.Errorf("slot %d still has a key: %w", below[0].slot, errStaged)
		case len(below) > 0 && id.level > 0:
			if err := v.node(ctx, nodeID{id.level - 1, id.index*int64(v.state.fanOut) + int64(i)}, old, new, below); err != nil {
				return err
			}
		}
	}
	if len(doomed) > 0 {
		return fmt.Errorf("slot %d is not below node %d of level %d: %w", doomed[0].slot, id.index, id.level, errStaged)
	}
	return nil
}

func (v *verification) read(ctx context.Context, query string, id nodeID, key *[keySize]byte) ([]byte, error) {
	var blob []byte
	if err := v.reader.QueryRowContext(ctx, query, id.row()).Scan(&blob); err != nil {
		return nil, fmt.Errorf("node %d of level %d: %w", id.index, id.level, err)
	}
	return unsealNode(v.id, id, key, blob, v.state.fanOut)
}
