package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Identifier is a name that others have for a patient, such as a number of a
// hospital. It is kept in the vault and nowhere else.
type Identifier struct {
	System string `json:"system"` // who gives such names, usually a URI
	Value  string `json:"value"`
}

// The bounds of identifiers.
const (
	MaxIdentifiers     = 32
	MaxIdentifierBytes = 512 // of a system, and of a value
)

func checkIdentifiers(ids []Identifier) error {
	if len(ids) == 0 || len(ids) > MaxIdentifiers {
		return fmt.Errorf("%d identifiers, want 1 to %d: %w", len(ids), MaxIdentifiers, ErrIdentifier)
	}
	seen := make(map[Identifier]bool)
	for _, id := range ids {
		for _, part := range []string{id.System, id.Value} {
			if part == "" || len(part) > MaxIdentifierBytes || !utf8.ValidString(part) {
				return fmt.Errorf("a system and a value have 1 to %d bytes of UTF-8: %w", MaxIdentifierBytes, ErrIdentifier)
			}
		}
		if seen[id] {
			return fmt.Errorf("an identifier is repeated: %w", ErrIdentifier)
		}
		seen[id] = true
	}
	return nil
}

// identity returns the one spelling of identifiers.
func identity(ids []Identifier) ([]byte, error) {
	sorted := slices.Clone(ids)
	slices.SortFunc(sorted, func(a, b Identifier) int {
		if n := strings.Compare(a.System, b.System); n != 0 {
			return n
		}
		return strings.Compare(a.Value, b.Value)
	})
	return json.Marshal(sorted)
}

// RegisterPatient makes a patient known, whose id is the subject of the result's
// event. It answers ErrIdentifierTaken if somebody is known by one of the
// identifiers already.
func (l *Ledger) RegisterPatient(ctx context.Context, c Command, ids []Identifier) (*Result, error) {
	if err := checkIdentifiers(ids); err != nil {
		return nil, err
	}
	doc, err := identity(ids)
	if err != nil {
		return nil, err
	}
	request := decision.Request{Action: events.ActionRegisterPatient, Actor: c.Actor}
	done, err := l.oneAtATime(ctx, c)
	if err != nil {
		return nil, err
	}
	defer done()
	found, err := l.repeated(ctx, c)
	if err != nil {
		return nil, err
	}
	if found != nil {
		return l.repeatedIdentity(ctx, found, request, doc)
	}
	if !l.wouldPermit(request) {
		return l.perform(ctx, c, underRules(request, conflict))
	}
	patient, err := events.NewOrderedID(l.config.Clock(), l.config.Random)
	if err != nil {
		return nil, err
	}
	place := identityOf(patient)
	terms := make([]vault.Term, len(ids))
	for i, id := range ids {
		terms[i] = vault.Term(id)
	}
	commitment, err := l.vault.PutDocument(ctx, place, doc, terms...)
	if taken := new(vault.TakenError); errors.As(err, &taken) {
		return nil, l.taken(ctx, c, taken.Owner)
	}
	if err != nil {
		return nil, l.notKept("keeping a patient's identifiers", err)
	}
	// The caller's going away does not end it: see announce.
	result, err := l.perform(context.WithoutCancel(ctx), c, underRules(request, func(s *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		actor, _ := s.Actor(c.Actor)
		return patient, &events.PatientRegistered{
			Actor: c.Actor, Commitment: commitment, Decision: d, Organisation: actor.Organisation,
		}, nil
	}))
	happened := err == nil && result.Event.Subject == patient
	if err == nil && !happened {
		err = ErrKeyReused // for a command of another sort, at the same moment
	}
	if err = l.settle(ctx, place, happened, err); err != nil {
		return nil, err
	}
	return result, nil
}

// taken answers that an identifier is somebody's. Whoever is told that has looked
// the patient up, and the log says so.
func (l *Ledger) taken(ctx context.Context, c Command, patient events.ID) error {
	request := decision.Request{
		Action: events.ActionLookUpPatient, Actor: c.Actor, Patient: patient, Purpose: events.PurposeOperations,
	}
	if _, err := l.query(ctx, c, request, events.QueryIdentifier); err != nil && !errors.Is(err, ErrRefused) {
		return err
	}
	return ErrIdentifierTaken
}

func identityOf(patient events.ID) vault.Place {
	return vault.Place{Space: vault.Identity, Owner: patient, ID: patient}
}

