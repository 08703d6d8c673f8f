package statement

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/jcs"
)

func TestSignAndVerify(t *testing.T) {
	keys := keySet(t)
	for _, sample := range samples() {
		raw := sign(t, signer(1), sample.event)
		s, err := Verify(raw, keys)
		if err != nil {
			t.Errorf("%s: %v", sample.name, err)
			continue
		}
		if s.KeyID != signer(1).id || !bytes.Equal(s.Raw, raw) || !bytes.Contains(raw, s.Payload) {
			t.Errorf("%s: parts of the statement are not those that were signed", sample.name)
		}
		if again := sign(t, signer(1), s.Event); !bytes.Equal(again, raw) {
			t.Errorf("%s: signing the parsed event again gives other bytes", sample.name)
		}
	}
}

// An older version of an event is read as it was signed, and made new after the
// check of its signature.
func TestOlderVersionUpcasts(t *testing.T) {
	old := &events.ActorRegisteredV1{
		Decision: events.Decision{Rule: "registrar", Rules: "medledger-rules-1"}, Organisation: id(0xa4), Role: events.RoleAdmin,
	}
	s, err := Verify(sign(t, signer(1), event(1, old)), keySet(t))
	if err != nil {
		t.Fatal(err)
	}
	if s.Event.Type != events.TypeActorRegisteredV1 {
		t.Fatalf("parsed as %s", s.Event.Type)
	}
	e := events.Upcast(s.Event)
	d, ok := e.Data.(*events.ActorRegistered)
	if !ok || e.Type != events.TypeActorRegistered || d.Role != old.Role || d.Organisation != old.Organisation || e.ID != s.Event.ID {
		t.Errorf("upcast to %+v", e)
	}
}

// Whatever bit of a statement is changed, it does not verify.
func TestEveryBitCounts(t *testing.T) {
	keys := keySet(t)
	raw := sign(t, signer(1), samples()[7].event)
	for i := range raw {
		for bit := range 8 {
			mangled := bytes.Clone(raw)
			mangled[i] ^= 1 << bit
			if _, err := Verify(mangled, keys); err == nil {
				t.Errorf("byte %d, bit %d: still verifies", i, bit)
			}
		}
	}
	for n := range raw {
		if _, err := Parse(raw[:n]); err == nil {
			t.Errorf("the first %d bytes are taken for a statement", n)
		}
	}
}

