package tlog

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
)

// The embedded engine finds leaves by number.
var _ indexed = (*segment.Store)(nil)

// list is a store of nothing but statements.
type list struct {
	store.Store
	records []store.Record
}

func (l *list) Len() uint64 { return uint64(len(l.records)) }

func (l *list) ReadRange(_ context.Context, first uint64, count int) ([]store.Record, error) {
	return l.records[first:min(first+uint64(count), uint64(len(l.records)))], nil
}

func (l *list) grow(n int) {
	for range n {
		id := events.ID{1, byte(len(l.records) >> 8), byte(len(l.records))}
		l.records = append(l.records, store.Record{ID: id, Statement: id[:3]})
	}
}

func testConfig(t *testing.T, fsys disk.FS, s store.Store) Config {
	t.Helper()
	skey, vkey, err := note.GenerateKey(bytes.NewReader(make([]byte, ed25519.SeedSize)), "example.org/log")
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
	return Config{
		Dir: filepath.Join(t.TempDir(), "log"), FS: fsys, Store: s, Origin: "example.org/log",
		Signer: signer, Verifier: verifier, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

// TestPublisherRefuses stores roots behind the back of IntegrateBatch, as a
// second master or a broken Trillian might.
func TestPublisherRefuses(t *testing.T) {
	for name, change := range map[string]func(*types.LogRootV1){
		"smaller":                 func(r *types.LogRootV1) { r.TreeSize = 9 },
		"empty":                   func(r *types.LogRootV1) { r.TreeSize = 0 },
		"the same":                func(*types.LogRootV1) {},
		"another root, same size": func(r *types.LogRootV1) { r.RootHash[0] ^= 1 },
		"larger than the tiles":   func(r *types.LogRootV1) { r.TreeSize = 11 },
		"far larger":              func(r *types.LogRootV1) { r.TreeSize = 1 << 40 },
	} {
		t.Run(name, func(t *testing.T) {
			s := &list{}
			l, err := Open(t.Context(), testConfig(t, disk.OS{}, s))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			s.grow(10)
			before, err := l.CatchUp(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			root := types.LogRootV1{TreeSize: 10, RootHash: bytes.Clone(before.Checkpoint.Root[:])}
			change(&root)
			raw, err := root.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			store := func() error {
				return l.storage.ReadWriteTransaction(t.Context(), l.definition, func(ctx context.Context, tx storage.LogTreeTX) error {
					return tx.StoreSignedLogRoot(ctx, &trillian.SignedLogRoot{LogRoot: raw})
				})
			}
			var regress *RegressError
			if err := store(); !errors.As(err, &regress) || !bytes.Equal(regress.Note, before.Note) || regress.Next.Size != root.TreeSize {
				t.Fatalf("storing the root: %v", err)
			}
			onDisk, err := LastSigned(disk.OS{}, l.config.Dir, l.config.Verifier)
			if err != nil || !bytes.Equal(onDisk.Note, before.Note) || l.Published() != before {
				t.Errorf("the refused root was published: %+v, %v", onDisk, err)
			}
			s.grow(1)
			if _, err := l.CatchUp(t.Context()); !errors.Is(err, ErrStopped) || !errors.As(err, &regress) {
				t.Errorf("the log goes on after it: %v", err)
			}
		})
	}
}

// noTiles refuses to open tiles for syncing.
type noTiles struct{ disk.OS }

var errNoTiles = errors.New("no tiles")

func (f noTiles) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if strings.Contains(name, "tile") && flag == os.O_RDWR {
		return nil, errNoTiles
	}
	return f.OS.OpenFile(name, flag, perm)
}

// TestBackgroundSyncFails checks that a failure in the background stops the log.
func TestBackgroundSyncFails(t *testing.T) {
	s := &list{}
	l, err := Open(t.Context(), testConfig(t, noTiles{}, s))
	if err != nil {
		t.Fatal(err)
	}
	s.grow(syncEvery)
	// The background may be quick enough for CatchUp to see that it failed.
	if _, err := l.CatchUp(t.Context()); err != nil && !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil { // waits for the background
		t.Fatal(err)
	}
	if err := l.Err(); !errors.Is(err, ErrStopped) || !errors.Is(err, errNoTiles) {
		t.Errorf("log is %v", err)
	}
}

func TestSlot(t *testing.T) {
	r := record{sequence: 7, nanos: 9, note: []byte("note")}
	b, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range [][]byte{b, append(bytes.Clone(b), make([]byte, slotSize-len(b))...)} {
		if got, ok := decodeSlot(slot); !ok || got.sequence != 7 || got.nanos != 9 || string(got.note) != "note" {
			t.Errorf("read back as %+v, %t", got, ok)
		}
	}
	for i := range b {
		mangled := bytes.Clone(b)
		mangled[i] ^= 1
		if got, ok := decodeSlot(mangled); ok {
			t.Errorf("byte %d flipped: %+v", i, got)
		}
		if got, ok := decodeSlot(b[:i]); ok {
			t.Errorf("cut to %d bytes: %+v", i, got)
		}
	}
	if _, err := (record{note: make([]byte, maxNote+1)}).encode(); err == nil {
		t.Error("a note too long for a slot was encoded")
	}
}

func FuzzDecodeSlot(f *testing.F) {
	b, err := record{1, 2, []byte("note")}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(make([]byte, slotSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, ok := decodeSlot(data)
		if !ok {
			return
		}
		if got, err := r.encode(); err != nil || !bytes.HasPrefix(data, got) {
			t.Errorf("written back as %x, %v", got, err)
		}
	})
}
