package tlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/google/trillian"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/verifier/proof"
)

// sequencedStream is the stream of leaves that came through Trillian's
// AddSequencedLeaves rather than through the ledger's commands.
const sequencedStream = "trillian"

// indexed is what an event store offers whose n-th event can be found without
// counting: the segment engine.
type indexed interface {
	store.Store
	// Len returns how many events there are.
	Len() uint64
	// ReadRange returns the events of index first to first+count-1, or those of
	// them that there are.
	ReadRange(ctx context.Context, first uint64, count int) ([]store.Record, error)
}

// counted finds events by index in any event store: it keeps the position before
// every 256th. Its methods may be called from several goroutines at once.
type counted struct {
	store.Store

	mu      sync.Mutex
	cursors []store.Position // cursors[k] lies before event 256k
	last    store.Position   // of the newest event counted
	count   uint64
}

// length counts the events that were appended since the last call.
func (c *counted) length(ctx context.Context) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r, err := range c.ReadAll(ctx, c.last) {
		if err != nil {
			return 0, err
		}
		if c.count%proof.TileWidth == 0 {
			c.cursors = append(c.cursors, c.last)
		}
		c.last = r.Position
		c.count++
	}
	return c.count, nil
}

func (c *counted) read(ctx context.Context, first uint64, count int) ([]store.Record, error) {
	have, err := c.length(ctx)
	if err != nil || first >= have {
		return nil, err
	}
	count = int(min(uint64(count), have-first))
	c.mu.Lock()
	from := c.cursors[first/proof.TileWidth]
	c.mu.Unlock()
	skip := first % proof.TileWidth
	records := make([]store.Record, 0, count)
	for r, err := range c.ReadAll(ctx, from) {
		if err != nil {
			return nil, err
		}
		if skip > 0 {
			skip--
			continue
		}
		if records = append(records, r); len(records) == count {
			break
		}
	}
	return records, nil
}

// Leaves is where the leaves of a log are that has no event store. Its methods may
// be called from several goroutines at once.
type Leaves interface {
	// Len returns how many leaves there are. They MUST be durable.
	Len(ctx context.Context) (uint64, error)
	// Read returns the leaves of index first to first+count-1, or those of them that
	// there are.
	Read(ctx context.Context, first uint64, count int) ([][]byte, error)
}

// leaves reads an event store, or Leaves, as the leaves of a log, and is its
// tilestore.Leaves.
type leaves struct {
	store store.Store // nil if there is none
	len   func(context.Context) (uint64, error)
	read  func(ctx context.Context, first uint64, count int) ([][]byte, error)
}

func newLeaves(c Config) *leaves {
	if c.Leaves != nil {
		return &leaves{nil, c.Leaves.Len, c.Leaves.Read}
	}
	if in, ok := c.Store.(indexed); ok {
		count := func(context.Context) (uint64, error) { return in.Len(), nil }
		return &leaves{c.Store, count, statements(in.ReadRange)}
	}
	n := &counted{Store: c.Store}
	return &leaves{c.Store, n.length, statements(n.read)}
}

// statements makes a reader of leaves of a reader of records.
func statements(read func(ctx context.Context, first uint64, count int) ([]store.Record, error)) func(context.Context, uint64, int) ([][]byte, error) {
	return func(ctx context.Context, first uint64, count int) ([][]byte, error) {
		records, err := read(ctx, first, count)
		values := make([][]byte, len(records))
		for i, r := range records {
			values[i] = r.Statement
		}
		return values, err
	}
}

// Len implements tilestore.Leaves.
func (l *leaves) Len(ctx context.Context) (uint64, error) { return l.len(ctx) }

// exactly returns the leaves of the given indices, all of them or an error.
func (l *leaves) exactly(ctx context.Context, first uint64, count int) ([][]byte, error) {
	values := make([][]byte, 0, count)
	for len(values) < count {
		some, err := l.read(ctx, first+uint64(len(values)), count-len(values))
		if err != nil {
			return nil, fmt.Errorf("reading leaves %d to %d: %w", first, first+uint64(count)-1, err)
		}
		if len(some) == 0 {
			return nil, fmt.Errorf("reading leaf %d: %w", first+uint64(len(values)), ErrNotStored)
		}
		values = append(values, some...)
	}
	return values, nil
}

// hashes is a tilestore.HashReader.
func (l *leaves) hashes(ctx context.Context, first uint64, count int) ([]tlog.Hash, error) {
	values, err := l.exactly(ctx, first, count)
	if err != nil {
		return nil, err
	}
	hashes := make([]tlog.Hash, len(values))
	for i, v := range values {
		hashes[i] = proof.LeafHash(v)
	}
	return hashes, nil
}

// Range implements tilestore.Leaves. What is known of a leaf follows from its
// bytes and its index; times are not kept.
func (l *leaves) Range(ctx context.Context, first uint64, count int) ([]*trillian.LogLeaf, error) {
	values, err := l.read(ctx, first, count)
	if err != nil {
		return nil, fmt.Errorf("reading leaves from %d on: %w", first, err)
	}
	list := make([]*trillian.LogLeaf, len(values))
	for i, value := range values {
		index := first + uint64(i)
		hash, identity := proof.LeafHash(value), leafIdentity(index, value)
		list[i] = &trillian.LogLeaf{
			LeafIndex: int64(index), LeafValue: value,
			MerkleLeafHash: hash[:], LeafIdentityHash: identity[:],
		}
	}
	return list, nil
}

// Append implements tilestore.Leaves. A leaf is its bytes and nothing beside
// them: extra data, which no hash covers, is refused.
func (l *leaves) Append(ctx context.Context, first uint64, list []*trillian.LogLeaf) error {
	a := store.Append{Stream: sequencedStream, Expected: store.Any, Events: make([]store.Event, len(list))}
	for i, leaf := range list {
		if len(leaf.ExtraData) > 0 {
			return status.Errorf(codes.InvalidArgument, "leaf %d has extra data, which this log does not keep", leaf.LeafIndex)
		}
		hash := proof.LeafHash(leaf.LeafValue)
		if !bytes.Equal(leaf.MerkleLeafHash, hash[:]) {
			return status.Errorf(codes.InvalidArgument, "leaf %d has a Merkle hash other than RFC 6962's", leaf.LeafIndex)
		}
		identity := leafIdentity(first+uint64(i), leaf.LeafValue)
		a.Events[i] = store.Event{ID: events.DerivedID(identity[:]), Statement: leaf.LeafValue}
	}
	if err := a.Check(); err != nil {
		return status.Errorf(codes.InvalidArgument, "leaves from index %d on: %v", first, err)
	}
	// A crash before this returns leaves all of the leaves or none, at indices
	// that a repetition finds again.
	if _, err := l.store.Append(ctx, a); err != nil {
		return fmt.Errorf("appending leaves from index %d on: %w", first, err)
	}
	stored, err := l.read(ctx, first, len(list))
	if err != nil {
		return err
	}
	for i, leaf := range list {
		if i >= len(stored) || !bytes.Equal(stored[i], leaf.LeafValue) {
			return errors.New("the event store has another writer: leaves did not get the indices they were sent for")
		}
	}
	return nil
}

// leafIdentity is Trillian's LeafIdentityHash of a leaf: SHA-256 of its index, in
// 8 big-endian bytes, and its value, so that equal leaves at different indices
// are different leaves.
func leafIdentity(index uint64, value []byte) [sha256.Size]byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(value)), index)
	return sha256.Sum256(append(b, value...))
}
