package life_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// TestIllegalEvents breaks every rule of the package comment, in each of the ways
// that its sentence has, and wants the state unchanged.
func TestIllegalEvents(t *testing.T) {
	for _, test := range illegalEvents() {
		t.Run(test.name, func(t *testing.T) {
			l, same := begin(t), begin(t)
			for _, l := range []*log{l, same} {
				if test.before != nil {
					test.before(l)
				}
			}
			err := l.state.Apply(l.state.Head().Size, l.event(test.subject, test.data))
			var illegal *life.IllegalError
			if !errors.As(err, &illegal) || illegal.Rule != test.rule {
				t.Fatalf("got %v, want it to break the rule %q", err, test.rule)
			}
			if !reflect.DeepEqual(l.state, same.state) {
				t.Error("the refused event left a trace")
			}
		})
	}
}

type illegalEvent struct {
	name    string
	before  func(*log)
	subject events.ID
	data    events.Data
	rule    string
}

// with returns an event with something changed.
func with[D events.Data](d D, change func(D)) D {
	change(d)
	return d
}

func illegalEvents() []illegalEvent {
	var all []illegalEvent
	for _, some := range [][]illegalEvent{
		illegalActors(), illegalPatients(), illegalRights(), illegalRecords(), illegalShares(), illegalDestructions(), illegalDecisions(),
	} {
		all = append(all, some...)
	}
	return all
}

func illegalActors() []illegalEvent {
	issue := func(l *log) { l.add(doctor, issued()) }
	revoke := &events.TokenRevoked{By: admin, Decision: decided(), Token: token}
	return []illegalEvent{
		{"opened twice", nil, ledger, &events.LedgerOpened{Origin: origin}, "opened-first"},
		{"rotation about a record", nil, record, &events.KeyRotated{}, "subject"},
		{"rotation of another announcement", nil, ledger, &events.KeyRotated{Previous: 3}, "key"},
		{"state log announced twice", func(l *log) { l.add(ledger, &events.StateLogOpened{}) }, ledger, &events.StateLogOpened{}, "state-log"},
		{"state log announced about a record", nil, record, &events.StateLogOpened{}, "subject"},
		{"restored to another size", nil, ledger, &events.LedgerRestored{Size: 8}, "restored"},
		{"restored, about a record", nil, record, &events.LedgerRestored{Size: 9}, "subject"},
		{"log read by a stranger", nil, ledger, &events.LogRead{Actor: id(21), Decision: decided()}, "actor"},
		{"log read, about a record", nil, record, &events.LogRead{Actor: doctor, Decision: decided()}, "subject"},
		{"actor registered twice", nil, doctor, &events.ActorRegistered{By: admin, Decision: decided(), Role: events.RoleNurse}, "subject"},
		{"actor with a patient's id", nil, patient, &events.ActorRegistered{By: admin, Decision: decided(), Role: events.RoleNurse}, "subject"},
		{"second founder", nil, id(20), &events.ActorRegistered{Decision: decided(), Role: events.RoleAdmin}, "registrar"},
		{"registered by nobody known", nil, id(20), &events.ActorRegistered{By: id(21), Decision: decided()}, "registrar"},
		{"token for a stranger", nil, id(20), issued(), "actor"},
		{"token by a stranger", nil, doctor, with(issued(), func(d *events.TokenIssued) { d.By = id(21) }), "actor"},
		{"token from nobody for a doctor", nil, doctor, with(issued(), func(d *events.TokenIssued) { d.By = events.ID{} }), "token"},
		{"token issued twice", issue, doctor, with(issued(), func(d *events.TokenIssued) { d.Digest = events.Digest{2} }), "token"},
		{"token of somebody else", issue, admin, with(issued(), func(d *events.TokenIssued) { d.Token = id(20) }), "token"},
		{"token revoked that never was", nil, doctor, revoke, "token"},
		{"token of another revoked", issue, admin, revoke, "token"},
		{"token revoked by a stranger", issue, doctor, &events.TokenRevoked{By: id(21), Decision: decided(), Token: token}, "actor"},
		{"token revoked twice", func(l *log) { issue(l); l.add(doctor, revoke) }, doctor, revoke, "token"},
		{"token revived", func(l *log) { issue(l); l.add(doctor, revoke) }, doctor, issued(), "token"},
	}
}

