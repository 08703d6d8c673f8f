package life_test

import (
	"slices"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// person returns the patient that an id stands for.
func (l *log) person(of events.ID) *life.Patient {
	l.t.Helper()
	_, p := l.state.Person(of)
	if p == nil {
		l.t.Fatal("there is no such person")
	}
	return p
}

func TestCareEnds(t *testing.T) {
	l := begin(t)
	department := id(70)
	now := start + 100
	l.add(patient, with(openedCare(), func(d *events.CareOpened) { d.Until = now }))
	l.add(patient, &events.CareOpened{Actor: doctor, Decision: decided(), Department: department, Relationship: id(71)})
	p := l.person(patient)
	inside, outside := life.Actor{Department: department}, life.Actor{Department: id(72)}
	for _, c := range []struct {
		name  string
		who   events.ID
		actor life.Actor
		at    events.Timestamp
		want  bool
	}{
		{"in person", doctor, outside, now - 1, true},
		{"at its end", doctor, outside, now, false},
		{"through the department", id(73), inside, now, true},
		{"of another department", id(73), outside, now - 1, false},
		{"of no department", id(73), life.Actor{}, now - 1, false},
	} {
		if got := p.CaredForBy(c.who, c.actor, c.at); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	l.add(patient, &events.CareClosed{Actor: doctor, Decision: decided(), Relationship: id(71)})
	if p.CaredForBy(id(73), inside, now-1) {
		t.Error("a closed relationship goes on")
	}
}

func TestProxiesEnd(t *testing.T) {
	l := begin(t)
	now := start + 100
	l.add(patient, with(appointed(), func(d *events.ProxyAppointed) { d.Until = now }))
	p := l.person(patient)
	if !p.ActsFor(proxy, events.ProxyRead, now-1) || p.ActsFor(proxy, events.ProxyRead, now) ||
		p.ActsFor(proxy, events.ProxyConsents, now-1) || p.ActsFor(doctor, events.ProxyRead, now-1) {
		t.Error("a proxy acts for more, or less, than the appointment says")
	}
	l.add(patient, &events.ProxyDismissed{Actor: doctor, Appointment: appointment, Decision: decided()})
	if p.ActsFor(proxy, events.ProxyRead, now-1) {
		t.Error("who was dismissed goes on")
	}
}

// TestConsents wants the last word on a use to hold.
func TestConsents(t *testing.T) {
	l := begin(t)
	research, treat := events.PurposeResearch, events.PurposeTreatment
	p := l.person(patient)
	for _, step := range []struct {
		data    events.Data
		refuses bool
	}{
		{granted(id(70), research), false},
		{withdrawn(id(70), research), true},
		{granted(id(71), research), false},
		{granted(id(72), research), false},
		{withdrawn(id(71), research), true}, // though another was granted
		{granted(id(73), research), false},
		{withdrawn(events.ID{}, research), true},
		{withdrawn(events.ID{}, research), true},
		{withdrawn(id(73), research), true},
	} {
		l.add(patient, step.data)
		if p.Refuses(research) != step.refuses || p.Refuses(treat) {
			t.Errorf("after %s: research is refused: %v, treatment: %v", step.data.EventType(), p.Refuses(research), p.Refuses(treat))
		}
	}
}

// TestMerge wants everything of a patient to move, and what either refused to stay
// refused.
func TestMerge(t *testing.T) {
	l := begin(t)
	second := id(20)
	research, treat, legal, payment := events.PurposeResearch, events.PurposeTreatment, events.PurposeLegal, events.PurposePayment
	l.add(second, with(originated(), func(d *events.RecordOriginated) { d.Patient = twin }))
	l.add(patient, openedCare())
	l.add(patient, appointed())
	l.add(patient, withdrawn(events.ID{}, research))
	l.add(patient, granted(id(70), treat))
	l.add(patient, granted(id(71), payment))
	l.add(twin, granted(id(72), research))
	l.add(twin, withdrawn(events.ID{}, treat))
	l.add(patient, merged(twin))

	p := l.person(patient)
	if p != l.state.Patient(twin) || !l.state.SamePerson(patient, twin) || l.state.SamePerson(patient, other) {
		t.Error("they are not one person, or too many are")
	}
	if !slices.Equal(p.Records, []events.ID{second, record}) || p.Living != 2 {
		t.Errorf("the person has the records %v, %d of them living", p.Records, p.Living)
	}
	if !p.CaredForBy(doctor, life.Actor{}, start) || !p.ActsFor(proxy, events.ProxyRead, start) {
		t.Error("care and proxies did not move")
	}
	for purpose, refuses := range map[events.Purpose]bool{research: true, treat: true, legal: false, payment: false} {
		if p.Refuses(purpose) != refuses {
			t.Errorf("%s is refused: %v", purpose, !refuses)
		}
	}
	if old := l.state.Patient(patient); old.Into != twin || old.Records != nil || old.Care != nil || old.Living != 0 {
		t.Errorf("what was merged kept %+v", old)
	}
	// What moved can be ended where it is now, and the person may agree again.
	l.add(twin, &events.CareClosed{Actor: doctor, Decision: decided(), Relationship: care})
	l.add(twin, &events.ProxyDismissed{Actor: doctor, Appointment: appointment, Decision: decided()})
	l.add(twin, withdrawn(id(71), payment))
	l.add(twin, granted(id(73), treat))
	if p.CaredForBy(doctor, life.Actor{}, start) || p.ActsFor(proxy, events.ProxyRead, start) || !p.Refuses(payment) || p.Refuses(treat) {
		t.Error("what moved could not be ended")
	}
	// A merge of the merged.
	l.add(twin, merged(other))
	if !l.state.SamePerson(patient, other) || l.person(other).Living != 2 || !l.person(other).Refuses(research) {
		t.Error("a second merge lost something")
	}
	if of, _ := l.state.Person(patient); of != other {
		t.Errorf("the person is %v", of)
	}
	l.add(patient, &events.PatientQueried{Actor: doctor, Decision: decided(), Purpose: treat, Query: events.QueryRecords})
}

func TestRefile(t *testing.T) {
	l := begin(t)
	l.add(record, disclosed())
	l.add(record, requested())
	l.add(record, refiled(patient, twin))
	r := l.state.Record(record)
	if len(r.Shares) != 1 || !r.Shares[0].Ended {
		t.Errorf("what was disclosed as another's goes on: %+v", r.Shares)
	}
	if r.Patient != twin || !r.Destruction.IsZero() || !r.Requester.IsZero() || r.Ground != "" || !l.state.Doomed(destruction).IsZero() {
		t.Errorf("the record is %+v", r)
	}
	if p := l.person(patient); len(p.Records) != 0 || p.Living != 0 {
		t.Errorf("whom it is not about has %v, %d living", p.Records, p.Living)
	}
	if p := l.person(twin); len(p.Records) != 1 || p.Living != 1 {
		t.Errorf("whom it is about has %v, %d living", p.Records, p.Living)
	}
	// It is asked for again, and a patient without records is not erased.
	l.add(record, with(requested(), func(d *events.DestructionRequested) { d.Destruction = id(70) }))
	l.illegal(patient, &events.PatientErased{}, "patient")
	// From whom a merged patient became, under the id that it is filed under.
	l.add(twin, merged(patient))
	l.add(record, refiled(twin, other))
	if l.person(other).Living != 1 || l.person(patient).Living != 0 {
		t.Error("the record was lost after a merge")
	}
}

func TestErasure(t *testing.T) {
	l := begin(t)
	second := id(20)
	l.add(second, with(originated(), func(d *events.RecordOriginated) { d.Patient = twin }))
	l.add(twin, merged(patient))
	l.destroy()
	l.illegal(patient, &events.PatientErased{}, "patient")
	ask, begun := requested(), started()
	ask.Destruction, begun.Destruction = id(70), id(70)
	l.add(second, ask)
	l.add(second, begun)
	l.add(second, &events.RecordDestroyed{Destruction: id(70), Keys: 3})
	l.illegal(twin, &events.PatientErased{}, "patient")
	l.add(patient, &events.PatientErased{})
	if p := l.person(twin); !p.Erased || p.Living != 0 || len(p.Records) != 2 {
		t.Errorf("the person is %+v", p)
	}
	// One may still ask, and be refused, about who was erased.
	l.add(patient, &events.PatientQueried{Actor: doctor, Decision: decided(), Purpose: events.PurposeTreatment, Query: events.QueryAccesses})
	l.add(patient, &events.AccessRefused{Action: events.ActionOpenCare, Actor: doctor, Decision: decided()})
	l.add(record, &events.HistoryRead{Actor: doctor, Decision: decided()})
	l.add(record, &events.DeliveryFailed{Actor: doctor, Reason: events.FailureRightEnded, Release: id(30)})
}

func TestTokens(t *testing.T) {
	l := begin(t)
	machine := with(issued(), func(d *events.TokenIssued) { d.By, d.Digest, d.Token = events.ID{}, events.Digest{2}, id(70) })
	l.add(doctor, issued())
	before, _ := l.state.Actor(doctor)
	l.add(admin, machine)
	l.add(doctor, with(issued(), func(d *events.TokenIssued) { d.Digest, d.Token = events.Digest{3}, id(71) }))
	l.add(doctor, &events.TokenRevoked{By: doctor, Decision: decided(), Token: token})
	l.add(admin, &events.TokenRevoked{Decision: decided(), Token: id(70)})
	for digest, want := range map[byte]struct{ actor, token events.ID }{1: {doctor, token}, 2: {admin, id(70)}, 3: {doctor, id(71)}} {
		if who, which, ok := l.state.Holder(events.Digest{digest}); !ok || who != want.actor || which != want.token {
			t.Errorf("token %d is held by %v as %v, %v", digest, who, which, ok)
		}
	}
	if _, _, ok := l.state.Holder(events.Digest{9}); ok {
		t.Error("a token that nobody issued is held")
	}
	after, _ := l.state.Actor(doctor)
	if len(after.Tokens) != 2 || !after.Tokens[0].Revoked || after.Tokens[1].Revoked {
		t.Errorf("the actor has %+v", after.Tokens)
	}
	if len(before.Tokens) != 1 || before.Tokens[0].Revoked {
		t.Errorf("an actor that was handed out changed to %+v", before.Tokens)
	}
}

func TestShares(t *testing.T) {
	l := begin(t)
	l.add(record, disclosed())
	l.add(record, received())
	l.add(record, &events.ShareAcknowledged{Actor: outside, Decision: decided(), Share: share})
	l.add(record, &events.ShareEnded{Actor: doctor, Decision: decided(), Share: share})
	// What was received may be acknowledged later.
	l.add(record, &events.ShareAcknowledged{Actor: outside, Decision: decided(), Share: share})
	if got, ok := l.state.Record(record).Share(share); !ok || !got.Received || !got.Ended || l.state.Shared(share) != record {
		t.Errorf("the share is %+v of %v", got, l.state.Shared(share))
	}
	if !l.state.Shared(id(99)).IsZero() {
		t.Error("a share that was never made is of a record")
	}
}

// TestOldLog lets a log pass as the rules before wrote it: patients nobody
// registered, destructions nobody asked for; and then the new rules take over.
func TestOldLog(t *testing.T) {
	l := open(t)
	old := func(d *events.RecordOriginated) { d.Decision = decided1() }
	l.add(record, with(originated(), old))
	l.add(id(20), with(originated(), old))
	l.add(record, with(started(), func(d *events.DestructionStarted) { d.Decision = decided1() }))
	l.add(record, &events.RecordDestroyed{Destruction: destruction, Keys: 1})
	p := l.person(patient)
	if p.Organisation != org || len(p.Records) != 2 || p.Living != 1 {
		t.Errorf("the patient is %+v", p)
	}
	if l.state.Head().Rules != life.Rules1 || l.state.Doomed(destruction) != record {
		t.Errorf("the rules are %q", l.state.Head().Rules)
	}
	l.add(patient, openedCare())
	l.illegal(id(21), with(originated(), old), "decision")
	l.illegal(id(20), with(started(), func(d *events.DestructionStarted) { d.Decision = decided1() }), "decision")
	l.illegal(id(21), with(originated(), func(d *events.RecordOriginated) { d.Patient = other }), "patient")
	l.add(id(21), originated())
	l.illegal(id(21), started(), "destruction")
	l.illegal(patient, &events.PatientRegistered{Actor: doctor, Decision: decided(), Organisation: org}, "subject")
	l.add(id(22), &events.PatientRegistered{Actor: doctor, Decision: decided(), Organisation: org})
	l.add(patient, merged(id(22)))
}

// TestRefusalsChangeTheRules holds that a refusal too is a decision.
func TestRefusalsChangeTheRules(t *testing.T) {
	l := open(t)
	l.add(doctor, &events.AccessRefused{Action: events.ActionRegister, Actor: doctor, Decision: decided()})
	l.illegal(record, with(originated(), func(d *events.RecordOriginated) { d.Decision = decided1() }), "decision")
}

func TestRestored(t *testing.T) {
	l := begin(t)
	l.add(ledger, &events.LedgerRestored{Size: 9})
	l.add(ledger, &events.LogRead{Actor: doctor, Decision: decided()})
	if l.state.Head().Size != 11 {
		t.Error(l.state.Head().Size)
	}
}

// TestRestoreOfOldPatients restores the records of a patient whom nobody
// registered in another order than they came in: the patient stays where the first
// was kept.
func TestRestoreOfOldPatients(t *testing.T) {
	l := open(t)
	kept := newParts()
	for i, at := range []events.ID{org, id(60)} {
		e := l.event(records[i], with(originated(), func(d *events.RecordOriginated) { d.Decision, d.Organisation = decided1(), at }))
		if err := l.state.Apply(l.state.Head().Size, e); err != nil {
			t.Fatal(err)
		}
		kept.note(l.state, e)
	}
	restored := life.NewState()
	for id, p := range kept.patients {
		restored.RestorePatient(id, p)
	}
	restored.RestoreRecord(records[1], kept.records[records[1]])
	restored.RestoreRecord(records[0], kept.records[records[0]])
	if p := restored.Patient(patient); p == nil || p.Organisation != org || p.Living != 2 {
		t.Errorf("the patient is %+v", p)
	}
}
