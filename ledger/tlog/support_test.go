package tlog_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	xtlog "golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// sparse is a store in memory whose positions have gaps.
type sparse struct {
	mu      sync.Mutex
	records []store.Record
}

func (s *sparse) Append(_ context.Context, a store.Append) (store.Position, error) {
	if err := a.Check(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range a.Events {
		s.records = append(s.records, store.Record{
			Position: store.Position(len(s.records))*7 + 3, Stream: a.Stream, ID: e.ID, Statement: bytes.Clone(e.Statement),
		})
	}
	return s.records[len(s.records)-1].Position, nil
}

func (s *sparse) ReadAll(_ context.Context, after store.Position) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		s.mu.Lock()
		records := s.records
		s.mu.Unlock()
		first := 0
		if after > 0 {
			first = int(after-3)/7 + 1
		}
		for _, r := range records[min(first, len(records)):] {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (s *sparse) Lookup(context.Context, events.ID) (store.Record, error) {
	return store.Record{}, store.ErrNotFound
}

func (s *sparse) Read(context.Context, string, uint64) iter.Seq2[store.Record, error] {
	return func(func(store.Record, error) bool) {}
}

func (s *sparse) Follow(ctx context.Context, after store.Position) iter.Seq2[store.Record, error] {
	return s.ReadAll(ctx, after)
}

func (s *sparse) Close() error { return nil }

// cut drops the events from index n on: what a disk that loses writes does.
func (s *sparse) cut(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = s.records[:n:n]
}

// dense is a sparse store that finds events by index.
type dense struct{ sparse }

func (s *dense) Len() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.records))
}

func (s *dense) ReadRange(_ context.Context, first uint64, count int) ([]store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := uint64(len(s.records))
	first = min(first, n)
	return s.records[first:min(first+uint64(count), n)], nil
}

const origin = "example.org/ledger"

// world is a store, a key and a folder that logs are opened in.
type world struct {
	t     testing.TB
	store interface {
		store.Store
		cut(int)
	}
	config tlog.Config
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, store: &dense{}}
	w.config = tlog.Config{
		Dir: filepath.Join(t.TempDir(), "log"), FS: disk.OS{}, Store: w.store, Origin: origin,
		Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	w.config.Signer, w.config.Verifier = newKey(t, origin, 1)
	return w
}

// newKey returns a key that follows from its seed.
func newKey(t testing.TB, name string, seed uint64) (note.Signer, note.Verifier) {
	t.Helper()
	random := sha256.Sum256(binary.BigEndian.AppendUint64(nil, seed))
	skey, vkey, err := note.GenerateKey(bytes.NewReader(random[:]), name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func (w *world) open() *tlog.Log {
	w.t.Helper()
	l, err := tlog.Open(w.t.Context(), w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	return l
}

// leaf returns the i-th leaf of every test.
func leaf(i int) []byte { return fmt.Appendf(nil, "leaf %d", i) }

// append appends n leaves to the store, after those that are there, and returns
// their hashes.
func (w *world) append(first, n int) []xtlog.Hash {
	w.t.Helper()
	a := store.Append{Stream: "s", Expected: store.Any}
	var hashes []xtlog.Hash
	for i := first; i < first+n; i++ {
		var id events.ID
		binary.BigEndian.PutUint64(id[8:], uint64(i)+1)
		a.Events = append(a.Events, store.Event{ID: id, Statement: leaf(i)})
		hashes = append(hashes, proof.LeafHash(leaf(i)))
	}
	for len(a.Events) > 0 { // in slices, for Check is quadratic
		part := a
		part.Events = a.Events[:min(64, len(a.Events))]
		a.Events = a.Events[len(part.Events):]
		if _, err := w.store.Append(w.t.Context(), part); err != nil {
			w.t.Fatal(err)
		}
	}
	return hashes
}

// grow appends n leaves and integrates them in one turn.
func (w *world) grow(l *tlog.Log, n int) *tlog.Published {
	w.t.Helper()
	first := int(l.Published().Checkpoint.Size)
	p, err := l.IntegrateHashes(w.t.Context(), w.append(first, n))
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) close(l *tlog.Log) {
	w.t.Helper()
	if err := l.Close(); err != nil {
		w.t.Fatal(err)
	}
}
