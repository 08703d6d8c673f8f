package api

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync"

	"github.com/medledger/medledger/ledger"
)

func (c *call) readRecord() error {
	purpose, err := c.purpose()
	if err != nil {
		return err
	}
	version, err := c.number("version", math.MaxUint32)
	if err != nil {
		return err
	}
	release, err := c.h.Ledger.Access(c.Context(), c.command, ledger.Reading{
		Record: c.path["record"], Version: uint32(version), Purpose: purpose,
	})
	if err != nil {
		return err
	}
	return c.deliver(release)
}

func (c *call) receive() error {
	release, err := c.h.Ledger.Receive(c.Context(), c.command, c.path["share"])
	if err != nil {
		return err
	}
	return c.deliver(release)
}

// windows are what contents are copied through.
var windows = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// deliver hands a content over to the network. What cannot be handed over whole is
// cut off, so that nobody takes a part for the whole, and the log says that it did
// not arrive.
func (c *call) deliver(r *ledger.Release) error {
	header := c.w.Header()
	header.Set("Content-Type", r.ContentType)
	header.Set("Content-Length", strconv.FormatInt(r.Size, 10))
	header.Set("ETag", etag(r.Version))
	header.Set("Cache-Control", "no-store")
	// A content is somebody else's: a browser neither guesses what it is, nor shows
	// it, nor runs it in our name.
	header.Set("Content-Disposition", "attachment")
	header.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	name(c.w, r.Result)
	c.w.WriteHeader(http.StatusOK)
	err := c.copy(r)
	if closing := r.Close(); err == nil {
		err = closing
	}
	if err == nil {
		return nil
	}
	c.h.metrics.undelivered.Inc()
	if failed := r.Undelivered(c.Context(), err); failed != nil {
		c.h.Logger.ErrorContext(c.Context(), "a failed delivery could not be logged", "release", r.Event.ID, "error", failed)
	}
	panic(http.ErrAbortHandler)
}

// copy writes a content and flushes it, so that it is known whether it left.
func (c *call) copy(r *ledger.Release) error {
	window := windows.Get().(*[64 << 10]byte)
	defer windows.Put(window)
	// Neither side may bring its own way of copying, which would not look at the
	// right to read between two windows.
	n, err := io.CopyBuffer(struct{ io.Writer }{c.w}, struct{ io.Reader }{r}, window[:])
	if err != nil {
		return err
	}
	if n != r.Size {
		return fmt.Errorf("a content of %d bytes ended after %d", r.Size, n)
	}
	if err := http.NewResponseController(c.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
