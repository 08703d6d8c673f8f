package tilestore

import (
	"context"
	"sync"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Admin is a storage.AdminStorage in memory. A log has one tree, and what there
// is to know of that follows from the log's configuration, so nothing here needs
// a disk. All methods may be called from several goroutines at once.
type Admin struct {
	clock func() time.Time
	newID func() (int64, error)

	writer sync.Mutex // held by read-write transactions
	mu     sync.Mutex
	trees  map[int64]*trillian.Tree // the trees and the map are never modified, only replaced
}

var _ storage.AdminStorage = (*Admin)(nil)

// NewAdmin returns an empty Admin. newID issues the ids of trees (positive,
// never twice the same); storage.NewTreeID does.
func NewAdmin(clock func() time.Time, newID func() (int64, error)) *Admin {
	return &Admin{clock: clock, newID: newID}
}

func (a *Admin) snapshot() map[int64]*trillian.Tree {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.trees
}

func (a *Admin) has(id int64) bool { return a.snapshot()[id] != nil }

// active returns the ids of the trees that leaves may be integrated into.
func (a *Admin) active() []int64 {
	var ids []int64
	for id, t := range a.snapshot() {
		if !t.Deleted && (t.TreeState == trillian.TreeState_ACTIVE || t.TreeState == trillian.TreeState_DRAINING) {
			ids = append(ids, id)
		}
	}
	return ids
}

// CheckDatabaseAccessible implements storage.AdminStorage.
func (a *Admin) CheckDatabaseAccessible(context.Context) error { return nil }

// Snapshot implements storage.AdminStorage.
func (a *Admin) Snapshot(context.Context) (storage.ReadOnlyAdminTX, error) {
	return &adminTX{trees: a.snapshot()}, nil
}

// ReadWriteTransaction implements storage.AdminStorage.
func (a *Admin) ReadWriteTransaction(ctx context.Context, f storage.AdminTXFunc) error {
	a.writer.Lock()
	defer a.writer.Unlock()
	tx := &adminTX{admin: a, trees: make(map[int64]*trillian.Tree)}
	for id, t := range a.snapshot() {
		tx.trees[id] = t
	}
	if err := f(ctx, tx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trees = tx.trees
	return nil
}

// adminTX works on a copy of the map; its admin is nil if it only reads.
type adminTX struct {
	admin *Admin
	trees map[int64]*trillian.Tree
}

func (tx *adminTX) Commit() error { return nil }
func (tx *adminTX) Close() error  { return nil }

// GetTree implements storage.ReadOnlyAdminTX.
func (tx *adminTX) GetTree(_ context.Context, id int64) (*trillian.Tree, error) {
	t := tx.trees[id]
	if t == nil {
		return nil, status.Errorf(codes.NotFound, "tree %d not found", id)
	}
	return proto.Clone(t).(*trillian.Tree), nil
}

// ListTrees implements storage.ReadOnlyAdminTX.
func (tx *adminTX) ListTrees(_ context.Context, includeDeleted bool) ([]*trillian.Tree, error) {
	var list []*trillian.Tree
	for _, t := range tx.trees {
		if includeDeleted || !t.Deleted {
			list = append(list, proto.Clone(t).(*trillian.Tree))
		}
	}
	return list, nil
}

// CreateTree implements storage.AdminWriter.
func (tx *adminTX) CreateTree(ctx context.Context, tree *trillian.Tree) (*trillian.Tree, error) {
	if err := storage.ValidateTreeForCreation(ctx, tree); err != nil {
		return nil, err
	}
	id, err := tx.admin.newID()
	if err != nil {
		return nil, status.Errorf(codes.Internal, "issuing a tree id: %v", err)
	}
	if tx.trees[id] != nil {
		return nil, status.Errorf(codes.AlreadyExists, "tree %d exists", id)
	}
	created := proto.Clone(tree).(*trillian.Tree)
	created.TreeId = id
	created.CreateTime = timestamppb.New(tx.admin.clock())
	created.UpdateTime = proto.Clone(created.CreateTime).(*timestamppb.Timestamp)
	tx.trees[id] = created
	return proto.Clone(created).(*trillian.Tree), nil
}

// UpdateTree implements storage.AdminWriter.
func (tx *adminTX) UpdateTree(ctx context.Context, id int64, update func(*trillian.Tree)) (*trillian.Tree, error) {
	before, err := tx.GetTree(ctx, id)
	if err != nil {
		return nil, err
	}
	after := proto.Clone(before).(*trillian.Tree)
	update(after)
	if err := storage.ValidateTreeForUpdate(ctx, before, after); err != nil {
		return nil, err
	}
	after.UpdateTime = timestamppb.New(tx.admin.clock())
	tx.trees[id] = after
	return proto.Clone(after).(*trillian.Tree), nil
}

// SoftDeleteTree implements storage.AdminWriter.
func (tx *adminTX) SoftDeleteTree(ctx context.Context, id int64) (*trillian.Tree, error) {
	return tx.mark(ctx, id, true)
}

// UndeleteTree implements storage.AdminWriter.
func (tx *adminTX) UndeleteTree(ctx context.Context, id int64) (*trillian.Tree, error) {
	return tx.mark(ctx, id, false)
}

// mark marks a tree as deleted or takes the mark off.
func (tx *adminTX) mark(ctx context.Context, id int64, deleted bool) (*trillian.Tree, error) {
	t, err := tx.GetTree(ctx, id)
	if err != nil {
		return nil, err
	}
	if t.Deleted == deleted {
		return nil, status.Errorf(codes.FailedPrecondition, "tree %d: deleted is %t already", id, deleted)
	}
	t.Deleted, t.DeleteTime = deleted, nil
	if deleted {
		t.DeleteTime = timestamppb.New(tx.admin.clock())
	}
	tx.trees[id] = t
	return proto.Clone(t).(*trillian.Tree), nil
}

// HardDeleteTree implements storage.AdminWriter.
func (tx *adminTX) HardDeleteTree(ctx context.Context, id int64) error {
	t, err := tx.GetTree(ctx, id)
	if err != nil {
		return err
	}
	if !t.Deleted {
		return status.Errorf(codes.FailedPrecondition, "tree %d is not marked as deleted", id)
	}
	delete(tx.trees, id)
	return nil
}
