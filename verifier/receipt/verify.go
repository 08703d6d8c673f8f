package receipt

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/statement"
)

var (
	// ErrPromised says that a receipt has no proof to verify yet.
	ErrPromised = errors.New("the receipt is only promised; fetch it again from the ledger, which has the proof once its log has grown past the event")
	// ErrCheckpoints says that the proofs of a receipt are under different
	// checkpoints.
	ErrCheckpoints = errors.New("proofs of the receipt are under different checkpoints")
	// ErrChain says that the announcements of a receipt do not lead from the
	// opening of the ledger to the statement.
	ErrChain = errors.New("announcements of the receipt do not lead to its statement")
)

// Verified is what a receipt proves.
type Verified struct {
	Event      events.Event     // as it was signed; see events.Upcast
	Index      uint64           // its place in the log
	Checkpoint proof.Checkpoint // the checkpoint that it is proved under
}

// Verify checks a receipt with the verifier key of the log; the package comment
// says how, and what it proves. Its errors wrap ErrMalformed, ErrPromised,
// ErrCheckpoints or ErrChain, or are those of package proof and of package
// statement for the part that is wrong.
func Verify(r *Receipt, v note.Verifier) (*Verified, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Status == StatusPromised {
		return nil, ErrPromised
	}
	own, checkpoint, err := proof.VerifyInclusion(proof.LeafHash(r.Statement), r.Proof, v)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	keys, err := verifyChain(r.Announcements, own, checkpoint)
	if err != nil {
		return nil, err
	}
	s, err := statement.Verify(r.Statement, keys)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	if _, opened := s.Event.Data.(*events.LedgerOpened); opened != (own.Index == 0) {
		return nil, fmt.Errorf("%s at index %d: %w", s.Event.Type, own.Index, ErrChain)
	}
	return &Verified{Event: s.Event, Index: own.Index, Checkpoint: checkpoint}, nil
}

// verifyChain returns the keys that may sign at the index of own, which has been
// verified under the checkpoint.
func verifyChain(announcements []ProvedStatement, own proof.Inclusion, checkpoint proof.Checkpoint) (statement.KeySet, error) {
	var keys statement.Timeline
	for i, a := range announcements {
		index, err := verifyLeaf(a, own, checkpoint)
		if err != nil {
			return statement.KeySet{}, fmt.Errorf("announcement %d of the receipt: %w", i, err)
		}
		if index >= own.Index && index != 0 {
			return statement.KeySet{}, fmt.Errorf("announcement %d stands at index %d, the statement at %d: %w", i, index, own.Index, ErrChain)
		}
		if err := keys.Announce(a.Statement, index); err != nil {
			return statement.KeySet{}, fmt.Errorf("announcement %d of the receipt: %w: %w", i, ErrChain, err)
		}
	}
	if keys.Origin() != checkpoint.Origin {
		return statement.KeySet{}, fmt.Errorf("ledger of %q in the log of %q: %w", keys.Origin(), checkpoint.Origin, statement.ErrOrigin)
	}
	return keys.At(own.Index)
}

// verifyLeaf checks that an announcement is under the very checkpoint that own
// was verified under, and returns its index.
func verifyLeaf(a ProvedStatement, own proof.Inclusion, checkpoint proof.Checkpoint) (uint64, error) {
	p, err := proof.ParseProof(a.Proof)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(p.Checkpoint, own.Checkpoint) {
		return 0, ErrCheckpoints
	}
	return p.Index, checkpoint.CheckLeaf(p.Index, proof.LeafHash(a.Statement), p.Hashes)
}
