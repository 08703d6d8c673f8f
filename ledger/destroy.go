package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// RequestDestruction asks for a record's end. The destruction's id is in the
// result's event; nothing is destroyed before somebody else approves.
func (l *Ledger) RequestDestruction(ctx context.Context, c Command, record events.ID, ground events.Ground) (*Result, error) {
	id, err := l.newID()
	if err != nil {
		return nil, err
	}
	request := decision.Request{Action: events.ActionRequestDestruction, Actor: c.Actor, Record: record}
	return act(ctx, l, c, request, func(_ *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return record, &events.DestructionRequested{Actor: c.Actor, Decision: d, Destruction: id, Ground: ground}, nil
	}, func(subject events.ID, d *events.DestructionRequested) bool {
		return subject == record && d.Ground == ground
	})
}

// PendingDestruction is a destruction that was asked for and not approved yet.
type PendingDestruction struct {
	Destruction, Record, Requester events.ID
	Ground                         events.Ground
	Kind                           events.Kind
}

// PendingDestructions lists what waits for approval in the actor's organisation, in
// the order of the records' ids, for those who may approve.
func (l *Ledger) PendingDestructions(ctx context.Context, c Command) ([]PendingDestruction, error) {
	who, _ := l.Actor(c.Actor)
	if !slices.Contains(decision.Roles(events.ActionDestroy), who.Role) {
		return nil, l.ask(ctx, c, decision.Request{Action: events.ActionDestroy, Actor: c.Actor})
	}
	if err := l.stillLoggedIn(c); err != nil {
		return nil, err
	}
	var pending []PendingDestruction
	l.view(func(s *life.State) {
		for destruction, record := range s.Destructions {
			if r := s.Record(record); r.Phase == life.Active && r.Organisation == who.Organisation {
				pending = append(pending, PendingDestruction{destruction, record, r.Requester, r.Ground, r.Kind})
			}
		}
	})
	slices.SortFunc(pending, func(a, b PendingDestruction) int { return bytes.Compare(a.Record[:], b.Record[:]) })
	return pending, nil
}

// ApproveDestruction destroys what somebody else asked to be destroyed. First the
// start of the destruction is made durable and logged, which closes the record;
// then its keys are destroyed; then their destruction is logged, and the result is
// that last event. Once started it cannot be undone: what a crash interrupts, the
// next Open completes.
func (l *Ledger) ApproveDestruction(ctx context.Context, c Command, destruction events.ID) (*Result, error) {
	var record events.ID
	l.view(func(s *life.State) { record = s.Doomed(destruction) })
	request := decision.Request{Action: events.ActionDestroy, Actor: c.Actor, Record: record}
	// The caller's going away ends none of it: else a record whose destruction has
	// started would keep its keys until the next Open.
	ctx = context.WithoutCancel(ctx)
	started, err := act(ctx, l, c, request, func(s *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		doomed := s.Record(record)
		return record, &events.DestructionStarted{
			Actor: doomed.Requester, Approver: c.Actor, Decision: d, Destruction: destruction,
			Ground: doomed.Ground, Versions: doomed.Versions,
		}, nil
	}, func(_ events.ID, d *events.DestructionStarted) bool { return d.Destruction == destruction })
	if err != nil {
		return nil, err
	}
	return l.completeDestruction(ctx, record, destruction, Command{Correlation: started.Event.Correlation})
}

// completeDestruction destroys the keys of a record whose closing is durable,
// and says so. It may be called again until it succeeds.
func (l *Ledger) completeDestruction(ctx context.Context, record, destruction events.ID, c Command) (*Result, error) {
	// Afterwards nobody knows it any more. If a crash comes between the vault and the
	// event, the event of a vault whose key was ever in a file says "file": less than
	// was done, never more.
	weakest, err := l.vault.Weakest(ctx, record)
	if err != nil {
		return nil, l.notKept("destroying the record's keys; it is completed at the next start", err)
	}
	keys, err := l.vault.Destroy(ctx, record)
	if err != nil {
		return nil, l.notKept("destroying the record's keys; it is completed at the next start", err)
	}
	var versions uint32
	l.view(func(s *life.State) { versions = s.Record(record).Versions })
	if uint32(keys) < versions {
		return nil, fmt.Errorf("the vault destroyed %d keys of a record with %d versions, so others may be elsewhere: %w", keys, versions, ErrNoVault)
	}
	id := l.keys.completionID(destruction)
	result, err := l.perform(ctx, c, &proposal{
		id: id, then: l.erasure(record, id, c.Correlation),
		decide: func(*life.State, moment) (events.ID, events.Data, error) {
			return record, &events.RecordDestroyed{
				Custody: string(weakest), Destruction: destruction,
				Keys: uint32(keys), Method: events.MethodCryptographicErase,
			}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	return result, l.destroyErased(ctx, record)
}

// weakestOfPatient is what an erasure withstands: what the weakest of the keys does, of
// the patient and of all who were merged into them.
func (l *Ledger) weakestOfPatient(patient events.ID, merged []events.ID) (string, error) {
	for _, id := range append([]events.ID{patient}, merged...) {
		// Nothing waits for the event's turn but a short query.
		kind, err := l.vault.WeakestOfPatient(context.Background(), id)
		if err != nil {
			return "", err
		}
		if kind == custody.File {
			return events.CustodyFile, nil
		}
	}
	return events.CustodyToken, nil
}

// errLives says that a patient is not to be erased.
var errLives = errors.New("the patient has records, or was erased before")

// erasure proposes to erase the patient whose last record was destroyed. It closes
// the patient, so that no record is filed under them any more.
func (l *Ledger) erasure(record, cause, correlation events.ID) *proposal {
	return &proposal{
		causation: cause, correlation: correlation, done: make(chan outcome, 1),
		decide: func(s *life.State, _ moment) (events.ID, events.Data, error) {
			patient, p := s.Person(s.Record(record).Patient)
			if p == nil || p.Living > 0 || p.Erased {
				return events.ID{}, nil, errLives
			}
			weakest, err := l.weakestOfPatient(patient, p.Merged)
			if err != nil {
				return events.ID{}, nil, err
			}
			return patient, &events.PatientErased{Custody: weakest, Method: events.MethodCryptographicErase}, nil
		},
	}
}

// destroyErased destroys the keys of a record's patient if they were erased. A
// crash before that leaves the keys, which the next Open destroys.
func (l *Ledger) destroyErased(ctx context.Context, record events.ID) error {
	var patient events.ID
	var erased bool
	l.view(func(s *life.State) {
		person, p := s.Person(s.Record(record).Patient)
		patient, erased = person, p != nil && p.Erased
	})
	if !erased {
		return nil
	}
	return l.destroyPatientKeys(ctx, patient)
}

// destroyPatientKeys destroys the keys of a patient and of all who were merged into
// them.
func (l *Ledger) destroyPatientKeys(ctx context.Context, patient events.ID) error {
	all := []events.ID{patient}
	l.view(func(s *life.State) { all = append(all, s.Patient(patient).Merged...) })
	for _, id := range all {
		if _, err := l.vault.DestroyPatient(ctx, id); err != nil && !errors.Is(err, vault.ErrNotFound) {
			return l.notKept("destroying a patient's key; it is completed at the next start", err)
		}
	}
	return nil
}