func illegalPatients() []illegalEvent {
	registered := &events.PatientRegistered{Actor: doctor, Decision: decided(), Organisation: org}
	merge := func(l *log) { l.add(patient, merged(twin)) }
	erase := func(l *log) { l.destroy(); l.add(patient, &events.PatientErased{}) }
	queried := &events.PatientQueried{Actor: doctor, Decision: decided(), Purpose: events.PurposeTreatment, Query: events.QueryRecords}
	about := func(p events.ID) *events.RecordOriginated {
		return with(originated(), func(d *events.RecordOriginated) { d.Patient = p })
	}
	return []illegalEvent{
		{"patient registered twice", nil, patient, registered, "subject"},
		{"patient with an actor's id", nil, doctor, registered, "subject"},
		{"patient with a record's id", nil, record, registered, "subject"},
		{"patient with the ledger's id", nil, ledger, registered, "subject"},
		{"patient registered by a stranger", nil, id(20), with(&events.PatientRegistered{Decision: decided()}, func(d *events.PatientRegistered) { d.Actor = id(21) }), "actor"},
		{"patient registered after a merge", merge, patient, registered, "subject"},
		{"query about nobody", nil, id(20), queried, "subject"},
		{"query about a record", nil, record, queried, "subject"},
		{"record of nobody", nil, id(20), about(id(21)), "patient"},
		{"record of a merged patient", merge, id(20), about(patient), "patient"},
		{"record of an erased patient", erase, id(20), about(patient), "patient"},
		{"merged with itself", nil, patient, merged(patient), "patient"},
		{"merged into nobody", nil, patient, merged(id(20)), "patient"},
		{"merged by a stranger", nil, patient, with(merged(twin), func(d *events.PatientMerged) { d.Actor = id(21) }), "actor"},
		{"merged twice", merge, patient, merged(other), "patient"},
		{"merged in a circle", merge, twin, merged(patient), "patient"},
		{"merged into an erased patient", erase, twin, merged(patient), "patient"},
		{"an erased patient merged", erase, patient, merged(twin), "patient"},
		{"erased with a living record", nil, patient, &events.PatientErased{}, "patient"},
		{"erased while it is destroyed", (*log).start, patient, &events.PatientErased{}, "patient"},
		{"erased who has no record", nil, twin, &events.PatientErased{}, "patient"},
		{"erased twice", erase, patient, &events.PatientErased{}, "patient"},
		{"erased after a merge", func(l *log) { l.destroy(); merge(l) }, patient, &events.PatientErased{}, "patient"},
		{"erased with a record from a merge", merge, twin, &events.PatientErased{}, "patient"},
		{"refiled from another", nil, record, refiled(twin, other), "patient"},
		{"refiled to nobody", nil, record, refiled(patient, id(20)), "patient"},
		{"refiled to the same person", func(l *log) { l.add(twin, merged(patient)) }, record, refiled(patient, twin), "patient"},
		{"refiled to a merged patient", func(l *log) { l.add(twin, merged(other)) }, record, refiled(patient, twin), "patient"},
		{"refiled from the merged to the one that stays", merge, record, refiled(patient, twin), "patient"},
		{"refiled by a stranger", nil, record, with(refiled(patient, twin), func(d *events.RecordRefiled) { d.Actor = id(21) }), "actor"},
		{"refiled when destroyed", (*log).destroy, record, refiled(patient, twin), "state"},
	}
}

