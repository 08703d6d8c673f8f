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

// compareTiles compares hash tiles above the leaves. The error is the source's.
func compareTiles(ctx context.Context, src Source, tiles []wantedTile, k kind) ([]Finding, error) {
	var findings []Finding
	for _, t := range tiles {
		differs, err := compare(ctx, src, t.tile, t.hashes)
		if f, defect := defectIn(err); defect {
			f.What = k.code(f.What)
			findings = append(findings, f)
		} else if err != nil {
			return findings, fmt.Errorf("reading %s: %w", proof.FormatPath(t.tile), err)
		}
		if differs != nil {
			findings = append(findings, differs.finding(t.tile, k))
		}
	}
	return findings, nil
}

// finding makes a finding of a difference in tile t of a log.
func (d *difference) finding(t proof.Tile, k kind) Finding {
	path := proof.FormatPath(t)
	// A hash of level l stands for 256^l leaves.
	f := Finding{What: k.code(TileMismatch), Located: true, Index: t.FirstLeaf() + uint64(d.at)<<(proof.TileHeight*uint(t.Level))}
	switch {
	case d.why != nil:
		f.Why = fmt.Sprintf("%s's tile %s is no hash tile: %v", k.log, path, d.why)
		return f
	case t.Level == 0:
		f.Why = fmt.Sprintf("the %s has another hash than %s's tile %s says", k.leaf, k.log, path)
	default:
		f.Why = fmt.Sprintf("the %s from here on have another hash than %s's tile %s says", k.leaves, k.log, path)
	}
	if d.count > 1 {
		f.Why += fmt.Sprintf(", as have %d others of the tile", d.count-1)
	}
	f.Evidence = []Exhibit{{"hash in the tile", d.served.String()}, {"computed hash", d.computed.String()}}
	return f
}
