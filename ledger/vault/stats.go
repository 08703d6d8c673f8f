package vault

import (
	"context"
	"fmt"

	"github.com/medledger/medledger/ledger/custody"
)

// Stats says how the key tree is doing.
type Stats struct {
	Generation uint64       // of the root key
	Retired    uint64       // root keys before it, which are destroyed
	Custody    custody.Kind // where the root key is
	FanOut     int          // children of a node
	Height     int          // levels
	Entries    int64        // living keys: of records, patients and the ledger
	LastSlot   int64        // the last one that was given out
	Nodes      int64        // in the database
	NodeBytes  int64        // what they take there, without SQLite's own
	OpenNodes  int          // in memory
	OpenBytes  int          // what these take
	Doomed     int64        // slots that the next destruction takes along
}

// countKeys counts what lives: the slots that were given out tell nothing of that, for
// a restoration leaves out a million.
const countKeys = "SELECT (SELECT count(DISTINCT record) FROM versions) + (SELECT count(*) FROM owners)"

// Stats counts nodes and keys, which takes a moment in a large vault.
func (v *Vault) Stats(ctx context.Context) (s Stats, err error) {
	if err := v.enter(ctx); err != nil {
		return s, err
	}
	defer v.leave()
	t := v.keys.tree
	t.turn.RLock()
	s.Generation, s.Custody, s.FanOut, s.Height = t.state.generation, t.state.kind, t.state.fanOut, t.state.height
	t.turn.RUnlock()
	s.Retired = s.Generation - min(s.Generation, firstGeneration)
	s.OpenNodes, s.OpenBytes = t.cache.size()
	last, err := readSlot(ctx, t.reader, metaSlot)
	if err == nil {
		err = t.reader.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM nodes), (SELECT count(*) FROM pending)").Scan(&s.Nodes, &s.Doomed)
	}
	if err == nil {
		err = t.reader.QueryRowContext(ctx, countKeys).Scan(&s.Entries)
	}
	if err != nil {
		return s, fmt.Errorf("counting the nodes and keys of the key tree: %w", err)
	}
	s.LastSlot = int64(last)
	s.NodeBytes = s.Nodes * int64(s.FanOut*keySize+sealOverhead)
	return s, nil
}
