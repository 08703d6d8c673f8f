package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/segment"
)

// Dir is the data folder of a ledger as a source: log/checkpoint, log/tile/…
// and the event store's segments in store/; the same of the state log is in state/.
// A ledger may be running on it. Checkpoint must be called first; it decides what the
// other methods can see.
type Dir struct {
	fsys fs.FS

	mu    sync.Mutex
	store *segment.Folder
	err   error // why the store could not be opened
}

// ErrNotRead says that a Dir was asked for statements before its checkpoint.
var ErrNotRead = errors.New("the folder's checkpoint has not been read yet")

// NewDir returns the data folder that fsys is the root of. It opens nothing yet.
func NewDir(fsys fs.FS) *Dir { return &Dir{fsys: fsys, err: ErrNotRead} }

// Close closes the files of the event store.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	store := d.store
	d.store, d.err = nil, fs.ErrClosed
	if store == nil {
		return nil
	}
	return store.Close()
}

// Checkpoint reads log/checkpoint and then opens the event store, in this order:
// a statement is in the store before a checkpoint promises it.
func (d *Dir) Checkpoint(context.Context) ([]byte, error) {
	signed, err := d.readSteady("log/checkpoint")
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint of the data folder: %w", err)
	}
	store, err := d.openStore()
	if _, defect := defectIn(err); err != nil && !defect {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.store != nil {
		err = errors.Join(err, d.store.Close())
	}
	d.store, d.err = store, err
	return signed, nil
}

// read reads a file. Of one that is longer than limit it reads one byte more, so
// that whoever checks the content finds it too long.
func (d *Dir) read(name string, limit int64) (_ []byte, err error) {
	f, err := d.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// readSteady reads a small file that a running ledger overwrites in place, until
// two readings agree.
func (d *Dir) readSteady(name string) ([]byte, error) {
	last, err := d.read(name, proof.MaxSignedCheckpoint)
	for range 100 {
		if err != nil {
			return nil, err
		}
		var again []byte
		if again, err = d.read(name, proof.MaxSignedCheckpoint); err == nil && bytes.Equal(last, again) {
			return again, nil
		}
		last = again
	}
	return nil, fmt.Errorf("%s changes faster than it can be read", name)
}

func (d *Dir) openStore() (*segment.Folder, error) {
	sub, err := fs.Sub(d.fsys, "store")
	if err != nil {
		return nil, fmt.Errorf("opening the event store: %w", err)
	}
	store, err := segment.OpenFolder(sub)
	// A ledger that makes a new segment, or crashed while it did, leaves one
	// with a torn header, in which nothing was ever stored. If it is not that,
	// its records are missing without it, and the audit finds that.
	var torn *segment.CorruptError
	if errors.As(err, &torn) && torn.Offset == 0 && errors.Is(err, segment.ErrTorn) {
		store, err = segment.OpenFolder(without{sub, torn.File})
	}
	if err != nil {
		return nil, damaged(err, nil)
	}
	return store, nil
}

// without is a folder without one of its files.
type without struct {
	fs.FS
	name string
}

// ReadDir implements fs.ReadDirFS.
func (w without) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == w.name }), err
}

// damaged makes a defect of the error of a segment that contradicts itself;
// index, if not nil, is the first statement that this concerns. Other errors
// stay what they are.
func damaged(err error, index *uint64) error {
	var corrupt *segment.CorruptError
	if !errors.As(err, &corrupt) {
		return fmt.Errorf("reading the event store: %w", err)
	}
	f := Finding{What: StoreDamaged, Why: "store/" + corrupt.Error()}
	if index != nil {
		f.Located, f.Index = true, *index
	}
	return &DefectError{Finding: f, Err: err}
}

func (d *Dir) opened() (*segment.Folder, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.store, d.err
}

// Entries makes an entry bundle of the store's statements.
func (d *Dir) Entries(ctx context.Context, n uint64, width int) ([]byte, error) {
	leaves, err := d.leaves(ctx, n, width)
	if err != nil {
		return nil, err
	}
	raws := make([][]byte, len(leaves))
	for i, l := range leaves {
		raws[i] = l.raw
	}
	return proof.FormatBundle(raws)
}

