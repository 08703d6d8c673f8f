package decision

import (
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// What the rules medledger-rules-2 say of the destruction of a record.

func (q question) requestDestruction() Outcome {
	record, no := q.record()
	if no != nil {
		return *no
	}
	if q.is(persons...) {
		if no := q.own(record.Patient, events.ProxyDestruction); no != nil {
			return *no
		}
	} else if record.Organisation != q.actor.Organisation {
		return refuse(RefusedOrganisation)
	}
	if record.Phase == life.Active && !record.Destruction.IsZero() {
		return refuse(RefusedRequested)
	}
	return q.living(record, "asks-destruction")
}

func (q question) approve() Outcome {
	record, no := q.kept()
	switch {
	case no != nil:
		return *no
	case record.Destruction.IsZero():
		return refuse(RefusedNotRequested)
	case record.Requester == q.r.Actor:
		return refuse(RefusedApprover)
	}
	return q.living(record, "two-persons")
}
