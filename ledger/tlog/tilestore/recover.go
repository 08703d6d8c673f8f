package tilestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/proof"
)

// markFile holds the durable mark.
const markFile = "synced"

// loadChunk is how many leaf hashes are held at once while tiles are computed.
const loadChunk = 4096

// Mark returns the durable mark: every full tile within that many leaves is on
// the disk. Without a readable mark it is 0.
func (t *Tiles) Mark() (uint64, error) {
	data, err := disk.ReadFile(t.fsys, filepath.Join(t.dir, markFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the mark of synced tiles: %w", err)
	}
	number, ok := strings.CutSuffix(string(data), "\n")
	mark, err := strconv.ParseUint(number, 10, 63)
	if !ok || err != nil {
		t.logger.Warn("the mark of synced tiles is unreadable; computing all tiles from the leaves", "dir", t.dir)
		return 0, nil
	}
	return mark, nil
}

// Forget takes back the durable mark, because tiles that it vouches for are about
// to be written again. A crash before it leaves the mark with the tiles as they
// were, one after it no mark, so that all tiles are computed again. The folder is
// synced even if the mark is not there: an earlier Forget may have failed there,
// and a crash would then bring the mark back.
func (t *Tiles) Forget() error {
	err := t.fsys.Remove(filepath.Join(t.dir, markFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err := errors.Join(err, t.fsys.SyncDir(t.dir)); err != nil {
		return fmt.Errorf("removing the mark of synced tiles: %w", err)
	}
	return nil
}

// Load forgets what is in memory and takes up the tree of the first size leaves:
// the full tiles within the first mark leaves are trusted to be on the disk, all
// others are computed from the leaves and written. Load(ctx, 0, size) computes
// every tile from the leaves; call Forget before it.
//
// The caller must compare Root with what was signed: a tile that the disk
// damaged below the mark shows there, or when it is first read.
func (t *Tiles) Load(ctx context.Context, mark, size uint64) error {
	if err := t.reset(); err != nil {
		return fmt.Errorf("closing tiles: %w", err)
	}
	t.size = min(mark, size) / proof.TileWidth * proof.TileWidth
	for level := range levels {
		if err := t.loadEdge(level); err != nil {
			return err
		}
	}
	for t.size < size {
		hashes, err := t.hashes(ctx, t.size, int(min(size-t.size, loadChunk)))
		if err != nil {
			return fmt.Errorf("computing tiles from leaf %d on: %w", t.size, err)
		}
		for _, h := range hashes {
			if err := t.add(0, h); err != nil {
				return err
			}
			t.size++
		}
	}
	return t.writeEdge()
}

// loadEdge fills the edge tile of a level with the roots of the full tiles below
// it. t.size is a multiple of TileWidth, so that level 0 starts empty.
func (t *Tiles) loadEdge(level int) error {
	have := t.size >> uint(proof.TileHeight*level)
	edge := &tile{level: level, index: have / proof.TileWidth}
	for i := range have % proof.TileWidth {
		below, err := t.readFull(level-1, edge.index*proof.TileWidth+i)
		if err != nil {
			return err
		}
		edge.set(i, below.root())
	}
	t.edge[level].Store(edge)
	return nil
}

// add appends a hash to a level, and to the level above whatever that completes.
func (t *Tiles) add(level int, h tlog.Hash) error {
	edge := t.edge[level].Load()
	i := t.size >> uint(proof.TileHeight*level) % proof.TileWidth
	edge.set(i, h)
	if i < proof.TileWidth-1 {
		return nil
	}
	if err := t.write(edge, proof.TileWidth); err != nil {
		return err
	}
	t.cache.put(edge)
	t.edge[level].Store(&tile{level: level, index: edge.index + 1})
	return t.add(level+1, edge.root())
}

// writeEdge writes the partial tiles and removes those that a crash left behind
// beside them.
func (t *Tiles) writeEdge() error {
	for _, id := range proof.EdgeTiles(t.size) {
		if err := t.write(t.edge[id.Level].Load(), id.Width); err != nil {
			return err
		}
	}
	for level := range levels {
		t.sweep(level)
	}
	return nil
}

// sweep removes the partial tiles beside a level's edge that are not current. One
// that stays behind is harmless, so failures are only logged.
func (t *Tiles) sweep(level int) {
	edge, current := t.edge[level].Load(), t.partial[level].path
	beside := filepath.Dir(t.path(proof.Tile{Level: level, Index: edge.index, Width: proof.TileWidth}))
	entries, err := t.fsys.ReadDir(beside)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".p") {
			continue
		}
		folder := filepath.Join(beside, e.Name())
		partials, readErr := t.fsys.ReadDir(folder)
		err = errors.Join(err, readErr)
		for _, p := range partials {
			if path := filepath.Join(folder, p.Name()); path != current {
				err = errors.Join(err, t.fsys.Remove(path))
			}
		}
		if filepath.Dir(current) != folder {
			err = errors.Join(err, t.fsys.Remove(folder))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.logger.Warn("a replaced partial tile could not be removed", "folder", beside, "error", err)
	}
}

// readFull reads a full tile's file as it is.
func (t *Tiles) readFull(level int, index uint64) (*tile, error) {
	path := t.path(proof.Tile{Level: level, Index: index, Width: proof.TileWidth})
	data, err := disk.ReadFile(t.fsys, path)
	if err != nil {
		return nil, fmt.Errorf("reading tile: %w", err)
	}
	hashes, err := proof.ParseHashTile(data, proof.TileWidth)
	if err != nil {
		return nil, fmt.Errorf("reading tile %s: %w", path, err)
	}
	return newTile(level, index, hashes), nil
}

func newTile(level int, index uint64, hashes []tlog.Hash) *tile {
	tl := &tile{level: level, index: index}
	for i, h := range hashes {
		tl.set(uint64(i), h)
	}
	return tl
}

// loadFull reads a full tile and holds it against its hash in the level above,
// and so in the end against the edge, whose root was signed. A tile that is
// missing or wrong is computed again from what is below it, and its file is
// replaced.
func (t *Tiles) loadFull(ctx context.Context, level int, index uint64) (*tile, error) {
	if index >= t.edge[level].Load().index {
		return nil, fmt.Errorf("tile %d of level %d is beyond the tree", index, level)
	}
	want, err := t.Node(ctx, uint(level+1)*proof.TileHeight, index)
	if err != nil {
		return nil, err
	}
	tl, err := t.readFull(level, index)
	if err == nil && tl.root() == want {
		return tl, nil
	}
	path := t.path(proof.Tile{Level: level, Index: index, Width: proof.TileWidth})
	t.logger.Warn("a tile was missing or damaged; computing it again", "path", path, "error", err)
	tl, err = t.compute(ctx, level, index, false)
	if err == nil && tl.root() != want && level > 0 {
		tl, err = t.compute(ctx, level, index, true) // a tile below is damaged too
	}
	if err != nil {
		return nil, fmt.Errorf("computing tile %s again: %w", path, err)
	}
	if tl.root() != want {
		return nil, fmt.Errorf("%s: %w", path, ErrDamaged)
	}
	t.repair.Lock()
	defer t.repair.Unlock()
	// A crash before this leaves the damaged file, one after it the good one.
	if err := disk.WriteFile(t.fsys, path, tl.bytes(proof.TileWidth), 0o644); err != nil {
		t.logger.Warn("the tile's file could not be replaced", "path", path, "error", err)
	}
	return tl, nil
}

// compute makes a full tile out of what is below it: the tiles one level down, or
// the leaves if it must. The caller checks the result against the tile's root.
func (t *Tiles) compute(ctx context.Context, level int, index uint64, fromLeaves bool) (*tile, error) {
	if level == 0 {
		hashes, err := t.hashes(ctx, index*proof.TileWidth, proof.TileWidth)
		if err != nil {
			return nil, err
		}
		return newTile(level, index, hashes), nil
	}
	tl := &tile{level: level, index: index}
	for i := range uint64(proof.TileWidth) {
		child := t.cache.get(key{level - 1, index*proof.TileWidth + i})
		var err error
		if child == nil && !fromLeaves {
			child, err = t.readFull(level-1, index*proof.TileWidth+i)
		}
		if child == nil || err != nil {
			child, err = t.compute(ctx, level-1, index*proof.TileWidth+i, fromLeaves)
		}
		if err != nil {
			return nil, err
		}
		tl.set(i, child.root())
	}
	return tl, nil
}

// Sync makes the full tiles within the first to leaves durable, given that those
// within the first from are, and then moves the mark to to.
//
// A crash before the mark is replaced leaves the old mark, and the tiles since
// then are computed again; a crash after it leaves the new mark, and all of its
// tiles are on the disk.
func (t *Tiles) Sync(from, to uint64) error {
	folders := map[string]bool{t.dir: true}
	for level := range levels {
		above := uint(proof.TileHeight * (level + 1))
		for index := from >> above; index < to>>above; index++ {
			path := t.path(proof.Tile{Level: level, Index: index, Width: proof.TileWidth})
			if err := t.syncFile(path); err != nil {
				return fmt.Errorf("syncing tile %s: %w", path, err)
			}
			for dir := filepath.Dir(path); !folders[dir]; dir = filepath.Dir(dir) {
				folders[dir] = true
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		if err := t.fsys.SyncDir(dir); err != nil {
			return fmt.Errorf("syncing folder of tiles %s: %w", dir, err)
		}
	}
	mark := strconv.AppendUint(nil, to, 10)
	if err := disk.WriteFile(t.fsys, filepath.Join(t.dir, markFile), append(mark, '\n'), 0o644); err != nil {
		return fmt.Errorf("recording the mark of synced tiles: %w", err)
	}
	return nil
}

func (t *Tiles) syncFile(path string) error {
	f, err := t.fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
