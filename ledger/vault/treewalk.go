package vault

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/medledger/medledger/ledger/custody"
)

// treeWalk opens the nodes of a tree that come in the order of their rows, each after
// the one that holds its key.
type treeWalk struct {
	id     vaultID
	fanOut int
	// keys has those of the nodes to come.
	keys map[nodeID][keySize]byte
}

func newTreeWalk(id vaultID, fanOut, height int, topKey []byte) (*treeWalk, error) {
	if len(topKey) != keySize || height < 1 {
		return nil, fmt.Errorf("a top key of %d bytes, %d levels: %w", len(topKey), height, errTree)
	}
	return &treeWalk{id, fanOut, map[nodeID][keySize]byte{{height - 1, 0}: [keySize]byte(topKey)}}, nil
}

// node opens the next node. visit is called for each key at level 0, in the order of
// the slots.
func (w *treeWalk) node(id nodeID, blob []byte, visit func(slot, *[keySize]byte) error) error {
	own, ok := w.keys[id]
	if !ok {
		return fmt.Errorf("nothing has the key of node %d of level %d: %w", id.index, id.level, errTree)
	}
	delete(w.keys, id)
	children, err := unsealNode(w.id, id, &own, blob, w.fanOut)
	clear(own[:])
	if err != nil {
		return err
	}
	defer clear(children)
	for i := range w.fanOut {
		key := [keySize]byte(children[i*keySize:])
		if key == ([keySize]byte{}) {
			continue
		}
		at := id.index*int64(w.fanOut) + int64(i)
		if id.level > 0 {
			w.keys[nodeID{id.level - 1, at}] = key
			continue
		}
		err := visit(slot(at), &key)
		clear(key[:])
		if err != nil {
			return err
		}
	}
	return nil
}

// end reports whether every node came.
func (w *treeWalk) end() error {
	if len(w.keys) > 0 {
		return fmt.Errorf("%d nodes are missing: %w", len(w.keys), errTree)
	}
	return nil
}

// walkTree visits every key of the tree in a database, from the custody down.
func walkTree(ctx context.Context, on querier, in custody.Custody, visit func(slot, *[keySize]byte) error) error {
	id, _, err := readIDs(ctx, on)
	if err != nil {
		return err
	}
	state, err := readState(ctx, on)
	if err != nil {
		return err
	}
	topKey, err := in.Open(ctx, id.rootName(state.generation), state.top, id.topContext(state.generation, state.height))
	if err != nil {
		return err
	}
	defer clear(topKey)
	walk, err := newTreeWalk(id, state.fanOut, state.height, topKey)
	if err != nil {
		return err
	}
	err = eachRow(ctx, on, "SELECT id, blob FROM nodes ORDER BY id", func(rows *sql.Rows) error {
		var row int64
		var blob []byte
		if err := rows.Scan(&row, &blob); err != nil {
			return err
		}
		n, ok := nodeOfRow(row)
		if !ok {
			return fmt.Errorf("row %d is no node: %w", row, errTree)
		}
		return walk.node(n, blob, visit)
	})
	if err != nil {
		return err
	}
	return walk.end()
}
