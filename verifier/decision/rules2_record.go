package decision

import (
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// What the rules medledger-rules-2 say of records.

func (q question) originate() Outcome {
	if _, no := q.patient(); no != nil {
		return *no
	}
	return permit("staff-originates")
}

// record returns the record that the request is about.
func (q question) record() (*life.Record, *Outcome) {
	if record := q.s.Record(q.r.Record); record != nil {
		return record, nil
	}
	return nil, new(refuse(RefusedUnknownRecord))
}

// kept returns the record if the actor's organisation keeps it.
func (q question) kept() (*life.Record, *Outcome) {
	record, no := q.record()
	if no == nil && record.Organisation != q.actor.Organisation {
		return nil, new(refuse(RefusedOrganisation))
	}
	return record, no
}

// treats returns the record if the actor treats the patient whom it is about.
func (q question) treats() (*life.Record, *Outcome) {
	record, no := q.kept()
	if no != nil {
		return nil, no
	}
	_, p := q.s.Person(record.Patient)
	if !p.CaredForBy(q.r.Actor, q.actor, q.r.At) &&
		(record.Department.IsZero() || record.Department != q.actor.Department) {
		return nil, new(refuse(RefusedNoRelationship))
	}
	if p.Refuses(events.PurposeTreatment) {
		return nil, new(refuse(RefusedConsent))
	}
	return record, nil
}

// living permits by a rule what can be done to a record that is not destroyed.
func (q question) living(record *life.Record, rule string) Outcome {
	if record.Phase != life.Active {
		return refuse(RefusedDestroyed)
	}
	if q.r.Version > record.Versions {
		return refuse(RefusedUnknownVersion)
	}
	return permit(rule)
}

func (q question) amend() Outcome {
	record, no := q.treats()
	if no != nil {
		return *no
	}
	return q.living(record, "staff-amends")
}

func (q question) access() Outcome {
	record, no := q.record()
	if no != nil {
		return *no
	}
	if q.is(persons...) {
		o := q.reads(record.Patient)
		if o.Permit {
			o = q.living(record, o.Rule)
		}
		return o
	}
	if record, no = q.treats(); no != nil {
		return *no
	}
	if q.r.Purpose != events.PurposeTreatment {
		return refuse(RefusedPurpose)
	}
	return q.living(record, "treatment")
}

func (q question) history() Outcome {
	record, no := q.record()
	switch {
	case no != nil:
		return *no
	case q.is(events.RoleAuditor):
		return permit("auditor")
	case q.is(persons...):
		if no := q.own(record.Patient, events.ProxyRead); no != nil {
			return *no
		}
		if q.is(events.RoleProxy) {
			return permit("proxy")
		}
		return permit("own-record")
	}
	if _, no := q.treats(); no != nil {
		return *no
	}
	return permit("treatment")
}

func (q question) refile() Outcome {
	record, no := q.office()
	if no != nil {
		return *no
	}
	o := q.living(record, "staff-refiles")
	if !o.Permit {
		return o
	}
	_, p := q.s.Person(record.Patient)
	if p.Refuses(events.PurposeTreatment) {
		return refuse(RefusedConsent)
	}
	if _, no := q.other(p); no != nil {
		return *no
	}
	return o
}

// office returns the record if the actor is a clerk of the organisation that keeps
// it, or treats the patient.
func (q question) office() (*life.Record, *Outcome) {
	if q.is(events.RoleClerk) {
		return q.kept()
	}
	return q.treats()
}
