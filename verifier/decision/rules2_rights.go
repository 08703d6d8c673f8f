package decision

import (
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// What the rules medledger-rules-2 say of a patient's care relationships, proxies and consents.

// desk checks what a clerk and a clinician need to open and close care.
func (q question) desk() (rule string, p *life.Patient, no *Outcome) {
	p, no = q.patient()
	switch {
	case no != nil:
		return "", nil, no
	case p.Organisation != q.actor.Organisation:
		return "", nil, new(refuse(RefusedOrganisation))
	case q.is(events.RoleClerk):
		return "admission", p, nil
	case q.cares(p):
		return "referral", p, nil
	}
	return "", nil, new(refuse(RefusedNoRelationship))
}

func (q question) openCare() Outcome {
	rule, _, no := q.desk()
	if no != nil {
		return *no
	}
	if !q.r.Whom.IsZero() {
		m, ok := q.s.Actor(q.r.Whom)
		if !ok || !oneOf(m.Role, clinicians...) || m.Organisation != q.actor.Organisation {
			return refuse(RefusedUnknownMember)
		}
	}
	if q.r.Until != 0 && q.r.Until <= q.r.At {
		return refuse(RefusedUntil)
	}
	return permit(rule)
}

func (q question) closeCare() Outcome {
	rule, p, no := q.desk()
	if no != nil {
		return *no
	}
	if !slices.ContainsFunc(p.Care, func(c life.Care) bool { return c.ID == q.r.Item && !c.Closed }) {
		return refuse(RefusedUnknownItem)
	}
	return permit(rule)
}

func (q question) appoint() Outcome {
	p, no := q.patient()
	if no != nil {
		return *no
	}
	rule := "staff-appoints"
	switch {
	case q.is(events.RolePatient):
		rule = "own-proxy"
		if no := q.own(q.r.Patient, ""); no != nil {
			return *no
		}
	case p.Organisation != q.actor.Organisation:
		return refuse(RefusedOrganisation)
	}
	if proxy, ok := q.s.Actor(q.r.Whom); !ok || proxy.Role != events.RoleProxy {
		return refuse(RefusedUnknownMember)
	}
	if q.r.Until != 0 && q.r.Until <= q.r.At {
		return refuse(RefusedUntil)
	}
	return permit(rule)
}

func (q question) dismiss() Outcome {
	p, no := q.patient()
	if no != nil {
		return *no
	}
	i := slices.IndexFunc(p.Proxies, func(a life.Appointment) bool { return a.ID == q.r.Item && !a.Dismissed })
	rule := "own-proxy"
	switch {
	case q.is(events.RolePatient):
		if no := q.own(q.r.Patient, ""); no != nil {
			return *no
		}
	case q.is(events.RoleProxy):
		if i < 0 || p.Proxies[i].Proxy != q.r.Actor {
			return refuse(RefusedNotProxy)
		}
	default:
		rule = "staff-appoints"
		if p.Organisation != q.actor.Organisation {
			return refuse(RefusedOrganisation)
		}
	}
	if i < 0 {
		return refuse(RefusedUnknownItem)
	}
	return permit(rule)
}

func (q question) consent() Outcome {
	p, no := q.patient()
	switch {
	case no != nil:
		return *no
	case q.is(persons...):
		if no := q.own(q.r.Patient, events.ProxyConsents); no != nil {
			return *no
		}
		return permit("own-consent")
	case p.Organisation != q.actor.Organisation:
		return refuse(RefusedOrganisation)
	}
	return permit("staff-consents")
}

func (q question) withdraw() Outcome {
	o := q.consent()
	if !o.Permit || q.r.Item.IsZero() {
		return o
	}
	p, _ := q.patient()
	if !slices.ContainsFunc(p.Consents, func(c life.Consent) bool {
		return c.ID == q.r.Item && c.Purpose == q.r.Purpose && !c.Withdrawn
	}) {
		return refuse(RefusedUnknownItem)
	}
	return o
}
