package decision_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

const position = 7

func trace(rule string) events.Decision {
	return events.Decision{Position: position, Rule: rule, Rules: decision.Version}
}

// eventOf makes the event that an outcome leads to, as a ledger does.
func eventOf(s *life.State, r decision.Request, o decision.Outcome) events.Event {
	subject, data := refusal(s, r, o)
	if o.Permit {
		subject, data = permission(s, r, trace(o.Rule))
	}
	return events.Event{Type: data.EventType(), Subject: subject, Time: r.At, Data: data}
}

// refusal tells of a request what a refusal may: what exists.
func refusal(s *life.State, r decision.Request, o decision.Outcome) (events.ID, events.Data) {
	subject := r.Actor
	switch {
	case r.Action.OnPatient() && s.Patient(r.Patient) != nil:
		subject = r.Patient
	case !r.Action.OnPatient() && s.Record(r.Record) != nil:
		subject = r.Record
	}
	var share events.ID
	if record := s.Record(r.Record); record != nil {
		known, _ := record.Share(r.Share)
		share = known.ID
	}
	return subject, &events.AccessRefused{Action: r.Action, Actor: r.Actor, Decision: trace(o.Rule), Purpose: r.Purpose, Share: share}
}

func permission(s *life.State, r decision.Request, d events.Decision) (events.ID, events.Data) {
	self, _ := s.Actor(r.Actor)
	fresh := id(250)
	switch r.Action {
	case events.ActionRegister:
		return fresh, &events.ActorRegistered{By: r.Actor, Decision: d}
	case events.ActionIssueToken:
		return r.Whom, &events.TokenIssued{By: r.Actor, Decision: d, Expires: r.Until}
	case events.ActionRevokeToken:
		return r.Whom, &events.TokenRevoked{By: r.Actor, Decision: d, Token: r.Item}
	case events.ActionReadLog:
		return fresh, &events.LogRead{Actor: r.Actor, Decision: d}
	case events.ActionOriginate:
		return fresh, &events.RecordOriginated{Actor: r.Actor, Decision: d, Department: self.Department, Organisation: self.Organisation, Patient: r.Patient}
	case events.ActionAmend:
		return r.Record, &events.RecordAmended{Actor: r.Actor, Decision: d}
	case events.ActionAccess:
		return r.Record, &events.RecordAccessed{Actor: r.Actor, Decision: d, Purpose: r.Purpose, Version: r.Version}
	case events.ActionRefile:
		return r.Record, &events.RecordRefiled{Actor: r.Actor, Decision: d, Patient: r.Other}
	case events.ActionReadHistory:
		return r.Record, &events.HistoryRead{Actor: r.Actor, Decision: d}
	case events.ActionDisclose:
		return r.Record, &events.RecordDisclosed{
			Actor: r.Actor, Decision: d, Purpose: r.Purpose, Recipient: r.Recipient, Until: r.Until, Version: r.Version,
		}
	case events.ActionReceive:
		return r.Record, &events.RecordReceived{Actor: r.Actor, Decision: d, Share: r.Share}
	case events.ActionAcknowledge:
		return r.Record, &events.ShareAcknowledged{Actor: r.Actor, Decision: d, Share: r.Share}
	case events.ActionEndShare:
		return r.Record, &events.ShareEnded{Actor: r.Actor, Decision: d, Share: r.Share}
	case events.ActionRequestDestruction:
		return r.Record, &events.DestructionRequested{Actor: r.Actor, Decision: d}
	case events.ActionDestroy:
		return r.Record, &events.DestructionStarted{Approver: r.Actor, Decision: d}
	case events.ActionRegisterPatient:
		return fresh, &events.PatientRegistered{Actor: r.Actor, Decision: d, Organisation: self.Organisation}
	}
	return r.Patient, toPatient(r, d)
}

