package tilestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/google/trillian/storage/tree"
	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/proof"
)

// DefaultCacheTiles is how many full tiles a log keeps in memory: 16 MiB.
const DefaultCacheTiles = 1024

// ErrDamaged is wrapped by the errors of a tile that could neither be read nor
// computed again: the leaves below it are not those that were integrated.
var ErrDamaged = errors.New("tile does not match its tree and its leaves do not restore it; compare the event store with a backup")

// HashReader returns the hashes of the leaves [first, first+count), all of them
// or an error. Tiles are recomputed from it.
type HashReader func(ctx context.Context, first uint64, count int) ([]tlog.Hash, error)

// Tiles keeps the nodes of one tree. Load, Commit and Close are for one writer
// at a time, Sync is for one caller at a time; the other methods are for any
// number of concurrent readers, who may ask for nodes within any size that was
// committed before they were told of it.
type Tiles struct {
	fsys   disk.FS
	dir    string
	hashes HashReader
	logger *slog.Logger
	cache  *cache
	repair sync.Mutex // held while a damaged tile's file is replaced

	// edge holds the rightmost tile of each level: the one that the next hash
	// of the level goes into. It may be empty but is never full.
	edge [levels]atomic.Pointer[tile]

	// The rest belongs to the writer.
	size    uint64          // leaves whose nodes are in
	partial [levels]partial // the level's partial tile on disk
	spare   [levels]string  // empty folder of a partial tile that became full
}

// partial is the open file of a partial tile; its file is nil if there is none.
type partial struct {
	file  disk.File
	path  string
	index uint64
	width int
}

// NewTiles returns the tiles in a folder, as yet of an empty tree: call Load
// next. It keeps up to cacheTiles full tiles in memory, of 16 KiB each.
func NewTiles(fsys disk.FS, dir string, hashes HashReader, cacheTiles int, logger *slog.Logger) *Tiles {
	t := &Tiles{fsys: fsys, dir: filepath.Clean(dir), hashes: hashes, logger: logger, cache: newCache(cacheTiles)}
	for level := range levels {
		t.edge[level].Store(&tile{level: level})
	}
	return t
}

// reset forgets what is in memory.
func (t *Tiles) reset() error {
	err := t.Close()
	t.size, t.spare = 0, [levels]string{}
	t.cache = newCache(t.cache.limit)
	for level := range levels {
		t.edge[level].Store(&tile{level: level})
	}
	return err
}

// Close closes the files of the partial tiles. Reading goes on working.
func (t *Tiles) Close() error {
	var errs []error
	for level := range t.partial {
		if f := t.partial[level].file; f != nil {
			errs = append(errs, f.Close())
		}
		t.partial[level] = partial{}
	}
	return errors.Join(errs...)
}

// Size returns how many leaves' nodes are in. Writer only.
func (t *Tiles) Size() uint64 { return t.size }

// Node returns a node of the tree, by its level above the leaves and its index
// within the level.
func (t *Tiles) Node(ctx context.Context, level uint, index uint64) (tlog.Hash, error) {
	tileLevel, tileIndex, at := locate(level, index)
	if tileLevel > proof.MaxLevel {
		return tlog.Hash{}, fmt.Errorf("node at level %d, index %d: no such tile", level, index)
	}
	tl, err := t.tile(ctx, tileLevel, tileIndex)
	if err != nil {
		return tlog.Hash{}, err
	}
	return tl.nodes[at], nil
}

// Tile returns the file of a hash tile at a width that it has in a committed
// size: wider tiles serve narrower requests.
func (t *Tiles) Tile(ctx context.Context, want proof.Tile) ([]byte, error) {
	tl, err := t.tile(ctx, want.Level, want.Index)
	if err != nil {
		return nil, err
	}
	return tl.bytes(want.Width), nil
}

// Root returns the root of the first size leaves, which must have been
// committed.
func (t *Tiles) Root(ctx context.Context, size uint64) (tlog.Hash, error) {
	if size == 0 {
		return proof.EmptyRoot(), nil
	}
	ids := compact.RangeNodes(0, size, nil)
	var root tlog.Hash
	for i := len(ids) - 1; i >= 0; i-- {
		h, err := t.Node(ctx, ids[i].Level, ids[i].Index)
		if err != nil {
			return tlog.Hash{}, err
		}
		if i == len(ids)-1 {
			root = h
		} else {
			root = tlog.NodeHash(h, root)
		}
	}
	return root, nil
}