func illegalRights() []illegalEvent {
	cares := func(l *log) { l.add(patient, openedCare()) }
	closed := &events.CareClosed{Actor: doctor, Decision: decided(), Relationship: care}
	appoints := func(l *log) { l.add(patient, appointed()) }
	dismissed := &events.ProxyDismissed{Actor: doctor, Appointment: appointment, Decision: decided()}
	grants := func(l *log) { l.add(patient, granted(consent, events.PurposeResearch)) }
	withdraws := func(l *log) { grants(l); l.add(patient, withdrawn(consent, events.PurposeResearch)) }
	return []illegalEvent{
		{"care for nobody", nil, id(20), openedCare(), "subject"},
		{"care by a stranger", nil, patient, with(openedCare(), func(d *events.CareOpened) { d.Member = id(21) }), "actor"},
		{"care opened by a stranger", nil, patient, with(openedCare(), func(d *events.CareOpened) { d.Actor = id(21) }), "actor"},
		{"care opened twice", cares, patient, openedCare(), "rights"},
		{"care opened twice as one, across a merge", func(l *log) { cares(l); l.add(patient, merged(twin)) }, twin, openedCare(), "rights"},
		{"care for a merged patient", func(l *log) { l.add(patient, merged(twin)) }, patient, openedCare(), "patient"},
		{"care closed that never was", nil, patient, closed, "rights"},
		{"care closed of another", cares, twin, closed, "rights"},
		{"care closed twice", func(l *log) { cares(l); l.add(patient, closed) }, patient, closed, "rights"},
		{"care revived", func(l *log) { cares(l); l.add(patient, closed) }, patient, openedCare(), "rights"},
		{"a doctor for a proxy", nil, patient, with(appointed(), func(d *events.ProxyAppointed) { d.Proxy = doctor }), "rights"},
		{"a stranger for a proxy", nil, patient, with(appointed(), func(d *events.ProxyAppointed) { d.Proxy = id(21) }), "actor"},
		{"appointed twice", appoints, patient, appointed(), "rights"},
		{"dismissed who never was", nil, patient, dismissed, "rights"},
		{"dismissed twice", func(l *log) { appoints(l); l.add(patient, dismissed) }, patient, dismissed, "rights"},
		{"dismissed by a stranger", appoints, patient, &events.ProxyDismissed{Actor: id(21), Appointment: appointment, Decision: decided()}, "actor"},
		{"consent granted twice", grants, patient, granted(consent, events.PurposeLegal), "rights"},
		{"consent revived", withdraws, patient, granted(consent, events.PurposeResearch), "rights"},
		{"consent withdrawn that never was", nil, patient, withdrawn(consent, events.PurposeResearch), "rights"},
		{"consent withdrawn for another purpose", grants, patient, withdrawn(consent, events.PurposeLegal), "rights"},
		{"consent withdrawn twice", withdraws, patient, withdrawn(consent, events.PurposeResearch), "rights"},
		{"consent of a stranger", nil, patient, with(granted(consent, events.PurposeLegal), func(d *events.ConsentGranted) { d.Actor = id(21) }), "actor"},
		{"consent of an erased patient", func(l *log) { l.destroy(); l.add(patient, &events.PatientErased{}) }, patient, granted(consent, events.PurposeLegal), "patient"},
	}
}

