package statement

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
)

// The keys and events of the test vectors.

const origin = "clinic.example/ledger"

// signer returns the n-th key of the test vectors: its seed is 32 bytes of n.
func signer(n byte) *Signer { return NewSigner(ed25519.NewKeyFromSeed(seed(n))) }

func seed(n byte) []byte { return bytes.Repeat([]byte{n}, ed25519.SeedSize) }

// id returns a UUID (version 4) that is easy to tell from others.
func id(n byte) events.ID {
	return events.ID{0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, n}
}

var start = events.At(time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC))

// event returns an event around data, n microseconds after the start.
func event(n byte, data events.Data) events.Event {
	return events.Event{
		ID: id(n), Source: origin, Type: data.EventType(), Subject: id(0xa0),
		Time: start + events.Timestamp(n), Data: data,
	}
}

func opened(keys ...events.StatementKey) events.Event {
	return event(0x10, &events.LedgerOpened{Created: start + 0x10, Origin: origin, StatementKeys: keys})
}

// samples returns one event of every type, and some variants.
func samples() []sample {
	decision := events.Decision{Position: 41, Rule: "own-organisation", Rules: "medledger-rules-1"}
	commitment := events.Digest(bytes.Repeat([]byte{0xfb}, 32))
	access := event(0x17, &events.RecordAccessed{Actor: id(0xa1), Decision: decision, Purpose: events.PurposeTreatment, Version: 1})
	joined := access
	joined.Correlation, joined.Causation = id(0xc1), id(0xc2)
	late := access
	late.Time = events.At(time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC))
	return append([]sample{
		{"ledger opened", opened(signer(1).JWK(), signer(2).JWK())},
		{"keys rotated", event(0x11, &events.KeyRotated{Previous: 0, StatementKeys: []events.StatementKey{signer(3).JWK()}})},
		{"actor registered", event(0x12, &events.ActorRegistered{By: id(0xa2), Decision: decision, Department: id(0xa3), Organisation: id(0xa4), Role: events.RoleClinician})},
		{"first actor registered", event(0x13, &events.ActorRegistered{Decision: decision, Organisation: id(0xa4), Role: events.RoleAdmin})},
		{"actor registered, version 1", event(0x14, &events.ActorRegisteredV1{By: id(0xa2), Decision: decision, Organisation: id(0xa4), Role: events.RoleNurse})},
		{"record originated", event(0x15, &events.RecordOriginated{
			Actor: id(0xa1), Commitment: commitment, Confidentiality: events.Normal, Decision: decision, Department: id(0xa3),
			Kind: events.KindBundle, Organisation: id(0xa4), Patient: id(0xa5), Size: 1<<53 - 1,
		})},
		{"record amended", event(0x16, &events.RecordAmended{Actor: id(0xa1), Commitment: commitment, Decision: decision, Size: 0, Version: 2})},
		{"record accessed", access},
		{"record accessed, with correlation and causation", joined},
		{"record accessed, at the last moment", late},
		{"access refused", event(0x18, &events.AccessRefused{Action: events.ActionAccess, Actor: id(0xa1), Decision: decision, Purpose: events.PurposeResearch})},
		{"record disclosed", event(0x19, &events.RecordDisclosed{
			Actor: id(0xa1), Decision: decision, Purpose: events.PurposeTreatment, Recipient: id(0xa6), Share: id(0xa7), Until: start.Add(time.Hour), Version: 1,
		})},
		{"record received", event(0x1a, &events.RecordReceived{Actor: id(0xa6), Decision: decision, Share: id(0xa7), Version: 1})},
		{"destruction started", event(0x1b, &events.DestructionStarted{
			Actor: id(0xa1), Approver: id(0xa8), Decision: decision, Destruction: id(0xa9), Ground: events.GroundPatientRequest, Versions: 2,
		})},
		{"record destroyed", event(0x1c, &events.RecordDestroyed{Custody: events.CustodyFile, Destruction: id(0xa9), Keys: 2, Method: events.MethodCryptographicErase})},
	}, laterSamples()...)
}

