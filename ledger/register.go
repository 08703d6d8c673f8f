package ledger

import (
	"context"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Registration is a new actor.
type Registration struct {
	Role         events.Role
	Organisation events.ID // zero for the organisation of whoever registers
	Department   events.ID // zero if in none
	Patient      events.ID // for a patient's account only
}

// Register registers an actor, whose id is the subject of the result's event.
func (l *Ledger) Register(ctx context.Context, c Command, r Registration) (*Result, error) {
	id, err := l.newID()
	if err != nil {
		return nil, err
	}
	if r.Organisation.IsZero() {
		l.view(func(s *life.State) {
			registrar, _ := s.Actor(c.Actor)
			r.Organisation = registrar.Organisation
		})
	}
	request := decision.Request{Action: events.ActionRegister, Actor: c.Actor}
	return act(ctx, l, c, request, func(s *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		if !r.Patient.IsZero() && s.Patient(r.Patient) == nil {
			return events.ID{}, nil, ErrUnknownPatient
		}
		return id, &events.ActorRegistered{
			By: c.Actor, Decision: d, Department: r.Department, Organisation: r.Organisation,
			Patient: r.Patient, Role: r.Role,
		}, nil
	}, func(_ events.ID, d *events.ActorRegistered) bool {
		return Registration{d.Role, d.Organisation, d.Department, d.Patient} == r
	})
}

// Actor returns what the log says of an actor, and false if none is registered
// under the id.
func (l *Ledger) Actor(id events.ID) (actor life.Actor, ok bool) {
	l.view(func(s *life.State) { actor, ok = s.Actor(id) })
	return actor, ok
}
