package proof_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
)

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		path string
		tile proof.Tile
	}{
		{"tile/0/000", proof.Tile{Level: 0, Index: 0, Width: 256}},
		{"tile/0/003.p/17", proof.Tile{Level: 0, Index: 3, Width: 17}},
		{"tile/1/x001/x234/067", proof.Tile{Level: 1, Index: 1234067, Width: 256}},
		{"tile/entries/x001/000.p/255", proof.Tile{Level: proof.Entries, Index: 1000, Width: 255}},
		{"tile/7/000.p/127", proof.Tile{Level: 7, Index: 0, Width: 127}},
		{"tile/0/x036/x028/x797/x018/x963/967.p/255", proof.Tile{Level: 0, Index: 1<<55 - 1, Width: 255}},
	} {
		if got := proof.FormatPath(c.tile); got != c.path {
			t.Errorf("%+v has path %s, want %s", c.tile, got, c.path)
		}
		if got, err := proof.ParsePath(c.path); err != nil || got != c.tile {
			t.Errorf("%s is %+v, %v, want %+v", c.path, got, err, c.tile)
		}
		theirs := torchwood.TilePath(tlog.Tile{H: 8, L: c.tile.Level, N: int64(c.tile.Index), W: c.tile.Width})
		if theirs != c.path {
			t.Errorf("torchwood writes %s for %s", theirs, c.path)
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, path := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/", "/tile/0/000", "./tile/0/000", "tile//000", "tile/0/000/",
		"tile/0/../0/000", "tile/../tile/0/000", "tile/0/00", "tile/0/0000", "tile/0/0", "tile/0/1234", "tile/00/000",
		"tile/-1/000", "tile/+0/000", "tile/8/000", "tile/63/000", "tile/64/000", "tile/data/000", "tile/Entries/000",
		"tile/0/x000/000", "tile/0/x000", "tile/0/001/000", "tile/0/x001/x000", "tile/0/X001/000", "tile/0/x1/000",
		"tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/00", "tile/0/000.p/01", "tile/0/000.p/256",
		"tile/0/000.p/257", "tile/0/000.p/-1", "tile/0/000.p/+1", "tile/0/000.p/1/", "tile/0/000.p/1.p/1", "tile/0/000.P/1",
		"tile/0/000%2ep/1", "tile/0/00０", "tile/0/000\x00", "tile/0/000 ", " tile/0/000", "tile\\0\\000", "tile/0x0/000",
		"tile/0/x999/x999/x999/x999/x999/x999/999", "tile/0/x036/x028/x797/x018/x963/967", "tile/7/001", "tile/7/000",
		"tile/0/" + strings.Repeat("x001/", 1000) + "000", "tile/0/_00", "tile/0/1_0",
	} {
		if tile, err := proof.ParsePath(path); !errors.Is(err, proof.ErrMalformed) {
			t.Errorf("%q is %+v, %v", path, tile, err)
		}
	}
}

// TestTilesOf compares the tiles that exist with the specification's example and
// with x/mod's tlog.
func TestTilesOf(t *testing.T) {
	counts := func(size uint64) (full []int, edge []proof.Tile) {
		for level := range proof.MaxLevel + 1 {
			n := 0
			for tile := range proof.TilesOf(size, level) {
				if tile.Width == proof.TileWidth {
					n++
				}
			}
			full = append(full, n)
		}
		return full, proof.EdgeTiles(size)
	}
	full, edge := counts(70_000)
	if want := []int{273, 1, 0, 0, 0, 0, 0, 0}; !slices.Equal(full, want) {
		t.Errorf("full tiles %v, want %v", full, want)
	}
	want := []proof.Tile{{Level: 0, Index: 273, Width: 112}, {Level: 1, Index: 1, Width: 17}, {Level: 2, Index: 0, Width: 1}}
	if !slices.Equal(edge, want) {
		t.Errorf("partial tiles %v, want %v", edge, want)
	}
	for _, size := range []uint64{0, 1, 255, 256, 257, 511, 65535, 65536, 65537, 70000} {
		var ours, theirs []string
		for level := range proof.MaxLevel + 1 {
			for tile := range proof.TilesOf(size, level) {
				ours = append(ours, proof.FormatPath(tile))
			}
		}
		for _, tile := range tlog.NewTiles(proof.TileHeight, 0, int64(size)) {
			theirs = append(theirs, torchwood.TilePath(tile))
		}
		slices.Sort(ours)
		slices.Sort(theirs)
		if !slices.Equal(ours, theirs) {
			t.Errorf("size %d: %d tiles, x/mod has %d", size, len(ours), len(theirs))
		}
	}
	if last := proof.EdgeTiles(proof.MaxSize); last[len(last)-1] != (proof.Tile{Level: 7, Width: 127}) {
		t.Errorf("edge of the largest log: %v", last)
	}
	if proof.WidthAt(300, 8, 0) != 0 || proof.WidthAt(300, -2, 0) != 0 || proof.WidthAt(300, 0, 2) != 0 {
		t.Error("tiles that no log has have a width")
	}
}

