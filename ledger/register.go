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
	Organisation events.ID
	Department   events.ID // zero if in none
	Patient      events.ID // for a patient's account only
}

// Register registers an actor, whose id is the subject of the result's event.
func (l *Ledger) Register(ctx context.Context, c Command, r Registration) (*Result, error) {
	id, err := events.NewID(l.config.Random)
	if err != nil {
		return nil, err
	}
	request := decision.Request{Action: events.ActionRegister, Actor: c.Actor}
	result, err := l.perform(ctx, c, underRules(request, func(_ *life.State, _ moment, d events.Decision) (events.ID, events.Data, error) {
		return id, &events.ActorRegistered{
			By: c.Actor, Decision: d, Department: r.Department, Organisation: r.Organisation,
			Patient: r.Patient, Role: r.Role,
		}, nil
	}))
	if err != nil {
		return nil, err
	}
	if d, ok := result.Event.Data.(*events.ActorRegistered); !ok ||
		(Registration{d.Role, d.Organisation, d.Department, d.Patient}) != r {
		return nil, ErrKeyReused
	}
	return result, nil
}
