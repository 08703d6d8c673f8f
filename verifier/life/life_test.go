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
	proxy, twin, other                     = id(0x81), id(0x82), id(0x83)
	care, appointment, consent, token      = id(0x84), id(0x85), id(0x86), id(0x87)
)

func id(b byte) events.ID { return events.DerivedID(bytes.Repeat([]byte{b}, 16)) }

func decided() events.Decision {
	return events.Decision{Rule: "treatment", Rules: life.Rules}
}

func decided1() events.Decision {
	return events.Decision{Rule: "treatment", Rules: life.Rules1}
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

func (l *log) illegal(subject events.ID, d events.Data, rule string) {
	l.t.Helper()
	var illegal *life.IllegalError
	if err := l.state.Apply(l.state.Head().Size, l.event(subject, d)); !errors.As(err, &illegal) || illegal.Rule != rule {
		l.t.Errorf("%s: got %v, want it to break the rule %q", d.EventType(), err, rule)
	}
}

func open(t *testing.T) *log {
	l := &log{t: t, state: life.NewState()}
	l.add(ledger, &events.LedgerOpened{Origin: origin})
	l.add(admin, &events.ActorRegistered{Decision: decided1(), Organisation: org, Role: events.RoleAdmin})
	l.add(doctor, &events.ActorRegistered{By: admin, Decision: decided1(), Organisation: org, Role: events.RoleClinician})
	l.add(outside, &events.ActorRegistered{By: admin, Decision: decided1(), Organisation: id(60), Role: events.RoleRecipient})
	l.add(proxy, &events.ActorRegistered{By: admin, Decision: decided1(), Organisation: org, Role: events.RoleProxy})
	return l
}

// begin has nine events: the opening, four actors, three patients, one record.
func begin(t *testing.T) *log {
	l := open(t)
	for _, p := range []events.ID{patient, twin, other} {
		l.add(p, &events.PatientRegistered{Actor: doctor, Decision: decided(), Organisation: org})
	}
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

func requested() *events.DestructionRequested {
	return &events.DestructionRequested{Actor: doctor, Decision: decided(), Destruction: destruction, Ground: events.GroundPatientRequest}
}

func started() *events.DestructionStarted {
	return &events.DestructionStarted{
		Actor: doctor, Approver: admin, Decision: decided(), Destruction: destruction, Ground: events.GroundPatientRequest, Versions: 1,
	}
}

func (l *log) start() {
	l.add(record, requested())
	l.add(record, started())
}

func (l *log) destroy() {
	l.start()
	l.add(record, &events.RecordDestroyed{Destruction: destruction, Keys: 1})
}

func openedCare() *events.CareOpened {
	return &events.CareOpened{Actor: doctor, Decision: decided(), Member: doctor, Relationship: care}
}

func appointed() *events.ProxyAppointed {
	return &events.ProxyAppointed{Actor: doctor, Appointment: appointment, Decision: decided(), Proxy: proxy, Scope: []events.ProxyScope{events.ProxyRead}}
}

func granted(id events.ID, purpose events.Purpose) *events.ConsentGranted {
	return &events.ConsentGranted{Actor: doctor, Consent: id, Decision: decided(), Purpose: purpose}
}

func withdrawn(id events.ID, purpose events.Purpose) *events.ConsentWithdrawn {
	return &events.ConsentWithdrawn{Actor: doctor, Consent: id, Decision: decided(), Purpose: purpose}
}

func issued() *events.TokenIssued {
	return &events.TokenIssued{By: admin, Decision: decided(), Digest: events.Digest{1}, Expires: start + 1000, Token: token}
}

func merged(into events.ID) *events.PatientMerged {
	return &events.PatientMerged{Actor: doctor, Decision: decided(), Into: into}
}

func refiled(from, to events.ID) *events.RecordRefiled {
	return &events.RecordRefiled{Actor: doctor, Decision: decided(), From: from, Patient: to}
}

func TestLegalLife(t *testing.T) {
	l := begin(t)
	l.add(record, accessed())
	l.add(record, &events.RecordAmended{Actor: doctor, Decision: decided(), Version: 2})
	l.add(record, disclosed())
	l.add(record, received())
	l.add(ledger, &events.KeyRotated{Previous: 0})
	l.add(ledger, &events.KeyRotated{Previous: 13})
	l.add(record, requested())
	s := started()
	s.Versions = 2
	l.add(record, s)
	l.add(record, &events.AccessRefused{Action: events.ActionAccess, Actor: doctor, Decision: decided()})
	l.add(record, &events.RecordDestroyed{Destruction: destruction, Keys: 2})
	l.add(record, &events.AccessRefused{Action: events.ActionAccess, Actor: doctor, Decision: decided()})
	l.add(doctor, &events.AccessRefused{Action: events.ActionRegister, Actor: doctor, Decision: decided()})

	r := l.state.Record(record)
	if r.Phase != life.Destroyed || r.Versions != 2 || r.Events != 10 || len(r.Shares) != 1 || r.Patient != patient {
		t.Errorf("the record became %+v", r)
	}
	head := l.state.Head()
	if head.Size != 21 || len(head.Announcements) != 3 || head.Announcements[2] != 14 || head.Origin != origin || head.Ledger != ledger {
		t.Errorf("the head became %+v", head)
	}
	if actors, records := l.state.Counts(); actors != 4 || records != 1 {
		t.Errorf("%d actors and %d records", actors, records)
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
	l.add(ledger, &events.KeyRotated{Previous: 9})
	if len(before.Announcements) != 2 || before.Announcements[1] != 9 {
		t.Errorf("a head that was handed out changed to %v", before.Announcements)
	}
}
