package life_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// chance makes events at random from a few ids, so that many of them meet.
type chance struct {
	*rand.Rand
	at  events.Timestamp
	old uint64 // how many events the older rules decide
}

func newChance(seed, stream uint64) *chance {
	return &chance{Rand: rand.New(rand.NewPCG(seed, stream)), old: seed % 4 * 30}
}

func pick[T any](c *chance, some []T) T { return some[c.IntN(len(some))] }

func pool(first, n byte) []events.ID {
	ids := make([]events.ID, n)
	for i := range ids {
		ids[i] = id(first + byte(i))
	}
	return ids
}

var (
	actors, patients, records = pool(100, 7), pool(110, 5), pool(120, 9)
	items, departments        = pool(130, 4), pool(140, 2) // relationships and the like
	roles                     = []events.Role{
		events.RoleAdmin, events.RoleClinician, events.RoleNurse, events.RoleClerk, events.RolePatient, events.RoleProxy, events.RoleRecipient,
	}
	purposes = []events.Purpose{events.PurposeTreatment, events.PurposeResearch, events.PurposeLegal}
)

// event makes an event for the given state. It passes its Check as to fields, but
// mostly it is none that can follow.
func (c *chance) event(s *life.State) events.Event {
	c.at += events.Timestamp(c.IntN(3))
	rules := life.Rules
	if s.Head().Size < c.old && s.Head().Rules != life.Rules {
		rules = life.Rules1
	}
	d := events.Decision{Position: s.Head().Size, Rule: "treatment", Rules: rules}
	all := []func(events.Decision) (events.ID, events.Data){c.aboutActor, c.aboutPatient, c.aboutPatient, c.aboutRecord, c.aboutRecord, c.aboutRecord,
		c.aboutRecord, c.aboutRecord, c.aboutRecord, c.aboutDestruction}
	subject, data := pick(c, all)(d)
	if s.Head().Size == 0 {
		subject, data = ledger, &events.LedgerOpened{Origin: origin}
	}
	return events.Event{ID: id(1), Source: origin, Type: data.EventType(), Subject: subject, Time: start + c.at, Data: data}
}

func (c *chance) aboutActor(d events.Decision) (events.ID, events.Data) {
	i := c.IntN(len(actors))
	subject := actors[i]
	by := pick(c, append(slices.Clone(actors), events.ID{}))
	switch c.IntN(5) {
	case 0:
		return subject, &events.TokenIssued{By: by, Decision: d, Digest: events.Digest{byte(1 + c.IntN(6))}, Expires: start, Token: pick(c, items)}
	case 1:
		return subject, &events.TokenRevoked{By: by, Decision: d, Token: pick(c, items)}
	case 2:
		some := []events.Data{
			&events.LogRead{Actor: by, Decision: d}, &events.LedgerRestored{Size: d.Position}, &events.StateLogOpened{}, &events.KeyRotated{Previous: uint64(c.IntN(8))},
		}
		return ledger, pick(c, some)
	}
	a := &events.ActorRegistered{By: by, Decision: d, Organisation: org, Department: departments[i%2], Role: roles[i]}
	if a.Role == events.RolePatient {
		a.Patient = patients[0]
	}
	return subject, a
}

func (c *chance) aboutPatient(d events.Decision) (events.ID, events.Data) {
	subject, actor, item := pick(c, patients), pick(c, actors), pick(c, items)
	until := start + c.at + events.Timestamp(c.IntN(50))
	scope := events.ScopeOf(pick(c, []events.ProxyScope{events.ProxyRead, events.ProxyConsents}), events.ProxyDestruction)
	care := &events.CareOpened{Actor: actor, Decision: d, Relationship: item, Member: pick(c, actors), Until: until}
	if c.IntN(2) == 0 {
		care.Member, care.Department = events.ID{}, pick(c, departments)
	}
	some := []events.Data{
		&events.PatientRegistered{Actor: actor, Decision: d, Organisation: org},
		&events.PatientErased{},
		&events.PatientQueried{Actor: actor, Decision: d},
		care,
		&events.CareClosed{Actor: actor, Decision: d, Relationship: item},
		&events.ProxyAppointed{Actor: actor, Appointment: item, Decision: d, Proxy: actors[5], Scope: scope, Until: until},
		&events.ProxyDismissed{Actor: actor, Appointment: item, Decision: d},
		&events.ConsentGranted{Actor: actor, Consent: item, Decision: d, Purpose: pick(c, purposes)},
		&events.ConsentWithdrawn{Actor: actor, Consent: pick(c, append(slices.Clone(items), events.ID{})), Decision: d, Purpose: pick(c, purposes)},
		&events.AccessRefused{Action: events.ActionListRecords, Actor: actor, Decision: d},
	}
	if c.IntN(30) == 0 {
		return subject, &events.PatientMerged{Actor: actor, Decision: d, Into: pick(c, patients)}
	}
	return subject, pick(c, some)
}

