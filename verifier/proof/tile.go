package proof

import (
	"encoding/binary"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// TileWidth is the number of hashes in a full tile and of leaves in a full
	// entry bundle.
	TileWidth = 256
	// TileHeight is log2(TileWidth): the tree levels that one tile spans.
	TileHeight = 8
	// Entries is the Level of an entry bundle.
	Entries = -1
	// MaxLevel is the highest tile level of a log of at most MaxSize leaves.
	// The specification allows 63, which no log reaches.
	MaxLevel = 7
	// MaxEntry is the largest leaf in bytes that an entry bundle can hold.
	MaxEntry = 65535
)

// Tile names one of the files of a log (C2SP tlog-tiles).
//
// A hash tile (level 0 to 7) is Width hashes of 32 bytes: hash i of tile n of
// level l is the root of leaves [(256n+i)*256^l, (256n+i+1)*256^l), so it
// exists once all of those leaves do. An entry bundle (level Entries) is Width
// leaves, each preceded by its length as a big-endian uint16; leaf i of bundle
// n has index 256n+i.
//
// A tile is full at width 256 and partial below it; only the right edge of each
// level is partial. Paths are
//
//	tile/L/N              a full hash tile
//	tile/L/N.p/W          a partial one, W from 1 to 255
//	tile/entries/N        a full entry bundle
//	tile/entries/N.p/W    a partial one
//
// where L and W are decimal in shortest form and N is the index in decimal, in
// groups of three digits, all but the last preceded by 'x': 1234067 is
// x001/x234/067. There is no superfluous leading group.
type Tile struct {
	Level int
	Index uint64
	Width int
}

// Check returns an error that wraps ErrMalformed if no log of at most MaxSize
// leaves has the tile.
func (t Tile) Check() error {
	if t.Level < Entries || t.Level > MaxLevel || t.Width < 1 || t.Width > TileWidth {
		return fmt.Errorf("tile of level %d and width %d: %w", t.Level, t.Width, ErrMalformed)
	}
	// The last leaf below the tile must have an index below 2^63.
	above := uint(TileHeight * max(t.Level, 0))
	if last := uint64(MaxSize) >> above; t.Index > last/TileWidth || t.Index*TileWidth+uint64(t.Width) > last {
		return fmt.Errorf("tile of level %d and index %d: %w", t.Level, t.Index, ErrMalformed)
	}
	return nil
}

// FirstLeaf returns the log index of the first leaf that the tile covers. The
// tile must pass Check.
func (t Tile) FirstLeaf() uint64 {
	return (t.Index * TileWidth) << uint(TileHeight*max(t.Level, 0))
}

// FormatPath returns the path of the tile, with forward slashes and without a
// leading one. The tile must pass Check.
func FormatPath(t Tile) string {
	level := "entries"
	if t.Level != Entries {
		level = strconv.Itoa(t.Level)
	}
	n := t.Index
	index := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		index = fmt.Sprintf("x%03d/%s", n%1000, index)
	}
	path := "tile/" + level + "/" + index
	if t.Width != TileWidth {
		path += ".p/" + strconv.Itoa(t.Width)
	}
	return path
}

// ParsePath reads a tile's path. It accepts what FormatPath writes and nothing
// else: no leading slash, no dots, no empty or superfluous elements, no escapes,
// no other spelling of a number. Its errors wrap ErrMalformed.
func ParsePath(path string) (Tile, error) {
	bad := func() (Tile, error) { return Tile{}, fmt.Errorf("tile path %.64q: %w", path, ErrMalformed) }
	rest, ok := strings.CutPrefix(path, "tile/")
	level, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || len(path) > 64 {
		return bad()
	}
	t := Tile{Level: Entries, Width: TileWidth}
	var err error
	if level != "entries" {
		if t.Level, err = strconv.Atoi(level); err != nil || t.Level < 0 {
			return bad()
		}
	}
	index, width, partial := strings.Cut(rest, ".p/")
	if partial {
		if t.Width, err = strconv.Atoi(width); err != nil || t.Width == TileWidth {
			return bad()
		}
	}
	index = strings.NewReplacer("x", "", "/", "").Replace(index)
	if t.Index, err = strconv.ParseUint(index, 10, 63); err != nil {
		return bad()
	}
	// Whatever was read loosely above is caught here.
	if t.Check() != nil || FormatPath(t) != path {
		return bad()
	}
	return t, nil
}

