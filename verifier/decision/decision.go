// Package decision holds the rules that say who may do what. They are pure:
// the state of the log and a request go in, an outcome comes out. The ledger
// decides with them and an auditor can decide again with the very same code;
// a decision names the version of the rules (Version), and the code of a
// version never changes once it was released. rules2.go specifies the rules in
// force, rules1.go those before.
//
// Everything that no rule permits is refused. The reasons for a refusal are the
// constants named Refused….
package decision

import (
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// Version is the version of the rules that Decide decides by.
const Version = life.Rules

// What nobody decides, by the rule that it names. Decide never returns these.
const (
	// Founding is the registration of the first administrator, at index 1.
	Founding = "founding"
	// OnTheMachine is what somebody did who may use the ledger's own machine:
	// giving an administrator a token, or taking it away.
	OnTheMachine = "on-the-machine"
)

// Request is what somebody wants to do.
type Request struct {
	Action  events.Action
	Actor   events.ID
	Purpose events.Purpose // where the action has one
	// Record is what it is to be done to, unless that is a patient, an actor or
	// the ledger. For a share it is the record that is shared.
	Record events.ID
	// Patient is whom it is to be done to, or to originate, whom it is about.
	Patient events.ID
	// Version is which version, to access and to disclose; zero is the newest.
	Version   uint32
	Share     events.ID        // to receive, to acknowledge, to end
	Recipient events.ID        // to disclose
	Approver  events.ID        // to destroy, under medledger-rules-1
	Until     events.Timestamp // to disclose, to open care, to appoint; zero is for ever
	// Other is the patient to merge into, or to refile under.
	Other events.ID
	// Whom is who is to care, to be appointed, or whose token it is.
	Whom events.ID
	// Item is the relationship, appointment, consent or token that is to end.
	Item events.ID
	// At is when it is decided.
	At events.Timestamp
}

// Outcome is a decision.
type Outcome struct {
	Permit bool
	// Rule is the rule that permitted, or the reason for the refusal.
	Rule string
}

// The reasons for a refusal.
const (
	RefusedUnknownActor     = "unknown-actor"
	RefusedUnknownRecord    = "unknown-record"
	RefusedUnknownVersion   = "unknown-version"
	RefusedDestroyed        = "record-destroyed"
	RefusedRole             = "role-not-allowed"
	RefusedPurpose          = "purpose-not-allowed"
	RefusedOrganisation     = "other-organisation"
	RefusedNotOwn           = "not-own-record"
	RefusedUnknownShare     = "unknown-share"
	RefusedNotRecipient     = "not-the-recipient"
	RefusedShareEnded       = "share-ended"
	RefusedUnknownRecipient = "unknown-recipient"
	RefusedUntil            = "ends-before-it-begins"
	RefusedApprover         = "approver-not-allowed"
	RefusedUnknownAction    = "unknown-action"

	// Since medledger-rules-2.
	RefusedUnknownPatient = "unknown-patient"
	RefusedErased         = "patient-erased"
	RefusedSamePerson     = "same-person"
	RefusedNoRelationship = "no-care-relationship"
	RefusedConsent        = "consent-withdrawn"
	RefusedNotProxy       = "not-the-proxy"
	RefusedUnknownMember  = "unknown-member"
	RefusedUnknownItem    = "unknown-or-ended"
	RefusedNotReceived    = "not-received"
	RefusedRequested      = "destruction-requested"
	RefusedNotRequested   = "destruction-not-requested"
)

func permit(rule string) Outcome   { return Outcome{Permit: true, Rule: rule} }
func refuse(reason string) Outcome { return Outcome{Rule: reason} }

// Decide decides a request on a state. It neither changes nor keeps anything.
func Decide(s *life.State, r Request) Outcome { return decide2(s, r) }

// decideBy decides by the rules of some version.
func decideBy(rules string, s *life.State, r Request) Outcome {
	if rules == life.Rules1 {
		return decide1(s, r)
	}
	return decide2(s, r)
}
