package tilestore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// Leaves is where a tree's leaves are, in the order of their indices. Every
// method may be called from several goroutines at once.
type Leaves interface {
	// Len returns how many leaves there are.
	Len(ctx context.Context) (uint64, error)
	// Range returns the leaves [first, first+count), or those of them that
	// there are: a contiguous prefix, perhaps empty, with all that Trillian
	// knows of each.
	Range(ctx context.Context, first uint64, count int) ([]*trillian.LogLeaf, error)
	// Append adds leaves at index first, which is Len, all or none, and returns
	// when they are durable. It refuses with InvalidArgument what Range could
	// not give back.
	Append(ctx context.Context, first uint64, leaves []*trillian.LogLeaf) error
}

// TreeConfig is what a Tree needs.
type TreeConfig struct {
	ID     int64
	Leaves Leaves
	Tiles  *Tiles
	// Root is the tree's last root, nil if it is yet to be initialised. Tiles
	// must have been loaded at its size.
	Root *types.LogRootV1
	// Publish is called within the commit of every transaction that stores a
	// root, after the tiles that the root needs were written and before anybody
	// can read it. If it fails, the transaction fails, and so does every later
	// one that writes: the caller must open the tree again. May be nil.
	Publish func(context.Context, *types.LogRootV1) error
}

// Tree is one log in a Storage.
type Tree struct {
	config TreeConfig
	head   atomic.Pointer[head] // nil before the first root

	// writer is held by read-write transactions and by AddSequencedLeaves.
	writer sync.Mutex
	// staged are the hashes of leaves that follow the head and are known to be
	// durable; they spare reading the leaves back. Guarded by writer.
	staged []tlog.Hash
	failed error // guarded by writer
}

// head is a published root.
type head struct {
	root   types.LogRootV1
	signed *trillian.SignedLogRoot
}

// NewTree returns a tree at its last root.
func NewTree(c TreeConfig) (*Tree, error) {
	t := &Tree{config: c}
	if c.Root != nil {
		h, err := newHead(c.Root)
		if err != nil {
			return nil, err
		}
		t.head.Store(h)
	}
	return t, nil
}

func newHead(root *types.LogRootV1) (*head, error) {
	raw, err := root.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encoding log root of size %d: %w", root.TreeSize, err)
	}
	return &head{root: *root, signed: &trillian.SignedLogRoot{LogRoot: raw}}, nil
}

// Stage gives the tree the hashes of the leaves that follow its last root, which
// must be durable, for the next DequeueLeaves. They replace any staged earlier.
func (t *Tree) Stage(hashes []tlog.Hash) {
	t.writer.Lock()
	defer t.writer.Unlock()
	t.staged = hashes
}

// Storage is a storage.LogStorage over trees of type PREORDERED_LOG. Trees of
// type LOG can be created and read, but nothing can be queued for them.
type Storage struct {
	admin *Admin
	open  func(treeID int64) (*Tree, error)

	mu    sync.Mutex
	trees map[int64]*Tree
}

var _ storage.LogStorage = (*Storage)(nil)

// NewStorage returns the storage of the trees in admin. A tree is opened when it
// is first used.
func NewStorage(admin *Admin, open func(treeID int64) (*Tree, error)) *Storage {
	return &Storage{admin: admin, open: open, trees: make(map[int64]*Tree)}
}

// tree returns an open tree.
func (s *Storage) tree(id int64) (*Tree, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.trees[id]; t != nil {
		return t, nil
	}
	if !s.admin.has(id) {
		return nil, grpcstatus.Errorf(codes.NotFound, "tree %d not found", id)
	}
	t, err := s.open(id)
	if err != nil {
		return nil, err
	}
	s.trees[id] = t
	return t, nil
}

// CheckDatabaseAccessible implements storage.ReadOnlyLogStorage. It answers
// whether trees may still be written: an open tree that failed says no.
func (s *Storage) CheckDatabaseAccessible(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.trees {
		t.writer.Lock()
		err := t.failed
		t.writer.Unlock()
		if err != nil {
			return grpcstatus.Errorf(codes.Unavailable, "tree %d stopped: %v", id, err)
		}
	}
	return nil
}

