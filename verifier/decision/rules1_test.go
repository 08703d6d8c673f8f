package decision_test

import (
	"bytes"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

const now = events.Timestamp(1_800_000_000_000_000)

func id(b byte) events.ID { return events.DerivedID(bytes.Repeat([]byte{b}, 16)) }

var (
	clinic, hospital = id(1), id(2)
	patient          = id(3)
	record, gone     = id(4), id(5)
	open, ended      = id(6), id(7) // shares
)

// The cast: one actor of every role in the clinic that keeps the record, and
// some of elsewhere.
var cast = map[string]life.Actor{
	"clinician": {Role: events.RoleClinician, Organisation: clinic},
	"nurse":     {Role: events.RoleNurse, Organisation: clinic},
	"clerk":     {Role: events.RoleClerk, Organisation: clinic},
	"patient":   {Role: events.RolePatient, Organisation: clinic, Patient: patient},
	"stranger":  {Role: events.RolePatient, Organisation: clinic, Patient: id(90)},
	"recipient": {Role: events.RoleRecipient, Organisation: hospital},
	"other":     {Role: events.RoleRecipient, Organisation: hospital},
	"auditor":   {Role: events.RoleAuditor, Organisation: clinic},
	"admin":     {Role: events.RoleAdmin, Organisation: clinic},
	"admin2":    {Role: events.RoleAdmin, Organisation: clinic},
	"device":    {Role: events.RoleDevice, Organisation: clinic},
	"system":    {Role: events.RoleSystem, Organisation: clinic},
	"foreign":   {Role: events.RoleClinician, Organisation: hospital},
	"foreigner": {Role: events.RoleAdmin, Organisation: hospital},
}

func actor(name string) events.ID { return events.DerivedID(append([]byte(name), make([]byte, 16)...)) }

// state is what the older rules decide on.
func state() *life.State {
	s := life.NewState()
	for name, a := range cast {
		s.RestoreActor(actor(name), a)
	}
	s.RestoreRecord(record, life.Record{
		Patient: patient, Organisation: clinic, Versions: 2,
		Shares: []life.Share{
			{ID: open, Recipient: actor("recipient"), Version: 1, Until: now + 1},
			{ID: ended, Recipient: actor("recipient"), Version: 1, Until: now},
		},
	})
	s.RestoreRecord(gone, life.Record{Patient: patient, Organisation: clinic, Versions: 1, Phase: life.Destroyed})
	return s
}

// TestMatrixOfRules1 asks, for every actor and action, whether it is permitted: what
// is not listed must be refused.
func TestMatrixOfRules1(t *testing.T) {
	permitted := map[events.Action]map[string]bool{
		events.ActionRegister:  {"admin": true, "admin2": true, "foreigner": true},
		events.ActionOriginate: {"clinician": true, "nurse": true, "device": true, "foreign": true},
		events.ActionAmend:     {"clinician": true, "nurse": true},
		events.ActionAccess:    {"clinician": true, "nurse": true},
		events.ActionDisclose:  {"clinician": true, "clerk": true},
		events.ActionReceive:   {"recipient": true},
		events.ActionDestroy:   {"patient": true, "clerk": true, "admin": true},
	}
	s := state()
	for action, who := range permitted {
		for name := range cast {
			o := decision.Decide1(s, decision.Request{
				Action: action, Actor: actor(name), Record: record, Purpose: events.PurposeTreatment, At: now,
				Share: open, Recipient: actor("recipient"), Until: now + 1, Approver: actor("admin2"),
			})
			if o.Permit != who[name] {
				t.Errorf("%s by %s: permitted is %v (%s)", action, name, o.Permit, o.Rule)
			}
			if o.Rule == "" {
				t.Errorf("%s by %s: no rule is named", action, name)
			}
		}
	}
}

func TestOutcomesOfRules1(t *testing.T) {
	access := decision.Request{Action: events.ActionAccess, Actor: actor("nurse"), Record: record, Purpose: events.PurposeTreatment}
	own := decision.Request{Action: events.ActionAccess, Actor: actor("patient"), Record: record, Purpose: events.PurposePatient}
	disclose := decision.Request{
		Action: events.ActionDisclose, Actor: actor("clerk"), Record: record, Purpose: events.PurposePublic,
		Recipient: actor("recipient"), Until: now + 1,
	}
	receive := decision.Request{Action: events.ActionReceive, Actor: actor("recipient"), Record: record, Share: open}
	destroy := decision.Request{Action: events.ActionDestroy, Actor: actor("patient"), Record: record, Approver: actor("admin")}

	for _, test := range []struct {
		name   string
		base   decision.Request
		change func(*decision.Request)
		want   string
		permit bool
	}{
		{"treatment", access, nil, "treatment", true},
		{"emergency treatment", access, func(r *decision.Request) { r.Purpose = events.PurposeEmergency }, "treatment", true},
		{"an old version", access, func(r *decision.Request) { r.Version = 1 }, "treatment", true},
		{"research", access, func(r *decision.Request) { r.Purpose = events.PurposeResearch }, decision.RefusedPurpose, false},
		{"no purpose", access, func(r *decision.Request) { r.Purpose = "" }, decision.RefusedPurpose, false},
		{"another organisation", access, func(r *decision.Request) { r.Actor = actor("foreign") }, decision.RefusedOrganisation, false},
		{"an auditor", access, func(r *decision.Request) { r.Actor = actor("auditor") }, decision.RefusedRole, false},
		{"nobody", access, func(r *decision.Request) { r.Actor = id(99) }, decision.RefusedUnknownActor, false},
		{"no record", access, func(r *decision.Request) { r.Record = id(99) }, decision.RefusedUnknownRecord, false},
		{"a destroyed record", access, func(r *decision.Request) { r.Record = gone }, decision.RefusedDestroyed, false},
		{"a version to come", access, func(r *decision.Request) { r.Version = 3 }, decision.RefusedUnknownVersion, false},
		{"nothing known", access, func(r *decision.Request) { r.Action = "sell" }, decision.RefusedUnknownAction, false},

		{"own record", own, nil, "own-record", true},
		{"own record for research", own, func(r *decision.Request) { r.Purpose = events.PurposeResearch }, decision.RefusedPurpose, false},
		{"somebody else's record", own, func(r *decision.Request) { r.Actor = actor("stranger") }, decision.RefusedNotOwn, false},

		{"public health", disclose, nil, "staff-discloses", true},
		{"to a nurse", disclose, func(r *decision.Request) { r.Recipient = actor("nurse") }, decision.RefusedUnknownRecipient, false},
		{"to nobody", disclose, func(r *decision.Request) { r.Recipient = id(99) }, decision.RefusedUnknownRecipient, false},
		{"until now", disclose, func(r *decision.Request) { r.Until = now }, decision.RefusedUntil, false},
		{"for research", disclose, func(r *decision.Request) { r.Purpose = events.PurposeResearch }, decision.RefusedPurpose, false},

		{"a share", receive, nil, "shared", true},
		{"an ended share", receive, func(r *decision.Request) { r.Share = ended }, decision.RefusedShareEnded, false},
		{"no share", receive, func(r *decision.Request) { r.Share = id(99) }, decision.RefusedUnknownShare, false},
		{"somebody else's share", receive, func(r *decision.Request) { r.Actor = actor("other") }, decision.RefusedNotRecipient, false},

		{"patient and admin", destroy, nil, "two-persons", true},
		{"somebody else's record destroyed", destroy, func(r *decision.Request) { r.Actor = actor("stranger") }, decision.RefusedNotOwn, false},
		{"approved by oneself", destroy, func(r *decision.Request) { r.Actor = actor("admin") }, decision.RefusedApprover, false},
		{"approved by a nurse", destroy, func(r *decision.Request) { r.Approver = actor("nurse") }, decision.RefusedApprover, false},
		{"approved elsewhere", destroy, func(r *decision.Request) { r.Approver = actor("foreigner") }, decision.RefusedApprover, false},
		{"approved by nobody", destroy, func(r *decision.Request) { r.Approver = events.ID{} }, decision.RefusedApprover, false},
	} {
		r := test.base
		r.At = now
		if test.change != nil {
			test.change(&r)
		}
		if o := decision.Decide1(state(), r); o.Permit != test.permit || o.Rule != test.want {
			t.Errorf("%s: %+v, want %s", test.name, o, test.want)
		}
	}
}
