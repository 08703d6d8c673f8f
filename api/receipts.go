package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/receipt"
)

// maxWait is how many seconds a receipt is waited for at most.
const maxWait = 30

// promptly is how often it is looked whether a promised receipt is proved by now.
const promptly = 10 * time.Millisecond

func (c *call) receipt() error {
	wait, err := c.number("wait", maxWait)
	if err != nil {
		return err
	}
	found, err := c.h.Ledger.Find(c.Context(), c.command, c.path["event"])
	if errors.As(err, new(*ledger.RefusedError)) {
		_ = c.explain(err) // counts it; the caller must not learn that there is such an event
		return absent()
	}
	if err != nil {
		return err
	}
	proved, err := c.proved(found, time.Duration(wait)*time.Second)
	if err != nil {
		return err
	}
	name(c.w, found)
	sendBytes(c.w, http.StatusOK, append(new(receipts).append(nil, proved), '\n'))
	return nil
}

// proved waits for a proof and returns what there is in the end.
func (c *call) proved(found *ledger.Result, wait time.Duration) (*receipt.Receipt, error) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		r, err := c.h.Ledger.Receipt(c.Context(), found.Event.ID)
		if err != nil || r.Status == receipt.StatusProved || wait == 0 {
			return r, err
		}
		select {
		case <-deadline.C:
			return r, nil
		case <-c.Context().Done():
			return nil, c.Context().Err()
		case <-time.After(promptly):
		}
	}
}