// GetActiveLogIDs implements storage.ReadOnlyLogStorage.
func (s *Storage) GetActiveLogIDs(context.Context) ([]int64, error) { return s.admin.active(), nil }

// SnapshotForTree implements storage.ReadOnlyLogStorage. A snapshot reads the
// tree at the root that was the latest when it began.
func (s *Storage) SnapshotForTree(ctx context.Context, tree *trillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	t, err := s.tree(tree.TreeId)
	if err != nil {
		return nil, err
	}
	tx := &transaction{tree: t, kind: tree.TreeType, head: t.head.Load()}
	if tx.head == nil {
		return tx, storage.ErrTreeNeedsInit
	}
	return tx, nil
}

// ReadWriteTransaction implements storage.LogStorage. Transactions on one tree
// run one after another; f is called once.
func (s *Storage) ReadWriteTransaction(ctx context.Context, tree *trillian.Tree, f storage.LogTXFunc) error {
	t, err := s.tree(tree.TreeId)
	if err != nil {
		return err
	}
	t.writer.Lock()
	defer t.writer.Unlock()
	if t.failed != nil {
		return t.failed
	}
	tx := &transaction{tree: t, kind: tree.TreeType, head: t.head.Load(), writes: true}
	if err := f(ctx, tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// QueueLeaves implements storage.LogStorage: there is no queue. The event store
// orders the leaves.
func (s *Storage) QueueLeaves(context.Context, *trillian.Tree, []*trillian.LogLeaf, time.Time) ([]*trillian.QueuedLogLeaf, error) {
	return nil, grpcstatus.Error(codes.Unimplemented, "this log is pre-ordered; use AddSequencedLeaves")
}

// AddSequencedLeaves implements storage.LogStorage. Each leaf is answered as
// documented there:
//
//	OK                  stored at its index, and durable
//	AlreadyExists       the same value is at the index, and is returned
//	FailedPrecondition  another value is at the index, and is returned
//	OutOfRange          there is no leaf before it: leaves cannot be stored ahead
func (s *Storage) AddSequencedLeaves(ctx context.Context, tree *trillian.Tree, leaves []*trillian.LogLeaf, timestamp time.Time) ([]*trillian.QueuedLogLeaf, error) {
	t, err := s.tree(tree.TreeId)
	if err != nil {
		return nil, err
	}
	t.writer.Lock()
	defer t.writer.Unlock()
	if t.failed != nil {
		return nil, t.failed
	}
	have, err := t.config.Leaves.Len(ctx)
	if err != nil {
		return nil, fmt.Errorf("counting leaves: %w", err)
	}
	results := make([]*trillian.QueuedLogLeaf, len(leaves))
	var fresh []*trillian.LogLeaf
	for i, leaf := range leaves {
		next := have + uint64(len(fresh))
		switch index := uint64(leaf.LeafIndex); {
		case leaf.LeafIndex < 0 || index > next:
			results[i] = queued(leaf, codes.OutOfRange, fmt.Sprintf("the next leaf has index %d; store the leaves before this one first", next))
		case index == next:
			leaf = stamped(leaf, timestamp)
			fresh = append(fresh, leaf)
			results[i] = queued(leaf, codes.OK, "")
		case index >= have:
			results[i] = compare(leaf, fresh[index-have])
		default:
			stored, err := t.config.Leaves.Range(ctx, index, 1)
			if err != nil || len(stored) != 1 {
				return nil, grpcstatus.Errorf(codes.Internal, "reading stored leaf %d: %v", index, err)
			}
			results[i] = compare(leaf, stored[0])
		}
	}
	if len(fresh) > 0 {
		if err := t.config.Leaves.Append(ctx, have, fresh); err != nil {
			return nil, fmt.Errorf("storing leaves from index %d on: %w", have, err)
		}
	}
	return results, nil
}
