package life_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

const (
	origin = "clinic.example"
	start  = events.Timestamp(1_800_000_000_000_000)
)

var (
	ledger, admin, doctor, outside, record = id(1), id(2), id(3), id(4), id(5)
	org, patient, share, destruction       = id(6), id(7), id(8), id(9)
)

func id(b byte) events.ID { return events.DerivedID(bytes.Repeat([]byte{b}, 16)) }

func decided() events.Decision {
	return events.Decision{Rule: "treatment", Rules: life.Rules}
}

// log is a legal history; each test breaks it in one place.
type log struct {
	t     *testing.T
	state *life.State
	next  events.Timestamp
}

func (l *log) event(subject events.ID, d events.Data) events.Event {
	l.next++
	return events.Event{
		ID: id(byte(l.next)), Source: origin, Type: d.EventType(), Subject: subject, Time: start + l.next, Data: d,
	}
}

func (l *log) add(subject events.ID, d events.Data) {
	l.t.Helper()
	e := l.event(subject, d)
	if err := l.state.Apply(l.state.Head().Size, e); err != nil {
		l.t.Fatal(err)
	}
}

func begin(t *testing.T) *log {
	l := &log{t: t, state: life.NewState()}
	l.add(ledger, &events.LedgerOpened{Origin: origin})
	l.add(admin, &events.ActorRegistered{Decision: decided(), Organisation: org, Role: events.RoleAdmin})
	l.add(doctor, &events.ActorRegistered{By: admin, Decision: decided(), Organisation: org, Role: events.RoleClinician})
	l.add(outside, &events.ActorRegistered{By: admin, Decision: decided(), Organisation: id(60), Role: events.RoleRecipient})
	l.add(record, originated())
	return l
}

func originated() *events.RecordOriginated {
	return &events.RecordOriginated{Actor: doctor, Decision: decided(), Organisation: org, Patient: patient, Kind: events.KindChart}
}

func accessed() *events.RecordAccessed {
	return &events.RecordAccessed{Actor: doctor, Decision: decided(), Purpose: events.PurposeTreatment, Version: 1}
}

func disclosed() *events.RecordDisclosed {
	return &events.RecordDisclosed{Actor: doctor, Decision: decided(), Recipient: outside, Share: share, Until: start + 1000, Version: 1}
}

func received() *events.RecordReceived {
	return &events.RecordReceived{Actor: outside, Decision: decided(), Share: share, Version: 1}
}

func started() *events.DestructionStarted {
	return &events.DestructionStarted{Actor: doctor, Approver: admin, Decision: decided(), Destruction: destruction, Versions: 1}
}

func TestLegalLife(t *testing.T) {
	l := begin(t)
	l.add(record, accessed())
	l.add(record, &events.RecordAmended{Actor: doctor, Decision: decided(), Version: 2})
	l.add(record, disclosed())
	l.add(record, received())
	l.add(ledger, &events.KeyRotated{Previous: 0})
	l.add(ledger, &events.KeyRotated{Previous: 9})
	s := started()
	s.Versions = 2
	l.add(record, s)
	l.add(record, &events.AccessRefused{Action: events.ActionAccess, Actor: doctor, Decision: decided()})
	l.add(record, &events.RecordDestroyed{Destruction: destruction, Keys: 2})
	l.add(record, &events.AccessRefused{Action: events.ActionAccess, Actor: doctor, Decision: decided()})
	l.add(doctor, &events.AccessRefused{Action: events.ActionRegister, Actor: doctor, Decision: decided()})

	r := l.state.Record(record)
	if r.Phase != life.Destroyed || r.Versions != 2 || r.Events != 9 || len(r.Shares) != 1 || r.Patient != patient {
		t.Errorf("the record became %+v", r)
	}
	head := l.state.Head()
	if head.Size != 16 || len(head.Announcements) != 3 || head.Announcements[2] != 10 || head.Origin != origin || head.Ledger != ledger {
		t.Errorf("the head became %+v", head)
	}
	if actors, records := l.state.Counts(); actors != 3 || records != 1 {
		t.Errorf("%d actors and %d records", actors, records)
	}
}

