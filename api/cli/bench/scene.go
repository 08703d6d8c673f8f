package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/receipt"
	"github.com/medledger/medledger/verifier/statement"
)

// verifyEvery is how many appends are made for each receipt that is verified.
const verifyEvery = 100

// scene is an open ledger with the people who use it.
type scene struct {
	*ledger.Ledger
	verifier note.Verifier

	administrator, organisation events.ID
	clinician, clerk, recipient events.ID

	mu      sync.RWMutex
	records []events.ID // not destroyed, as far as this process knows
}

// enter registers the people of a scene in a ledger: its founder's organisation
// gets a clinician and a clerk, and there is a recipient outside.
func enter(ctx context.Context, l *ledger.Ledger) (*scene, error) {
	s := &scene{Ledger: l, verifier: l.VerifierKey()}
	if err := s.findFounder(ctx); err != nil {
		return nil, err
	}
	outside, err := s.Register(ctx, ledger.Command{Actor: s.administrator}, ledger.Registration{
		Role: events.RoleRecipient, Organisation: events.MustNewID(),
	})
	if err != nil {
		return nil, fmt.Errorf("registering a recipient: %w", err)
	}
	s.recipient = outside.Event.Subject
	for role, id := range map[events.Role]*events.ID{events.RoleClinician: &s.clinician, events.RoleClerk: &s.clerk} {
		r, err := s.Register(ctx, ledger.Command{Actor: s.administrator}, ledger.Registration{Role: role, Organisation: s.organisation})
		if err != nil {
			return nil, fmt.Errorf("registering a %s: %w", role, err)
		}
		*id = r.Event.Subject
	}
	return s, nil
}

// findFounder reads who the first administrator is: event 1 says so.
func (s *scene) findFounder(ctx context.Context) error {
	raw, err := s.Log().Leaf(ctx, 1)
	if err != nil {
		return fmt.Errorf("reading who founded the ledger: %w", err)
	}
	parsed, err := statement.Parse(raw)
	if err != nil {
		return fmt.Errorf("reading who founded the ledger: %w", err)
	}
	founder, ok := events.Upcast(parsed.Event).Data.(*events.ActorRegistered)
	if !ok {
		return fmt.Errorf("event 1 is a %s; this ledger was not made by 'medledger init'", parsed.Event.Type)
	}
	s.administrator, s.organisation = parsed.Event.Subject, founder.Organisation
	return nil
}

// survey brings the known records up to date with the events from index from
// on: the records that occur in them are added, those destroyed go.
func (s *scene) survey(ctx context.Context, from uint64) error {
	seen, destroyed := make(map[events.ID]bool), make(map[events.ID]bool)
	for _, record := range s.records {
		seen[record] = true
	}
	for size := s.size(); from < size; {
		leaves, err := s.Log().Leaves(ctx, from, 4096)
		if err != nil {
			return fmt.Errorf("looking for records: %w", err)
		}
		for i, leaf := range leaves {
			parsed, err := statement.Parse(leaf)
			if err != nil {
				return fmt.Errorf("looking for records: event %d: %w", from+uint64(i), err)
			}
			record := parsed.Event.Subject
			switch parsed.Event.Data.(type) {
			case *events.DestructionStarted:
				destroyed[record] = true
			case *events.RecordOriginated, *events.RecordAccessed, *events.RecordAmended:
				if !seen[record] {
					seen[record] = true
					s.records = append(s.records, record)
				}
			}
		}
		from += uint64(len(leaves))
	}
	s.records = slices.DeleteFunc(s.records, func(id events.ID) bool { return destroyed[id] })
	return nil
}

// size is how many events the log has.
func (s *scene) size() uint64 { return s.Log().Published().Checkpoint.Size }

func (s *scene) known() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.records)
}

// pick returns a record at random, each with the same probability.
func (s *scene) pick(w *worker) events.ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.records[w.IntN(len(s.records))]
}

// take removes a record at random from those known, so that it can be destroyed.
func (s *scene) take(w *worker) events.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, last := w.IntN(len(s.records)), len(s.records)-1
	record := s.records[i]
	s.records[i] = s.records[last]
	s.records = s.records[:last]
	return record
}

func (s *scene) add(record events.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, record)
}

// origination is that of every record that this package makes.
func origination(patient events.ID) ledger.Origination {
	return ledger.Origination{
		Patient: patient, Kind: events.KindChart, Confidentiality: events.Normal, ContentType: "application/fhir+json",
	}
}

func (s *scene) originate(ctx context.Context, content io.Reader) (*ledger.Result, error) {
	r, err := s.Originate(ctx, ledger.Command{Actor: s.clinician}, origination(events.MustNewID()), content)
	if err != nil {
		return nil, err
	}
	s.add(r.Event.Subject)
	return r, nil
}

// append is what the budgets call an append: a new record of 1 KiB, answered
// with a receipt, of which the submitter verifies one in a hundred.
func (s *scene) append(ctx context.Context, w *worker) error {
	r, err := s.originate(ctx, bytes.NewReader(w.fresh()))
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
func (s *scene) read(ctx context.Context, w *worker) error {
	r, err := s.Access(ctx, ledger.Command{Actor: s.clinician}, ledger.Reading{Record: s.pick(w), Purpose: events.PurposeTreatment})
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