func (c *chance) aboutRecord(d events.Decision) (events.ID, events.Data) {
	subject, actor, share := pick(c, records), pick(c, actors), pick(c, items)
	version := uint32(1 + c.IntN(3))
	some := []events.Data{
		&events.RecordOriginated{Actor: actor, Decision: d, Department: pick(c, departments), Organisation: pick(c, []events.ID{org, id(60)}), Patient: pick(c, patients)},
		&events.RecordAmended{Actor: actor, Decision: d, Version: version},
		&events.RecordAccessed{Actor: actor, Decision: d, Version: version},
		&events.RecordRefiled{Actor: actor, Decision: d, From: pick(c, patients), Patient: pick(c, patients)},
		&events.HistoryRead{Actor: actor, Decision: d},
		&events.DeliveryFailed{Actor: actor},
		&events.AccessRefused{Action: events.ActionAccess, Actor: actor, Decision: d},
		&events.RecordDisclosed{Actor: actor, Decision: d, Purpose: pick(c, purposes), Recipient: actors[6], Share: share, Until: start + c.at + 400, Version: version},
		&events.RecordReceived{Actor: actors[6], Decision: d, Share: share, Version: version},
		&events.ShareAcknowledged{Actor: actors[6], Decision: d, Share: share},
		&events.ShareEnded{Actor: actor, Decision: d, Share: share},
	}
	return subject, pick(c, some)
}

// aboutDestruction names destructions by their record, so that they often match.
func (c *chance) aboutDestruction(d events.Decision) (events.ID, events.Data) {
	i := c.IntN(len(records))
	destruction := id(150 + byte(i))
	if d.Rules == life.Rules { // the older rules did not look whether a name was taken
		destruction = pick(c, []events.ID{destruction, id(150)})
	}
	some := []events.Data{
		&events.DestructionRequested{Actor: actors[0], Decision: d, Destruction: destruction},
		&events.DestructionStarted{Actor: actors[0], Approver: actors[1], Decision: d, Destruction: destruction, Versions: uint32(1 + c.IntN(2))},
		&events.RecordDestroyed{Destruction: destruction, Keys: 2},
	}
	return records[i], pick(c, some)
}

// TestIllegalEventsLeaveNoTrace offers random events to a state, and the legal ones
// to its twin: they stay the same.
func TestIllegalEventsLeaveNoTrace(t *testing.T) {
	legal, illegal := make(map[events.Type]int), make(map[string]int)
	for seed := range uint64(30) {
		c := newChance(seed, 1)
		s, same := life.NewState(), life.NewState()
		for range 1500 {
			e := c.event(s)
			err := s.Apply(s.Head().Size, e)
			if err == nil {
				legal[e.Type]++
				if err := same.Apply(same.Head().Size, e); err != nil {
					t.Fatalf("seed %d: legal once, and then %v", seed, err)
				}
				continue
			}
			illegal[err.(*life.IllegalError).Rule]++
			if !reflect.DeepEqual(s, same) {
				t.Fatalf("seed %d: %v, and it left a trace", seed, err)
			}
		}
	}
	for _, typ := range events.Types() {
		if typ != events.TypeActorRegisteredV1 && legal[typ] == 0 {
			t.Errorf("no legal %s among %v", typ, legal)
		}
	}
	for _, rule := range []string{"actor", "registrar", "subject", "patient", "version", "state", "share", "rights", "token", "destruction", "key"} {
		if illegal[rule] == 0 {
			t.Errorf("nothing broke the rule %q: %v", rule, illegal)
		}
	}
}

// TestRestore keeps the parts that Touched names after each event of a random
// history, as a copy does, builds a state from them now and then, and wants it to
// decide and to apply as the original does.
func TestRestore(t *testing.T) {
	for seed := range uint64(60) {
		c := newChance(seed, 2)
		s, kept := life.NewState(), newParts()
		for range 30 + c.IntN(800) {
			e := c.event(s)
			if s.Apply(s.Head().Size, e) == nil {
				kept.note(s, e)
			}
		}
		restored := kept.restore(c)
		compareStates(t, fmt.Sprintf("seed %d", seed), s, restored)
		for range 600 {
			e := c.event(s)
			a, b := s.Apply(s.Head().Size, e), restored.Apply(restored.Head().Size, e)
			if fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("seed %d: the original says %v, the restored %v", seed, a, b)
			}
			r := c.request()
			if a, b := decision.Decide(s, r), decision.Decide(restored, r); a != b {
				t.Fatalf("seed %d: of %+v the original says %v, the restored %v", seed, r, a, b)
			}
		}
		compareStates(t, fmt.Sprintf("seed %d, later", seed), s, restored)
	}
}