func illegalRecords() []illegalEvent {
	failed := &events.DeliveryFailed{Actor: doctor, Reason: events.FailureDisconnected, Release: id(30)}
	return []illegalEvent{
		{"record originated twice", nil, record, originated(), "subject"},
		{"record with an actor's id", nil, doctor, originated(), "subject"},
		{"record with a patient's id", nil, twin, originated(), "subject"},
		{"record with the ledger's id", nil, ledger, originated(), "subject"},
		{"originated by a stranger", nil, id(20), with(originated(), func(d *events.RecordOriginated) { d.Actor = id(21) }), "actor"},
		{"read of no record", nil, id(20), accessed(), "subject"},
		{"read of a patient", nil, patient, accessed(), "subject"},
		{"read by a stranger", nil, record, &events.RecordAccessed{Actor: id(21), Decision: decided(), Version: 1}, "actor"},
		{"read of version 2 of 1", nil, record, with(accessed(), func(d *events.RecordAccessed) { d.Version = 2 }), "version"},
		{"read of version 0", nil, record, &events.RecordAccessed{Actor: doctor, Decision: decided()}, "version"},
		{"history of no record", nil, patient, &events.HistoryRead{Actor: doctor, Decision: decided()}, "subject"},
		{"history read by a stranger", nil, record, &events.HistoryRead{Actor: id(21), Decision: decided()}, "actor"},
		{"delivery of no record", nil, patient, failed, "subject"},
		{"delivery to a stranger", nil, record, &events.DeliveryFailed{Actor: id(21)}, "actor"},
		{"amended to version 3 of 1", nil, record, &events.RecordAmended{Actor: doctor, Decision: decided(), Version: 3}, "version"},
		{"amended to version 1 of 1", nil, record, &events.RecordAmended{Actor: doctor, Decision: decided(), Version: 1}, "version"},
		{"amended by a stranger", nil, record, &events.RecordAmended{Actor: id(21), Decision: decided(), Version: 2}, "actor"},
		{"refusal about nothing", nil, id(20), &events.AccessRefused{Action: events.ActionAccess, Actor: doctor, Decision: decided()}, "subject"},
		{"refusal about a patient, of what is done to a record", nil, patient, &events.AccessRefused{Action: events.ActionAccess, Actor: doctor, Decision: decided()}, "subject"},
		{"refusal about a record, of what is done to a patient", nil, record, &events.AccessRefused{Action: events.ActionOpenCare, Actor: doctor, Decision: decided()}, "subject"},
		{"refusal about another actor", nil, admin, &events.AccessRefused{Action: events.ActionRegister, Actor: doctor, Decision: decided()}, "subject"},
		{"refusal of a stranger", nil, record, &events.AccessRefused{Action: events.ActionAccess, Actor: id(21), Decision: decided()}, "actor"},
	}
}

func illegalShares() []illegalEvent {
	shared := func(l *log) { l.add(record, disclosed()) }
	ended := func(l *log) {
		shared(l)
		l.add(record, &events.ShareEnded{Actor: doctor, Decision: decided(), Share: share})
	}
	got := func(l *log) { shared(l); l.add(record, received()) }
	acknowledged := &events.ShareAcknowledged{Actor: outside, Decision: decided(), Share: share}
	end := &events.ShareEnded{Actor: doctor, Decision: decided(), Share: share}
	return []illegalEvent{
		{"disclosed to a doctor", nil, record, with(disclosed(), func(d *events.RecordDisclosed) { d.Recipient = doctor }), "share"},
		{"disclosed to a stranger", nil, record, with(disclosed(), func(d *events.RecordDisclosed) { d.Recipient = id(21) }), "actor"},
		{"disclosed by a stranger", nil, record, with(disclosed(), func(d *events.RecordDisclosed) { d.Actor = id(21) }), "actor"},
		{"disclosed in version 2 of 1", nil, record, with(disclosed(), func(d *events.RecordDisclosed) { d.Version = 2 }), "version"},
		{"disclosed twice as one share", shared, record, disclosed(), "share"},
		{"disclosed until yesterday", nil, record, with(disclosed(), func(d *events.RecordDisclosed) { d.Until = start }), "share"},
		{"received without a share", nil, record, received(), "share"},
		{"received by somebody else", shared, record, with(received(), func(d *events.RecordReceived) { d.Actor = doctor }), "share"},
		{"received in another version", shared, record, with(received(), func(d *events.RecordReceived) { d.Version = 2 }), "share"},
		{"received when ended", ended, record, received(), "share"},
		{"acknowledged before it was received", shared, record, acknowledged, "share"},
		{"acknowledged by somebody else", got, record, &events.ShareAcknowledged{Actor: doctor, Decision: decided(), Share: share}, "share"},
		{"acknowledged that never was", nil, record, acknowledged, "share"},
		{"ended that never was", nil, record, end, "share"},
		{"ended twice", ended, record, end, "share"},
		{"ended by a stranger", shared, record, &events.ShareEnded{Actor: id(21), Decision: decided(), Share: share}, "actor"},
	}
}