func toPatient(r decision.Request, d events.Decision) events.Data {
	switch r.Action {
	case events.ActionMergePatient:
		return &events.PatientMerged{Actor: r.Actor, Decision: d, Into: r.Other}
	case events.ActionOpenCare:
		return &events.CareOpened{Actor: r.Actor, Decision: d, Member: r.Whom, Until: r.Until}
	case events.ActionCloseCare:
		return &events.CareClosed{Actor: r.Actor, Decision: d, Relationship: r.Item}
	case events.ActionAppointProxy:
		return &events.ProxyAppointed{Actor: r.Actor, Decision: d, Proxy: r.Whom, Until: r.Until}
	case events.ActionDismissProxy:
		return &events.ProxyDismissed{Actor: r.Actor, Appointment: r.Item, Decision: d}
	case events.ActionGrantConsent:
		return &events.ConsentGranted{Actor: r.Actor, Decision: d, Purpose: r.Purpose}
	case events.ActionWithdrawConsent:
		return &events.ConsentWithdrawn{Actor: r.Actor, Consent: r.Item, Decision: d, Purpose: r.Purpose}
	}
	query := map[events.Action]events.Query{
		events.ActionLookUpPatient: events.QueryIdentifier, events.ActionListRecords: events.QueryRecords, events.ActionListAccesses: events.QueryAccesses,
	}[r.Action]
	return &events.PatientQueried{Actor: r.Actor, Decision: d, Purpose: r.Purpose, Query: query}
}

// chance makes clinics and requests at random.
type chance struct{ *rand.Rand }

func pick[T any](c chance, some ...T) T { return some[c.IntN(len(some))] }

func (c chance) time() events.Timestamp { return pick(c, 0, now-1, now, now+1) }

func ids(first, n byte) []events.ID {
	all := make([]events.ID, n)
	for i := range all {
		all[i] = id(first + byte(i))
	}
	return all
}

var (
	someActors, somePatients, someRecords = ids(100, 14), ids(120, 4), ids(130, 4)
	someItems, somePurposes               = ids(140, 3), []events.Purpose{events.PurposeTreatment, events.PurposePatient, events.PurposeLegal, events.PurposeResearch, events.PurposeFamily}
	someRoles                             = []events.Role{
		events.RoleClinician, events.RoleClinician, events.RoleNurse, events.RoleClerk, events.RolePatient, events.RoleProxy, events.RoleRecipient,
		events.RoleAuditor, events.RoleAdmin, events.RoleDevice, events.RoleSystem, events.RoleClinician, events.RoleProxy, events.RoleAdmin,
	}
)

func (c chance) organisation() events.ID { return pick(c, clinic, clinic, clinic, hospital) }
func (c chance) department() events.ID   { return pick(c, ward, lab, events.ID{}) }

func (c chance) state() *life.State {
	s := life.NewState()
	for i, a := range someActors {
		actor := life.Actor{Role: someRoles[i], Organisation: c.organisation(), Department: c.department()}
		if actor.Role == events.RolePatient {
			actor.Patient = pick(c, somePatients...)
		}
		actor.Tokens = []life.Token{{ID: pick(c, someItems...), Revoked: c.IntN(2) == 0}}
		s.RestoreActor(a, actor)
	}
	for i, id := range somePatients {
		p := life.Patient{Organisation: c.organisation(), Erased: c.IntN(6) == 0}
		for _, item := range someItems {
			care := life.Care{ID: item, Member: pick(c, someActors...), Until: c.time(), Closed: c.IntN(4) == 0}
			if c.IntN(2) == 0 {
				care.Member, care.Department = events.ID{}, pick(c, ward, lab)
			}
			p.Care = append(p.Care, care)
			p.Proxies = append(p.Proxies, life.Appointment{
				ID: item, Proxy: pick(c, someActors[5], someActors[12]), Until: c.time(), Dismissed: c.IntN(4) == 0,
				Scope: events.ScopeOf(pick(c, events.ProxyRead, events.ProxyConsents), pick(c, events.ProxyRead, events.ProxyDestruction)),
			})
			p.Consents = append(p.Consents, life.Consent{ID: item, Purpose: pick(c, somePurposes...), Withdrawn: c.IntN(3) == 0})
		}
		if i == len(somePatients)-1 {
			p = life.Patient{Organisation: p.Organisation, Into: somePatients[0]}
		}
		s.RestorePatient(id, p)
	}
	for _, id := range someRecords {
		r := life.Record{
			Patient: pick(c, somePatients...), Organisation: c.organisation(), Department: c.department(), Versions: uint32(1 + c.IntN(2)),
			Phase: pick(c, life.Active, life.Active, life.Active, life.Destroying, life.Destroyed),
		}
		if r.Phase != life.Active || c.IntN(2) == 0 {
			r.Destruction, r.Requester = id, pick(c, someActors...)
		}
		for _, item := range someItems {
			r.Shares = append(r.Shares, life.Share{
				ID: item, Recipient: pick(c, someActors[6], someActors[0]), Purpose: pick(c, somePurposes...), Version: 1,
				Until: c.time(), Received: c.IntN(2) == 0, Ended: c.IntN(3) == 0,
			})
		}
		s.RestoreRecord(id, r)
	}
	return s
}

