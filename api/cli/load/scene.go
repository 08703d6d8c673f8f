package load

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/statement"
)

// Scene is an open ledger with the people who use it, and the records that they
// know of. Enter makes one. Its methods may be called from many goroutines at
// once, except Survey.
type Scene struct {
	*ledger.Ledger

	// Administrator founded the ledger, for Organisation.
	Administrator, Organisation events.ID
	// Clinician and Clerk work for Organisation, Recipient for another.
	Clinician, Clerk, Recipient events.ID

	mu      sync.RWMutex
	records []events.ID // not destroyed, as far as this process knows
}

// Enter registers the people of a scene in a ledger: its founder's organisation
// gets a clinician and a clerk, and there is a recipient outside. No record is
// known yet. The caller closes the ledger.
func Enter(ctx context.Context, l *ledger.Ledger) (*Scene, error) {
	s := &Scene{Ledger: l}
	if err := s.findFounder(ctx); err != nil {
		return nil, err
	}
	outside, err := s.Register(ctx, ledger.Command{Actor: s.Administrator}, ledger.Registration{
		Role: events.RoleRecipient, Organisation: events.MustNewID(),
	})
	if err != nil {
		return nil, fmt.Errorf("registering a recipient: %w", err)
	}
	s.Recipient = outside.Event.Subject
	for role, id := range map[events.Role]*events.ID{events.RoleClinician: &s.Clinician, events.RoleClerk: &s.Clerk} {
		r, err := s.Register(ctx, ledger.Command{Actor: s.Administrator}, ledger.Registration{Role: role, Organisation: s.Organisation})
		if err != nil {
			return nil, fmt.Errorf("registering a %s: %w", role, err)
		}
		*id = r.Event.Subject
	}
	return s, nil
}

// findFounder reads who the first administrator is: event 1 says so.
func (s *Scene) findFounder(ctx context.Context) error {
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
	s.Administrator, s.Organisation = parsed.Event.Subject, founder.Organisation
	return nil
}

// Survey brings the known records up to date with the events from index from
// on: the records that occur in them are added, those destroyed go.
// Nobody else uses the scene meanwhile.
func (s *Scene) Survey(ctx context.Context, from uint64) error {
	seen, destroyed := make(map[events.ID]bool), make(map[events.ID]bool)
	for _, record := range s.records {
		seen[record] = true
	}
	for size := s.Size(); from < size; {
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

// Size is how many events the log has.
func (s *Scene) Size() uint64 { return s.Log().Published().Checkpoint.Size }

// Known is how many records are known.
func (s *Scene) Known() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.records)
}

// Pick returns a known record at random, each with the same probability. There
// must be one.
func (s *Scene) Pick(w *Worker) events.ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.records[w.IntN(len(s.records))]
}

// Take removes a record at random from those known, so that it can be destroyed.
// There must be one.
func (s *Scene) Take(w *Worker) events.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, last := w.IntN(len(s.records)), len(s.records)-1
	record := s.records[i]
	s.records[i] = s.records[last]
	s.records = s.records[:last]
	return record
}

// Add makes records known.
func (s *Scene) Add(records ...events.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, records...)
}

// Records returns the known records: what Add takes when the ledger is opened
// again.
func (s *Scene) Records() []events.ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.records)
}

// Origination is that of every record that the loads make.
func Origination(patient events.ID) ledger.Origination {
	return ledger.Origination{
		Patient: patient, Kind: events.KindChart, Confidentiality: events.Normal, ContentType: "application/fhir+json",
	}
}