func illegalDestructions() []illegalEvent {
	asked := func(l *log) { l.add(record, requested()) }
	start, destroyed := (*log).start, (*log).destroy
	s := func(change func(*events.DestructionStarted)) *events.DestructionStarted {
		return with(started(), change)
	}
	two := func(l *log) {
		l.add(id(20), with(originated(), func(d *events.RecordOriginated) { d.Patient = twin }))
		l.add(id(20), requested())
	}
	return []illegalEvent{
		{"asked for by a stranger", nil, record, with(requested(), func(d *events.DestructionRequested) { d.Actor = id(21) }), "actor"},
		{"asked for twice", asked, record, with(requested(), func(d *events.DestructionRequested) { d.Destruction = id(22) }), "destruction"},
		{"asked for by the name of another", two, record, requested(), "destruction"},
		{"not asked for", nil, record, started(), "destruction"},
		{"asked for of another record", two, record, started(), "destruction"},
		{"asked for by another name", asked, record, s(func(d *events.DestructionStarted) { d.Destruction = id(22) }), "destruction"},
		{"asked for by somebody else", asked, record, s(func(d *events.DestructionStarted) { d.Actor = proxy }), "destruction"},
		{"asked for on another ground", asked, record, s(func(d *events.DestructionStarted) { d.Ground = events.GroundRetentionEnded }), "destruction"},
		{"asked for before it was refiled", func(l *log) { asked(l); l.add(record, refiled(patient, twin)) }, record, started(), "destruction"},
		{"approved by a stranger", asked, record, s(func(d *events.DestructionStarted) { d.Approver = id(21) }), "actor"},
		{"destruction of half a record", asked, record, s(func(d *events.DestructionStarted) { d.Versions = 9 }), "destruction"},
		{"destroyed without a start", asked, record, &events.RecordDestroyed{Destruction: destruction}, "state"},
		{"another destruction completed", start, record, &events.RecordDestroyed{Destruction: id(22), Keys: 9}, "destruction"},
		{"destroyed without its keys", start, record, &events.RecordDestroyed{Destruction: destruction}, "destruction"},
		{"started twice", start, record, started(), "state"},
		{"read while it is destroyed", start, record, accessed(), "state"},
		{"read after it was destroyed", destroyed, record, accessed(), "state"},
		{"amended after it was destroyed", destroyed, record, &events.RecordAmended{Actor: doctor, Decision: decided(), Version: 2}, "state"},
		{"disclosed after it was destroyed", destroyed, record, disclosed(), "state"},
		{"received after it was destroyed", destroyed, record, received(), "state"},
		{"acknowledged after it was destroyed", func(l *log) { l.add(record, disclosed()); l.add(record, received()); l.destroy() }, record,
			&events.ShareAcknowledged{Actor: outside, Decision: decided(), Share: share}, "state"},
		{"a share ended after it was destroyed", func(l *log) { l.add(record, disclosed()); l.destroy() }, record,
			&events.ShareEnded{Actor: doctor, Decision: decided(), Share: share}, "state"},
		{"asked for after it was destroyed", destroyed, record, requested(), "state"},
		{"destroyed twice", destroyed, record, &events.RecordDestroyed{Destruction: destruction, Keys: 1}, "state"},
		{"revived", destroyed, record, originated(), "subject"},
	}
}

