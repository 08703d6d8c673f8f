package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/receipt"
)

// outcome is what became of an item of a batch.
type outcome struct {
	result  *ledger.Result
	proved  *receipt.Receipt
	problem *problem
}

// The batches that are worked on at a time hold so much memory at most, that is,
// batchesOfLimit of the largest. Each counts for what it brings, and for what its
// records take while they wait for their turn.
const (
	batchesOfLimit = 4
	leastBatch     = 4 << 20
)

// room is memory that requests share.
type room struct {
	mu   sync.Mutex
	left int64
}

// take takes some if there is enough; give gives it back.
func (r *room) take(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > r.left {
		return false
	}
	r.left -= n
	return true
}

func (r *room) give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left += n
}

// batchSize is what the call counts for.
func (c *call) batchSize() int64 {
	size := c.ContentLength
	if limit := c.h.Limits.BatchJSON; size < 0 || size > limit {
		size = limit
	}
	return max(size, leastBatch)
}

// createRecords stores the records of a batch all at once, so that one turn of the
// ledger, or few, take them.
func (c *call) createRecords() error {
	var in client.Batch
	if !c.mayAsk(events.ActionOriginate) {
		// Who is refused anyway has no use for a large one.
		c.Body = http.MaxBytesReader(c.w, c.Body, c.h.Limits.JSON)
	} else if size := c.batchSize(); c.h.batches.take(size) {
		defer c.h.batches.give(size)
	} else {
		c.w.Header().Set("Retry-After", retryAfter)
		return &problem{
			Status: http.StatusTooManyRequests,
			Detail: "the server works on as many batches as it has memory for; repeat this one after the time in Retry-After",
		}
	}
	if err := c.json(&in); err != nil {
		return err
	}
	if n := len(in.Records); n == 0 || n > c.h.Limits.Batch {
		return &problem{Status: http.StatusUnprocessableEntity, Detail: fmt.Sprintf("a batch of %d records, want 1 to %d", n, c.h.Limits.Batch)}
	}
	if !c.mayAsk(events.ActionOriginate) {
		// One refusal says it; nobody fills the log with a thousand.
		o := ledger.Origination{Patient: in.Records[0].Patient}
		_, err := c.h.Ledger.Originate(c.Context(), c.command, o, http.NoBody)
		return err
	}
	outcomes := make([]outcome, len(in.Records))
	var items sync.WaitGroup
	for i := range in.Records {
		items.Go(func() { outcomes[i] = c.item(i, &in.Records[i]) })
	}
	items.Wait()
	body, err := appendOutcomes(nil, outcomes)
	if err != nil {
		return err
	}
	sendBytes(c.w, http.StatusOK, body)
	return nil
}

// item stores a record of a batch.
func (c *call) item(i int, in *client.BatchItem) outcome {
	result, err := c.originate(i, in)
	if err != nil {
		p, internal := problemOf(c.explain(err))
		if internal {
			c.h.Logger.ErrorContext(c.Context(), "an item of a batch failed", "request", c.command.Correlation, "error", err)
		}
		return outcome{problem: p}
	}
	proved, err := result.Receipt(c.Context())
	if err != nil {
		p, _ := problemOf(err)
		return outcome{problem: p}
	}
	return outcome{result: result, proved: proved}
}

func (c *call) originate(i int, in *client.BatchItem) (*ledger.Result, error) {
	if err := checkContentType(in.ContentType); err != nil {
		return nil, err
	}
	bad := ""
	switch {
	case !in.Kind.Valid():
		bad = "the member kind has a code that is not known"
	case !in.Confidentiality.Valid():
		bad = "the member confidentiality has a code that is not known"
	case in.Content != nil && in.Text != "":
		bad = "an item has a content or a text"
	case int64(len(in.Content)+len(in.Text)) > c.h.Limits.Content:
		return nil, bodyProblem(&http.MaxBytesError{Limit: c.h.Limits.Content})
	}
	if bad != "" {
		return nil, &problem{Status: http.StatusBadRequest, Detail: bad}
	}
	var content io.Reader = bytes.NewReader(in.Content)
	if in.Text != "" {
		content = strings.NewReader(in.Text)
	}
	return c.h.Ledger.Originate(c.Context(), c.step(strconv.Itoa(i)), ledger.Origination{
		Patient: in.Patient, Kind: in.Kind, Confidentiality: in.Confidentiality, ContentType: in.ContentType,
	}, content)
}

// appendOutcomes appends client.BatchResults as encoding/json would write them.
func appendOutcomes(b []byte, outcomes []outcome) ([]byte, error) {
	var encoder receipts
	b = append(b, `{"results":[`...)
	for i, o := range outcomes {
		if i > 0 {
			b = append(b, ',')
		}
		if o.problem != nil {
			text, err := json.Marshal(client.BatchResult{Status: o.problem.Status, Problem: o.problem.whole()})
			if err != nil {
				return nil, fmt.Errorf("writing an answer: %w", err)
			}
			b = append(b, text...)
			continue
		}
		b = append(b, `{"status":201,`...)
		b = encoder.appendVersion(b, o.result, 1, o.proved)
		b = append(b, '}')
		if i == 0 { // the others are about as long
			b = slices.Grow(b, (len(b)+16)*len(outcomes))
		}
	}
	return append(b, "]}\n"...), nil
}
