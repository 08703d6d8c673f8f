package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
)

var (
	now = events.At(time.Date(2026, 11, 23, 20, 0, 0, 123456789, time.UTC))
	id  = func(b byte) events.ID { return events.DerivedID(bytes.Repeat([]byte{b}, 16)) }
)

func decision() events.Decision {
	return events.Decision{Position: 7, Rule: "treatment", Rules: "medledger-rules-1"}
}

func key(b byte) events.StatementKey {
	return events.StatementKey{
		Crv: "Ed25519", Kid: "AAAAAAAAAA" + string(rune('A'+4*b)), Kty: "OKP",
		X: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
	}
}

// valid has one good value of every type.
func valid() []events.Data {
	return []events.Data{
		&events.LedgerOpened{Created: now, Origin: "clinic.example/ledger", StatementKeys: []events.StatementKey{key(0)}},
		&events.LedgerRestored{Size: 9},
		&events.StateLogOpened{PublicKey: key(0).X},
		&events.KeyRotated{Previous: 3, StatementKeys: []events.StatementKey{key(0), key(1)}},
		&events.LogRead{Actor: id(1), Decision: decision()},
		&events.ActorRegistered{By: id(1), Decision: decision(), Organisation: id(2), Role: events.RoleNurse},
		&events.ActorRegisteredV1{By: id(1), Decision: decision(), Organisation: id(2), Role: events.RoleNurse},
		&events.TokenIssued{By: id(1), Decision: decision(), Digest: events.Digest{1}, Expires: now, Token: id(7)},
		&events.TokenRevoked{By: id(1), Decision: decision(), Token: id(7)},
		&events.PatientRegistered{Actor: id(1), Commitment: events.Digest{2}, Decision: decision(), Organisation: id(2)},
		&events.PatientMerged{Actor: id(1), Decision: decision(), Into: id(3)},
		&events.PatientErased{Custody: events.CustodyFile, Method: events.MethodCryptographicErase},
		&events.PatientQueried{Actor: id(1), Decision: decision(), Purpose: events.PurposeTreatment, Query: events.QueryRecords},
		&events.CareOpened{Actor: id(1), Decision: decision(), Member: id(4), Relationship: id(7), Until: now},
		&events.CareClosed{Actor: id(1), Decision: decision(), Relationship: id(7)},
		&events.ProxyAppointed{
			Actor: id(1), Appointment: id(7), Decision: decision(), Proxy: id(4),
			Scope: []events.ProxyScope{events.ProxyConsents, events.ProxyRead}, Until: now,
		},
		&events.ProxyDismissed{Actor: id(1), Appointment: id(7), Decision: decision()},
		&events.ConsentGranted{Actor: id(1), Consent: id(7), Decision: decision(), Purpose: events.PurposeResearch},
		&events.ConsentWithdrawn{Actor: id(1), Consent: id(7), Decision: decision(), Purpose: events.PurposeResearch},
		&events.RecordOriginated{
			Actor: id(1), Confidentiality: events.Normal, Decision: decision(), Kind: events.KindChart,
			Organisation: id(2), Patient: id(3), Size: 1024,
		},
		&events.RecordAmended{Actor: id(1), Decision: decision(), Size: 1, Version: 2},
		&events.RecordAccessed{Actor: id(1), Decision: decision(), Purpose: events.PurposeTreatment, Version: 1},
		&events.RecordRefiled{Actor: id(1), Decision: decision(), From: id(3), Patient: id(4)},
		&events.HistoryRead{Actor: id(1), Decision: decision()},
		&events.DeliveryFailed{Actor: id(1), Reason: events.FailureDisconnected, Release: id(7)},
		&events.AccessRefused{Action: events.ActionAccess, Actor: id(1), Decision: decision(), Purpose: events.PurposeResearch, Share: id(5)},
		&events.RecordDisclosed{
			Actor: id(1), Decision: decision(), Purpose: events.PurposePublic, Recipient: id(4), Share: id(5), Until: now, Version: 1,
		},
		&events.RecordReceived{Actor: id(1), Decision: decision(), Share: id(5), Version: 1},
		&events.ShareAcknowledged{Actor: id(1), Decision: decision(), Share: id(5)},
		&events.ShareEnded{Actor: id(1), Decision: decision(), Share: id(5)},
		&events.DestructionRequested{Actor: id(1), Decision: decision(), Destruction: id(6), Ground: events.GroundPatientRequest},
		&events.DestructionStarted{
			Actor: id(1), Approver: id(2), Decision: decision(), Destruction: id(6), Ground: events.GroundPatientRequest, Versions: 1,
		},
		&events.RecordDestroyed{Custody: events.CustodyFile, Destruction: id(6), Keys: 1, Method: events.MethodCryptographicErase},
	}
}

