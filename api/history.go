package api

import (
	"net/http"

	"github.com/medledger/medledger/verifier/history"
)

// history answers with the proof that a record's events are all (verifier/history).
// It is written as it is made: one that fails half-way, or whose reader's right ends
// meanwhile, is cut off, and is no bundle.
func (c *call) history() error {
	p, err := c.h.Ledger.Completeness(c.Context(), c.command, c.path["record"])
	if err != nil {
		return err
	}
	defer p.Close()
	header := c.w.Header()
	header.Set("Content-Type", history.MediaType)
	header.Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusOK)
	if err := p.Write(c.Context(), c.w); err != nil {
		c.h.Logger.WarnContext(c.Context(), "a history was cut off", "request", c.command.Correlation, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
