package decision_test

import (
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// A clinic, under the rules that are decided by now.

var (
	ward, lab            = id(10), id(11)
	second, merged       = id(12), id(13) // another patient; one merged into the patient
	erased, away         = id(14), id(15) // one erased; one of the hospital
	doomed, dead, remote = id(16), id(17), id(18)
	relationship, since  = id(20), id(21) // a care relationship, and one that was closed
	agreed, revoked      = id(22), id(23) // consents
	nurseToken           = id(24)
	readerAppointment    = id(25)
	treating, lawful     = id(26), id(27) // shares that were received
	overShare            = id(28)
)

func person(of string) life.Actor {
	return map[string]life.Actor{
		"clinician":  {Role: events.RoleClinician, Organisation: clinic},
		"nurse":      {Role: events.RoleNurse, Organisation: clinic, Tokens: []life.Token{{ID: nurseToken, Expires: now}}},
		"ward":       {Role: events.RoleNurse, Organisation: clinic, Department: ward}, // cares through the department
		"lab":        {Role: events.RoleClinician, Organisation: clinic, Department: lab},
		"idle":       {Role: events.RoleClinician, Organisation: clinic}, // cares for nobody
		"idle nurse": {Role: events.RoleNurse, Organisation: clinic, Department: id(19)},
		"late":       {Role: events.RoleClinician, Organisation: clinic}, // cared until now
		"clerk":      {Role: events.RoleClerk, Organisation: clinic},
		"patient":    {Role: events.RolePatient, Organisation: clinic, Patient: merged}, // registered before the merge
		"stranger":   {Role: events.RolePatient, Organisation: clinic, Patient: second},
		"proxy":      {Role: events.RoleProxy, Organisation: clinic},
		"reader":     {Role: events.RoleProxy, Organisation: clinic},
		"consenter":  {Role: events.RoleProxy, Organisation: clinic},
		"late proxy": {Role: events.RoleProxy, Organisation: clinic},
		"ex-proxy":   {Role: events.RoleProxy, Organisation: clinic},
		"recipient":  {Role: events.RoleRecipient, Organisation: hospital},
		"other":      {Role: events.RoleRecipient, Organisation: hospital},
		"auditor":    {Role: events.RoleAuditor, Organisation: clinic},
		"admin":      {Role: events.RoleAdmin, Organisation: clinic},
		"admin2":     {Role: events.RoleAdmin, Organisation: clinic},
		"device":     {Role: events.RoleDevice, Organisation: clinic, Department: ward},
		"system":     {Role: events.RoleSystem, Organisation: clinic, Department: ward},
		// Those of the hospital name the clinic's department, as their
		// administrator might have made up.
		"foreign":         {Role: events.RoleClinician, Organisation: hospital, Department: ward},
		"foreign nurse":   {Role: events.RoleNurse, Organisation: hospital, Department: lab},
		"foreign clerk":   {Role: events.RoleClerk, Organisation: hospital},
		"foreign admin":   {Role: events.RoleAdmin, Organisation: hospital},
		"foreign auditor": {Role: events.RoleAuditor, Organisation: hospital},
	}[of]
}

var everybody = []string{
	"clinician", "nurse", "ward", "lab", "idle", "idle nurse", "late", "clerk", "patient", "stranger", "proxy", "reader", "consenter",
	"late proxy", "ex-proxy", "recipient", "other", "auditor", "admin", "admin2", "device", "system",
	"foreign", "foreign nurse", "foreign clerk", "foreign admin", "foreign auditor",
}

// clinicWith makes the state. The patient may have refused some uses.
func clinicWith(refused ...events.Purpose) *life.State {
	s := life.NewState()
	for _, name := range everybody {
		s.RestoreActor(actor(name), person(name))
	}
	p := life.Patient{
		Organisation: clinic,
		Care: []life.Care{
			{ID: relationship, Member: actor("clinician")}, {ID: id(30), Member: actor("nurse"), Until: now + 1}, {ID: id(31), Department: ward},
			{ID: since, Member: actor("idle"), Closed: true}, {ID: id(32), Member: actor("late"), Until: now},
		},
		Proxies: []life.Appointment{
			{ID: id(33), Proxy: actor("proxy"), Scope: events.ScopeOf(events.ProxyRead, events.ProxyConsents, events.ProxyDestruction)},
			{ID: readerAppointment, Proxy: actor("reader"), Scope: events.ScopeOf(events.ProxyRead), Until: now + 1},
			{ID: id(34), Proxy: actor("consenter"), Scope: events.ScopeOf(events.ProxyConsents)},
			{ID: id(35), Proxy: actor("late proxy"), Scope: events.ScopeOf(events.ProxyRead, events.ProxyConsents, events.ProxyDestruction), Until: now},
			{ID: id(36), Proxy: actor("ex-proxy"), Scope: events.ScopeOf(events.ProxyRead, events.ProxyConsents, events.ProxyDestruction), Dismissed: true},
		},
		Consents: []life.Consent{
			{ID: agreed, Purpose: events.PurposeResearch}, {ID: revoked, Purpose: events.PurposeOperations, Withdrawn: true},
		},
	}
	for _, purpose := range refused {
		p.Consents = append(p.Consents, life.Consent{Purpose: purpose, Withdrawn: true})
	}
	s.RestorePatient(patient, p)
	s.RestorePatient(merged, life.Patient{Organisation: clinic, Into: patient})
	s.RestorePatient(second, life.Patient{Organisation: clinic, Care: []life.Care{{ID: id(37), Member: actor("clinician")}}})
	s.RestorePatient(erased, life.Patient{Organisation: clinic, Erased: true, Care: []life.Care{{ID: id(38), Member: actor("clinician")}}})
	s.RestorePatient(away, life.Patient{Organisation: hospital, Care: []life.Care{{ID: id(39), Member: actor("clinician")}}})

	share := func(id events.ID, p events.Purpose, ended bool) life.Share {
		return life.Share{ID: id, Recipient: actor("recipient"), Purpose: p, Version: 1, Until: now + 1, Received: id != open, Ended: ended}
	}
	s.RestoreRecord(record, life.Record{
		Patient: merged, Organisation: clinic, Department: lab, Versions: 2, Shares: []life.Share{
			share(open, events.PurposeTreatment, false), share(treating, events.PurposeTreatment, false),
			share(lawful, events.PurposeLegal, false), share(ended, events.PurposeTreatment, true),
			{ID: overShare, Recipient: actor("recipient"), Purpose: events.PurposeTreatment, Version: 1, Until: now},
		},
	})
	asked := life.Record{Patient: patient, Organisation: clinic, Versions: 1, Destruction: id(40), Requester: actor("clerk")}
	s.RestoreRecord(doomed, asked)
	asked.Phase, asked.Destruction = life.Destroyed, id(41)
	s.RestoreRecord(dead, asked)
	s.RestoreRecord(remote, life.Record{Patient: patient, Organisation: hospital, Department: ward, Versions: 1})
	return s
}

// asks is a request that is in order, for whoever may make it.
func asks(name string, a events.Action) decision.Request {
	r := decision.Request{
		Action: a, Actor: actor(name), Purpose: events.PurposeTreatment, Record: record, Patient: patient, Share: open,
		Recipient: actor("recipient"), Until: now + 1, Other: second, Whom: actor("nurse"), At: now,
	}
	if slices.Contains([]events.Role{events.RolePatient, events.RoleProxy}, person(name).Role) {
		r.Purpose = events.PurposePatient
	}
	switch a {
	case events.ActionDestroy:
		r.Record = doomed
	case events.ActionAcknowledge:
		r.Share = treating
	case events.ActionRevokeToken:
		r.Item = nurseToken
	case events.ActionCloseCare:
		r.Item = relationship
	case events.ActionDismissProxy:
		r.Item = readerAppointment
	case events.ActionAppointProxy:
		r.Whom = actor("proxy")
	}
	return r
}