func TestEveryTypeIsKnownAndChecked(t *testing.T) {
	seen := make(map[events.Type]bool)
	for _, data := range valid() {
		seen[data.EventType()] = true
		if err := data.Check(); err != nil {
			t.Errorf("%s: a good value is refused: %v", data.EventType(), err)
		}
		empty, err := events.New(data.EventType())
		if err != nil || reflect.TypeOf(empty) != reflect.TypeOf(data) {
			t.Errorf("New(%s) = %T, %v", data.EventType(), empty, err)
		} else if err := empty.Check(); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%s: empty data passes its check: %v", data.EventType(), err)
		}
	}
	for _, typ := range events.Types() {
		if !seen[typ] {
			t.Errorf("no example of %s", typ)
		}
	}
}

// TestFieldsAreCanonical holds the structs to what a second implementation
// relies on: lower camel case, in the order of RFC 8785, every one documented
// by its tag, also in the structs within.
func TestFieldsAreCanonical(t *testing.T) {
	for _, data := range valid() {
		checkFields(t, reflect.TypeOf(data).Elem())
	}
}

func checkFields(t *testing.T, typ reflect.Type) {
	last := ""
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name[0] < 'a' || name[0] > 'z' || strings.ContainsAny(name, "_- ") {
			t.Errorf("%s.%s has the JSON name %q", typ.Name(), field.Name, name)
		}
		if name <= last {
			t.Errorf("%s: %q stands after %q", typ.Name(), name, last)
		}
		last = name
		within := field.Type
		if within.Kind() == reflect.Slice {
			within = within.Elem()
		}
		if within.Kind() == reflect.Struct {
			checkFields(t, within)
		}
	}
}

func TestJSONRoundTrip(t *testing.T) {
	for _, data := range valid() {
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		back, err := events.New(data.EventType())
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, back); err != nil || !reflect.DeepEqual(back, data) {
			t.Errorf("%s became %+v, %v", raw, back, err)
		}
	}
}

func TestUnknownTypes(t *testing.T) {
	for typ, want := range map[events.Type]error{
		"medledger.record.accessed.v2":         events.ErrUnknownVersion,
		"medledger.record.accessed.v99999":     events.ErrUnknownType,
		"medledger.record.sold.v1":             events.ErrUnknownType,
		"medledger.record.accessed":            events.ErrUnknownType,
		"":                                     events.ErrUnknownType,
		events.Type(strings.Repeat("x", 1000)): events.ErrUnknownType,
	} {
		_, err := events.New(typ)
		if !errors.Is(err, want) {
			t.Errorf("New(%.40q): %v, want %v", typ, err, want)
		}
		if err != nil && len(err.Error()) > 250 {
			t.Errorf("New(%.40q): the message has %d bytes", typ, len(err.Error()))
		}
	}
}

func TestUpcast(t *testing.T) {
	old := &events.ActorRegisteredV1{By: id(1), Decision: decision(), Organisation: id(2), Role: events.RoleNurse}
	before := events.Event{ID: id(9), Source: "a", Type: events.TypeActorRegisteredV1, Subject: id(8), Time: now, Data: old}
	after := events.Upcast(before)
	want := before
	want.Type = events.TypeActorRegistered
	want.Data = &events.ActorRegistered{By: id(1), Decision: decision(), Organisation: id(2), Role: events.RoleNurse}
	if !reflect.DeepEqual(after, want) {
		t.Errorf("got %+v, want %+v", after, want)
	}
	if again := events.Upcast(after); !reflect.DeepEqual(again, after) {
		t.Error("a second upcast changes the event")
	}
}

