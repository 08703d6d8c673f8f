package ledger

import (
	"context"
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Care is a new care relationship of a patient: with an actor or with a
// department.
type Care struct {
	Patient            events.ID
	Member, Department events.ID        // one of them
	Until              events.Timestamp // zero if it is closed by hand
}

// OpenCare opens a care relationship, whose id is in the result's event.
func (l *Ledger) OpenCare(ctx context.Context, c Command, care Care) (*Result, error) {
	id, err := l.newID()
	if err != nil {
		return nil, err
	}
	request := decision.Request{
		Action: events.ActionOpenCare, Actor: c.Actor, Patient: care.Patient, Whom: care.Member, Until: care.Until,
	}
	return act(ctx, l, c, request, func(_ *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return r.Patient, &events.CareOpened{
			Actor: c.Actor, Decision: d, Department: care.Department, Member: care.Member, Relationship: id, Until: care.Until,
		}, nil
	}, func(patient events.ID, d *events.CareOpened) bool {
		return l.samePerson(patient, care.Patient) && d.Member == care.Member && d.Department == care.Department && d.Until == care.Until
	})
}

// CloseCare ends a care relationship: when it returns, whatever was being released
// on its strength alone has ended.
func (l *Ledger) CloseCare(ctx context.Context, c Command, patient, relationship events.ID) (*Result, error) {
	request := decision.Request{Action: events.ActionCloseCare, Actor: c.Actor, Patient: patient, Item: relationship}
	return act(ctx, l, c, request, func(_ *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return r.Patient, &events.CareClosed{Actor: c.Actor, Decision: d, Relationship: relationship}, nil
	}, func(about events.ID, d *events.CareClosed) bool {
		return l.samePerson(about, patient) && d.Relationship == relationship
	})
}

// Appointment is that of a proxy.
type Appointment struct {
	Patient events.ID
	Proxy   events.ID // an actor
	Scope   []events.ProxyScope
	Until   events.Timestamp // zero if it is ended by hand
}

// AppointProxy lets an actor act for a patient. The appointment's id is in the
// result's event.
func (l *Ledger) AppointProxy(ctx context.Context, c Command, a Appointment) (*Result, error) {
	id, err := l.newID()
	if err != nil {
		return nil, err
	}
	scope := events.ScopeOf(a.Scope...)
	request := decision.Request{
		Action: events.ActionAppointProxy, Actor: c.Actor, Patient: a.Patient, Whom: a.Proxy, Until: a.Until,
	}
	return act(ctx, l, c, request, func(_ *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return r.Patient, &events.ProxyAppointed{
			Actor: c.Actor, Appointment: id, Decision: d, Proxy: a.Proxy, Scope: scope, Until: a.Until,
		}, nil
	}, func(patient events.ID, d *events.ProxyAppointed) bool {
		return l.samePerson(patient, a.Patient) && d.Proxy == a.Proxy && slices.Equal(d.Scope, scope) && d.Until == a.Until
	})
}

// DismissProxy ends an appointment: when it returns, whatever was being released
// on its strength has ended.
func (l *Ledger) DismissProxy(ctx context.Context, c Command, patient, appointment events.ID) (*Result, error) {
	request := decision.Request{Action: events.ActionDismissProxy, Actor: c.Actor, Patient: patient, Item: appointment}
	return act(ctx, l, c, request, func(_ *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return r.Patient, &events.ProxyDismissed{Actor: c.Actor, Appointment: appointment, Decision: d}, nil
	}, func(about events.ID, d *events.ProxyDismissed) bool {
		return l.samePerson(about, patient) && d.Appointment == appointment
	})
}

// GrantConsent says that a patient agrees to a use. The consent's id is in the
// result's event.
func (l *Ledger) GrantConsent(ctx context.Context, c Command, patient events.ID, purpose events.Purpose) (*Result, error) {
	id, err := l.newID()
	if err != nil {
		return nil, err
	}
	request := decision.Request{Action: events.ActionGrantConsent, Actor: c.Actor, Patient: patient, Purpose: purpose}
	return act(ctx, l, c, request, func(_ *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return r.Patient, &events.ConsentGranted{Actor: c.Actor, Consent: id, Decision: d, Purpose: purpose}, nil
	}, func(about events.ID, d *events.ConsentGranted) bool {
		return l.samePerson(about, patient) && d.Purpose == purpose
	})
}

// WithdrawConsent says that a patient does not agree to a use any more, or at all:
// consent zero withdraws what was only implied, for the purpose. With a consent the
// purpose is that of the consent, and may be left out. When it returns, whatever
// was being released on the strength of the consent has ended.
func (l *Ledger) WithdrawConsent(ctx context.Context, c Command, patient, consent events.ID, purpose events.Purpose) (*Result, error) {
	if purpose == "" {
		purpose = l.purposeOf(patient, consent)
	}
	request := decision.Request{
		Action: events.ActionWithdrawConsent, Actor: c.Actor, Patient: patient, Item: consent, Purpose: purpose,
	}
	return act(ctx, l, c, request, func(_ *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return r.Patient, &events.ConsentWithdrawn{Actor: c.Actor, Consent: consent, Decision: d, Purpose: purpose}, nil
	}, func(about events.ID, d *events.ConsentWithdrawn) bool {
		return l.samePerson(about, patient) && d.Consent == consent && d.Purpose == purpose
	})
}

// purposeOf is what a consent of a patient is for; "" if there is none.
func (l *Ledger) purposeOf(patient, consent events.ID) (purpose events.Purpose) {
	l.view(func(s *life.State) {
		if _, p := s.Person(patient); p != nil {
			for _, c := range p.Consents {
				if c.ID == consent {
					purpose = c.Purpose
				}
			}
		}
	})
	return purpose
}

func (l *Ledger) samePerson(a, b events.ID) (same bool) {
	l.view(func(s *life.State) { same = s.SamePerson(a, b) })
	return same
}
