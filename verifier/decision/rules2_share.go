package decision

import (
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// What the rules medledger-rules-2 say of the shares of a record.

// agreed checks that the patient has not withdrawn consent to a purpose that
// needs it. What a law demands needs none.
func (q question) agreed(record *life.Record, purpose events.Purpose) bool {
	_, p := q.s.Person(record.Patient)
	return oneOf(purpose, events.PurposePublic, events.PurposeLegal) || !p.Refuses(purpose)
}

func (q question) disclose() Outcome {
	record, no := q.office()
	if no != nil {
		return *no
	}
	o := q.living(record, "staff-discloses")
	recipient, ok := q.s.Actor(q.r.Recipient)
	switch {
	case !oneOf(q.r.Purpose, events.PurposeTreatment, events.PurposePayment, events.PurposePublic, events.PurposeLegal):
		return refuse(RefusedPurpose)
	case !q.agreed(record, q.r.Purpose):
		return refuse(RefusedConsent)
	case !o.Permit:
		return o
	case !ok || recipient.Role != events.RoleRecipient:
		return refuse(RefusedUnknownRecipient)
	case q.r.Until <= q.r.At:
		return refuse(RefusedUntil)
	}
	return o
}

// shared returns the share that the request names, of the record that it names.
func (q question) shared() (*life.Record, life.Share, *Outcome) {
	record, no := q.record()
	if no != nil {
		return nil, life.Share{}, new(refuse(RefusedUnknownShare))
	}
	share, ok := record.Share(q.r.Share)
	if !ok {
		return nil, life.Share{}, new(refuse(RefusedUnknownShare))
	}
	return record, share, nil
}

func (q question) receive() Outcome {
	record, share, no := q.shared()
	switch {
	case no != nil:
		return *no
	case share.Recipient != q.r.Actor:
		return refuse(RefusedNotRecipient)
	case share.Ended || q.r.At >= share.Until:
		return refuse(RefusedShareEnded)
	case !q.agreed(record, share.Purpose):
		return refuse(RefusedConsent)
	}
	return q.living(record, "shared")
}

func (q question) acknowledge() Outcome {
	record, share, no := q.shared()
	switch {
	case no != nil:
		return *no
	case share.Recipient != q.r.Actor:
		return refuse(RefusedNotRecipient)
	case !share.Received:
		return refuse(RefusedNotReceived)
	}
	return q.living(record, "shared")
}

func (q question) endShare() Outcome {
	record, share, no := q.shared()
	rule := "staff-ends"
	switch {
	case no != nil:
		return *no
	case q.is(events.RoleRecipient):
		rule = "recipient-ends"
		if share.Recipient != q.r.Actor {
			return refuse(RefusedNotRecipient)
		}
	case record.Organisation != q.actor.Organisation:
		return refuse(RefusedOrganisation)
	}
	if share.Ended {
		return refuse(RefusedShareEnded)
	}
	return q.living(record, rule)
}
