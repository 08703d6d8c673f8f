package tlog

import (
	"context"
	"fmt"

	merkle "github.com/transparency-dev/merkle/proof"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
)

// maxLeaves is how many leaves one call of Leaves returns at most.
const maxLeaves = 4096

// Published returns the latest checkpoint. It never waits.
func (l *Log) Published() *Published { return l.published.Load() }

// InclusionProof returns the audit path (RFC 6962 section 2.1.1) of the leaf at
// index in the tree of the first size leaves. The error wraps ErrNotFound unless
// index < size <= the published size.
func (l *Log) InclusionProof(ctx context.Context, index, size uint64) ([]tlog.Hash, error) {
	if index >= size {
		return nil, fmt.Errorf("leaf %d of a tree of %d: %w", index, size, ErrNotFound)
	}
	if err := l.covers(size); err != nil {
		return nil, err
	}
	nodes, err := merkle.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("proving leaf %d in a tree of %d: %w", index, size, err)
	}
	return l.path(ctx, nodes)
}

// ConsistencyProof returns the proof (RFC 6962 section 2.1.2) that the tree of
// the first newer leaves extends that of the first older; it is empty if older is
// 0 or newer. The error wraps ErrNotFound unless older <= newer <= the published
// size.
func (l *Log) ConsistencyProof(ctx context.Context, older, newer uint64) ([]tlog.Hash, error) {
	if older > newer {
		return nil, fmt.Errorf("consistency of %d with the smaller %d: %w", older, newer, ErrNotFound)
	}
	if err := l.covers(newer); err != nil {
		return nil, err
	}
	nodes, err := merkle.Consistency(older, newer)
	if err != nil {
		return nil, fmt.Errorf("proving consistency of %d with %d: %w", older, newer, err)
	}
	return l.path(ctx, nodes)
}

// Root returns the root of the tree of the first size leaves, as the tiles give it.
// The error wraps ErrNotFound unless size <= the published size.
func (l *Log) Root(ctx context.Context, size uint64) (tlog.Hash, error) {
	if err := l.covers(size); err != nil {
		return tlog.Hash{}, err
	}
	return l.tiles.Root(ctx, size)
}

// path reads the nodes of a proof and joins those that make up the one node of
// it, if any, that exists only at the proof's tree size.
func (l *Log) path(ctx context.Context, nodes merkle.Nodes) ([]tlog.Hash, error) {
	_, begin, end := nodes.Ephem()
	path := make([]tlog.Hash, 0, len(nodes.IDs))
	for i, id := range nodes.IDs {
		h, err := l.tiles.Node(ctx, id.Level, id.Index)
		if err != nil {
			return nil, err
		}
		if begin < i && i < end {
			path[len(path)-1] = tlog.NodeHash(h, path[len(path)-1])
		} else {
			path = append(path, h)
		}
	}
	return path, nil
}

// Leaf returns the leaf at index, which must not be modified. The error wraps
// ErrNotFound if the leaf is not published.
func (l *Log) Leaf(ctx context.Context, index uint64) ([]byte, error) {
	list, err := l.Leaves(ctx, index, 1)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// Leaves returns up to n published leaves from index first on, at least one and
// at most 4096; they must not be modified. The error wraps ErrNotFound if the
// first is not published.
func (l *Log) Leaves(ctx context.Context, first uint64, n int) ([][]byte, error) {
	size := l.published.Load().Checkpoint.Size
	if first >= size || n < 1 {
		return nil, fmt.Errorf("%d leaves from %d on, of %d: %w", n, first, size, ErrNotFound)
	}
	return l.leaves.exactly(ctx, first, int(min(uint64(n), size-first, maxLeaves)))
}

// Checkpoint returns the latest checkpoint's signed note. With Tile and Entries
// it makes a Log the source of an audit or an export.
func (l *Log) Checkpoint(context.Context) ([]byte, error) { return l.Published().Note, nil }

// Tile returns the file of a hash tile. A width that the tile once had is
// answered from the wider tile that it has become. The error wraps ErrNotFound if
// the published tree has no such tile, or proof.ErrMalformed if no tree has.
func (l *Log) Tile(ctx context.Context, t proof.Tile) ([]byte, error) {
	if t.Level == proof.Entries {
		return nil, fmt.Errorf("hash tile of level %d: %w", t.Level, proof.ErrMalformed)
	}
	if err := l.has(t); err != nil {
		return nil, err
	}
	return l.tiles.Tile(ctx, t)
}

// Entries returns the n-th entry bundle at the given width, made from the
// events. Its errors are those of Tile.
func (l *Log) Entries(ctx context.Context, n uint64, width int) ([]byte, error) {
	if err := l.has(proof.Tile{Level: proof.Entries, Index: n, Width: width}); err != nil {
		return nil, err
	}
	list, err := l.leaves.exactly(ctx, n*proof.TileWidth, width)
	if err != nil {
		return nil, err
	}
	return proof.FormatBundle(list)
}

// has checks that the published tree has a tile.
func (l *Log) has(t proof.Tile) error {
	if err := t.Check(); err != nil {
		return err
	}
	size := l.published.Load().Checkpoint.Size
	if proof.WidthAt(size, t.Level, t.Index) < t.Width {
		return fmt.Errorf("%s in a log of %d leaves: %w", proof.FormatPath(t), size, ErrNotFound)
	}
	return nil
}

// covers checks that a tree size is published.
func (l *Log) covers(size uint64) error {
	if published := l.published.Load().Checkpoint.Size; size > published {
		return fmt.Errorf("tree of %d leaves, log has %d: %w", size, published, ErrNotFound)
	}
	return nil
}
