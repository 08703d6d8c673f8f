package proof

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// MaxSize is the largest number of leaves that a log may have.
	MaxSize = math.MaxInt64
	// MaxSignedCheckpoint is the largest signed checkpoint in bytes that is read:
	// the text, the log's signature and those of many witnesses.
	MaxSignedCheckpoint = 64 << 10

	// maxOrigin bounds an origin in bytes.
	maxOrigin = 255
)

// Checkpoint commits to the first Size leaves of the log named Origin.
//
// As text it is the body of a C2SP tlog-checkpoint: three lines, each ended by
// a newline (U+000A), and nothing after them:
//
//	origin     1 to 255 bytes of UTF-8 without '+', spaces or control characters
//	tree size  decimal, 0 to 2^63-1, without leading zeros
//	root hash  32 bytes in padded standard base64 (RFC 4648 section 4)
//
// The specification allows extension lines after the third and advises against
// them; they are refused here. The root of an empty tree is SHA-256 of nothing,
// and a checkpoint of size 0 with another root is refused.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   tlog.Hash
}

var (
	// ErrMalformed is wrapped by the errors of bytes that are not in the one
	// accepted form of their format.
	ErrMalformed = errors.New("malformed")
	// ErrOrigin is wrapped by the errors of a checkpoint that belongs to
	// another log than the key.
	ErrOrigin = errors.New("checkpoint of another log")
)

// EmptyRoot is the root of a log without leaves.
func EmptyRoot() tlog.Hash { return sha256.Sum256(nil) }

// text returns the text of c, unsigned. It does not judge c; check does.
func (c Checkpoint) text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + c.Root.String() + "\n"
}

// ParseCheckpoint reads the text of a checkpoint. What it accepts,
// SignCheckpoint signs as the very same text. Its errors wrap ErrMalformed.
func ParseCheckpoint(body string) (Checkpoint, error) {
	lines := strings.SplitN(body, "\n", 5)
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("checkpoint without exactly three lines: %w", ErrMalformed)
	}
	size, err := parseDecimal(lines[1])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("tree size of checkpoint: %w", err)
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("root hash of checkpoint: %w", err)
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: root}
	if err := c.check(); err != nil {
		return Checkpoint{}, err
	}
	return c, nil
}

// check returns an error that wraps ErrMalformed if c has no text.
func (c Checkpoint) check() error {
	switch {
	case !ValidOrigin(c.Origin):
		return fmt.Errorf("origin of checkpoint: %w", ErrMalformed)
	case c.Size > MaxSize:
		return fmt.Errorf("tree size %d of checkpoint: %w", c.Size, ErrMalformed)
	case c.Size == 0 && c.Root != EmptyRoot():
		return fmt.Errorf("checkpoint of an empty tree with a root other than SHA-256(\"\"): %w", ErrMalformed)
	}
	return nil
}

// ValidOrigin reports whether name may be the origin of a log and the name of
// its note key. It is as wide as the names that C2SP gives to logs, since it also
// judges checkpoints that others made; medledger gives its own logs narrower
// names, which events.CheckOrigin decides.
func ValidOrigin(name string) bool {
	if name == "" || len(name) > maxOrigin || !utf8.ValidString(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r == '+' || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

// SignCheckpoint returns c as a C2SP signed note with signer's signature. The
// signer's name must be c's origin.
func SignCheckpoint(c Checkpoint, signer note.Signer) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if signer.Name() != c.Origin {
		return nil, fmt.Errorf("checkpoint of %q, key of %q: %w", c.Origin, signer.Name(), ErrOrigin)
	}
	signed, err := note.Sign(&note.Note{Text: c.text()}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing checkpoint of size %d: %w", c.Size, err)
	}
	return signed, nil
}

// VerifyCheckpoint checks a signed note's signature by v, that its text is a
// checkpoint, and that its origin is v's name. Signatures by other keys
// (witnesses, say) are ignored, as the signed-note specification demands.
//
// A signature that does not verify is a *note.InvalidSignatureError, the lack
// of one by v a *note.UnverifiedNoteError; other errors wrap ErrMalformed or
// ErrOrigin, or are the note package's.
func VerifyCheckpoint(signedNote []byte, v note.Verifier) (Checkpoint, error) {
	n, err := note.Open(signedNote, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != v.Name() {
		return Checkpoint{}, fmt.Errorf("checkpoint of %q, key of %q: %w", c.Origin, v.Name(), ErrOrigin)
	}
	return c, nil
}

// PeekCheckpoint reads the checkpoint in a signed note without checking any
// signature: there is no key yet. Nothing vouches for what it returns. Its errors
// wrap ErrMalformed, or are the note package's.
func PeekCheckpoint(signedNote []byte) (Checkpoint, error) {
	_, err := note.Open(signedNote, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return Checkpoint{}, fmt.Errorf("checkpoint is not a signed note: %w", err)
	}
	return ParseCheckpoint(unverified.Note.Text)
}

// SplitNotes cuts a file of several signed checkpoints, one after the other, into
// each of them. It does not judge them: the pieces, joined, are the file.
func SplitNotes(file []byte) [][]byte {
	const signature = "\u2014 " // begins the lines that end a note, and no origin
	var notes [][]byte
	begin, signed := 0, false
	for at := 0; at < len(file); {
		line, _, _ := bytes.Cut(file[at:], []byte("\n"))
		isSignature := bytes.HasPrefix(line, []byte(signature))
		if signed && !isSignature {
			notes = append(notes, file[begin:at:at])
			begin = at
		}
		signed = isSignature
		at = min(at+len(line)+1, len(file))
	}
	if begin < len(file) {
		notes = append(notes, file[begin:])
	}
	return notes
}

// ParseVerifierKey reads a log's verifier key as its file has it: one line
// NAME+HASH+KEY in the form of golang.org/x/mod/sumdb/note, with or without white
// space around it. Its errors are those of note.NewVerifier.
func ParseVerifierKey(text []byte) (note.Verifier, error) {
	return note.NewVerifier(strings.TrimSpace(string(text)))
}

// parseDecimal reads a number from 0 to MaxSize without sign or leading zeros.
func parseDecimal(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("not a decimal number below 2^63 in its shortest form: %w", ErrMalformed)
	}
	return n, nil
}

// parseHash reads 32 bytes of canonical base64.
func parseHash(s string) (tlog.Hash, error) {
	h, err := tlog.ParseHash(s)
	if err != nil || h.String() != s {
		return tlog.Hash{}, fmt.Errorf("not 32 bytes of base64: %w", ErrMalformed)
	}
	return h, nil
}