// leaves implements leafSource.
func (d *Dir) leaves(ctx context.Context, n uint64, width int) ([]leaf, error) {
	store, err := d.opened()
	if err != nil {
		return nil, err
	}
	leaves := make([]leaf, 0, width)
	for len(leaves) < width {
		index := n*proof.TileWidth + uint64(len(leaves))
		records, err := store.Read(ctx, index, width-len(leaves))
		for _, r := range records {
			leaves = append(leaves, leaf{raw: r.Statement, label: true, id: r.ID, stream: r.Stream})
		}
		index += uint64(len(records))
		if err != nil {
			return nil, damaged(err, &index)
		}
		if len(records) == 0 {
			return nil, lost(store, index)
		}
	}
	return leaves, nil
}

// lost explains why a store has no statement at an index.
func lost(store *segment.Folder, index uint64) error {
	if tail := store.Tail(); errors.Is(tail, segment.ErrMalformed) {
		return damaged(tail, &index)
	}
	return &DefectError{Err: store.Tail(), Finding: Finding{
		What: StatementsMissing, Located: true, Index: index,
		Why: fmt.Sprintf("the event store ends after %d statements; the checkpoint promises more", index),
	}}
}

// Tile reads a hash tile. A partial tile that a wider one has replaced is cut
// from that.
func (d *Dir) Tile(_ context.Context, t proof.Tile) ([]byte, error) {
	return d.readTile("log", t)
}

// readTile reads a hash tile of the log in a folder. A running ledger renames a
// partial tile to the width that it will have, and then appends to it. So one may be
// wider than its name when it is read, a wider one may still lack its last hashes, and
// both may be gone before they are read.
func (d *Dir) readTile(folder string, t proof.Tile) ([]byte, error) {
	tries := 100
	if t.Width == proof.TileWidth {
		tries = 1
	}
	var missing error
	for range tries {
		for _, w := range d.holders(folder, t) {
			data, err := d.read(path.Join(folder, proof.FormatPath(w)), proof.TileWidth*tlog.HashSize)
			if errors.Is(err, fs.ErrNotExist) {
				missing = err
				continue
			}
			if err != nil || t.Width == proof.TileWidth {
				return data, err
			}
			return data[:min(len(data), t.Width*tlog.HashSize)], nil
		}
	}
	return nil, &DefectError{Err: missing, Finding: Finding{
		What: TileMissing, Located: true, Index: t.FirstLeaf(),
		Why: path.Join(folder, proof.FormatPath(t)) + " is missing; hash tiles are derived, and 'medledger rebuild' makes them again",
	}}
}

// holders returns the tiles whose files may hold a tile: itself, and those that it may
// have become.
func (d *Dir) holders(folder string, t proof.Tile) []proof.Tile {
	if t.Width == proof.TileWidth {
		return []proof.Tile{t}
	}
	full := t
	full.Width = proof.TileWidth
	tiles := []proof.Tile{t}
	// A folder that cannot be listed has none.
	entries, _ := fs.ReadDir(d.fsys, path.Join(folder, proof.FormatPath(full)+".p"))
	for _, e := range entries {
		if width, err := strconv.Atoi(e.Name()); err == nil && width > t.Width && width < proof.TileWidth {
			tiles = append(tiles, proof.Tile{Level: t.Level, Index: t.Index, Width: width})
		}
	}
	return append(tiles, full)
}

// seals holds the sealed segments against the digests that they were sealed
// with. The signatures and the tree do not need them; they show that somebody
// wrote to a file that nobody writes to any more.
func (d *Dir) seals(ctx context.Context) ([]Finding, error) {
	store, err := d.opened()
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, f := range store.Files() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := f.CheckDigest()
		if err == nil {
			continue
		}
		err = damaged(err, &f.Base)
		finding, ok := defectIn(err)
		if !ok {
			return nil, err
		}
		findings = append(findings, finding)
	}
	return findings, nil
}