func (c chance) request(s *life.State) decision.Request {
	nobody := id(251)
	r := decision.Request{
		Action: pick(c, decision.Actions()...), Actor: pick(c, someActors...), At: now,
		Purpose: pick(c, somePurposes...), Record: pick(c, append(slices.Clone(someRecords), nobody)...), Patient: pick(c, append(slices.Clone(somePatients), nobody)...),
		Share: pick(c, append(slices.Clone(someItems), nobody)...), Recipient: pick(c, someActors[6], someActors[6], someActors[0], nobody), Until: pick(c, now+1, c.time()),
		Other: pick(c, append(slices.Clone(somePatients), nobody)...), Whom: pick(c, append(slices.Clone(someActors), nobody, events.ID{})...),
		Item: pick(c, append(slices.Clone(someItems), nobody, events.ID{})...),
	}
	if c.IntN(2) == 0 { // else few ask for what they may
		r.Actor = someActors[slices.Index(someRoles, pick(c, decision.Roles(r.Action)...))]
	}
	if r.Action == events.ActionAccess || r.Action == events.ActionDisclose {
		r.Version = uint32(c.IntN(4))
	}
	for _, patient := range []*events.ID{&r.Patient, &r.Other} {
		*patient, _ = s.Person(*patient)
	}
	return r
}

// TestEventsReplay decides requests at random, makes the events of them, and
// replays these: each as it is, with another outcome, and with other rules named.
func TestEventsReplay(t *testing.T) {
	c := chance{rand.New(rand.NewPCG(1, 2))}
	permits, refusals := make(map[events.Action]int), make(map[string]int)
	for range 300 {
		s := c.state()
		for range 200 {
			r := c.request(s)
			o := decision.Decide(s, r)
			if o.Permit {
				permits[r.Action]++
			} else {
				refusals[o.Rule]++
			}
			if err := decision.Replay(s, position, eventOf(s, r, o)); err != nil {
				t.Fatalf("%+v is %s, and its event: %v", r, o, err)
			}
			c.forge(t, s, r, o)
		}
	}
	for _, a := range decision.Actions() {
		if permits[a] == 0 {
			t.Errorf("nobody was permitted to %s", a)
		}
	}
	for _, reason := range reasons {
		if refusals[reason] == 0 {
			t.Errorf("nobody was refused for %s", reason)
		}
	}
}

// reasons are those that the rules by now refuse for, if the actor and the action
// are known.
var reasons = []string{
	decision.RefusedUnknownRecord, decision.RefusedUnknownVersion, decision.RefusedDestroyed, decision.RefusedRole, decision.RefusedPurpose,
	decision.RefusedOrganisation, decision.RefusedNotOwn, decision.RefusedUnknownShare, decision.RefusedNotRecipient, decision.RefusedShareEnded,
	decision.RefusedUnknownRecipient, decision.RefusedUntil, decision.RefusedApprover, decision.RefusedUnknownPatient, decision.RefusedErased,
	decision.RefusedSamePerson, decision.RefusedNoRelationship, decision.RefusedConsent, decision.RefusedNotProxy, decision.RefusedUnknownMember,
	decision.RefusedUnknownItem, decision.RefusedNotReceived, decision.RefusedRequested, decision.RefusedNotRequested,
}

