package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/jcs"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

// The JSON forms. encoding/json writes bytes as padded standard base64.
type (
	headerJSON struct {
		Announcements uint64    `json:"announcements"`
		Consistency   []byte    `json:"consistency"`
		Events        uint64    `json:"events"`
		Format        string    `json:"format"`
		Leaf          []byte    `json:"leaf"`
		Log           string    `json:"log"`
		Map           []byte    `json:"map"`
		Record        events.ID `json:"record"`
		State         string    `json:"state"`
		Summary       []byte    `json:"summary,omitempty"`
	}
	statementJSON struct {
		Index     uint64 `json:"index"`
		Path      []byte `json:"path"`
		Statement []byte `json:"statement"`
	}
)

// Header is a bundle's first line.
type Header struct {
	Record        events.ID
	Announcements uint64 // how many
	Events        uint64 // likewise
	Log           []byte // signed checkpoint of the log
	Leaf          state.Leaf
	Consistency   []tlog.Hash // from the leaf's size to the checkpoint's
	State         []byte      // tlog-proof of the leaf
	Map           []byte      // proof of the summary, or that there is none
	Summary       *state.Summary
}

// check returns an error that wraps ErrMalformed if h makes no bundle.
func (h *Header) check() error {
	switch {
	case h.Record.IsZero():
		return fmt.Errorf("history of no record: %w", ErrMalformed)
	case h.Announcements == 0 || h.Announcements > maxAnnouncements:
		return fmt.Errorf("%d announcements, want 1 to %d: %w", h.Announcements, maxAnnouncements, ErrMalformed)
	case h.Events > maxSafe:
		return fmt.Errorf("%d events: %w", h.Events, ErrMalformed)
	case h.Summary == nil && h.Events != 0 || h.Summary != nil && h.Events != h.Summary.Events:
		return fmt.Errorf("another number of events than its summary counts: %w", ErrMalformed)
	}
	return nil
}

// line returns the header as a line. Its errors wrap ErrMalformed.
func (h *Header) line() ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	j := headerJSON{
		Announcements: h.Announcements, Consistency: join(h.Consistency), Events: h.Events, Format: format, Leaf: h.Leaf.Marshal(),
		Log: string(h.Log), Map: append([]byte{}, h.Map...), Record: h.Record, State: string(h.State),
	}
	if h.Summary != nil {
		j.Summary = h.Summary.Marshal()
	}
	return line(j)
}

// parseHeader reads what Header.line wrote, and nothing else.
func parseHeader(text []byte) (*Header, error) {
	var j headerJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, fmt.Errorf("header: %w: %w", ErrMalformed, err)
	}
	h := &Header{Record: j.Record, Announcements: j.Announcements, Events: j.Events, Log: []byte(j.Log), State: []byte(j.State), Map: j.Map}
	var err error
	if h.Leaf, err = state.ParseLeaf(j.Leaf); err != nil {
		return nil, fmt.Errorf("header: %w: %w", ErrMalformed, err)
	}
	if h.Consistency, err = split(j.Consistency); err != nil {
		return nil, fmt.Errorf("consistency proof: %w", err)
	}
	if j.Summary != nil {
		s, err := state.ParseSummary(j.Summary)
		if err != nil {
			return nil, fmt.Errorf("header: %w: %w", ErrMalformed, err)
		}
		h.Summary = &s
	}
	return h, same(h, text)
}

// ReadHeader reads the header of a bundle and verifies nothing of it. Its errors wrap
// ErrMalformed or are the reader's.
func ReadHeader(r io.Reader) (*Header, error) {
	text, err := readLines(r).next()
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return parseHeader(text)
}

// proved is a statement with its place in the log.
type proved struct {
	index uint64
	path  []tlog.Hash
	raw   []byte
}

// line returns the statement as a line. Its errors wrap ErrMalformed.
func (p *proved) line() ([]byte, error) {
	if p.index > maxSafe {
		return nil, fmt.Errorf("index %d: %w", p.index, ErrMalformed)
	}
	if len(p.raw) == 0 || len(p.raw) > statement.MaxSize {
		return nil, fmt.Errorf("statement of %d bytes: %w", len(p.raw), ErrMalformed)
	}
	return line(statementJSON{Index: p.index, Path: join(p.path), Statement: p.raw})
}

// parseProved reads what proved.line wrote, and nothing else.
func parseProved(text []byte) (*proved, error) {
	var j statementJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	path, err := split(j.Path)
	if err != nil {
		return nil, err
	}
	p := &proved{j.Index, path, j.Statement}
	return p, same(p, text)
}

// line returns canonical JSON as a line. Its errors wrap ErrMalformed.
func line(v any) ([]byte, error) {
	text, err := jcs.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(text) >= maxLine {
		return nil, fmt.Errorf("a line of %d bytes, limit %d: %w", len(text)+1, maxLine, ErrMalformed)
	}
	return append(text, '\n'), nil
}

// same returns an error unless what was read is written as the very line again.
// encoding/json lets other orders, unknown and repeated names, other cases, null and
// line breaks in base64 pass; none of them survives that.
func same(v interface{ line() ([]byte, error) }, text []byte) error {
	again, err := v.line()
	if err != nil {
		return err
	}
	if !bytes.Equal(again, text) {
		return fmt.Errorf("a line that is not in its one form: %w", ErrMalformed)
	}
	return nil
}

// join returns hashes as bytes, never nil.
func join(hashes []tlog.Hash) []byte { return proof.FormatHashTile(hashes) }

// split reads what join wrote.
func split(b []byte) ([]tlog.Hash, error) {
	if len(b)%tlog.HashSize != 0 {
		return nil, fmt.Errorf("%d bytes of hashes: %w", len(b), ErrMalformed)
	}
	hashes := make([]tlog.Hash, len(b)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], b[i*tlog.HashSize:])
	}
	return hashes, nil
}

// lines reads a bundle's lines.
type lines struct{ r *bufio.Reader }

func readLines(r io.Reader) *lines { return &lines{bufio.NewReaderSize(r, maxLine)} }

// next returns a line with its newline. It holds until the next call.
func (l *lines) next() ([]byte, error) {
	text, err := l.r.ReadSlice('\n')
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("a line of more than %d bytes: %w", maxLine, ErrMalformed)
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("it ends too early: %w", ErrMalformed)
	}
	return nil, fmt.Errorf("reading the history: %w", err)
}

// end returns an error unless there is nothing more.
func (l *lines) end() error {
	switch _, err := l.r.ReadByte(); {
	case err == nil:
		return fmt.Errorf("something follows its last line: %w", ErrMalformed)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return fmt.Errorf("reading the history: %w", err)
	}
}
