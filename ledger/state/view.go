package state

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// From calls yield with the leaves of at least size events, in their order, until it
// returns an error.
func (s *State) From(ctx context.Context, size uint64, yield func(state.Leaf) error) error {
	n := s.leaves.n.Load()
	var failed error
	first := sort.Search(int(n), func(i int) bool {
		leaf, err := s.leaves.leaf(ctx, uint64(i))
		if err != nil {
			failed = err
		}
		return leaf.Size >= size
	})
	if failed != nil {
		return failed
	}
	for i := uint64(first); i < n; i++ {
		leaf, err := s.leaves.leaf(ctx, i)
		if err != nil {
			return err
		}
		if err := yield(leaf); err != nil {
			return err
		}
	}
	return nil
}

// Between calls f between two turns, when the log and the state log belong together.
func (s *State) Between(f func()) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f()
}

// View is what the state says of a record, at the state log's last checkpoint.
type View struct {
	Leaf    state.Leaf // the last
	Proof   []byte     // its C2SP tlog-proof under the state log's checkpoint
	Summary []byte     // nil if there is no such record
	Map     []byte     // the proof of the summary, or of its absence, in the map
}

// View returns what the state says of a record, after calling at, if it is not nil,
// at a moment that no turn is in.
func (s *State) View(ctx context.Context, record events.ID, at func()) (*View, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if at != nil {
		at()
	}
	v := &View{Leaf: s.leaves.last}
	published := s.log.Published()
	if published.Checkpoint.Size == 0 {
		return nil, errors.New("the state log has no leaf yet")
	}
	path, err := s.log.InclusionProof(ctx, published.Checkpoint.Size-1, published.Checkpoint.Size)
	if err != nil {
		return nil, fmt.Errorf("proving the state log's last leaf: %w", err)
	}
	v.Proof = proof.FormatProof(published.Checkpoint.Size-1, path, published.Note)
	var present bool
	if v.Map, v.Summary, present, err = s.tree.Prove(state.Key(record)); err != nil {
		return nil, fmt.Errorf("proving where a record stands: %w", err)
	}
	if !present {
		v.Summary = nil
	}
	return v, nil
}