func appointed(until events.Timestamp, scope ...events.ProxyScope) *events.ProxyAppointed {
	return &events.ProxyAppointed{
		Actor: id(1), Appointment: id(7), Decision: decision(), Proxy: id(4), Scope: scope, Until: until,
	}
}

func TestDataOutOfBounds(t *testing.T) {
	for name, data := range map[string]events.Data{
		"unknown role":         &events.ActorRegistered{Decision: decision(), Organisation: id(2), Role: "king"},
		"patient of a nurse":   &events.ActorRegistered{Decision: decision(), Organisation: id(2), Role: events.RoleNurse, Patient: id(1)},
		"patient without one":  &events.ActorRegistered{Decision: decision(), Organisation: id(2), Role: events.RolePatient},
		"text for a purpose":   &events.RecordAccessed{Actor: id(1), Decision: decision(), Purpose: "because", Version: 1},
		"text for a rule":      &events.RecordAccessed{Actor: id(1), Decision: events.Decision{Rule: "Mr Smith", Rules: "r"}, Purpose: events.PurposeLegal, Version: 1},
		"version zero":         &events.RecordAccessed{Actor: id(1), Decision: decision(), Purpose: events.PurposeLegal},
		"amended to version 1": &events.RecordAmended{Actor: id(1), Decision: decision(), Version: 1},
		"negative size":        &events.RecordAmended{Actor: id(1), Decision: decision(), Version: 2, Size: -1},
		"unsafe size":          &events.RecordAmended{Actor: id(1), Decision: decision(), Version: 2, Size: 1 << 53},
		"approved alone": &events.DestructionStarted{
			Actor: id(1), Approver: id(1), Decision: decision(), Destruction: id(6), Ground: events.GroundPatientRequest, Versions: 1,
		},
		"no keys":                           &events.KeyRotated{},
		"repeated keys":                     &events.KeyRotated{StatementKeys: []events.StatementKey{key(0), key(0)}},
		"an RSA key":                        &events.KeyRotated{StatementKeys: []events.StatementKey{{Kty: "RSA", Kid: key(0).Kid, X: key(0).X, Crv: "Ed25519"}}},
		"a line break in a key":             &events.KeyRotated{StatementKeys: []events.StatementKey{{Kty: "OKP", Kid: key(0).Kid, X: key(0).X[:9] + "\n" + key(0).X[9:], Crv: "Ed25519"}}},
		"an unsafe position":                &events.RecordAccessed{Actor: id(1), Decision: events.Decision{Position: 1 << 53, Rule: "r", Rules: "r"}, Purpose: events.PurposeLegal, Version: 1},
		"an unsafe index":                   &events.KeyRotated{Previous: 1 << 53, StatementKeys: []events.StatementKey{key(0)}},
		"restored from nothing":             &events.LedgerRestored{},
		"a state log without a key":         &events.StateLogOpened{},
		"a line break in a state log's key": &events.StateLogOpened{PublicKey: key(0).X[:9] + "\n" + key(0).X[9:]},
		"an unsafe backup":                  &events.LedgerRestored{Size: 1 << 53},
		"a token without digest":            &events.TokenIssued{Decision: decision(), Expires: now, Token: id(7)},
		"a token until 1970":                &events.TokenIssued{Decision: decision(), Digest: events.Digest{1}, Token: id(7)},
		"care by two":                       &events.CareOpened{Actor: id(1), Decision: decision(), Department: id(3), Member: id(4), Relationship: id(7)},
		"care by nobody":                    &events.CareOpened{Actor: id(1), Decision: decision(), Relationship: id(7)},
		"care until 1971":                   &events.CareOpened{Actor: id(1), Decision: decision(), Member: id(4), Relationship: id(7), Until: 1},
		"a proxy until 1971":                appointed(1, events.ProxyRead),
		"a proxy for nothing":               appointed(0),
		"a proxy for anything":              appointed(0, "anything"),
		"a scope out of order":              appointed(0, events.ProxyRead, events.ProxyConsents),
		"a scope twice":                     appointed(0, events.ProxyRead, events.ProxyRead),
		"refiled under the same":            &events.RecordRefiled{Actor: id(1), Decision: decision(), From: id(3), Patient: id(3)},
		"erased with a shredder":            &events.PatientErased{Custody: events.CustodyFile, Method: "shredder"},
		"erased from a safe":                &events.PatientErased{Custody: "safe", Method: events.MethodCryptographicErase},
		"until 1970":                        &events.RecordDisclosed{Actor: id(1), Decision: decision(), Purpose: events.PurposePublic, Recipient: id(4), Share: id(5), Version: 1},
	} {
		if err := data.Check(); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFieldsThatMustBeThere empties one field of a good value after the other:
// what is not optional by its tag is missed.
func TestFieldsThatMustBeThere(t *testing.T) {
	// What may be zero all the same, because zero says something.
	zero := map[string]bool{
		"KeyRotated.Previous": true, "RecordOriginated.Size": true, "RecordAmended.Size": true,
		"RecordOriginated.Commitment": true, "RecordAmended.Commitment": true, "PatientRegistered.Commitment": true,
		"RecordDestroyed.Keys": true, "CareOpened.Member": true,
	}
	for i, data := range valid() {
		typ := reflect.TypeOf(data).Elem()
		for f := range typ.NumField() {
			name := typ.Name() + "." + typ.Field(f).Name
			optional := strings.HasSuffix(typ.Field(f).Tag.Get("json"), ",omitzero")
			emptied := valid()[i]
			reflect.ValueOf(emptied).Elem().Field(f).SetZero()
			err := emptied.Check()
			switch {
			case name == "CareOpened.Member": // or else a department
				if err == nil {
					t.Errorf("%s may be missing", name)
				}
			case optional || zero[name]:
				if err != nil {
					t.Errorf("without %s, which is optional: %v", name, err)
				}
			case !errors.Is(err, events.ErrInvalid):
				t.Errorf("without %s: %v", name, err)
			}
		}
	}
}

// TestCodesAreClosed puts text where only codes may stand.
func TestCodesAreClosed(t *testing.T) {
	for i, data := range valid() {
		typ := reflect.TypeOf(data).Elem()
		for f := range typ.NumField() {
			field := typ.Field(f)
			name := typ.Name() + "." + field.Name
			if field.Type.Kind() != reflect.String {
				continue
			}
			forged := valid()[i]
			reflect.ValueOf(forged).Elem().Field(f).SetString("Hans Mueller")
			if err := forged.Check(); !errors.Is(err, events.ErrInvalid) {
				t.Errorf("%s carries text: %v", name, err)
			} else if strings.Contains(err.Error(), "Mueller") {
				t.Errorf("%s: the error repeats it: %v", name, err)
			}
		}
	}
}

// TestStream names the stream of every type, and of every sort of refusal.
func TestStream(t *testing.T) {
	ledger := "ledger-" + id(20).String()
	actor, patient, record := events.ActorStream(id(20)), events.PatientStream(id(20)), events.RecordStream(id(20))
	want := map[events.Type]string{
		events.TypeLedgerOpened: ledger, events.TypeLedgerRestored: ledger, events.TypeKeyRotated: ledger, events.TypeLogRead: ledger,
		events.TypeStateLogOpened:  ledger,
		events.TypeActorRegistered: actor, events.TypeActorRegisteredV1: actor, events.TypeTokenIssued: actor, events.TypeTokenRevoked: actor,
		events.TypePatientRegistered: patient, events.TypePatientMerged: patient, events.TypePatientErased: patient,
		events.TypePatientQueried: patient, events.TypeCareOpened: patient, events.TypeCareClosed: patient,
		events.TypeProxyAppointed: patient, events.TypeProxyDismissed: patient,
		events.TypeConsentGranted: patient, events.TypeConsentWithdrawn: patient,
		events.TypeRecordOriginated: record, events.TypeRecordAmended: record, events.TypeRecordAccessed: record,
		events.TypeRecordRefiled: record, events.TypeHistoryRead: record, events.TypeDeliveryFailed: record,
		events.TypeAccessRefused: record, events.TypeRecordDisclosed: record, events.TypeRecordReceived: record,
		events.TypeShareAcknowledged: record, events.TypeShareEnded: record, events.TypeDestructionRequested: record,
		events.TypeDestructionStarted: record, events.TypeRecordDestroyed: record,
	}
	for _, data := range valid() {
		if got := (events.Event{Subject: id(20), Data: data}).Stream(); got != want[data.EventType()] || got == "" {
			t.Errorf("%s is in the stream %q, want %q", data.EventType(), got, want[data.EventType()])
		}
	}
	if len(want) != len(events.Types()) {
		t.Errorf("%d streams of %d types", len(want), len(events.Types()))
	}
	for name, refusal := range map[string]struct {
		data events.AccessRefused
		want string
	}{
		"about a record":           {events.AccessRefused{Action: events.ActionReadHistory, Actor: id(1)}, record},
		"about a patient":          {events.AccessRefused{Action: events.ActionListRecords, Actor: id(1)}, patient},
		"about nobody":             {events.AccessRefused{Action: events.ActionListRecords, Actor: id(20)}, actor},
		"about no record":          {events.AccessRefused{Action: events.ActionAccess, Actor: id(20)}, actor},
		"about another registered": {events.AccessRefused{Action: events.ActionRegister, Actor: id(20)}, actor},
	} {
		if got := (events.Event{Subject: id(20), Data: &refusal.data}).Stream(); got != refusal.want {
			t.Errorf("a refusal %s is in the stream %q, want %q", name, got, refusal.want)
		}
	}
}

// TestDecisions finds the decision of everything that was decided.
func TestDecisions(t *testing.T) {
	for _, data := range valid() {
		_, has := reflect.TypeOf(data).Elem().FieldByName("Decision")
		d, ok := events.Event{Data: data}.Decision()
		if ok != has || has && d != decision() {
			t.Errorf("%s: decision %+v, %v", data.EventType(), d, ok)
		}
	}
}

func TestScopeOf(t *testing.T) {
	got := events.ScopeOf(events.ProxyRead, events.ProxyConsents, events.ProxyRead)
	if err := events.CheckScope(got); err != nil || len(got) != 2 || got[0] != events.ProxyConsents {
		t.Errorf("%v, %v", got, err)
	}
}

func TestEventOutOfBounds(t *testing.T) {
	good := events.Event{
		ID: id(1), Source: "clinic.example", Type: events.TypeRecordAccessed, Subject: id(2), Time: now,
		Data: &events.RecordAccessed{Actor: id(1), Decision: decision(), Purpose: events.PurposeTreatment, Version: 1},
	}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*events.Event){
		"no data":      func(e *events.Event) { e.Data = nil },
		"another type": func(e *events.Event) { e.Type = events.TypeRecordAmended },
		"no id":        func(e *events.Event) { e.ID = events.ID{} },
		"no subject":   func(e *events.Event) { e.Subject = events.ID{} },
		"no time":      func(e *events.Event) { e.Time = 0 },
		"bad data":     func(e *events.Event) { e.Data = &events.RecordAccessed{} },
		"no source":    func(e *events.Event) { e.Source = "" },
		"a plus":       func(e *events.Event) { e.Source = "a+b" },
		"upper case":   func(e *events.Event) { e.Source = "Clinic" },
		"long source":  func(e *events.Event) { e.Source = strings.Repeat("a", events.MaxOrigin+1) },
		"created at another time": func(e *events.Event) {
			e.Type = events.TypeLedgerOpened
			e.Data = &events.LedgerOpened{Created: now + 1, Origin: e.Source, StatementKeys: []events.StatementKey{key(0)}}
		},
	} {
		e := good
		spoil(&e)
		if err := e.Check(); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
