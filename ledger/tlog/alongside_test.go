package tlog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	xtlog "golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// TestAlongside has something done beside each checkpoint: nobody sees the
// checkpoint before that is done, neither here nor in the folder.
func TestAlongside(t *testing.T) {
	w := newWorld(t)
	var sizes []uint64
	var l *tlog.Log
	failure := error(nil)
	w.config.Alongside = func(_ context.Context, next proof.Checkpoint) func() error {
		return func() error {
			sizes = append(sizes, next.Size)
			if l != nil && l.Published().Checkpoint.Size >= next.Size {
				t.Errorf("size %d is published already", next.Size)
			}
			if shown := w.shown(); next.Size > 0 && shown.Size >= next.Size {
				t.Errorf("size %d is shown already", shown.Size)
			}
			return failure
		}
	}
	l = w.open()
	w.grow(l, 3)
	w.grow(l, 5)
	if len(sizes) != 3 || sizes[0] != 0 || sizes[1] != 3 || sizes[2] != 8 {
		t.Errorf("called for sizes %v", sizes)
	}
	failure = errors.New("that failed")
	if _, err := l.IntegrateHashes(t.Context(), w.append(8, 2)); !errors.Is(err, failure) || !errors.Is(err, tlog.ErrStopped) {
		t.Errorf("integrated with %v", err)
	}
	if got := l.Published().Checkpoint.Size; got != 8 || w.shown().Size != 8 {
		t.Errorf("published are %d, shown %d", got, w.shown().Size)
	}
	w.close(l)
	failure, l = nil, nil
	l = w.open()
	if got := l.Published().Checkpoint.Size; got != 10 {
		t.Errorf("opened again, %d are published", got)
	}
}

// shown is the checkpoint that readers of the folder find.
func (w *world) shown() proof.Checkpoint {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.config.Dir, "checkpoint"))
	if err != nil || len(raw) == 0 {
		return proof.Checkpoint{}
	}
	c, err := proof.VerifyCheckpoint(raw, w.config.Verifier)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// TestBehind opens a log that does not catch up by itself.
func TestBehind(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	w.grow(l, 3)
	w.close(l)
	w.append(3, 4)
	w.config.Behind = true
	l = w.open()
	if got := l.Published().Checkpoint.Size; got != 3 {
		t.Errorf("published are %d", got)
	}
	if p, err := l.CatchUp(t.Context()); err != nil || p.Checkpoint.Size != 7 {
		t.Errorf("caught up: %+v, %v", p, err)
	}
}

// bare are leaves without an event store.
type bare [][]byte

func (b *bare) Len(context.Context) (uint64, error) { return uint64(len(*b)), nil }

func (b *bare) Read(_ context.Context, first uint64, count int) ([][]byte, error) {
	n := uint64(len(*b))
	first = min(first, n)
	return (*b)[first:min(first+uint64(count), n)], nil
}

// TestLeaves holds a log without an event store, that does not sync its checkpoints,
// to the roots of one that has one and does.
func TestLeaves(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	have := new(bare)
	other.config.Store, other.config.Leaves, other.config.Lazy = nil, have, true
	l, o := w.open(), other.open()
	for n := range 6 {
		want := w.grow(l, n+1)
		var hashes []xtlog.Hash
		for i := range n + 1 {
			value := leaf(int(o.Published().Checkpoint.Size) + i)
			*have, hashes = append(*have, value), append(hashes, proof.LeafHash(value))
		}
		got, err := o.IntegrateHashes(t.Context(), hashes)
		if err != nil || got.Checkpoint != want.Checkpoint {
			t.Fatalf("%+v, %v, want %+v", got, err, want.Checkpoint)
		}
	}
	other.close(o)
	*have = append(*have, leaf(len(*have)))
	o = other.open()
	if got, want := o.Published().Checkpoint, w.grow(l, 1).Checkpoint; got != want {
		t.Errorf("opened again: %+v, want %+v", got, want)
	}
	other.close(o)
	*have = (*have)[:2]
	var lost *tlog.LostEventsError
	if _, err := tlog.Open(t.Context(), other.config); !errors.As(err, &lost) {
		t.Errorf("with leaves lost: %v", err)
	}
	other.config.Store = w.store
	if _, err := tlog.Open(t.Context(), other.config); err == nil {
		t.Error("a log opens with a store and leaves")
	}
}
