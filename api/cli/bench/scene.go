package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/api/cli/load"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/receipt"
)

// verifyEvery is how many appends are made for each receipt that is verified.
const verifyEvery = 100

// scene is what the budgets call appends and reads, on an open ledger.
type scene struct {
	*load.Scene
	verifier note.Verifier
}

func enter(ctx context.Context, l *ledger.Ledger) (*scene, error) {
	s, err := load.Enter(ctx, l)
	if err != nil {
		return nil, err
	}
	return &scene{Scene: s, verifier: l.VerifierKey()}, nil
}

func (s *scene) originate(ctx context.Context, content io.Reader) (*ledger.Result, error) {
	r, err := s.Originate(ctx, ledger.Command{Actor: s.Clinician}, load.Origination(events.MustNewID()), content)
	if err != nil {
		return nil, err
	}
	s.Add(r.Event.Subject)
	return r, nil
}

// append is what the budgets call an append: a new record of 1 KiB, answered
// with a receipt, of which the submitter verifies one in a hundred.
func (s *scene) append(ctx context.Context, w *load.Worker) error {
	r, err := s.originate(ctx, bytes.NewReader(w.Fresh()))
	if err != nil {
		return err
	}
	rc, err := r.Receipt(ctx)
	if err != nil {
		return err
	}
	if w.IntN(verifyEvery) > 0 {
		return nil
	}
	return s.check(rc, r)
}

// check is what a client does with a receipt: it reads the receipt's bytes and
// verifies them with nothing but the log's key.
func (s *scene) check(rc *receipt.Receipt, r *ledger.Result) error {
	raw, err := receipt.Marshal(rc)
	if err != nil {
		return err
	}
	if rc, err = receipt.Parse(raw); err != nil {
		return err
	}
	verified, err := receipt.Verify(rc, s.verifier)
	if err != nil {
		return fmt.Errorf("the receipt of event %d: %w", r.Index, err)
	}
	if verified.Event.ID != r.Event.ID || verified.Index != r.Index {
		return fmt.Errorf("the receipt of event %d is that of another", r.Index)
	}
	return nil
}

// read is decided, logged, and decrypted to its end.
func (s *scene) read(ctx context.Context, w *load.Worker) error {
	r, err := s.Access(ctx, ledger.Command{Actor: s.Clinician}, ledger.Reading{Record: s.Pick(w), Purpose: events.PurposeTreatment})
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, r.Content.Reader)
	if err := errors.Join(err, r.Content.Reader.Close()); err != nil {
		return err
	}
	if n != r.Content.Size {
		return fmt.Errorf("content of %d bytes, read %d", r.Content.Size, n)
	}
	return nil
}