// request makes a request at random.
func (c *chance) request() decision.Request {
	actions := []events.Action{
		events.ActionListRecords, events.ActionOpenCare, events.ActionGrantConsent, events.ActionMergePatient, events.ActionAccess,
		events.ActionDisclose, events.ActionReceive, events.ActionRequestDestruction, events.ActionDestroy, events.ActionRefile,
	}
	return decision.Request{
		Action: pick(c, actions), Actor: pick(c, actors), Purpose: pick(c, purposes), Record: pick(c, records), Patient: pick(c, patients),
		Share: pick(c, items), Recipient: actors[6], Other: pick(c, patients), Whom: pick(c, actors), Until: start + c.at + 9, At: start + c.at,
	}
}

// parts is a copy of a state as a projection keeps it.
type parts struct {
	head     life.Head
	actors   map[events.ID]life.Actor
	patients map[events.ID]life.Patient
	records  map[events.ID]life.Record
}

func newParts() *parts {
	return &parts{
		actors: make(map[events.ID]life.Actor), patients: make(map[events.ID]life.Patient), records: make(map[events.ID]life.Record),
	}
}

// note keeps what an event changed, as deep copies, without what is not encoded.
func (p *parts) note(s *life.State, e events.Event) {
	p.head = s.Head()
	for _, id := range life.Touched(e) {
		if r := s.Record(id); r != nil {
			kept := *r
			kept.Shares = slices.Clone(r.Shares)
			p.records[id] = kept
		} else if patient := s.Patient(id); patient != nil {
			kept := *patient
			kept.Care, kept.Proxies, kept.Consents = slices.Clone(kept.Care), slices.Clone(kept.Proxies), slices.Clone(kept.Consents)
			kept.Records, kept.Living = nil, 0
			p.patients[id] = kept
		} else if a, ok := s.Actor(id); ok {
			a.Tokens = slices.Clone(a.Tokens)
			p.actors[id] = a
		}
	}
}

// restore puts the parts together, each kind in any order.
func (p *parts) restore(c *chance) *life.State {
	s := life.NewState()
	s.Restore(p.head)
	for id, a := range p.actors {
		s.RestoreActor(id, a)
	}
	for id, patient := range p.patients {
		s.RestorePatient(id, patient)
	}
	for _, i := range c.Perm(len(records)) {
		if r, ok := p.records[records[i]]; ok {
			s.RestoreRecord(records[i], r)
		}
	}
	return s
}

// compareStates compares all that two states say, but for the order of a
// patient's records.
func compareStates(t *testing.T, name string, a, b *life.State) {
	t.Helper()
	n, m := len(maps.Collect(a.Patients)), len(maps.Collect(b.Patients))
	if !reflect.DeepEqual(a.Head(), b.Head()) || n != m {
		t.Errorf("%s: heads %+v and %+v, %d and %d patients", name, a.Head(), b.Head(), n, m)
	}
	for _, id := range actors {
		x, _ := a.Actor(id)
		y, _ := b.Actor(id)
		if fmt.Sprint(x) != fmt.Sprint(y) {
			t.Errorf("%s: actors %+v and %+v", name, x, y)
		}
	}
	for _, id := range records {
		if x, y := a.Record(id), b.Record(id); fmt.Sprint(x) != fmt.Sprint(y) {
			t.Errorf("%s: records %+v and %+v", name, x, y)
		}
	}
	for _, id := range patients {
		x, y := sorted(a.Patient(id)), sorted(b.Patient(id))
		if fmt.Sprint(x) != fmt.Sprint(y) {
			t.Errorf("%s: patients %+v and %+v", name, x, y)
		}
	}
	for i := range byte(8) {
		digest := events.Digest{i}
		who, which, _ := a.Holder(digest)
		if who2, which2, _ := b.Holder(digest); who != who2 || which != which2 {
			t.Errorf("%s: holders of %d differ", name, i)
		}
		if a.Doomed(id(150+i)) != b.Doomed(id(150+i)) {
			t.Errorf("%s: destruction %d is of %v and of %v", name, i, a.Doomed(id(150+i)), b.Doomed(id(150+i)))
		}
	}
	for _, share := range items {
		if a.Shared(share) != b.Shared(share) {
			t.Errorf("%s: a share is of %v and of %v", name, a.Shared(share), b.Shared(share))
		}
	}
}

func sorted(p *life.Patient) life.Patient {
	if p == nil {
		return life.Patient{}
	}
	s := *p
	s.Records = slices.Clone(s.Records)
	slices.SortFunc(s.Records, func(a, b events.ID) int { return slices.Compare(a[:], b[:]) })
	return s
}