func TestBundle(t *testing.T) {
	leaves := [][]byte{{}, []byte("a"), bytes.Repeat([]byte("b"), proof.MaxEntry)}
	bundle, err := proof.FormatBundle(leaves)
	if err != nil {
		t.Fatal(err)
	}
	got, err := proof.ParseBundle(bundle, len(leaves))
	if err != nil || !slices.EqualFunc(got, leaves, bytes.Equal) {
		t.Errorf("%d leaves, %v", len(got), err)
	}
	if _, err := proof.FormatBundle([][]byte{make([]byte, proof.MaxEntry+1)}); !errors.Is(err, proof.ErrMalformed) {
		t.Errorf("leaf too long: %v", err)
	}
	for name, c := range map[string]struct {
		data  []byte
		width int
	}{
		"too few leaves":  {bundle, len(leaves) + 1},
		"too many leaves": {bundle, len(leaves) - 1},
		"cut":             {bundle[:len(bundle)-1], len(leaves)},
		"cut in a length": {[]byte{0}, 1},
		"no width":        {nil, 0},
		"too wide":        {make([]byte, 2*257), 257},
		"negative":        {nil, -1},
	} {
		if _, err := proof.ParseBundle(c.data, c.width); !errors.Is(err, proof.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"tile/0/000", "tile/entries/x001/234.p/5", "tile/7/000.p/127", "tile/0/../000", "tile/1/x000/000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		tile, err := proof.ParsePath(path)
		if err != nil {
			if !errors.Is(err, proof.ErrMalformed) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		if got := proof.FormatPath(tile); got != path {
			t.Errorf("%q is written as %q", path, got)
		}
		if theirs, err := torchwood.ParseTilePath(path); err != nil || int(theirs.L) != tile.Level || uint64(theirs.N) != tile.Index || theirs.W != tile.Width {
			t.Errorf("%q is %+v, torchwood reads %+v, %v", path, tile, theirs, err)
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte{0, 1, 'a', 0, 0}, 2)
	f.Add([]byte{0, 1}, 1)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		leaves, err := proof.ParseBundle(data, width)
		if err != nil {
			return
		}
		if got, err := proof.FormatBundle(leaves); err != nil || !bytes.Equal(got, data) || len(leaves) != width {
			t.Errorf("written back as %x, %v", got, err)
		}
	})
}

func TestFirstLeaf(t *testing.T) {
	for _, c := range []struct {
		level       int
		index, want uint64
	}{
		{proof.Entries, 0, 0}, {proof.Entries, 3, 768}, {0, 3, 768}, {1, 0, 0}, {1, 3, 3 << 16}, {2, 1, 1 << 24}, {7, 0, 0},
	} {
		tile := proof.Tile{Level: c.level, Index: c.index, Width: 1}
		if got := tile.FirstLeaf(); got != c.want {
			t.Errorf("%+v begins at leaf %d, want %d", tile, got, c.want)
		}
	}
}

func FuzzParseHashTile(f *testing.F) {
	f.Add(make([]byte, 64), 2)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		hashes, err := proof.ParseHashTile(data, width)
		if err == nil && (!bytes.Equal(proof.FormatHashTile(hashes), data) || len(hashes) != width) {
			t.Errorf("%d hashes are written back differently", len(hashes))
		}
	})
}

// scribe is a signer of the given name whose signatures are worth nothing.
type scribe string

func (s scribe) Name() string              { return string(s) }
func (scribe) KeyHash() uint32             { return 1 }
func (scribe) Sign([]byte) ([]byte, error) { return []byte("x"), nil }

func FuzzParseCheckpoint(f *testing.F) {
	f.Add("example.org/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Add("example.org/log\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n")
	f.Add("o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nextension\n")
	f.Fuzz(func(t *testing.T, body string) {
		c, err := proof.ParseCheckpoint(body)
		if err != nil {
			return
		}
		signed, err := proof.SignCheckpoint(c, scribe(c.Origin))
		if text, _, _ := strings.Cut(string(signed), "\n\n"); err != nil || text+"\n" != body {
			t.Errorf("%q is signed as %q, %v", body, signed, err)
		}
		if theirs, err := torchwood.ParseCheckpoint(body); err != nil || theirs.Origin != c.Origin || uint64(theirs.N) != c.Size || theirs.Hash != c.Root {
			t.Errorf("%q is %+v, torchwood reads %+v, %v", body, c, theirs, err)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\nx"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\no\n1\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra AAAA\nindex 5\n\nx"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := proof.ParseProof(text)
		if err == nil && !bytes.Equal(proof.FormatProof(p.Index, p.Hashes, p.Checkpoint), text) {
			t.Errorf("%q is written back differently", text)
		}
	})
}
