package tlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"filippo.io/torchwood"
	"github.com/google/trillian"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	xtlog "golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// source serves a log's read methods to tessera's fsck.
type source struct{ log *tlog.Log }

func (s source) ReadCheckpoint(context.Context) ([]byte, error) { return s.log.Published().Note, nil }

func (s source) ReadTile(ctx context.Context, level, index uint64, width uint8) ([]byte, error) {
	return s.log.Tile(ctx, proof.Tile{Level: int(level), Index: index, Width: fullIfZero(width)})
}

func (s source) ReadEntryBundle(ctx context.Context, index uint64, width uint8) ([]byte, error) {
	return s.log.Entries(ctx, index, fullIfZero(width))
}

func fullIfZero(width uint8) int {
	if width == 0 {
		return proof.TileWidth
	}
	return int(width)
}

// judge has tessera's fsck check the whole log.
func judge(t testing.TB, l *tlog.Log, v note.Verifier) {
	t.Helper()
	hashes := func(bundle []byte) ([][]byte, error) {
		var list [][]byte
		for len(bundle) > 0 {
			entry, rest, err := torchwood.ReadTileEntry(bundle)
			if err != nil {
				return nil, err
			}
			h := xtlog.RecordHash(entry)
			list, bundle = append(list, h[:]), rest
		}
		return list, nil
	}
	if err := fsck.New(origin, v, source{l}, hashes, fsck.Opts{}).Check(t.Context()); err != nil {
		t.Errorf("fsck: %v", err)
	}
}

func TestGrow(t *testing.T) {
	for _, s := range []string{"dense", "sparse"} {
		t.Run(s, func(t *testing.T) {
			w := newWorld(t)
			if s == "sparse" {
				w.store = &sparse{}
				w.config.Store = w.store
			}
			l := w.open()
			if c := l.Published().Checkpoint; c.Size != 0 || c.Root != proof.EmptyRoot() {
				t.Fatalf("new log is %+v", c)
			}
			for _, n := range []int{1, 1, 62, 191, 1, 1, 300, 64, 1000, 3} {
				published := w.grow(l, n)
				size := published.Checkpoint.Size
				onDisk, err := os.ReadFile(filepath.Join(w.config.Dir, "checkpoint"))
				if err != nil || !bytes.Equal(onDisk, published.Note) {
					t.Fatalf("checkpoint on disk at size %d: %q, %v", size, onDisk, err)
				}
				checkFolder(t, w.config.Dir, size)
				judge(t, l, w.config.Verifier)
			}
			w.close(l)
			l = w.open()
			judge(t, l, w.config.Verifier)
			for i := range l.Published().Checkpoint.Size {
				got, err := l.Leaf(t.Context(), i)
				if err != nil || !bytes.Equal(got, leaf(int(i))) {
					t.Fatalf("leaf %d: %q, %v", i, got, err)
				}
			}
		})
	}
}

// checkFolder checks that a folder holds the tiles of a log of that size, under
// their C2SP names, and nothing else.
func checkFolder(t *testing.T, dir string, size uint64) {
	t.Helper()
	var want, got []string
	for level := range proof.MaxLevel + 1 {
		for tile := range proof.TilesOf(size, level) {
			want = append(want, proof.FormatPath(tile))
		}
	}
	err := filepath.WalkDir(filepath.Join(dir, "tile"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			got = append(got, filepath.ToSlash(rel))
		}
		return err
	})
	slices.Sort(want)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("tiles on disk at size %d: %v, want %v (%v)", size, got, want, err)
	}
}

// TestProofsEqualTrillians compares our proofs with those of Trillian's server,
// and has torchwood verify ours.
func TestProofsEqualTrillians(t *testing.T) {
	w := newWorld(t)
	w.config = w.config.WithCacheTiles(2) // so that most tiles come from the disk
	l := w.open()
	rng := rand.New(rand.NewPCG(1, 2))
	notes := map[uint64][]byte{}
	for range 12 {
		p := w.grow(l, 1+rng.IntN(400))
		notes[p.Checkpoint.Size] = p.Note
	}
	server, id := l.Trillian()
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(origin), torchwood.SingleVerifierPolicy(w.config.Verifier))
	size := l.Published().Checkpoint.Size
	for range 300 {
		n := 1 + rng.Uint64N(size)
		m, i := 1+rng.Uint64N(n), rng.Uint64N(n)
		ours, err := l.InclusionProof(t.Context(), i, n)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := server.GetInclusionProof(t.Context(), &trillian.GetInclusionProofRequest{LogId: id, LeafIndex: int64(i), TreeSize: int64(n)})
		if err != nil || !equal(ours, theirs.Proof.Hashes) {
			t.Fatalf("inclusion of %d in %d: %v, Trillian has %v (%v)", i, n, ours, theirs, err)
		}
		ours, err = l.ConsistencyProof(t.Context(), m, n)
		if err != nil {
			t.Fatal(err)
		}
		consistent, err := server.GetConsistencyProof(t.Context(), &trillian.GetConsistencyProofRequest{LogId: id, FirstTreeSize: int64(m), SecondTreeSize: int64(n)})
		if err != nil || !equal(ours, consistent.Proof.Hashes) {
			t.Fatalf("consistency of %d and %d: %v, Trillian has %v (%v)", m, n, ours, consistent, err)
		}
	}
	for n, signed := range notes { // proofs at old sizes, under their checkpoints
		for range 20 {
			i := rng.Uint64N(n)
			path, err := l.InclusionProof(t.Context(), i, n)
			if err != nil {
				t.Fatal(err)
			}
			text := proof.FormatProof(i, path, signed)
			hash := proof.LeafHash(leaf(int(i)))
			if err := torchwood.VerifyProof(policy, hash, text); err != nil {
				t.Errorf("torchwood on leaf %d of %d: %v", i, n, err)
			}
			if p, c, err := proof.VerifyInclusion(hash, text, w.config.Verifier); err != nil || p.Index != i || c.Size != n {
				t.Errorf("leaf %d of %d: %d, %+v, %v", i, n, p.Index, c, err)
			}
		}
	}
}

