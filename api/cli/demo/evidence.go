package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/receipt"
	"github.com/medledger/medledger/verifier/statement"
)

// proved is what a receipt must be worth.
const proved = "proved"

// released is what a release must come to.
const released = "read, bit for bit"

// keep keeps the receipt of an answer and says what it is worth to somebody who has
// the log's public key only.
func (s *story) keep(done client.Done) string {
	v, err := s.check(done.Receipt)
	if err != nil {
		return outcome(err, "")
	}
	if v.Index != done.Index || v.Event.ID != done.Event {
		return "a receipt of another event"
	}
	return proved
}

// check verifies a receipt as anybody can, offline, and keeps it in a file.
func (s *story) check(raw json.RawMessage) (*receipt.Verified, error) {
	r, err := receipt.Parse(raw)
	if err != nil {
		return nil, err
	}
	v, err := receipt.Verify(r, s.verifier)
	if err != nil {
		return nil, err
	}
	// A reader's copy, which nothing depends on: it is not synced.
	if err := os.WriteFile(s.file("receipts", receiptName(v.Index)), raw, 0o644); err != nil {
		return nil, fmt.Errorf("keeping a receipt: %w", err)
	}
	return v, nil
}

func receiptName(index uint64) string { return fmt.Sprintf("event-%d.json", index) }

// made keeps the receipt of an answer that made something, whose id goes to id.
func (s *story) made(id *events.ID) func(*client.Created, error) string {
	return func(c *client.Created, err error) string {
		if err != nil {
			return outcome(err, "")
		}
		*id = c.ID
		return s.keep(c.Done)
	}
}

// happened keeps the receipt of an answer that made nothing.
func (s *story) happened(d *client.Done, err error) string {
	if err != nil {
		return outcome(err, "")
	}
	return s.keep(*d)
}

// compare reads what was released to its end and compares it with what it must be.
func compare(c *client.Content, err error, want func() ([]byte, error)) string {
	if err != nil {
		return outcome(err, "")
	}
	return compareBytes(c.Body, want)
}

func compareBytes(body io.ReadCloser, want func() ([]byte, error)) string {
	got, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return outcome(err, "")
	}
	expected, err := want()
	if err != nil {
		return outcome(err, "")
	}
	if !bytes.Equal(got, expected) {
		return "read, but other bytes"
	}
	return released
}

// put keeps the newest checkpoints that the service shows in memory. Nothing happens
// meanwhile.
func (s *story) put(ctx context.Context, c *signed) (err error) {
	if c.note, err = s.served(ctx, "/log/checkpoint"); err != nil {
		return err
	}
	if c.state, err = s.served(ctx, "/state/checkpoint"); err != nil {
		return err
	}
	verified, err := proof.VerifyCheckpoint(c.note, s.verifier)
	if err != nil {
		return fmt.Errorf("verifying the checkpoint: %w", err)
	}
	c.size = verified.Size
	return nil
}

// served reads what the service shows to everybody.
func (s *story) served(ctx context.Context, path string) (_ []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.url+path, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	answer, err := s.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading %s: %s", path, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// ofLog reads a file of the served log as the auditor.
func (s *story) ofLog(ctx context.Context, path string) (_ []byte, err error) {
	body, err := s.cast.auditor.Log(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return io.ReadAll(body)
}

// event reads an event of the served log, which has size events at least. Whether
// it is the log's own the audit tells.
func (s *story) event(ctx context.Context, index, size uint64) (events.Event, error) {
	t := proof.Tile{Level: proof.Entries, Index: index / proof.TileWidth}
	t.Width = proof.WidthAt(size, proof.Entries, t.Index)
	bundle, err := s.ofLog(ctx, proof.FormatPath(t))
	if err != nil {
		return events.Event{}, err
	}
	leaves, err := proof.ParseBundle(bundle, t.Width)
	if err != nil {
		return events.Event{}, fmt.Errorf("reading the log: %w", err)
	}
	parsed, err := statement.Parse(leaves[index%proof.TileWidth])
	if err != nil {
		return events.Event{}, fmt.Errorf("reading the log: %w", err)
	}
	return parsed.Event, nil
}

// accesses reads the whole list of who saw what of a patient, as somebody.
func accesses(ctx context.Context, who person, patient events.ID, purpose events.Purpose) (list []client.Entry, err error) {
	cursor := ""
	for {
		page, err := who.ListAccesses(ctx, patient, purpose, cursor)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Accesses...)
		if cursor = page.Cursor; cursor == "" {
			return list, nil
		}
	}
}

// count sets how many entries of a list come from whom, in a line.
func count(list []client.Entry, outcomes ...string) string {
	var parts []string
	for _, o := range outcomes {
		n := 0
		for _, e := range list {
			if e.Outcome == o {
				n++
			}
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, o))
	}
	return strings.Join(parts, ", ")
}
