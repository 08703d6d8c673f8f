// Package kept finds signed checkpoints in what people keep of a ledger. Whoever has
// one, of whatever form, has what exposes a log that was cut or rewritten since.
//
// What is understood:
//
//	signed checkpoints  C2SP signed notes (package proof), one after the other: the
//	                    log's, and perhaps the state log's, as 'medverify audit --keep'
//	                    writes them
//	a receipt           the log's checkpoint that it is proved under (package receipt)
//	a bundle            the checkpoints of both logs in the header of the proof of a
//	                    record's completeness (package history); what follows the
//	                    header is not read
//
// Nothing is verified here, for whoever asks has the keys: a checkpoint is worth as much
// as its signature. The receipt or the bundle around it need not hold.
//
// Nothing here uses a network, a clock or a disk. All functions may be called from
// several goroutines at once.
package kept

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/receipt"
	"github.com/medledger/medledger/verifier/state"
)

// MaxSize is how many bytes of a file Find needs at most; of a longer one, which can
// only be a bundle, the beginning is enough.
const MaxSize = receipt.MaxSize

var (
	// ErrNone says that there is no checkpoint of the log in something.
	ErrNone = errors.New("has no checkpoint of the log; give the file that 'medverify audit --keep' wrote, a receipt, or a record's history")
	// ErrSeveral says that it is not clear which checkpoint is meant.
	ErrSeveral = errors.New("has more than one checkpoint of a log; give the newest alone")
)

// Checkpoints are signed checkpoints that nobody has verified yet.
type Checkpoints struct {
	Log   []byte
	State []byte // of the state log; nil if there is none
}

// Find returns the checkpoints that a file of the log with an origin has. Its errors
// wrap ErrNone or ErrSeveral.
func Find(file []byte, origin string) (Checkpoints, error) {
	if bytes.HasPrefix(bytes.TrimLeft(file, " \t\r\n"), []byte("{")) {
		return inJSON(file)
	}
	var c Checkpoints
	for _, signed := range proof.SplitNotes(file) {
		// What cannot be read counts as the log's: its signature tells.
		to := &c.Log
		if peeked, err := proof.PeekCheckpoint(signed); err == nil && peeked.Origin == state.Origin(origin) {
			to = &c.State
		}
		if *to != nil {
			return Checkpoints{}, ErrSeveral
		}
		*to = signed
	}
	if c.Log == nil {
		return Checkpoints{}, ErrNone
	}
	return c, nil
}

// inJSON returns the checkpoints of a bundle or of a receipt.
func inJSON(file []byte) (Checkpoints, error) {
	header, bundleErr := history.ReadHeader(bytes.NewReader(file))
	if bundleErr == nil {
		leaf, err := proof.ParseProof(header.State)
		if err != nil {
			return Checkpoints{}, fmt.Errorf("%w: it is a history without a proof: %w", ErrNone, err)
		}
		return Checkpoints{header.Log, leaf.Checkpoint}, nil
	}
	r, err := receipt.Parse(file)
	if err != nil {
		return Checkpoints{}, fmt.Errorf("%w: it is neither a history (%w) nor a receipt: %w", ErrNone, bundleErr, err)
	}
	if r.Status == receipt.StatusPromised {
		return Checkpoints{}, fmt.Errorf("%w: %w", ErrNone, receipt.ErrPromised)
	}
	event, err := proof.ParseProof(r.Proof)
	if err != nil {
		return Checkpoints{}, fmt.Errorf("%w: it is a receipt without a proof: %w", ErrNone, err)
	}
	return Checkpoints{Log: event.Checkpoint}, nil
}