func equal(ours []xtlog.Hash, theirs [][]byte) bool {
	return slices.EqualFunc(ours, theirs, func(a xtlog.Hash, b []byte) bool { return bytes.Equal(a[:], b) })
}

func TestNotPublished(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	w.grow(l, 300)
	w.append(300, 10) // stored, not integrated
	ctx := t.Context()
	malformed := proof.ErrMalformed
	tile := func(level int, index uint64, width int) func() error {
		return func() error {
			_, err := l.Tile(ctx, proof.Tile{Level: level, Index: index, Width: width})
			return err
		}
	}
	for name, c := range map[string]struct {
		call func() error
		want error
	}{
		"inclusion beyond":         {func() error { _, err := l.InclusionProof(ctx, 0, 301); return err }, tlog.ErrNotFound},
		"inclusion index":          {func() error { _, err := l.InclusionProof(ctx, 300, 300); return err }, tlog.ErrNotFound},
		"consistency beyond":       {func() error { _, err := l.ConsistencyProof(ctx, 1, 301); return err }, tlog.ErrNotFound},
		"consistency backwards":    {func() error { _, err := l.ConsistencyProof(ctx, 2, 1); return err }, tlog.ErrNotFound},
		"leaf":                     {func() error { _, err := l.Leaf(ctx, 300); return err }, tlog.ErrNotFound},
		"no leaves":                {func() error { _, err := l.Leaves(ctx, 1, 0); return err }, tlog.ErrNotFound},
		"partial tile too wide":    {tile(0, 1, 45), tlog.ErrNotFound},
		"full tile that is not":    {tile(0, 1, 256), tlog.ErrNotFound},
		"tile beyond":              {tile(0, 2, 1), tlog.ErrNotFound},
		"level beyond":             {tile(2, 0, 1), tlog.ErrNotFound},
		"entries beyond":           {func() error { _, err := l.Entries(ctx, 1, 45); return err }, tlog.ErrNotFound},
		"empty tile":               {tile(0, 0, 0), malformed},
		"level no log has":         {tile(8, 0, 1), malformed},
		"entries as a hash tile":   {tile(proof.Entries, 0, 1), malformed},
		"too wide":                 {func() error { _, err := l.Entries(ctx, 0, 257); return err }, malformed},
		"not in the store":         {func() error { _, err := l.IntegrateHashes(ctx, make([]xtlog.Hash, 11)); return err }, tlog.ErrNotStored},
		"nothing is fine":          {func() error { _, err := l.IntegrateHashes(ctx, nil); return err }, nil},
		"narrower than it is":      {tile(0, 1, 43), nil},
		"partial of a full tile":   {tile(0, 0, 17), nil},
		"bundle of a full one":     {func() error { _, err := l.Entries(ctx, 0, 17); return err }, nil},
		"consistency with nothing": {func() error { _, err := l.ConsistencyProof(ctx, 0, 300); return err }, nil},
	} {
		if err := c.call(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestReadWhileGrowing has readers prove leaves while the log grows.
func TestReadWhileGrowing(t *testing.T) {
	w := newWorld(t)
	w.config = w.config.WithCacheTiles(1)
	l := w.open()
	w.grow(l, 5)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 3))
			for {
				select {
				case <-stop:
					return
				default:
				}
				p := l.Published()
				i := rng.Uint64N(p.Checkpoint.Size)
				path, err := l.InclusionProof(t.Context(), i, p.Checkpoint.Size)
				if err == nil {
					err = p.Checkpoint.CheckLeaf(i, proof.LeafHash(leaf(int(i))), path)
				}
				if err != nil {
					t.Errorf("leaf %d of %d: %v", i, p.Checkpoint.Size, err)
					return
				}
			}
		})
	}
	for i := range 60 {
		w.grow(l, 1+i)
	}
	close(stop)
	readers.Wait()
}

func TestTwoLogsInOneProcess(t *testing.T) {
	a, b := newWorld(t), newWorld(t)
	b.config.Origin = origin + "/state"
	b.config.Signer, b.config.Verifier = newKey(t, b.config.Origin, 2)
	la, lb := a.open(), b.open()
	var both sync.WaitGroup
	for w, l := range map[*world]*tlog.Log{a: la, b: lb} {
		both.Go(func() {
			for range 20 {
				if _, err := l.IntegrateHashes(t.Context(), w.append(int(l.Published().Checkpoint.Size), 30)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	both.Wait()
	if la.Published().Checkpoint.Root != lb.Published().Checkpoint.Root {
		t.Error("the same leaves have two roots")
	}
	if fmt.Sprint(la.Published().Checkpoint.Origin) == lb.Published().Checkpoint.Origin {
		t.Error("two logs have one origin")
	}
}
