package tilestore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/tree"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxRange is the largest number of leaves that one GetLeavesByRange answers.
const maxRange = 4096

// transaction reads one tree at one head and, if it may, buffers what its commit
// writes. It is for one goroutine, as Trillian demands.
type transaction struct {
	tree   *Tree
	kind   trillian.TreeType
	head   *head // nil before the first root
	writes bool

	nodes []tree.Node
	root  *types.LogRootV1
}

var _ storage.LogTreeTX = (*transaction)(nil)

// Commit implements storage.ReadOnlyLogTreeTX. It writes the tiles, has the root
// published and only then shows it to readers.
//
// A crash before the root was published leaves tiles that are ahead of it; they
// are computed again, to the same bytes. A crash after it leaves both.
func (tx *transaction) Commit(ctx context.Context) error {
	if !tx.writes || tx.root == nil {
		return nil
	}
	h, err := newHead(tx.root)
	if err != nil {
		return err
	}
	if err := tx.write(ctx); err != nil {
		// What is on the disk is unknown now, so nothing more is written.
		tx.tree.failed = err
		return err
	}
	tx.tree.head.Store(h)
	tx.tree.staged = nil
	tx.root, tx.nodes = nil, nil
	return nil
}

func (tx *transaction) write(ctx context.Context) error {
	if len(tx.nodes) > 0 {
		if err := tx.tree.config.Tiles.Commit(tx.root.TreeSize, tx.nodes); err != nil {
			return err
		}
	}
	if tx.tree.config.Publish == nil {
		return nil
	}
	return tx.tree.config.Publish(ctx, tx.root)
}

// Close implements storage.ReadOnlyLogTreeTX.
func (tx *transaction) Close() error {
	tx.root, tx.nodes = nil, nil
	return nil
}

// LatestSignedLogRoot implements storage.ReadOnlyLogTreeTX.
func (tx *transaction) LatestSignedLogRoot(context.Context) (*trillian.SignedLogRoot, error) {
	if tx.head == nil {
		return nil, storage.ErrTreeNeedsInit
	}
	return tx.head.signed, nil
}

// GetMerkleNodes implements storage.ReadOnlyLogTreeTX.
func (tx *transaction) GetMerkleNodes(ctx context.Context, ids []compact.NodeID) ([]tree.Node, error) {
	var size uint64
	if tx.head != nil {
		size = tx.head.root.TreeSize
	}
	nodes := make([]tree.Node, len(ids))
	for i, id := range ids {
		if _, end := id.Coverage(); id.Level > 63 || end > size {
			return nil, grpcstatus.Errorf(codes.OutOfRange, "node %+v is not in the tree of %d leaves", id, size)
		}
		h, err := tx.tree.config.Tiles.Node(ctx, id.Level, id.Index)
		if err != nil {
			return nil, fmt.Errorf("reading node %+v: %w", id, err)
		}
		nodes[i] = tree.Node{ID: id, Hash: bytes.Clone(h[:])}
	}
	return nodes, nil
}

// GetLeavesByRange implements storage.ReadOnlyLogTreeTX.
func (tx *transaction) GetLeavesByRange(ctx context.Context, start, count int64) ([]*trillian.LogLeaf, error) {
	if start < 0 || count <= 0 {
		return nil, grpcstatus.Errorf(codes.InvalidArgument, "range of %d leaves from %d on", count, start)
	}
	return tx.tree.config.Leaves.Range(ctx, uint64(start), int(min(count, maxRange)))
}

// GetLeavesByHash implements storage.ReadOnlyLogTreeTX: there is no index by
// hash. A receipt names its leaf's index.
func (tx *transaction) GetLeavesByHash(context.Context, [][]byte, bool) ([]*trillian.LogLeaf, error) {
	return nil, grpcstatus.Error(codes.Unimplemented, "leaves are found by index, not by hash")
}

// SetMerkleNodes implements storage.LogTreeTX.
func (tx *transaction) SetMerkleNodes(_ context.Context, nodes []tree.Node) error {
	tx.nodes = append(tx.nodes, nodes...)
	return nil
}

// StoreSignedLogRoot implements storage.LogTreeTX. Trillian's roots carry no
// signature; Publish signs what it makes of them.
func (tx *transaction) StoreSignedLogRoot(_ context.Context, signed *trillian.SignedLogRoot) error {
	var root types.LogRootV1
	if err := root.UnmarshalBinary(signed.GetLogRoot()); err != nil {
		return grpcstatus.Errorf(codes.InvalidArgument, "log root: %v", err)
	}
	tx.root = &root
	return nil
}

// DequeueLeaves implements storage.LogTreeTX: the leaves that follow the last
// root. Those that were staged carry only their hash and index. The cutoff is
// ignored, since what is durable may be integrated at once.
func (tx *transaction) DequeueLeaves(ctx context.Context, limit int, _ time.Time) ([]*trillian.LogLeaf, error) {
	if tx.kind != trillian.TreeType_PREORDERED_LOG || tx.head == nil || limit <= 0 {
		return nil, nil
	}
	size := tx.head.root.TreeSize
	if staged := tx.tree.staged; len(staged) > 0 {
		return stagedLeaves(size, staged[:min(limit, len(staged))]), nil
	}
	return tx.tree.config.Leaves.Range(ctx, size, min(limit, maxRange))
}

// UpdateSequencedLeaves implements storage.LogTreeTX. Trillian calls it only for
// unordered logs, which cannot have leaves here.
func (tx *transaction) UpdateSequencedLeaves(context.Context, []*trillian.LogLeaf) error {
	return grpcstatus.Error(codes.Unimplemented, "this log is pre-ordered: its leaves have their places already")
}

func stagedLeaves(first uint64, hashes []tlog.Hash) []*trillian.LogLeaf {
	leaves := make([]*trillian.LogLeaf, len(hashes))
	for i := range hashes {
		leaves[i] = &trillian.LogLeaf{MerkleLeafHash: hashes[i][:], LeafIndex: int64(first) + int64(i)}
	}
	return leaves
}

// stamped returns the leaf as it is stored: queued now, and with the integration
// time that Trillian leaves at zero in pre-ordered logs.
func stamped(leaf *trillian.LogLeaf, now time.Time) *trillian.LogLeaf {
	leaf = proto.Clone(leaf).(*trillian.LogLeaf)
	leaf.QueueTimestamp = timestamppb.New(now)
	leaf.IntegrateTimestamp = timestamppb.New(time.Unix(0, 0))
	return leaf
}

// compare answers for a leaf whose index is taken.
func compare(leaf, stored *trillian.LogLeaf) *trillian.QueuedLogLeaf {
	if bytes.Equal(leaf.LeafValue, stored.LeafValue) && bytes.Equal(leaf.ExtraData, stored.ExtraData) {
		return queued(stored, codes.AlreadyExists, "the same leaf is at this index")
	}
	return queued(stored, codes.FailedPrecondition, "another leaf is at this index")
}

func queued(leaf *trillian.LogLeaf, code codes.Code, message string) *trillian.QueuedLogLeaf {
	return &trillian.QueuedLogLeaf{Leaf: leaf, Status: &status.Status{Code: int32(code), Message: message}}
}