func TestIllegalEvents(t *testing.T) {
	with := func(d events.Data, change func()) events.Data { change(); return d }
	destroyed := func(l *log) {
		l.add(record, started())
		l.add(record, &events.RecordDestroyed{Destruction: destruction, Keys: 1})
	}
	shared := func(l *log) { l.add(record, disclosed()) }
	a, d, r, s, o := accessed(), disclosed(), received(), started(), originated()

	for _, test := range []struct {
		name    string
		before  func(*log)
		subject events.ID
		data    events.Data
		rule    string
	}{
		{"opened twice", nil, ledger, &events.LedgerOpened{Origin: origin}, "opened-first"},
		{"rotation about a record", nil, record, &events.KeyRotated{}, "subject"},
		{"rotation of another announcement", nil, ledger, &events.KeyRotated{Previous: 3}, "key"},
		{"actor registered twice", nil, doctor, &events.ActorRegistered{By: admin, Decision: decided(), Role: events.RoleNurse}, "subject"},
		{"second founder", nil, id(20), &events.ActorRegistered{Decision: decided(), Role: events.RoleAdmin}, "registrar"},
		{"registered by nobody known", nil, id(20), &events.ActorRegistered{By: id(21), Decision: decided()}, "registrar"},
		{"record originated twice", nil, record, originated(), "subject"},
		{"record with an actor's id", nil, doctor, originated(), "subject"},
		{"record with the ledger's id", nil, ledger, originated(), "subject"},
		{"originated by a stranger", nil, id(20), with(o, func() { o.Actor = id(21) }), "actor"},
		{"read of no record", nil, id(20), accessed(), "subject"},
		{"read by a stranger", nil, record, &events.RecordAccessed{Actor: id(21), Decision: decided(), Version: 1}, "actor"},
		{"read of version 2 of 1", nil, record, with(a, func() { a.Version = 2 }), "version"},
		{"read of version 0", nil, record, &events.RecordAccessed{Actor: doctor, Decision: decided()}, "version"},
		{"decided in the future", nil, record, &events.RecordAccessed{Actor: doctor, Version: 1, Decision: events.Decision{Position: 6, Rules: life.Rules}}, "decision"},
		{"decided by other rules", nil, record, &events.RecordAccessed{Actor: doctor, Version: 1, Decision: events.Decision{Rules: "mine"}}, "decision"},
		{"amended to version 3 of 1", nil, record, &events.RecordAmended{Actor: doctor, Decision: decided(), Version: 3}, "version"},
		{"amended to version 1 of 1", nil, record, &events.RecordAmended{Actor: doctor, Decision: decided(), Version: 1}, "version"},
		{"disclosed to a doctor", nil, record, with(d, func() { d.Recipient = doctor }), "share"},
		{"disclosed twice as one share", shared, record, disclosed(), "share"},
		{"disclosed until yesterday", nil, record, &events.RecordDisclosed{Actor: doctor, Decision: decided(), Recipient: outside, Share: share, Until: start, Version: 1}, "share"},
		{"received without a share", nil, record, received(), "share"},
		{"received by somebody else", shared, record, with(r, func() { r.Actor = doctor }), "share"},
		{"received another version", shared, record, &events.RecordReceived{Actor: outside, Decision: decided(), Share: share, Version: 2}, "share"},
		{"refusal about nothing", nil, id(20), &events.AccessRefused{Actor: doctor, Decision: decided()}, "subject"},
		{"refusal of a stranger", nil, record, &events.AccessRefused{Actor: id(21), Decision: decided()}, "actor"},
		{"destruction of half a record", nil, record, with(s, func() { s.Versions = 9 }), "destruction"},
		{"destroyed without a start", nil, record, &events.RecordDestroyed{Destruction: destruction}, "state"},
		{"another destruction completed", func(l *log) { l.add(record, started()) }, record, &events.RecordDestroyed{Destruction: id(22)}, "destruction"},
		{"destroyed without its keys", func(l *log) { l.add(record, started()) }, record, &events.RecordDestroyed{Destruction: destruction}, "destruction"},
		{"read while it is destroyed", func(l *log) { l.add(record, started()) }, record, accessed(), "state"},
		{"read after it was destroyed", destroyed, record, accessed(), "state"},
		{"amended after it was destroyed", destroyed, record, &events.RecordAmended{Actor: doctor, Decision: decided(), Version: 2}, "state"},
		{"disclosed after it was destroyed", destroyed, record, disclosed(), "state"},
		{"received after it was destroyed", destroyed, record, received(), "state"},
		{"destroyed twice", destroyed, record, started(), "state"},
		{"revived", destroyed, record, originated(), "subject"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := begin(t)
			if test.before != nil {
				test.before(l)
			}
			before := l.state.Head()
			actors, records := l.state.Counts()
			err := l.state.Apply(before.Size, l.event(test.subject, test.data))
			var illegal *life.IllegalError
			if !errors.As(err, &illegal) || illegal.Rule != test.rule {
				t.Fatalf("got %v, want it to break the rule %q", err, test.rule)
			}
			if a, r := l.state.Counts(); a != actors || r != records || l.state.Head().Size != before.Size {
				t.Error("the refused event left a trace")
			}
		})
	}
}

