// Package receipt is what a ledger answers a write with: the proof that an event
// is in its log, which needs nothing else to be checked but the log's verifier
// key, years and key rotations later.
//
// Nothing here uses a network, a clock or a disk. All functions may be called
// from several goroutines at once.
//
// # Format
//
// A receipt is a JSON object of at most 16 MiB:
//
//	status     "proved" or "promised"
//	statement  the statement (package statement)
//	proof      its C2SP tlog-proof (package proof)
//	keys       array of 1 to 4096 objects {"statement", "proof"}: the announcements
//	           of statement keys, oldest first, each with its tlog-proof
//
// Statements and proofs are in standard base64 with padding (RFC 4648 section
// 4), one spelling only. A proved receipt has all four members. A promised one
// has status and statement only: the event is durable, but its proof is not made
// yet; the receipt is to be fetched again.
//
// A receipt is written as canonical JSON (RFC 8785) and read in any spelling of
// it, so that tools may indent it. Members that are repeated, not known, in the
// wrong case, null or empty are refused.
//
// # Verification
//
// A proved receipt holds if, for the verifier key of the log, whose name is the
// log's origin:
//
//  1. every tlog-proof contains the same signed checkpoint, byte by byte;
//  2. the checkpoint is signed by the verifier key and has its name as origin;
//  3. every statement is included at the index of its proof under the
//     checkpoint;
//  4. the first announcement is the opening of the ledger at index 0, with the
//     log's origin as its source; each further one is a rotation that the set of
//     keys before it signed and that names the index of the announcement before
//     it (statement.KeySet); their indices increase;
//  5. the last announcement lies below the statement's index. The opening's own
//     receipt, at index 0, has itself as its one announcement;
//  6. the statement is signed by a key of the set that the last announcement
//     made, and its source is the origin.
//
// # What it does not say
//
// A receipt cannot show that no rotation lies between its last announcement and
// its statement: for that, as for the legality of a record's life, the whole log
// has to be checked (medverify audit). Nor does it show that others see the same
// log: that is what cosignatures on the checkpoint and kept checkpoints are for.
package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/medledger/medledger/verifier/jcs"
	"github.com/medledger/medledger/verifier/statement"
)

// Status says how far the event has come.
type Status string

const (
	// StatusProved is the status of a receipt that holds a proof.
	StatusProved Status = "proved"
	// StatusPromised is the status of a receipt whose event is durable and whose
	// proof is yet to be fetched.
	StatusPromised Status = "promised"
)

const (
	// MaxSize is the largest receipt in bytes.
	MaxSize = jcs.MaxSize
	// MaxAnnouncements is the largest number of announcements in a receipt.
	MaxAnnouncements = 4096
)

// ErrMalformed is wrapped by the errors of bytes that are no receipt.
var ErrMalformed = errors.New("malformed receipt")

// Receipt is a receipt that nobody has verified yet.
type Receipt struct {
	Status    Status
	Statement []byte
	Proof     []byte // tlog-proof; empty if promised
	// Announcements are those of the statement keys, oldest first; none if
	// promised. In JSON they are the member keys.
	Announcements []ProvedStatement
}

// ProvedStatement is a statement with its proof.
type ProvedStatement struct {
	Statement []byte
	Proof     []byte // tlog-proof
}

// The JSON forms. encoding/json writes bytes as padded standard base64.
type (
	receiptJSON struct {
		Announcements []provedStatementJSON `json:"keys,omitempty"`
		Proof         []byte                `json:"proof,omitempty"`
		Statement     []byte                `json:"statement"`
		Status        Status                `json:"status"`
	}
	provedStatementJSON struct {
		Proof     []byte `json:"proof"`
		Statement []byte `json:"statement"`
	}
)

// check returns an error that wraps ErrMalformed if r is not of the form that
// its status demands. It proves nothing.
func (r *Receipt) check() error {
	if n := len(r.Statement); n == 0 || n > statement.MaxSize {
		return fmt.Errorf("statement of %d bytes: %w", n, ErrMalformed)
	}
	switch r.Status {
	case StatusPromised:
		if len(r.Proof) > 0 || len(r.Announcements) > 0 {
			return fmt.Errorf("status promised, yet with a proof or keys: %w", ErrMalformed)
		}
		return nil
	case StatusProved:
	default:
		return fmt.Errorf("status is neither %s nor %s: %w", StatusProved, StatusPromised, ErrMalformed)
	}
	if len(r.Proof) == 0 || len(r.Announcements) == 0 || len(r.Announcements) > MaxAnnouncements {
		return fmt.Errorf("status proved, with a proof of %d bytes and %d keys: %w", len(r.Proof), len(r.Announcements), ErrMalformed)
	}
	for i, a := range r.Announcements {
		if len(a.Statement) == 0 || len(a.Statement) > statement.MaxSize || len(a.Proof) == 0 {
			return fmt.Errorf("announcement %d without a statement or a proof: %w", i, ErrMalformed)
		}
	}
	return nil
}

// Marshal returns the receipt as canonical JSON. Its errors wrap ErrMalformed.
func Marshal(r *Receipt) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	j := receiptJSON{Status: r.Status, Statement: r.Statement, Proof: r.Proof}
	for _, a := range r.Announcements {
		j.Announcements = append(j.Announcements, provedStatementJSON{Statement: a.Statement, Proof: a.Proof})
	}
	text, err := jcs.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("writing a receipt: %w", err)
	}
	if len(text) > MaxSize {
		return nil, fmt.Errorf("receipt of %d bytes, limit %d: %w", len(text), MaxSize, ErrMalformed)
	}
	return text, nil
}

// Parse reads a receipt without verifying it. Its errors wrap ErrMalformed. What
// it accepts, Marshal writes as the same JSON value.
func Parse(text []byte) (*Receipt, error) {
	canonical, err := jcs.Canonicalize(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var j receiptJSON
	if err := json.Unmarshal(canonical, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r := &Receipt{Status: j.Status, Statement: j.Statement, Proof: j.Proof}
	for _, a := range j.Announcements {
		r.Announcements = append(r.Announcements, ProvedStatement{Statement: a.Statement, Proof: a.Proof})
	}
	// encoding/json lets unknown names, other cases, null and line breaks in
	// base64 pass; none of them survives being written again.
	again, err := Marshal(r)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, canonical) {
		return nil, fmt.Errorf("members that are unknown, empty or not in their one form: %w", ErrMalformed)
	}
	return r, nil
}
