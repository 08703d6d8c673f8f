package proof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A proof is a C2SP tlog-proof, version 1: lines ended by a newline (U+000A),
//
//	c2sp.org/tlog-proof@v1
//	index N                   the leaf's index, decimal, shortest form
//	HASH                      0 to 63 lines of 32 bytes in base64, from the
//	...                       leaf's sibling up to the root's child
//	                          an empty line
//	signed checkpoint         as it was signed, verbatim, to the end
//
// The specification allows a line of extra data before the index. Nothing
// vouches for it, so it is neither written nor accepted here.
const proofHeader = "c2sp.org/tlog-proof@v1\n"

// maxHashes is the longest path in a tree of at most MaxSize leaves.
const maxHashes = 63

// ErrProof is wrapped by the errors of well-formed proofs that do not prove
// what they should.
var ErrProof = errors.New("proof does not verify")

// Inclusion is a parsed tlog-proof. Nothing in it has been verified.
type Inclusion struct {
	Index      uint64
	Hashes     []tlog.Hash
	Checkpoint []byte // signed note
}

// FormatProof returns the tlog-proof of the leaf at index under a signed
// checkpoint. The hashes are the audit path of RFC 6962 section 2.1.1.
func FormatProof(index uint64, hashes []tlog.Hash, signedCheckpoint []byte) []byte {
	b := make([]byte, 0, len(proofHeader)+32+45*len(hashes)+len(signedCheckpoint))
	b = append(b, proofHeader...)
	b = append(b, "index "...)
	b = strconv.AppendUint(b, index, 10)
	b = append(b, '\n')
	for _, h := range hashes {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, signedCheckpoint...)
}

// ParseProof reads a tlog-proof. What it accepts, FormatProof writes back
// unchanged. Its errors wrap ErrMalformed. The signed checkpoint is only
// bounded here; VerifyInclusion checks it.
func ParseProof(text []byte) (Inclusion, error) {
	rest, ok := bytes.CutPrefix(text, []byte(proofHeader))
	if !ok {
		return Inclusion{}, fmt.Errorf("proof without its first line %q: %w", strings.TrimSpace(proofHeader), ErrMalformed)
	}
	line, rest, ok := bytes.Cut(rest, []byte("\n"))
	number, isIndex := strings.CutPrefix(string(line), "index ")
	if !ok || !isIndex {
		return Inclusion{}, fmt.Errorf("proof without an index line: %w", ErrMalformed)
	}
	index, err := parseDecimal(number)
	if err != nil {
		return Inclusion{}, fmt.Errorf("index of proof: %w", err)
	}
	p := Inclusion{Index: index}
	for {
		line, rest, ok = bytes.Cut(rest, []byte("\n"))
		if !ok {
			return Inclusion{}, fmt.Errorf("proof ends within its hashes: %w", ErrMalformed)
		}
		if len(line) == 0 {
			break
		}
		if len(p.Hashes) == maxHashes {
			return Inclusion{}, fmt.Errorf("proof of more than %d hashes: %w", maxHashes, ErrMalformed)
		}
		h, err := parseHash(string(line))
		if err != nil {
			return Inclusion{}, fmt.Errorf("hash %d of proof: %w", len(p.Hashes), err)
		}
		p.Hashes = append(p.Hashes, h)
	}
	if len(rest) == 0 || len(rest) > MaxSignedCheckpoint {
		return Inclusion{}, fmt.Errorf("proof with a checkpoint of %d bytes, limit %d: %w", len(rest), MaxSignedCheckpoint, ErrMalformed)
	}
	p.Checkpoint = bytes.Clone(rest)
	return p, nil
}

// VerifyInclusion checks that the leaf with the given hash (LeafHash) is in the
// log of v's name: the proof's form, its checkpoint's signature by v and origin,
// and the path from the leaf to the root. It returns the proof, whose Index is the
// leaf's, and the checkpoint it was proved under. Its errors wrap ErrProof, or are
// those of ParseProof and VerifyCheckpoint.
func VerifyInclusion(leafHash tlog.Hash, text []byte, v note.Verifier) (Inclusion, Checkpoint, error) {
	p, err := ParseProof(text)
	if err != nil {
		return Inclusion{}, Checkpoint{}, err
	}
	c, err := VerifyCheckpoint(p.Checkpoint, v)
	if err != nil {
		return Inclusion{}, Checkpoint{}, err
	}
	if err := c.CheckLeaf(p.Index, leafHash, p.Hashes); err != nil {
		return Inclusion{}, Checkpoint{}, err
	}
	return p, c, nil
}

// Hash is a node of the tree: SHA-256 (RFC 6962 section 2.1).
type Hash = tlog.Hash

// LeafHash returns the RFC 6962 hash of a leaf.
func LeafHash(leaf []byte) tlog.Hash { return tlog.RecordHash(leaf) }

// CheckLeaf checks an audit path from a leaf at index to c's root. Its errors
// wrap ErrProof.
func (c Checkpoint) CheckLeaf(index uint64, leafHash tlog.Hash, path []tlog.Hash) error {
	if c.Size > MaxSize || index >= c.Size {
		return fmt.Errorf("index %d in a log of %d leaves: %w", index, c.Size, ErrProof)
	}
	if err := tlog.CheckRecord(path, int64(c.Size), c.Root, int64(index), leafHash); err != nil {
		return fmt.Errorf("leaf %d under the checkpoint of size %d: %w", index, c.Size, ErrProof)
	}
	return nil
}

// ForkError is the evidence that one log signed two histories: the same size
// with two roots.
type ForkError struct {
	A, B Checkpoint
}

func (e *ForkError) Error() string {
	return fmt.Sprintf("log %q has two roots at size %d: %v and %v", e.A.Origin, e.A.Size, e.A.Root, e.B.Root)
}

// VerifyConsistency checks that newer's tree extends older's, with the
// consistency proof of RFC 6962 section 2.1.2 (empty if the sizes are equal or
// older is empty). Both checkpoints must have been verified. Its errors are a
// *ForkError, which needs no proof, or wrap ErrOrigin or ErrProof; a proof that
// does not verify is no evidence against the log, only none for it.
func VerifyConsistency(older, newer Checkpoint, hashes []tlog.Hash) error {
	if older.Origin != newer.Origin {
		return fmt.Errorf("comparing %q with %q: %w", older.Origin, newer.Origin, ErrOrigin)
	}
	for _, c := range []Checkpoint{older, newer} {
		if err := c.check(); err != nil {
			return err
		}
	}
	if older.Size > newer.Size {
		return fmt.Errorf("log shrinks from %d to %d leaves: %w", older.Size, newer.Size, ErrProof)
	}
	if older.Size == newer.Size && older.Root != newer.Root {
		return &ForkError{A: older, B: newer}
	}
	if older.Size == newer.Size || older.Size == 0 {
		if len(hashes) != 0 {
			return fmt.Errorf("consistency proof of %d hashes where none are needed: %w", len(hashes), ErrProof)
		}
		return nil
	}
	if err := tlog.CheckTree(hashes, int64(newer.Size), newer.Root, int64(older.Size), older.Root); err != nil {
		return fmt.Errorf("consistency of sizes %d and %d: %w", older.Size, newer.Size, ErrProof)
	}
	return nil
}
