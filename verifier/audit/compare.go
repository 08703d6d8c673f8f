package audit

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
)

// difference is where a hash tile as served is not the one that the statements
// give.
type difference struct {
	at               int // the first hash that differs
	count            int // how many do
	served, computed tlog.Hash
	why              error // the tile has no hashes, for this reason
}

// compare fetches a hash tile and compares it with the hashes that it should
// have. It returns nil if they are the same. The error is the source's.
func compare(ctx context.Context, src Source, t proof.Tile, want []tlog.Hash) (*difference, error) {
	data, err := src.Tile(ctx, t)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(data, proof.FormatHashTile(want)) {
		return nil, nil
	}
	served, err := proof.ParseHashTile(data, t.Width)
	if err != nil {
		return &difference{why: err}, nil
	}
	var d *difference
	for i := range want {
		if served[i] == want[i] {
			continue
		}
		if d == nil {
			d = &difference{at: i, served: served[i], computed: want[i]}
		}
		d.count++
	}
	return d, nil
}

// finding makes a finding of a difference in tile t.
func (d *difference) finding(t proof.Tile) Finding {
	path := proof.FormatPath(t)
	// A hash of level l stands for 256^l statements.
	f := Finding{What: TileMismatch, Located: true, Index: t.FirstLeaf() + uint64(d.at)<<(proof.TileHeight*uint(t.Level))}
	switch {
	case d.why != nil:
		f.Why = fmt.Sprintf("%s is no hash tile: %v", path, d.why)
		return f
	case t.Level == 0:
		f.Why = fmt.Sprintf("the statement has another hash than the log's tile %s says", path)
	default:
		f.Why = fmt.Sprintf("the statements from here on have another hash than the log's tile %s says", path)
	}
	if d.count > 1 {
		f.Why += fmt.Sprintf(", as have %d others of the tile", d.count-1)
	}
	f.Evidence = []Exhibit{{"hash in the tile", d.served.String()}, {"computed hash", d.computed.String()}}
	return f
}
