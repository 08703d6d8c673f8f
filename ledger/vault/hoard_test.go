package vault

import (
	"bytes"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/custody"
)

// hoard is what somebody has who copied everything, and tries whatever he can.
type hoard struct {
	t       *testing.T
	custody custody.Custody
	tops    []func(name string) ([]byte, error) // sealed keys of trees' tops, tried with a key of custody's
	nodes   map[string]hoardedNode              // by what is sealed
	keys    map[[keySize]byte]bool              // that he has got
}

type hoardedNode struct {
	vault  vaultID
	id     nodeID
	fanOut int
}

func newHoard(t *testing.T, c custody.Custody) *hoard {
	return &hoard{t: t, custody: c, nodes: map[string]hoardedNode{}, keys: map[[keySize]byte]bool{}}
}

// database takes the nodes and the sealed top keys of a vault's folder.
func (h *hoard) database(dir string) {
	h.t.Helper()
	db, err := openSQLite(filepath.Join(dir, keysFile), "", 1)
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	id, _, err := readIDs(ctx, db)
	if err != nil {
		h.t.Fatal(err)
	}
	state, err := readState(ctx, db)
	if err != nil {
		h.t.Fatal(err)
	}
	h.top(id, state)
	for _, table := range []string{"nodes", "staged"} {
		err := eachRow(ctx, db, "SELECT id, blob FROM "+table, func(rows *sql.Rows) error {
			var row int64
			var blob []byte
			err := rows.Scan(&row, &blob)
			n, _ := nodeOfRow(row)
			h.nodes[string(blob)] = hoardedNode{id, n, state.fanOut}
			return err
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *hoard) top(id vaultID, state treeState) {
	h.tops = append(h.tops, func(name string) ([]byte, error) {
		return h.custody.Open(ctx, name, state.top, id.topContext(state.generation, state.height))
	})
}

// backup takes a backup of keys.
func (h *hoard) backup(keys []byte) {
	h.t.Helper()
	var head entry
	err := readEntries(bytes.NewReader(keys), keysFormat, func(e entry) error {
		if e.kind == entryTree {
			head = e
			head.bytes = bytes.Clone(e.bytes)
			return nil
		}
		h.nodes[string(e.bytes)] = hoardedNode{head.vaults[0], e.node, head.tree.fanOut}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.tops = append(h.tops, func(name string) ([]byte, error) {
		return h.custody.Open(ctx, name, head.bytes, head.vaults[0].epochContext(head.number, head.tree.height, head.tree.epoch))
	})
}

// try opens whatever opens, with every key that comes out of it, until nothing more
// does.
func (h *hoard) try() {
	h.t.Helper()
	names, err := h.custody.Names(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range names {
		for _, open := range h.tops {
			if key, err := open(name); err == nil {
				h.keys[[keySize]byte(key)] = true
			}
		}
	}
	for more := true; more; {
		more = false
		for blob, n := range h.nodes {
			for key := range h.keys {
				children, err := unsealNode(n.vault, n.id, &key, []byte(blob), n.fanOut)
				if err != nil {
					continue
				}
				for i := range n.fanOut {
					h.keys[[keySize]byte(children[i*keySize:])] = true
				}
				delete(h.nodes, blob)
				more = true
				break
			}
		}
	}
	delete(h.keys, [keySize]byte{})
}

// opens reports whether some key opens the secrets of a version.
func (h *hoard) opens(row versionRow, record events.ID, version uint32) bool {
	for key := range h.keys {
		if s, err := unwrapSecrets(&key, row.secrets, record, version); err == nil {
			s.wipe()
			return true
		}
	}
	return false
}
