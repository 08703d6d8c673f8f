package tlog_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/integration"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// client is a Log as the client that Trillian's integration suite talks to. Two
// things of the suite have no place in a medledger log and are adapted here:
//
//   - It queues leaves without an order (QueueLeaf). The order is the event
//     store's, so the client gives each leaf the next index.
//   - It hangs extra data on leaves. Nothing vouches for that, so the log refuses
//     it (TestTrillianServer), and the client keeps it.
type client struct {
	trillian.TrillianLogClient // panics for what the suite does not call

	log    *tlog.Log
	server trillian.TrillianLogServer
	next   int64
	extra  map[int64][]byte
}

func (c *client) QueueLeaf(ctx context.Context, r *trillian.QueueLeafRequest, _ ...grpc.CallOption) (*trillian.QueueLeafResponse, error) {
	c.extra[c.next] = r.Leaf.ExtraData
	leaf := &trillian.LogLeaf{LeafValue: r.Leaf.LeafValue, LeafIndex: c.next}
	c.next++
	added, err := c.server.AddSequencedLeaves(ctx, &trillian.AddSequencedLeavesRequest{LogId: r.LogId, Leaves: []*trillian.LogLeaf{leaf}})
	if err != nil {
		return nil, err
	}
	if code := codes.Code(added.Results[0].Status.Code); code != codes.OK {
		return nil, fmt.Errorf("leaf %d answered with %v", leaf.LeafIndex, code)
	}
	if c.next%50 == 0 {
		if _, err := c.log.CatchUp(ctx); err != nil {
			return nil, err
		}
	}
	return &trillian.QueueLeafResponse{QueuedLeaf: added.Results[0]}, nil
}

func (c *client) GetLatestSignedLogRoot(ctx context.Context, r *trillian.GetLatestSignedLogRootRequest, _ ...grpc.CallOption) (*trillian.GetLatestSignedLogRootResponse, error) {
	return c.server.GetLatestSignedLogRoot(ctx, r)
}

func (c *client) GetInclusionProof(ctx context.Context, r *trillian.GetInclusionProofRequest, _ ...grpc.CallOption) (*trillian.GetInclusionProofResponse, error) {
	return c.server.GetInclusionProof(ctx, r)
}

func (c *client) GetConsistencyProof(ctx context.Context, r *trillian.GetConsistencyProofRequest, _ ...grpc.CallOption) (*trillian.GetConsistencyProofResponse, error) {
	return c.server.GetConsistencyProof(ctx, r)
}

func (c *client) GetLeavesByRange(ctx context.Context, r *trillian.GetLeavesByRangeRequest, _ ...grpc.CallOption) (*trillian.GetLeavesByRangeResponse, error) {
	response, err := c.server.GetLeavesByRange(ctx, r)
	for _, leaf := range response.GetLeaves() {
		leaf.ExtraData = c.extra[leaf.LeafIndex]
	}
	return response, err
}

func TestLogIntegration(t *testing.T) {
	for _, unique := range []int64{1000, 10} { // 10: most leaves repeat
		w := newWorld(t)
		l := w.open()
		server, id := l.Trillian()
		params := integration.DefaultTestParameters(id)
		params.UniqueLeaves = unique
		params.SequencingPollWait = time.Millisecond
		if err := integration.RunLogIntegration(&client{log: l, server: server, extra: map[int64][]byte{}}, params); err != nil {
			t.Errorf("%d unique leaves: %v", unique, err)
		}
		judge(t, l, w.config.Verifier)
	}
}

func TestTrillianServer(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	server, id := l.Trillian()
	add := func(leaves ...*trillian.LogLeaf) ([]*trillian.QueuedLogLeaf, error) {
		r, err := server.AddSequencedLeaves(t.Context(), &trillian.AddSequencedLeavesRequest{LogId: id, Leaves: leaves})
		return r.GetResults(), err
	}
	results, err := add(&trillian.LogLeaf{LeafValue: []byte("a")}, &trillian.LogLeaf{LeafValue: []byte("a"), LeafIndex: 1})
	if err != nil || results[0].Status.Code != 0 || results[1].Status.Code != 0 {
		t.Fatalf("adding: %v, %v", results, err)
	}
	if p, err := l.CatchUp(t.Context()); err != nil || p.Checkpoint.Size != 2 {
		t.Fatalf("integrating: %+v, %v", p, err)
	}
	results, err = add(&trillian.LogLeaf{LeafValue: []byte("b"), LeafIndex: 1})
	if err != nil || codes.Code(results[0].Status.Code) != codes.FailedPrecondition || !bytes.Equal(results[0].Leaf.LeafValue, []byte("a")) {
		t.Errorf("another leaf at an index: %v, %v", results, err)
	}
	results, err = add(&trillian.LogLeaf{LeafValue: []byte("a"), LeafIndex: 1})
	if err != nil || codes.Code(results[0].Status.Code) != codes.AlreadyExists {
		t.Errorf("a repeated leaf: %v, %v", results, err)
	}
	for name, c := range map[string]struct {
		call func() error
		want codes.Code
	}{
		"extra data": {func() error {
			_, err := add(&trillian.LogLeaf{LeafValue: []byte("c"), LeafIndex: 2, ExtraData: []byte("x")})
			return err
		}, codes.InvalidArgument},
		"too long a leaf": {func() error {
			_, err := add(&trillian.LogLeaf{LeafValue: make([]byte, proof.MaxEntry+1), LeafIndex: 2})
			return err
		}, codes.InvalidArgument},
		"by hash": {func() error {
			hash := proof.LeafHash([]byte("a"))
			_, err := server.GetInclusionProofByHash(t.Context(), &trillian.GetInclusionProofByHashRequest{LogId: id, LeafHash: hash[:], TreeSize: 2})
			return err
		}, codes.Unimplemented},
		"initialised already": {func() error {
			_, err := server.InitLog(t.Context(), &trillian.InitLogRequest{LogId: id})
			return err
		}, codes.AlreadyExists},
		"another tree": {func() error {
			_, err := server.GetLatestSignedLogRoot(t.Context(), &trillian.GetLatestSignedLogRootRequest{LogId: id + 1})
			return err
		}, codes.NotFound},
	} {
		if err := c.call(); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if l.Err() != nil || l.Published().Checkpoint.Size != 2 {
		t.Errorf("refused calls changed the log: %v, %+v", l.Err(), l.Published())
	}
}
