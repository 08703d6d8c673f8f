package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/state"
)

// growth is by how many records the file of leaves is made larger at a time. A
// record is then written in place, which costs a file system less than growing.
const growth = 1024

// leafFile is the file of leaves (verifier/state). One goroutine appends; any may
// read.
type leafFile struct {
	file disk.File
	room uint64        // records that the file is large enough for
	n    atomic.Uint64 // records in it, all durable
	last state.Leaf
}

// openLeaves opens the file of leaves, or makes it. Its end is looked for from the
// leaf on that a checkpoint covers last.
func openLeaves(fsys disk.FS, name string, covered uint64) (*leafFile, error) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	l := &leafFile{file: f}
	// The name first: a leaf is durable only in a file that is found again.
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := l.find(covered); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// find counts the records. The process that wrote the last of them may have died, or
// failed, before it was durable, and a sync that follows a failed one may lie: it is
// written again.
func (l *leafFile) find(covered uint64) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	l.room = uint64(info.Size()) / state.RecordSize
	if covered > 0 {
		covered--
	}
	buf := make([]byte, growth*state.RecordSize)
	l.n.Store(min(covered, l.room))
	for n := l.n.Load(); ; {
		some := buf[:min(uint64(growth), l.room-n)*state.RecordSize]
		if len(some) == 0 {
			break
		}
		if _, err := l.file.ReadAt(some, int64(n*state.RecordSize)); err != nil {
			return err
		}
		whole := true
		for len(some) > 0 && whole {
			var leaf state.Leaf
			if leaf, whole = state.ParseRecord(some[:state.RecordSize]); whole {
				n++
				l.n.Store(n)
				l.last, some = leaf, some[state.RecordSize:]
			}
		}
		if !whole {
			break
		}
	}
	n := l.n.Load()
	if n == 0 {
		return nil
	}
	record := make([]byte, state.RecordSize)
	if _, err := l.file.ReadAt(record, int64((n-1)*state.RecordSize)); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(record, int64((n-1)*state.RecordSize)); err != nil {
		return err
	}
	return l.file.Sync()
}

// append adds a leaf, durably.
//
// A crash before it returns leaves the leaf, or what does not parse as one, which
// is written over; nobody was told of it. A crash after it leaves the leaf.
func (l *leafFile) append(leaf state.Leaf) error {
	n := l.n.Load()
	if n >= l.room {
		if _, err := l.file.WriteAt(make([]byte, growth*state.RecordSize), int64(n*state.RecordSize)); err != nil {
			return err
		}
		l.room = n + growth
	}
	record := state.AppendRecord(make([]byte, 0, state.RecordSize), leaf)
	if _, err := l.file.WriteAt(record, int64(n*state.RecordSize)); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.last = leaf
	l.n.Store(n + 1)
	return nil
}

// Len implements tlog.Leaves.
func (l *leafFile) Len(context.Context) (uint64, error) { return l.n.Load(), nil }

// Read implements tlog.Leaves.
func (l *leafFile) Read(_ context.Context, first uint64, count int) ([][]byte, error) {
	n := l.n.Load()
	if first >= n || count <= 0 {
		return nil, nil
	}
	count = int(min(uint64(count), n-first))
	buf := make([]byte, count*state.RecordSize)
	if _, err := l.file.ReadAt(buf, int64(first*state.RecordSize)); err != nil {
		return nil, fmt.Errorf("reading leaves of the state log: %w", err)
	}
	list := make([][]byte, count)
	for i := range list {
		record := buf[i*state.RecordSize:][:state.RecordSize]
		if _, whole := state.ParseRecord(record); !whole {
			return nil, fmt.Errorf("leaf %d of the state log is damaged; restore the whole ledger from a backup", first+uint64(i))
		}
		list[i] = record[:state.LeafSize:state.LeafSize]
	}
	return list, nil
}

// leaf returns the leaf at an index below Len.
func (l *leafFile) leaf(ctx context.Context, index uint64) (state.Leaf, error) {
	list, err := l.Read(ctx, index, 1)
	if err != nil {
		return state.Leaf{}, err
	}
	if len(list) == 0 {
		return state.Leaf{}, fmt.Errorf("leaf %d of the state log: %w", index, ErrLost)
	}
	return state.ParseLeaf(list[0])
}

func (l *leafFile) close() error { return l.file.Close() }