func TestSharesEnd(t *testing.T) {
	l := begin(t)
	l.add(record, disclosed())
	l.next = 999
	err := l.state.Apply(l.state.Head().Size, l.event(record, received()))
	var illegal *life.IllegalError
	if !errors.As(err, &illegal) || illegal.Rule != "share" {
		t.Errorf("received at the share's end: %v", err)
	}
}

func TestOrder(t *testing.T) {
	l := begin(t)
	size := l.state.Head().Size
	for name, test := range map[string]struct {
		index uint64
		spoil func(*events.Event)
		rule  string
	}{
		"a gap":          {size + 1, func(*events.Event) {}, "index"},
		"a repetition":   {size - 1, func(*events.Event) {}, "index"},
		"another origin": {size, func(e *events.Event) { e.Source = "elsewhere.example" }, "origin"},
		"an older time":  {size, func(e *events.Event) { e.Time = start }, "time"},
	} {
		e := l.event(record, accessed())
		test.spoil(&e)
		var illegal *life.IllegalError
		if err := l.state.Apply(test.index, e); !errors.As(err, &illegal) || illegal.Rule != test.rule {
			t.Errorf("%s: %v", name, err)
		}
	}
	first := events.Event{ID: id(1), Source: origin, Type: events.TypeRecordAccessed, Subject: record, Time: start, Data: accessed()}
	var illegal *life.IllegalError
	if err := life.NewState().Apply(0, first); !errors.As(err, &illegal) || illegal.Rule != "opened-first" {
		t.Errorf("a log that begins with an access: %v", err)
	}
	noAdmin := &log{t: t, state: life.NewState()}
	noAdmin.add(ledger, &events.LedgerOpened{Origin: origin})
	nurse := &events.ActorRegistered{Decision: decided(), Organisation: org, Role: events.RoleNurse}
	if err := noAdmin.state.Apply(1, noAdmin.event(doctor, nurse)); !errors.As(err, &illegal) || illegal.Rule != "registrar" {
		t.Errorf("a founder who is a nurse: %v", err)
	}
}

func TestHeadIsNotShared(t *testing.T) {
	l := begin(t)
	l.add(ledger, &events.KeyRotated{Previous: 0})
	before := l.state.Head()
	l.add(ledger, &events.KeyRotated{Previous: 5})
	if len(before.Announcements) != 2 || before.Announcements[1] != 5 {
		t.Errorf("a head that was handed out changed to %v", before.Announcements)
	}
}
