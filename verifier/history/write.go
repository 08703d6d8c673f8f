package history

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrOrder says that a bundle was written otherwise than its header says.
var ErrOrder = errors.New("history is written otherwise than its header says")

// Writer writes a bundle, one line at a time. It is not safe for concurrent use.
type Writer struct {
	w    io.Writer
	left uint64 // how many statements are still to come
}

// NewWriter writes the header of a bundle. Its errors wrap ErrMalformed or are w's.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	text, err := h.line()
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("writing the header of a history: %w", err)
	}
	return &Writer{w: w, left: 1 + h.Announcements + h.Events}, nil
}

// Statement writes the next statement with its place and its audit path under the
// header's checkpoint: the announcement of the state log, those of the statement keys,
// oldest first, and the record's events, oldest first. It proves nothing; Verify does.
// Its errors wrap ErrOrder or ErrMalformed or are the writer's.
func (w *Writer) Statement(index uint64, path []tlog.Hash, raw []byte) error {
	if w.left == 0 {
		return fmt.Errorf("a statement too many: %w", ErrOrder)
	}
	p := proved{index, path, raw}
	text, err := p.line()
	if err != nil {
		return err
	}
	if _, err := w.w.Write(text); err != nil {
		return fmt.Errorf("writing a statement of a history: %w", err)
	}
	w.left--
	return nil
}

// Close says that all statements were written. The error of a bundle that lacks some
// wraps ErrOrder. It does not close the writer below.
func (w *Writer) Close() error {
	if w.left > 0 {
		return fmt.Errorf("%d statements are missing: %w", w.left, ErrOrder)
	}
	return nil
}