// laterSamples returns those of the types that came with medledger-rules-2. They
// follow the others so that the vectors before them keep their places.
func laterSamples() []sample {
	decision := events.Decision{Position: 42, Rule: "treatment", Rules: "medledger-rules-2"}
	digest := events.Digest(bytes.Repeat([]byte{0x3e}, 32))
	until := start.Add(24 * time.Hour)
	return []sample{
		{"ledger restored", event(0x20, &events.LedgerRestored{Size: 43})},
		{"log read", event(0x21, &events.LogRead{Actor: id(0xa1), Decision: decision})},
		{"token issued", event(0x22, &events.TokenIssued{By: id(0xa2), Decision: decision, Digest: digest, Expires: until, Token: id(0xb0)})},
		{"token issued on the machine", event(0x23, &events.TokenIssued{Decision: decision, Digest: digest, Expires: until, Token: id(0xb0)})},
		{"token revoked", event(0x24, &events.TokenRevoked{By: id(0xa2), Decision: decision, Token: id(0xb0)})},
		{"patient registered", event(0x25, &events.PatientRegistered{Actor: id(0xa1), Commitment: digest, Decision: decision, Organisation: id(0xa4)})},
		{"patient merged", event(0x26, &events.PatientMerged{Actor: id(0xa1), Decision: decision, Into: id(0xa5)})},
		{"patient erased", event(0x27, &events.PatientErased{Custody: events.CustodyFile, Method: events.MethodCryptographicErase})},
		{"patient queried", event(0x28, &events.PatientQueried{Actor: id(0xa1), Decision: decision, Purpose: events.PurposeTreatment, Query: events.QueryIdentifier})},
		{"care opened, by an actor", event(0x29, &events.CareOpened{Actor: id(0xa1), Decision: decision, Member: id(0xa8), Relationship: id(0xb1), Until: until})},
		{"care opened, by a department", event(0x2a, &events.CareOpened{Actor: id(0xa1), Decision: decision, Department: id(0xa3), Relationship: id(0xb1)})},
		{"care closed", event(0x2b, &events.CareClosed{Actor: id(0xa1), Decision: decision, Relationship: id(0xb1)})},
		{"proxy appointed", event(0x2c, &events.ProxyAppointed{
			Actor: id(0xa1), Appointment: id(0xb2), Decision: decision, Proxy: id(0xb3), Until: until,
			Scope: []events.ProxyScope{events.ProxyConsents, events.ProxyDestruction, events.ProxyRead},
		})},
		{"proxy dismissed", event(0x2d, &events.ProxyDismissed{Actor: id(0xa1), Appointment: id(0xb2), Decision: decision})},
		{"consent granted", event(0x2e, &events.ConsentGranted{Actor: id(0xa1), Consent: id(0xb4), Decision: decision, Purpose: events.PurposeResearch})},
		{"consent withdrawn", event(0x2f, &events.ConsentWithdrawn{Actor: id(0xa1), Consent: id(0xb4), Decision: decision, Purpose: events.PurposeResearch})},
		{"implied consent withdrawn", event(0x30, &events.ConsentWithdrawn{Actor: id(0xa1), Decision: decision, Purpose: events.PurposeTreatment})},
		{"record refiled", event(0x31, &events.RecordRefiled{Actor: id(0xa1), Decision: decision, From: id(0xa5), Patient: id(0xb5)})},
		{"history read", event(0x32, &events.HistoryRead{Actor: id(0xa1), Decision: decision})},
		{"delivery failed", event(0x33, &events.DeliveryFailed{Actor: id(0xa1), Reason: events.FailureRightEnded, Release: id(0x17)})},
		{"access refused under a share", event(0x34, &events.AccessRefused{Action: events.ActionReceive, Actor: id(0xa6), Decision: decision, Share: id(0xa7)})},
		{"share acknowledged", event(0x35, &events.ShareAcknowledged{Actor: id(0xa6), Decision: decision, Share: id(0xa7)})},
		{"share ended", event(0x36, &events.ShareEnded{Actor: id(0xa1), Decision: decision, Share: id(0xa7)})},
		{"destruction requested", event(0x37, &events.DestructionRequested{
			Actor: id(0xa1), Decision: decision, Destruction: id(0xa9), Ground: events.GroundRetentionEnded,
		})},
		{"state log opened", event(0x3f, &events.StateLogOpened{PublicKey: base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0x5a}, 32))})},
	}
}

type sample struct {
	name  string
	event events.Event
}

func TestSamplesCoverEveryType(t *testing.T) {
	sampled := make(map[events.Type]bool)
	for _, s := range samples() {
		sampled[s.event.Type] = true
	}
	for _, typ := range events.Types() {
		if !sampled[typ] {
			t.Errorf("no test vector for %s; add a sample", typ)
		}
	}
}

func sign(t testing.TB, s *Signer, e events.Event) []byte {
	t.Helper()
	raw, err := s.Sign(e)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// keySet returns the keys that the opening of the samples announces.
func keySet(t testing.TB) KeySet {
	t.Helper()
	s, err := Parse(sign(t, signer(1), opened(signer(1).JWK(), signer(2).JWK())))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := KeySet{}.Announce(s, 0)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