// The frame is what go-cose makes of the same parts, for every length of head.
func TestFrameIsCOSE(t *testing.T) {
	for _, n := range []int{0, 1, 23, 24, 25, 255, 256, 257, 258, 259, 260, 1000, MaxSize - around} {
		payload := bytes.Repeat([]byte{'x'}, n)
		kid := signer(1).id
		key, err := cose.NewSigner(cose.AlgorithmEdDSA, ed25519.NewKeyFromSeed(seed(1)))
		if err != nil {
			t.Fatal(err)
		}
		want, err := cose.Sign1(nil, key, cose.Headers{Protected: cose.ProtectedHeader{
			cose.HeaderLabelAlgorithm: cose.AlgorithmEdDSA, cose.HeaderLabelContentType: ContentType, cose.HeaderLabelKeyID: kid[:],
		}}, payload, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendFrame(nil, kid, payload, want[len(want)-64:]); !bytes.Equal(got, want) {
			t.Errorf("payload of %d bytes: frame differs from go-cose's", n)
		}
		gotKid, gotPayload, ok := cutFrame(want)
		if !ok || gotKid != kid || !bytes.Equal(gotPayload, payload) {
			t.Errorf("payload of %d bytes: the frame is not taken apart", n)
		}
	}
}

// The signature is over the bytes that the package comment lists.
func TestSigStructure(t *testing.T) {
	raw := sign(t, signer(1), samples()[7].event)
	s, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("\x84\x6aSignature1\x58\x2c")
	message = append(message, raw[4:48]...)
	message = append(message, 0x40, 0x59, byte(len(s.Payload)>>8), byte(len(s.Payload)))
	message = append(message, s.Payload...)
	public := ed25519.NewKeyFromSeed(seed(1)).Public().(ed25519.PublicKey)
	if !ed25519.Verify(public, message, raw[len(raw)-64:]) {
		t.Error("the signature is over other bytes")
	}
}

func TestKeyIDOfRFC8037(t *testing.T) {
	// RFC 8037 appendices A.1 to A.3: key and thumbprint.
	private, err := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	if err != nil {
		t.Fatal(err)
	}
	s := NewSigner(ed25519.NewKeyFromSeed(private))
	want := events.StatementKey{Crv: "Ed25519", Kid: "kPrK_qmxVWY", Kty: "OKP", X: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
	if s.JWK() != want || s.id.String() != want.Kid {
		t.Errorf("JWK is %+v, want %+v", s.JWK(), want)
	}
}

type oddData struct {
	Z string `json:"z"`
	A string `json:"a"`
}

func (*oddData) EventType() events.Type { return "medledger.record.odd.v1" }
func (*oddData) Check() error           { return nil }

type largeData struct {
	A string `json:"a"`
}

func (*largeData) EventType() events.Type { return "medledger.record.large.v1" }
func (*largeData) Check() error           { return nil }

func TestSignRefuses(t *testing.T) {
	access := samples()[7].event
	noActor := access
	noActor.Data = &events.RecordAccessed{Purpose: events.PurposeTreatment, Version: 1}
	wrongType := access
	wrongType.Type = events.TypeRecordDestroyed
	inexact := access
	inexact.Data = &events.RecordAccessed{
		Actor: id(1), Decision: events.Decision{Position: 1<<53 + 1, Rule: "a", Rules: "b"}, Purpose: events.PurposeTreatment, Version: 1,
	}
	for _, c := range []struct {
		name  string
		event events.Event
		want  error
	}{
		{"empty event", events.Event{}, events.ErrInvalid},
		{"no actor", noActor, events.ErrInvalid},
		{"type of other data", wrongType, events.ErrInvalid},
		{"integer that no double holds", inexact, events.ErrInvalid},
		{"data whose members are not in order", event(1, &oddData{}), events.ErrInvalid},
		{"too large", event(1, &largeData{A: string(bytes.Repeat([]byte{'a'}, MaxSize))}), ErrTooLarge},
	} {
		if raw, err := signer(1).Sign(c.event); !errors.Is(err, c.want) || raw != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestVerifyWithOneKey(t *testing.T) {
	s, err := Parse(sign(t, signer(1), samples()[7].event))
	if err != nil {
		t.Fatal(err)
	}
	public := func(n byte) ed25519.PublicKey {
		return ed25519.NewKeyFromSeed(seed(n)).Public().(ed25519.PublicKey)
	}
	other := *s
	other.Raw = []byte("something else")
	renamed := *s
	renamed.KeyID = signer(2).id
	for _, c := range []struct {
		name string
		s    *Statement
		key  ed25519.PublicKey
		want error
	}{
		{"its key", s, public(1), nil},
		{"another key", s, public(2), ErrUnknownKey},
		{"no key", s, nil, ErrUnknownKey},
		{"short key", s, public(1)[:31], ErrUnknownKey},
		{"not parsed", &Statement{KeyID: s.KeyID}, public(1), ErrMalformed},
		{"bytes replaced", &other, public(1), ErrMalformed},
		{"key id replaced", &renamed, public(2), ErrMalformed},
	} {
		if err := c.s.Verify(c.key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range samples() {
		f.Add(sign(f, signer(1), s.event))
	}
	for _, r := range refusals() {
		if len(r.raw) < 4096 {
			f.Add(r.raw)
		}
	}
	keys := keySet(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Parse(raw)
		if err != nil {
			return
		}
		if again := appendFrame(nil, s.KeyID, s.Payload, raw[len(raw)-64:]); !bytes.Equal(again, raw) {
			t.Fatalf("framing again gives %x of %x", again, raw)
		}
		encodesTo(t, s.Event, s.Payload)
		if !cborIsDeterministic(t, raw) {
			t.Fatalf("accepted, but not deterministic: %x", raw)
		}
		_ = keys.Check(s) // must not panic
	})
}

// FuzzPayload reaches deeper than FuzzParse, since it has no frame to get right.
func FuzzPayload(f *testing.F) {
	for _, s := range samples() {
		payload, err := encodeEvent(s.event)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	for _, r := range payloadRefusals() {
		if _, payload, ok := cutFrame(r.raw); ok && len(payload) < 4096 {
			f.Add(payload)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if e, err := decodeEvent(payload); err == nil {
			encodesTo(t, e, payload)
		}
	})
}

func encodesTo(t *testing.T, e events.Event, payload []byte) {
	t.Helper()
	if err := e.Check(); err != nil {
		t.Fatalf("accepted an event that does not pass its check: %v", err)
	}
	if err := jcs.Check(payload); err != nil {
		t.Fatalf("accepted %s, but: %v", payload, err)
	}
	if again, err := encodeEvent(e); err != nil || !bytes.Equal(again, payload) {
		t.Fatalf("%s encodes again to %s, %v", payload, again, err)
	}
}

func cborIsDeterministic(t *testing.T, raw []byte) bool {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := cbor.Unmarshal(raw, &v); err != nil {
		return false
	}
	again, err := mode.Marshal(v)
	return err == nil && bytes.Equal(again, raw)
}

func BenchmarkParse(b *testing.B) {
	raw := sign(b, signer(1), samples()[5].event)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	raw := sign(b, signer(1), samples()[5].event)
	keys := keySet(b)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(raw, keys); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s, e := signer(1), samples()[5].event
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEd25519 is what the others cannot go below.
func BenchmarkEd25519(b *testing.B) {
	private := ed25519.NewKeyFromSeed(seed(1))
	public := private.Public().(ed25519.PublicKey)
	message := sign(b, signer(1), samples()[5].event)
	signature := ed25519.Sign(private, message)
	b.Run("sign", func(b *testing.B) {
		for b.Loop() {
			ed25519.Sign(private, message)
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if !ed25519.Verify(public, message, signature) {
				b.Fatal("signature does not verify")
			}
		}
	})
}
