// Package decision holds the rules that say who may do what. They are pure:
// the state of the log and a request go in, an outcome comes out. The ledger
// decides with them and an auditor can decide again with the very same code;
// a decision names the version of the rules (Version), and the code of a
// version never changes once it was released.
//
// # The rules, version medledger-rules-1
//
// Everything that no rule permits is refused. The first column is the name
// that an outcome, and the event it leads to, carries.
//
//	administrator       an administrator registers actors
//	staff-originates    a clinician, a nurse or a device originates a record
//	                    in their own organisation
//	staff-amends        a clinician or a nurse amends a record of their own
//	                    organisation
//	treatment           a clinician or a nurse reads a record of their own
//	                    organisation for treatment (TREAT, ETREAT)
//	own-record          a patient reads a record about themselves (PATRQT)
//	staff-discloses     a clinician or a clerk discloses a record of their own
//	                    organisation to a recipient for treatment, payment,
//	                    public health or the law (TREAT, HPAYMT, PUBHLTH, HLEGAL)
//	shared              a recipient receives what is shared with them, until
//	                    the share ends
//	two-persons         a patient, for a record about themselves, or a clerk or
//	                    an administrator of the organisation that keeps it,
//	                    asks for its destruction, and an administrator of that
//	                    organisation, who is somebody else, approves
//
//	founding            the first administrator, at index 1; nobody decided it
//
// The reasons for a refusal are the constants named Refused….
package decision

import (
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// Version is the version of the rules in this package.
const Version = life.Rules

// Founding is the rule that the registration of the first administrator names.
// Decide never returns it.
const Founding = "founding"

// Request is what somebody wants to do.
type Request struct {
	Action  events.Action
	Actor   events.ID
	Purpose events.Purpose // where the action has one
	// Record is what it is to be done to; zero to register and to originate.
	Record events.ID
	// Version is which version, to access and to disclose; zero is the newest.
	Version   uint32
	Share     events.ID        // to receive
	Recipient events.ID        // to disclose
	Approver  events.ID        // to destroy
	Until     events.Timestamp // to disclose
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
)

func permit(rule string) Outcome   { return Outcome{Permit: true, Rule: rule} }
func refuse(reason string) Outcome { return Outcome{Rule: reason} }

// Decide decides a request on a state. It neither changes nor keeps anything.
func Decide(s *life.State, r Request) Outcome {
	actor, ok := s.Actor(r.Actor)
	if !ok {
		return refuse(RefusedUnknownActor)
	}
	switch r.Action {
	case events.ActionRegister:
		return only(actor, "administrator", events.RoleAdmin)
	case events.ActionOriginate:
		return only(actor, "staff-originates", events.RoleClinician, events.RoleNurse, events.RoleDevice)
	}
	record := s.Record(r.Record)
	if record == nil {
		return refuse(RefusedUnknownRecord)
	}
	if record.Phase != life.Active {
		return refuse(RefusedDestroyed)
	}
	if r.Version > record.Versions {
		return refuse(RefusedUnknownVersion)
	}
	switch r.Action {
	case events.ActionAmend:
		return within(actor, record, "staff-amends", events.RoleClinician, events.RoleNurse)
	case events.ActionAccess:
		return access(actor, record, r)
	case events.ActionDisclose:
		return disclose(s, actor, record, r)
	case events.ActionReceive:
		return receive(actor, record, r)
	case events.ActionDestroy:
		return destroy(s, actor, record, r)
	}
	return refuse(RefusedUnknownAction)
}

func access(a life.Actor, record *life.Record, r Request) Outcome {
	if a.Role == events.RolePatient {
		return own(a, record, r)
	}
	if o := within(a, record, "treatment", events.RoleClinician, events.RoleNurse); !o.Permit {
		return o
	}
	if !oneOf(r.Purpose, events.PurposeTreatment, events.PurposeEmergency) {
		return refuse(RefusedPurpose)
	}
	return permit("treatment")
}

func own(a life.Actor, record *life.Record, r Request) Outcome {
	if a.Patient != record.Patient {
		return refuse(RefusedNotOwn)
	}
	if r.Purpose != events.PurposePatient {
		return refuse(RefusedPurpose)
	}
	return permit("own-record")
}

func disclose(s *life.State, a life.Actor, record *life.Record, r Request) Outcome {
	if o := within(a, record, "staff-discloses", events.RoleClinician, events.RoleClerk); !o.Permit {
		return o
	}
	if !oneOf(r.Purpose, events.PurposeTreatment, events.PurposePayment, events.PurposePublic, events.PurposeLegal) {
		return refuse(RefusedPurpose)
	}
	if recipient, ok := s.Actor(r.Recipient); !ok || recipient.Role != events.RoleRecipient {
		return refuse(RefusedUnknownRecipient)
	}
	if r.Until <= r.At {
		return refuse(RefusedUntil)
	}
	return permit("staff-discloses")
}

func receive(a life.Actor, record *life.Record, r Request) Outcome {
	if a.Role != events.RoleRecipient {
		return refuse(RefusedRole)
	}
	share, ok := record.Share(r.Share)
	switch {
	case !ok:
		return refuse(RefusedUnknownShare)
	case share.Recipient != r.Actor:
		return refuse(RefusedNotRecipient)
	case r.At >= share.Until:
		return refuse(RefusedShareEnded)
	}
	return permit("shared")
}

func destroy(s *life.State, a life.Actor, record *life.Record, r Request) Outcome {
	if a.Role == events.RolePatient {
		if a.Patient != record.Patient {
			return refuse(RefusedNotOwn)
		}
	} else if o := within(a, record, "two-persons", events.RoleClerk, events.RoleAdmin); !o.Permit {
		return o
	}
	approver, ok := s.Actor(r.Approver)
	if !ok || r.Approver == r.Actor || !within(approver, record, "", events.RoleAdmin).Permit {
		return refuse(RefusedApprover)
	}
	return permit("two-persons")
}

// only permits actors of some roles.
func only(a life.Actor, rule string, roles ...events.Role) Outcome {
	if !oneOf(a.Role, roles...) {
		return refuse(RefusedRole)
	}
	return permit(rule)
}

// within permits actors of some roles in the organisation that keeps the record.
func within(a life.Actor, record *life.Record, rule string, roles ...events.Role) Outcome {
	if o := only(a, rule, roles...); !o.Permit {
		return o
	}
	if a.Organisation != record.Organisation {
		return refuse(RefusedOrganisation)
	}
	return permit(rule)
}

func oneOf[C comparable](c C, set ...C) bool { return slices.Contains(set, c) }