// tile returns an edge tile or a full one.
func (t *Tiles) tile(ctx context.Context, level int, index uint64) (*tile, error) {
	if edge := t.edge[level].Load(); edge.index == index {
		return edge, nil
	}
	if full := t.cache.get(key{level, index}); full != nil {
		return full, nil
	}
	full, err := t.loadFull(ctx, level, index)
	if err != nil {
		return nil, err
	}
	t.cache.put(full)
	return full, nil
}

// Commit takes in the nodes that grow the tree to newSize leaves, as Trillian
// computed them, and writes the tiles they belong to. They are all of the new
// perfect subtrees, leaves included.
//
// Nothing is synced. A crash loses any of the tiles written since the mark;
// Load computes them again.
func (t *Tiles) Commit(newSize uint64, nodes []tree.Node) error {
	if newSize < t.size {
		return fmt.Errorf("tree of %d leaves cannot shrink to %d", t.size, newSize)
	}
	var grown [levels][]*tile
	for level := range levels {
		grown[level] = []*tile{t.edge[level].Load()}
	}
	for _, n := range nodes {
		level, index, at := locate(n.ID.Level, n.ID.Index)
		if level > proof.MaxLevel || len(n.Hash) != tlog.HashSize || index < grown[level][0].index {
			return fmt.Errorf("node at level %d, index %d is not beyond the tree of %d leaves", n.ID.Level, n.ID.Index, t.size)
		}
		for index >= grown[level][0].index+uint64(len(grown[level])) {
			last := grown[level][len(grown[level])-1]
			grown[level] = append(grown[level], &tile{level: level, index: last.index + 1})
		}
		copy(grown[level][index-grown[level][0].index].nodes[at][:], n.Hash)
	}
	for level := range levels {
		if err := t.commitLevel(newSize, grown[level]); err != nil {
			return err
		}
	}
	t.size = newSize
	return nil
}

// commitLevel writes the tiles of one level, the old edge first, and moves the
// edge on.
func (t *Tiles) commitLevel(newSize uint64, grown []*tile) error {
	level := grown[0].level
	for _, tl := range grown {
		before, width := proof.WidthAt(t.size, level, tl.index), proof.WidthAt(newSize, level, tl.index)
		if width == before {
			continue
		}
		if err := t.write(tl, width); err != nil {
			return err
		}
		if width == proof.TileWidth {
			t.cache.put(tl)
		}
	}
	last := grown[len(grown)-1]
	if proof.WidthAt(newSize, level, last.index) == proof.TileWidth {
		last = &tile{level: level, index: last.index + 1}
	}
	t.edge[level].Store(last)
	return nil
}

// write brings a tile's file to a width and to the name of that width. A partial
// tile that grew is renamed first and then appended to, so that at any moment
// and after any crash its file holds a prefix of the tile; whoever asked for
// fewer hashes finds them in it. (Making a new file for each width and removing
// the old one costs far more: ext4 searches past recently freed inodes.)
func (t *Tiles) write(tl *tile, width int) error {
	path := t.path(proof.Tile{Level: tl.level, Index: tl.index, Width: width})
	p := &t.partial[tl.level]
	var err error
	if p.file == nil || p.index != tl.index {
		err = t.create(tl, path)
	} else if path != p.path {
		err = t.fsys.Rename(p.path, path)
		if width == proof.TileWidth {
			t.spare[tl.level] = filepath.Dir(p.path)
		}
	}
	if err != nil {
		return fmt.Errorf("writing tile: %w", err)
	}
	p.path = path
	if _, err := p.file.WriteAt(proof.FormatHashTile(tl.nodes[p.width:width]), int64(p.width)*tlog.HashSize); err != nil {
		return fmt.Errorf("writing tile %s: %w", path, err)
	}
	p.width = width
	if width < proof.TileWidth {
		return nil
	}
	err = p.file.Close()
	*p = partial{}
	if err != nil {
		return fmt.Errorf("writing tile %s: %w", path, err)
	}
	return nil
}

// create makes an empty file for a tile. The folder for a new partial tile is,
// if possible, that of the one before it, which became full.
func (t *Tiles) create(tl *tile, path string) error {
	folder, spare := filepath.Dir(path), t.spare[tl.level]
	reused := false
	if spare != "" && filepath.Ext(folder) == ".p" {
		reused = filepath.Dir(folder) == filepath.Dir(spare) && t.fsys.Rename(spare, folder) == nil
		t.spare[tl.level] = ""
	}
	if !reused { // a spare folder elsewhere stays, empty: one in a thousand tiles
		if err := t.fsys.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	f, err := t.fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	t.partial[tl.level] = partial{file: f, path: path, index: tl.index}
	return nil
}

// path returns the operating-system path of a tile.
func (t *Tiles) path(id proof.Tile) string {
	return filepath.Join(t.dir, filepath.FromSlash(proof.FormatPath(id)))
}