// settle removes a document whose event did not happen. err is the event's.
func (l *Ledger) settle(ctx context.Context, place vault.Place, happened bool, err error) error {
	if happened || place == (vault.Place{}) || errors.Is(err, ErrStopped) || errors.Is(err, ErrUnknownOutcome) {
		return err // whether it happened the next Open finds out
	}
	discardErr := l.vault.DiscardDocument(context.WithoutCancel(ctx), place)
	if errors.Is(discardErr, vault.ErrDestroyed) || errors.Is(discardErr, vault.ErrNotFound) {
		discardErr = nil
	}
	return errors.Join(err, discardErr)
}

// repeatedIdentity answers a repeated registration, whose identifiers must be the
// same as the first time.
func (l *Ledger) repeatedIdentity(ctx context.Context, found *Result, request decision.Request, doc []byte) (*Result, error) {
	if err := l.refusal(found, request); err != nil {
		return nil, err
	}
	if _, ok := found.Event.Data.(*events.PatientRegistered); !ok {
		return nil, ErrKeyReused
	}
	kept, err := l.vault.Document(ctx, identityOf(found.Event.Subject))
	if errors.Is(err, vault.ErrDestroyed) || errors.Is(err, vault.ErrNotFound) {
		return found, nil // erased: nobody can tell any more
	}
	if err != nil {
		return nil, fmt.Errorf("comparing a repeated registration: %w", err)
	}
	if !bytes.Equal(kept, doc) {
		return nil, ErrKeyReused
	}
	return found, nil
}

// LookUpPatient finds the patient whom an identifier belongs to. Finding is an
// access: it is an event, as is not to find anybody. The patient, after all merges,
// is the subject of the result's event.
func (l *Ledger) LookUpPatient(ctx context.Context, c Command, id Identifier, purpose events.Purpose) (*Result, error) {
	if err := checkIdentifiers([]Identifier{id}); err != nil {
		return nil, err
	}
	place, err := l.vault.Find(ctx, vault.Identity, vault.Term(id))
	if err != nil && !errors.Is(err, vault.ErrNotFound) && !errors.Is(err, vault.ErrDestroyed) {
		return nil, fmt.Errorf("looking a patient up: %w", err)
	}
	request := decision.Request{Action: events.ActionLookUpPatient, Actor: c.Actor, Patient: place.Owner, Purpose: purpose}
	return l.query(ctx, c, request, events.QueryIdentifier)
}

// query logs that something is asked about a patient, before it is answered.
func (l *Ledger) query(ctx context.Context, c Command, request decision.Request, q events.Query) (*Result, error) {
	if !request.Purpose.Valid() {
		return nil, fmt.Errorf("asking about a patient: unknown purpose of use: %w", events.ErrInvalid)
	}
	c.IdempotencyKey = ""
	return l.perform(ctx, c, underRules(request, func(_ *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return r.Patient, &events.PatientQueried{Actor: c.Actor, Decision: d, Purpose: r.Purpose, Query: q}, nil
	}))
}

// MergePatients says that a patient is the same person as another, who stays.
func (l *Ledger) MergePatients(ctx context.Context, c Command, patient, into events.ID) (*Result, error) {
	request := decision.Request{Action: events.ActionMergePatient, Actor: c.Actor, Patient: patient, Other: into}
	return act(ctx, l, c, request, func(_ *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return r.Patient, &events.PatientMerged{Actor: c.Actor, Decision: d, Into: r.Other}, nil
	}, func(subject events.ID, d *events.PatientMerged) bool {
		return l.ledTo(patient, subject) && l.ledTo(into, d.Into) && !l.ledTo(into, subject)
	})
}

// ledTo reports whether a patient's id stands for another after some of the merges
// that there were, or none.
func (l *Ledger) ledTo(patient, other events.ID) (led bool) {
	l.view(func(s *life.State) {
		for p := s.Patient(patient); p != nil && !led; p = s.Patient(patient) {
			led = patient == other
			patient = p.Into
		}
	})
	return led
}

// Refile files a record that was filed under the wrong patient under another.
func (l *Ledger) Refile(ctx context.Context, c Command, record, patient events.ID) (*Result, error) {
	request := decision.Request{Action: events.ActionRefile, Actor: c.Actor, Record: record, Other: patient}
	return act(ctx, l, c, request, func(s *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return record, &events.RecordRefiled{Actor: c.Actor, Decision: d, From: s.Record(record).Patient, Patient: r.Other}, nil
	}, func(subject events.ID, d *events.RecordRefiled) bool {
		return subject == record && l.samePerson(d.Patient, patient)
	})
}
