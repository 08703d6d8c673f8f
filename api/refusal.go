package api

import (
	"net/http"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/decision"
)

// absent is the answer to everything that does not exist, and to everything that
// the caller may not know of. There is one, so that nobody can tell which it was.
func absent() *problem {
	return &problem{Status: http.StatusNotFound, Detail: "there is no such thing, or you may not know of it"}
}

// told are the refusals that callers are told of: each is decided after the
// caller's right to know of the thing itself. All others are answered with absent.
var told = map[string]problem{
	decision.RefusedRole:             {Status: http.StatusForbidden, Detail: "your role does not do this"},
	decision.RefusedPurpose:          {Status: http.StatusForbidden, Detail: "you may not do this for this purpose of use"},
	decision.RefusedApprover:         {Status: http.StatusForbidden, Detail: "you asked for this destruction yourself; another administrator must approve it"},
	decision.RefusedUnknownVersion:   {Status: http.StatusNotFound, Detail: "the record has no such version"},
	decision.RefusedDestroyed:        {Status: http.StatusGone, Detail: "the record is destroyed or being destroyed; its history remains"},
	decision.RefusedShareEnded:       {Status: http.StatusGone, Detail: "the share has ended"},
	decision.RefusedNotReceived:      {Status: http.StatusConflict, Detail: "nothing was received under this share yet; fetch its content first"},
	decision.RefusedRequested:        {Status: http.StatusConflict, Detail: "the destruction of this record was asked for already"},
	decision.RefusedSamePerson:       {Status: http.StatusConflict, Detail: "both are the same patient already"},
	decision.RefusedUnknownRecipient: {Status: http.StatusUnprocessableEntity, Detail: "records are shared with registered recipients only"},
	decision.RefusedUnknownMember:    {Status: http.StatusUnprocessableEntity, Detail: "no actor who could be given this is registered under this id"},
	decision.RefusedUntil:            {Status: http.StatusUnprocessableEntity, Detail: "the end lies in the past"},
}

// toldToClinicians are the refusals that those are told of who will be able to
// break the glass.
var toldToClinicians = map[string]problem{
	decision.RefusedNoRelationship: {Status: http.StatusForbidden, Detail: "you have no care relationship with this patient; the front desk or a colleague who has one can open it"},
	decision.RefusedConsent:        {Status: http.StatusForbidden, Detail: "the patient has withdrawn consent to this use"},
}

// refused is the answer to a refusal.
func refused(e *ledger.RefusedError, role events.Role) *problem {
	p, ok := told[e.Reason]
	if !ok && (role == events.RoleClinician || role == events.RoleNurse) {
		p, ok = toldToClinicians[e.Reason]
	}
	if !ok {
		return absent()
	}
	p.Reason = e.Reason
	return &p
}
