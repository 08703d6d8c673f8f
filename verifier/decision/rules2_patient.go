package decision

import (
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// What the rules medledger-rules-2 say of patients: who finds one, and who sees which
// records and accesses there are.

// patient returns whom the request is about, or why it cannot be about them.
func (q question) patient() (*life.Patient, *Outcome) {
	_, p := q.s.Person(q.r.Patient)
	if p == nil {
		return nil, new(refuse(RefusedUnknownPatient))
	}
	if p.Erased {
		return nil, new(refuse(RefusedErased))
	}
	return p, nil
}

// own checks that a patient or a proxy may do something for a patient.
func (q question) own(patient events.ID, scope events.ProxyScope) *Outcome {
	if q.is(events.RoleProxy) {
		if _, p := q.s.Person(patient); p == nil || !p.ActsFor(q.r.Actor, scope, q.r.At) {
			return new(refuse(RefusedNotProxy))
		}
		return nil
	}
	if !q.s.SamePerson(q.actor.Patient, patient) {
		return new(refuse(RefusedNotOwn))
	}
	return nil
}

// reads is own for reading, with the purposes that a patient or a proxy may have.
func (q question) reads(patient events.ID) Outcome {
	if no := q.own(patient, events.ProxyRead); no != nil {
		return *no
	}
	switch {
	case q.is(events.RoleProxy) && oneOf(q.r.Purpose, events.PurposeFamily, events.PurposePatient):
		return permit("proxy")
	case q.is(events.RolePatient) && q.r.Purpose == events.PurposePatient:
		return permit("own-record")
	}
	return refuse(RefusedPurpose)
}

func (q question) lookUp() Outcome {
	p, no := q.patient()
	if no != nil {
		return *no
	}
	if p.Organisation != q.actor.Organisation {
		return refuse(RefusedOrganisation)
	}
	return permit("staff-finds")
}

func (q question) merge() Outcome {
	p, no := q.patient()
	if no != nil {
		return *no
	}
	switch {
	case p.Organisation != q.actor.Organisation:
		return refuse(RefusedOrganisation)
	case q.is(events.RoleClinician) && !q.cares(p):
		return refuse(RefusedNoRelationship)
	}
	other, no := q.other(p)
	switch {
	case no != nil:
		return *no
	case q.is(events.RoleClinician) && !q.cares(other):
		// Who merges a stranger into a patient of theirs would treat the stranger.
		return refuse(RefusedUnknownPatient)
	}
	return permit("staff-merges")
}

// other returns the other patient of the request. It is asked for last: a refusal
// does not tell who that is.
func (q question) other(p *life.Patient) (*life.Patient, *Outcome) {
	other, no := question{q.s, Request{Patient: q.r.Other}, q.actor}.patient()
	switch {
	case no != nil:
		return nil, no
	case other.Organisation != q.actor.Organisation:
		return nil, new(refuse(RefusedUnknownPatient))
	case p == other:
		return nil, new(refuse(RefusedSamePerson))
	}
	return other, nil
}

// cares reports whether the actor has a care relationship with a patient of their
// own organisation.
func (q question) cares(p *life.Patient) bool {
	return p.Organisation == q.actor.Organisation && p.CaredForBy(q.r.Actor, q.actor, q.r.At)
}

// originated reports whether the actor's department originated a record of the
// patient.
func (q question) originated(p *life.Patient) bool {
	return !q.actor.Department.IsZero() && slices.ContainsFunc(p.Records, func(id events.ID) bool {
		r := q.s.Record(id)
		return r != nil && r.Organisation == q.actor.Organisation && r.Department == q.actor.Department
	})
}

func (q question) listRecords() Outcome {
	if q.is(persons...) {
		return q.reads(q.r.Patient)
	}
	p, no := q.patient()
	if no != nil {
		return *no
	}
	cares := q.cares(p)
	concerned := cares || q.originated(p)
	switch {
	case q.is(events.RoleClerk) && p.Organisation == q.actor.Organisation:
		return permit("front-desk")
	case q.is(events.RoleClerk):
		return refuse(RefusedOrganisation)
	case !concerned && p.Organisation != q.actor.Organisation:
		// Others' patients are not even told of.
		return refuse(RefusedOrganisation)
	case q.r.Purpose != events.PurposeTreatment:
		return refuse(RefusedPurpose)
	case !concerned:
		return refuse(RefusedNoRelationship)
	case p.Refuses(events.PurposeTreatment):
		return refuse(RefusedConsent)
	case cares:
		return permit("treatment")
	}
	return permit("department")
}

// Listed reports whether a record is in the list that a rule permitted an actor.
func Listed(rule string, a life.Actor, r *life.Record) bool {
	switch rule {
	case "own-record", "proxy":
		return true
	case "treatment", "front-desk":
		return r.Organisation == a.Organisation
	case "department":
		return r.Organisation == a.Organisation && r.Department == a.Department
	}
	return false
}

func (q question) listAccesses() Outcome {
	if _, p := q.s.Person(q.r.Patient); p == nil {
		return refuse(RefusedUnknownPatient)
	}
	if q.is(events.RoleAuditor) {
		return permit("auditor")
	}
	return q.reads(q.r.Patient)
}