// WidthAt returns how many hashes (or leaves, for Entries) the tile of the given
// level and index has in a log of size leaves: 0 if there is no such tile.
func WidthAt(size uint64, level int, index uint64) int {
	if level < Entries || level > MaxLevel {
		return 0
	}
	have := size >> uint(TileHeight*max(level, 0))
	if index > have/TileWidth {
		return 0
	}
	return int(min(have-index*TileWidth, TileWidth))
}

// EdgeTiles returns the partial hash tiles of a log of size leaves, lowest
// level first: at most one a level.
func EdgeTiles(size uint64) []Tile {
	var tiles []Tile
	for level := 0; level <= MaxLevel; level++ {
		have := size >> uint(TileHeight*level)
		if width := int(have % TileWidth); width > 0 {
			tiles = append(tiles, Tile{Level: level, Index: have / TileWidth, Width: width})
		}
	}
	return tiles
}

// TilesOf yields the tiles of one level (Entries for the entry bundles) of a log
// of size leaves, left to right, a partial one last.
func TilesOf(size uint64, level int) iter.Seq[Tile] {
	return func(yield func(Tile) bool) {
		for index := uint64(0); ; index++ {
			width := WidthAt(size, level, index)
			if width == 0 || !yield(Tile{Level: level, Index: index, Width: width}) {
				return
			}
		}
	}
}

// FormatHashTile returns a hash tile's bytes.
func FormatHashTile(hashes []tlog.Hash) []byte {
	b := make([]byte, 0, tlog.HashSize*len(hashes))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// ParseHashTile reads a hash tile of the given width. Its errors wrap
// ErrMalformed.
func ParseHashTile(data []byte, width int) ([]tlog.Hash, error) {
	if width < 1 || width > TileWidth || len(data) != width*tlog.HashSize {
		return nil, fmt.Errorf("hash tile of %d bytes, width %d: %w", len(data), width, ErrMalformed)
	}
	hashes := make([]tlog.Hash, width)
	for i := range hashes {
		copy(hashes[i][:], data[i*tlog.HashSize:])
	}
	return hashes, nil
}

// FormatBundle returns an entry bundle's bytes. The error of a leaf that is longer
// than MaxEntry wraps ErrMalformed.
func FormatBundle(leaves [][]byte) ([]byte, error) {
	n := 0
	for _, leaf := range leaves {
		if len(leaf) > MaxEntry {
			return nil, fmt.Errorf("leaf of %d bytes in an entry bundle, limit %d: %w", len(leaf), MaxEntry, ErrMalformed)
		}
		n += 2 + len(leaf)
	}
	b := make([]byte, 0, n)
	for _, leaf := range leaves {
		b = binary.BigEndian.AppendUint16(b, uint16(len(leaf)))
		b = append(b, leaf...)
	}
	return b, nil
}

// ParseBundle reads an entry bundle of exactly width leaves, which share data's
// memory. Its errors wrap ErrMalformed.
func ParseBundle(data []byte, width int) ([][]byte, error) {
	if width < 1 || width > TileWidth {
		return nil, fmt.Errorf("entry bundle of width %d: %w", width, ErrMalformed)
	}
	leaves := make([][]byte, 0, width)
	for range width {
		if len(data) < 2 {
			return nil, fmt.Errorf("entry bundle ends before leaf %d of %d: %w", len(leaves), width, ErrMalformed)
		}
		n := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+n {
			return nil, fmt.Errorf("entry bundle ends within leaf %d of %d: %w", len(leaves), width, ErrMalformed)
		}
		leaves = append(leaves, data[2:2+n:2+n])
		data = data[2+n:]
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("entry bundle with %d bytes after its %d leaves: %w", len(data), width, ErrMalformed)
	}
	return leaves, nil
}