// illegalDecisions has every type that is decided, decided in the future and by
// rules that nobody knows or that had been replaced.
func illegalDecisions() []illegalEvent {
	before := func(l *log) {
		l.add(patient, openedCare())
		l.add(patient, appointed())
		l.add(patient, granted(consent, events.PurposeResearch))
		l.add(doctor, issued())
		l.add(record, disclosed())
		l.add(record, received())
		l.add(id(40), with(originated(), func(d *events.RecordOriginated) { d.Patient = other }))
		l.add(id(40), requested())
	}
	var all []illegalEvent
	for name, d := range map[string]events.Decision{
		"in the future":     {Position: 18, Rules: life.Rules},
		"by unknown rules":  {Rules: "mine"},
		"by replaced rules": {Rules: life.Rules1},
	} {
		for _, e := range []illegalEvent{
			{subject: ledger, data: &events.LogRead{Actor: doctor, Decision: d}},
			{subject: id(50), data: &events.ActorRegistered{By: admin, Decision: d, Role: events.RoleNurse}},
			{subject: doctor, data: &events.TokenIssued{By: admin, Decision: d, Digest: events.Digest{9}, Token: id(51)}},
			{subject: doctor, data: &events.TokenRevoked{By: admin, Decision: d, Token: token}},
			{subject: id(50), data: &events.PatientRegistered{Actor: doctor, Decision: d}},
			{subject: patient, data: &events.PatientMerged{Actor: doctor, Decision: d, Into: twin}},
			{subject: patient, data: &events.PatientQueried{Actor: doctor, Decision: d}},
			{subject: patient, data: &events.CareOpened{Actor: doctor, Decision: d, Member: doctor, Relationship: id(51)}},
			{subject: patient, data: &events.CareClosed{Actor: doctor, Decision: d, Relationship: care}},
			{subject: patient, data: &events.ProxyAppointed{Actor: doctor, Decision: d, Proxy: proxy, Appointment: id(51)}},
			{subject: patient, data: &events.ProxyDismissed{Actor: doctor, Decision: d, Appointment: appointment}},
			{subject: patient, data: &events.ConsentGranted{Actor: doctor, Decision: d, Consent: id(51)}},
			{subject: patient, data: &events.ConsentWithdrawn{Actor: doctor, Decision: d, Consent: consent, Purpose: events.PurposeResearch}},
			{subject: id(50), data: &events.RecordOriginated{Actor: doctor, Decision: d, Patient: patient}},
			{subject: record, data: &events.RecordAmended{Actor: doctor, Decision: d, Version: 2}},
			{subject: record, data: &events.RecordAccessed{Actor: doctor, Decision: d, Version: 1}},
			{subject: record, data: &events.RecordRefiled{Actor: doctor, Decision: d, From: patient, Patient: twin}},
			{subject: record, data: &events.HistoryRead{Actor: doctor, Decision: d}},
			{subject: record, data: &events.AccessRefused{Action: events.ActionAccess, Actor: doctor, Decision: d}},
			{subject: record, data: &events.RecordDisclosed{Actor: doctor, Decision: d, Recipient: outside, Share: id(51), Until: start + 1000, Version: 1}},
			{subject: record, data: &events.RecordReceived{Actor: outside, Decision: d, Share: share, Version: 1}},
			{subject: record, data: &events.ShareAcknowledged{Actor: outside, Decision: d, Share: share}},
			{subject: record, data: &events.ShareEnded{Actor: doctor, Decision: d, Share: share}},
			{subject: record, data: &events.DestructionRequested{Actor: doctor, Decision: d, Destruction: id(51)}},
			{subject: id(40), data: &events.DestructionStarted{
				Actor: doctor, Approver: admin, Decision: d, Destruction: destruction, Ground: events.GroundPatientRequest, Versions: 1,
			}},
		} {
			e.name, e.before, e.rule = string(e.data.EventType())+" "+name, before, "decision"
			all = append(all, e)
		}
	}
	return all
}