// forge replays the lies about a decision.
func (c chance) forge(t *testing.T, s *life.State, r decision.Request, o decision.Outcome) {
	t.Helper()
	untold := decision.Untold(r.Action)
	lies := []decision.Outcome{
		{Permit: !o.Permit, Rule: o.Rule}, {Permit: true, Rule: "treatment"}, {Permit: true, Rule: "made-up"}, {Rule: "made-up"}, {Rule: pick(c, reasons...)},
	}
	for _, lie := range lies {
		if lie == o {
			continue
		}
		// What a refusal does not tell is believed, unless it tells enough.
		believed := !lie.Permit && slices.Contains(untold, lie.Rule) && (o.Permit || slices.Contains(untold, o.Rule))
		err := decision.Replay(s, position, eventOf(s, r, lie))
		var wrong *decision.WrongError
		if believed && err != nil || !believed && !errors.As(err, &wrong) {
			t.Fatalf("%+v is %s; that it is %s: %v", r, o, lie, err)
		}
		if wrong != nil && wrong.Claimed != lie {
			t.Fatalf("the error claims %s, the event %s", wrong.Claimed, lie)
		}
	}
	older := eventOf(s, r, o)
	if err := decision.Replay(s, position+1, older); err == nil {
		t.Fatalf("%+v: a decision on an older state passes", r)
	}
}

// TestReplayOfWhatNobodyDecides has the founder, the ledger's own machine, and what
// has no decision at all.
func TestReplayOfWhatNobodyDecides(t *testing.T) {
	s, nobody := clinicWith(), life.NewState()
	for name, c := range map[string]struct {
		state *life.State
		data  events.Data
		right bool
	}{
		"the founder":                   {nobody, &events.ActorRegistered{Decision: trace(decision.Founding), Role: events.RoleAdmin}, true},
		"a second founder":              {s, &events.ActorRegistered{Decision: trace(decision.Founding), Role: events.RoleAdmin}, false},
		"the founder by another rule":   {nobody, &events.ActorRegistered{Decision: trace("administrator"), Role: events.RoleAdmin}, false},
		"a token on the machine":        {s, &events.TokenIssued{Decision: trace(decision.OnTheMachine)}, true},
		"one by another rule":           {s, &events.TokenIssued{Decision: trace("administrator")}, false},
		"one that a clerk issued there": {s, &events.TokenIssued{By: actor("clerk"), Decision: trace(decision.OnTheMachine)}, false},
		"one revoked there":             {s, &events.TokenRevoked{Decision: trace(decision.OnTheMachine)}, true},
		"a rotation":                    {s, &events.KeyRotated{}, true},
		"a completion":                  {s, &events.RecordDestroyed{}, true},
		"an erasure":                    {s, &events.PatientErased{}, true},
		"a failed delivery":             {s, &events.DeliveryFailed{}, true},
		"a backup":                      {s, &events.LedgerRestored{}, true},
		"a record kept elsewhere":       {s, &events.RecordOriginated{Actor: actor("nurse"), Decision: trace("staff-originates"), Organisation: hospital, Patient: patient}, false},
		"a record of another ward":      {s, &events.RecordOriginated{Actor: actor("nurse"), Decision: trace("staff-originates"), Organisation: clinic, Department: ward, Patient: patient}, false},
		"a patient registered here":     {s, &events.PatientRegistered{Actor: actor("nurse"), Decision: trace("staff-registers"), Organisation: clinic}, true},
		"a patient registered elsewhere": {s, &events.PatientRegistered{
			Actor: actor("nurse"), Decision: trace("staff-registers"), Organisation: hospital,
		}, false},
	} {
		err := decision.Replay(c.state, position, events.Event{Time: now, Subject: id(51), Data: c.data})
		var wrong *decision.WrongError
		if c.right && err != nil || !c.right && !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
