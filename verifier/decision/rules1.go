package decision

import (
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// The rules medledger-rules-1, which decided before patients were registered. No
// new decision is made by them; they stay so that old ones can be replayed.
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

func decide1(s *life.State, r Request) Outcome {
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
		return access1(actor, record, r)
	case events.ActionDisclose:
		return disclose1(s, actor, record, r)
	case events.ActionReceive:
		return receive1(actor, record, r)
	case events.ActionDestroy:
		return destroy1(s, actor, record, r)
	}
	return refuse(RefusedUnknownAction)
}

func access1(a life.Actor, record *life.Record, r Request) Outcome {
	if a.Role == events.RolePatient {
		return own1(a, record, r)
	}
	if o := within(a, record, "treatment", events.RoleClinician, events.RoleNurse); !o.Permit {
		return o
	}
	if !oneOf(r.Purpose, events.PurposeTreatment, events.PurposeEmergency) {
		return refuse(RefusedPurpose)
	}
	return permit("treatment")
}

func own1(a life.Actor, record *life.Record, r Request) Outcome {
	if a.Patient != record.Patient {
		return refuse(RefusedNotOwn)
	}
	if r.Purpose != events.PurposePatient {
		return refuse(RefusedPurpose)
	}
	return permit("own-record")
}

func disclose1(s *life.State, a life.Actor, record *life.Record, r Request) Outcome {
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

func receive1(a life.Actor, record *life.Record, r Request) Outcome {
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

func destroy1(s *life.State, a life.Actor, record *life.Record, r Request) Outcome {
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
