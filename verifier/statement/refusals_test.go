package statement

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/medledger/medledger/events"
)

// A refusal is a statement that must not verify.
type refusal struct {
	name string
	want string // a name in refusalErrors
	raw  []byte
}

var refusalErrors = map[string]error{
	"ErrTooLarge": ErrTooLarge, "ErrMalformed": ErrMalformed, "ErrAlgorithm": ErrAlgorithm,
	"ErrNotCanonical": ErrNotCanonical, "ErrUnknownKey": ErrUnknownKey, "ErrSignature": ErrSignature,
	"ErrOrigin": ErrOrigin, "events.ErrInvalid": events.ErrInvalid,
	"events.ErrUnknownType": events.ErrUnknownType, "events.ErrUnknownVersion": events.ErrUnknownVersion,
}

// refusals has a row for everything that the package comment says is refused.
// Each is signed properly by a key of the key set, unless the name says other.
func refusals() []refusal {
	return append(envelopeRefusals(), append(payloadRefusals(), keyRefusals()...)...)
}

func goodPayload() string {
	payload, err := encodeEvent(samples()[7].event)
	if err != nil {
		panic(err)
	}
	return string(payload)
}

// forge signs any payload under any protected header (the map, encoded).
func forge(protected []byte, payload []byte) (signature []byte) {
	message, err := cbor.Marshal([]any{"Signature1", protected, []byte{}, payload})
	if err != nil {
		panic(err)
	}
	return ed25519.Sign(ed25519.NewKeyFromSeed(seed(1)), message)
}

func goodHeader() []byte {
	kid := signer(1).id
	return appendProtected(nil, kid)[2:]
}

// withPayload returns a statement that is flawless but for its payload.
func withPayload(payload string) []byte {
	return appendFrame(nil, signer(1).id, []byte(payload), forge(goodHeader(), []byte(payload)))
}

// with returns the good payload with one part replaced.
func with(old, new string) []byte {
	if !strings.Contains(goodPayload(), old) {
		panic("payload has no " + old)
	}
	return withPayload(strings.Replace(goodPayload(), old, new, 1))
}

// header encodes a map of pairs in the given order.
func header(pairs ...any) []byte {
	b := []byte{0xa0 | byte(len(pairs)/2)}
	for _, v := range pairs {
		encoded, err := cbor.Marshal(v)
		if err != nil {
			panic(err)
		}
		b = append(b, encoded...)
	}
	return b
}

// withHeader returns a statement that is flawless but for its protected header.
func withHeader(protected []byte) []byte {
	payload := []byte(goodPayload())
	return envelope(18, protected, map[int]any{}, payload, forge(protected, payload))
}

func envelope(tag uint64, content ...any) []byte {
	raw, err := cbor.Marshal(cbor.Tag{Number: tag, Content: content})
	if err != nil {
		panic(err)
	}
	return raw
}

func replace(raw []byte, old, new string) []byte {
	if bytes.Count(raw, []byte(old)) != 1 {
		panic("not once in the statement: " + old)
	}
	return bytes.Replace(raw, []byte(old), []byte(new), 1)
}

func envelopeRefusals() []refusal {
	payload, good, kid := []byte(goodPayload()), goodHeader(), signer(1).id
	sig := forge(good, payload)
	raw := withPayload(goodPayload())
	none := map[int]any{}
	const cloud = ContentType
	return []refusal{
		{"nothing", "ErrMalformed", []byte{}},
		{"one byte over the limit", "ErrTooLarge", withPayload(strings.Repeat(" ", MaxSize+1-around-2) + "{}")},
		{"as large as can be", "ErrNotCanonical", withPayload(strings.Repeat(" ", MaxSize-around-2) + "{}")},
		{"not tagged", "ErrMalformed", raw[1:]},
		{"tag of COSE_Mac0", "ErrMalformed", envelope(17, good, none, payload, sig)},
		{"tag of COSE_Sign", "ErrMalformed", envelope(98, good, none, payload, sig)},
		{"tagged twice", "ErrMalformed", append([]byte{0xd2}, raw...)},
		{"array of three", "ErrMalformed", envelope(18, good, none, payload)},
		{"array of five", "ErrMalformed", envelope(18, good, none, payload, sig, sig)},
		{"payload is text", "ErrMalformed", envelope(18, good, none, string(payload), sig)},
		{"payload is nil", "ErrMalformed", envelope(18, good, none, nil, sig)},
		{"protected header is a map", "ErrMalformed", envelope(18, cbor.RawMessage(header(1, -8, 3, cloud)), none, payload, sig)},
		{"unprotected header is an array", "ErrMalformed", envelope(18, good, []int{}, payload, sig)},
		{"last byte missing", "ErrMalformed", raw[:len(raw)-1]},
		{"one byte left over", "ErrMalformed", append(bytes.Clone(raw), 0)},
		{"signature of 63 bytes", "ErrMalformed", envelope(18, good, none, payload, sig[:63])},
		{"signature of 65 bytes", "ErrMalformed", envelope(18, good, none, payload, append(bytes.Clone(sig), 0))},
		{"signature is empty", "ErrMalformed", envelope(18, good, none, payload, []byte{})},

		{"algorithm ES256", "ErrAlgorithm", withHeader(header(1, -7, 3, cloud, 4, kid[:]))},
		{"algorithm Ed25519 (-19)", "ErrAlgorithm", withHeader(header(1, -19, 3, cloud, 4, kid[:]))},
		{"algorithm as text", "ErrAlgorithm", withHeader(header(1, "EdDSA", 3, cloud, 4, kid[:]))},
		{"no algorithm", "ErrAlgorithm", withHeader(header(3, cloud, 4, kid[:]))},
		{"no protected header", "ErrAlgorithm", withHeader([]byte{})},
		{"algorithm not protected", "ErrAlgorithm", envelope(18, header(3, cloud, 4, kid[:]), map[int]any{1: -8}, payload, sig)},

		{"no content type", "ErrMalformed", withHeader(header(1, -8, 4, kid[:]))},
		{"content type application/json", "ErrMalformed", withHeader(header(1, -8, 3, "application/json", 4, kid[:]))},
		{"content type as a number", "ErrMalformed", withHeader(header(1, -8, 3, 50, 4, kid[:]))},
		{"no kid", "ErrMalformed", withHeader(header(1, -8, 3, cloud))},
		{"kid of seven bytes", "ErrMalformed", withHeader(header(1, -8, 3, cloud, 4, kid[:7]))},
		{"kid of nine bytes", "ErrMalformed", withHeader(header(1, -8, 3, cloud, 4, append(kid[:], 0)))},
		{"kid as text", "ErrMalformed", withHeader(header(1, -8, 3, cloud, 4, kid.String()))},
		{"fourth protected header", "ErrMalformed", withHeader(header(1, -8, 3, cloud, 4, kid[:], 16, "a/b"))},
		{"critical header", "ErrMalformed", withHeader(header(1, -8, 2, []int{3}, 3, cloud, 4, kid[:]))},
		{"header repeated", "ErrMalformed", withHeader(header(1, -8, 1, -8, 3, cloud, 4, kid[:]))},
		{"header not protected", "ErrMalformed", envelope(18, good, map[int]any{4: kid[:]}, payload, sig)},
		{"unknown header not protected", "ErrMalformed", envelope(18, good, map[string]any{"x": 1}, payload, sig)},

		{"tag in two bytes", "ErrNotCanonical", append([]byte{0xd8, 18}, raw[1:]...)},
		{"array length in two bytes", "ErrNotCanonical", append([]byte{0xd2, 0x98, 4}, raw[2:]...)},
		{"array of indefinite length", "ErrNotCanonical", append(append([]byte{0xd2, 0x9f}, raw[2:]...), 0xff)},
		{"protected header's length in three bytes", "ErrNotCanonical", replace(raw, "\x84\x58\x2c", "\x84\x59\x00\x2c")},
		{"unprotected header's length in two bytes", "ErrNotCanonical", replace(raw, string(kid[:])+"\xa0", string(kid[:])+"\xb8\x00")},
		{"unprotected header of indefinite length", "ErrNotCanonical", replace(raw, string(kid[:])+"\xa0", string(kid[:])+"\xbf\xff")},
		{"payload's length in five bytes", "ErrNotCanonical", replace(raw, "\xa0\x59", "\xa0\x5a\x00\x00")},
		{"payload in chunks", "ErrNotCanonical", replace(replace(raw, "\xa0\x59", "\xa0\x5f\x59"), "\"}\x58\x40", "\"}\xff\x58\x40")},
		{"signature's length in three bytes", "ErrNotCanonical", replace(raw, "\"}\x58\x40", "\"}\x59\x00\x40")},
		{"algorithm in two bytes", "ErrNotCanonical", withHeader(replace(good, "\x01\x27", "\x01\x38\x07"))},
		{"label in two bytes", "ErrNotCanonical", withHeader(replace(good, "\xa3\x01", "\xa3\x18\x01"))},
		{"kid's length in two bytes", "ErrNotCanonical", withHeader(replace(good, "\x04\x48", "\x04\x58\x08"))},
		{"headers in another order", "ErrNotCanonical", withHeader(header(1, -8, 4, kid[:], 3, cloud))},
	}
}

func payloadRefusals() []refusal {
	good := goodPayload()
	const actor = `"actor":"00000000-0000-4000-8000-0000000000a1"`
	return []refusal{
		{"empty payload", "ErrMalformed", withPayload("")},
		{"payload cut short", "ErrMalformed", withPayload(good[:len(good)-1])},
		{"payload is an array", "ErrMalformed", withPayload("[]")},
		{"member repeated", "ErrMalformed", with(`"specversion"`, `"source":"clinic.example/ledger","specversion"`)},
		{"member of data repeated", "ErrMalformed", with(actor, actor+","+actor)},
		{"invalid UTF-8", "ErrMalformed", with(`"TREAT"`, "\"TREAT\xff\"")},
		{"lone surrogate", "ErrMalformed", with(`"TREAT"`, `"TREAT\ud800"`)},
		{"number beyond a double", "ErrMalformed", with(`"position":41`, `"position":1e999`)},
		{"65 levels", "ErrMalformed", with(`"purpose":"TREAT"`, `"purpose":`+strings.Repeat("[", 65)+strings.Repeat("]", 65))},
		{"byte order mark", "ErrMalformed", withPayload("\ufeff" + good)},
		{"line end after the payload", "ErrNotCanonical", withPayload(good + "\n")},
		{"space in the payload", "ErrNotCanonical", with(`,"id":`, `, "id":`)},
		{"members in another order", "ErrNotCanonical", with(`"source":"clinic.example/ledger","specversion":"1.0"`, `"specversion":"1.0","source":"clinic.example/ledger"`)},
		{"escaped letter", "ErrNotCanonical", with(`"TREAT"`, `"\u0054REAT"`)},
		{"escaped solidus", "ErrNotCanonical", with(`clinic.example/ledger`, `clinic.example\/ledger`)},
		{"integer with a fraction", "ErrNotCanonical", with(`"position":41`, `"position":41.0`)},
		{"integer with an exponent", "ErrNotCanonical", with(`"position":41`, `"position":4.1e1`)},

		{"id is a number", "ErrMalformed", with(`"id":"00000000-0000-4000-8000-000000000017"`, `"id":17`)},
		{"id in upper case", "ErrMalformed", with(`0000000000a0"`, `0000000000A0"`)},
		{"id without hyphens", "ErrMalformed", with(`00000000-0000-4000-8000-0000000000a0`, `000000000000400080000000000000a0`)},
		{"id all zero", "ErrMalformed", with(`00000000-0000-4000-8000-0000000000a0`, `00000000-0000-0000-0000-000000000000`)},
		{"time without fraction", "ErrMalformed", with(`20:00:00.000023Z`, `20:00:00Z`)},
		{"time in milliseconds", "ErrMalformed", with(`20:00:00.000023Z`, `20:00:00.000Z`)},
		{"time with an offset", "ErrMalformed", with(`20:00:00.000023Z`, `20:00:00.000023+00:00`)},
		{"time with a leap second", "ErrMalformed", with(`20:00:00.000023Z`, `23:59:60.000023Z`)},
		{"time with a comma", "ErrMalformed", with(`20:00:00.000023Z`, `20:00:00,000023Z`)},
		{"time in lower case", "ErrMalformed", with(`T20:00:00.000023Z`, `t20:00:00.000023z`)},
		{"time before 2000", "ErrMalformed", with(`2026-11-23`, `1999-11-23`)},
		{"data is an array", "ErrMalformed", with(good[strings.Index(good, `"data":{`):strings.Index(good, `,"dataschema"`)], `"data":[]`)},
		{"data is text", "ErrMalformed", with(good[strings.Index(good, `"data":{`):strings.Index(good, `,"dataschema"`)], `"data":"x"`)},
		{"position is text", "ErrMalformed", with(`"position":41`, `"position":"41"`)},
		{"position is negative", "ErrMalformed", with(`"position":41`, `"position":-41`)},
		{"position is a fraction", "ErrMalformed", with(`"position":41`, `"position":41.5`)},
		{"version beyond 32 bits", "ErrMalformed", with(`"version":1`, `"version":4294967296`)},

		{"no type", "events.ErrUnknownType", with(`,"type":"medledger.record.accessed.v1"`, ``)},
		{"unknown type", "events.ErrUnknownType", with(`"medledger.record.accessed.v1"`, `"medledger.record.forgotten.v1"`)},
		{"type of somebody else", "events.ErrUnknownType", with(`"medledger.record.accessed.v1"`, `"com.example.accessed"`)},
		{"type in upper case", "events.ErrUnknownType", with(`"medledger.record.accessed.v1"`, `"Medledger.record.accessed.v1"`)},
		{"unknown version", "events.ErrUnknownVersion", with(`"medledger.record.accessed.v1"`, `"medledger.record.accessed.v2"`)},
		{"no id", "events.ErrInvalid", with(`"id":"00000000-0000-4000-8000-000000000017",`, ``)},
		{"no source", "events.ErrInvalid", with(`"source":"clinic.example/ledger",`, ``)},
		{"no subject", "events.ErrInvalid", with(`"subject":"00000000-0000-4000-8000-0000000000a0",`, ``)},
		{"no time", "events.ErrInvalid", with(`"time":"2026-11-23T20:00:00.000023Z",`, ``)},
		{"no data", "events.ErrInvalid", with(good[strings.Index(good, `"data":{`):strings.Index(good, `"dataschema"`)], ``)},
		{"data is null", "events.ErrInvalid", with(good[strings.Index(good, `"data":{`):strings.Index(good, `,"dataschema"`)], `"data":null`)},
		{"source with a scheme", "events.ErrInvalid", with(`clinic.example/ledger`, `https://clinic.example/ledger`)},
		{"no actor", "events.ErrInvalid", with(actor+",", ``)},
		{"unknown purpose", "events.ErrInvalid", with(`"TREAT"`, `"CURIOSITY"`)},
		{"data of another type", "events.ErrInvalid", with(`"medledger.record.accessed.v1"`, `"medledger.record.destroyed.v1"`)},

		{"specversion 0.3", "ErrNotCanonical", with(`"specversion":"1.0"`, `"specversion":"0.3"`)},
		{"no specversion", "ErrNotCanonical", with(`"specversion":"1.0",`, ``)},
		{"dataschema of another type", "ErrNotCanonical", with(`schema:record.accessed.v1`, `schema:record.accessed.v2`)},
		{"no dataschema", "ErrNotCanonical", with(`"dataschema":"urn:medledger:schema:record.accessed.v1",`, ``)},
		{"datacontenttype", "ErrNotCanonical", with(`"dataschema"`, `"datacontenttype":"application/json","dataschema"`)},
		{"unknown member", "ErrNotCanonical", with(`"time"`, `"tenant":"a","time"`)},
		{"unknown member of data", "ErrNotCanonical", with(`"purpose"`, `"note":"seen at the desk","purpose"`)},
		{"unknown member of the decision", "ErrNotCanonical", with(`"position":41,`, `"position":41,"reason":"x",`)},
		{"member in the wrong case", "ErrNotCanonical", with(`"subject"`, `"subJect"`)},
		{"member of data in the wrong case", "ErrNotCanonical", with(`"actor"`, `"Actor"`)},
		{"member a second time in another case", "ErrNotCanonical", with(`"data":`, `"ID":"00000000-0000-4000-8000-000000000099","data":`)},
		{"optional member that is empty", "ErrNotCanonical", with(`{"data":`, `{"correlationid":"","data":`)},
		{"optional member that is null", "ErrNotCanonical", with(`{"data":`, `{"causationid":null,"data":`)},
		{"missing member with a zero value", "ErrNotCanonical", with(`"position":41,`, ``)},
	}
}

func keyRefusals() []refusal {
	access := samples()[7].event
	stranger, err := signer(9).Sign(access)
	if err != nil {
		panic(err)
	}
	elsewhere := access
	elsewhere.Source = "other.example/ledger"
	other, err := signer(1).Sign(elsewhere)
	if err != nil {
		panic(err)
	}
	good := withPayload(goodPayload())
	sig := good[len(good)-64:]
	borrowed := withPayload(goodPayload())
	copy(borrowed[len(frameTag)+len(protectedHead):], signerKid(2))
	return []refusal{
		{"key of a stranger", "ErrUnknownKey", stranger},
		{"another ledger's event", "ErrOrigin", other},
		{"signature of another key of the set", "ErrSignature", borrowed},
		{"signature over another payload", "ErrSignature", replace(good, `"version":1`, `"version":2`)},
		{"signature all zero", "ErrSignature", replace(good, string(sig), strings.Repeat("\x00", 64))},
		{"signature with S + L", "ErrSignature", replace(good, string(sig[32:]), string(plusOrder(sig[32:])))},
	}
}

func signerKid(n byte) []byte {
	kid := signer(n).id
	return kid[:]
}

// plusOrder adds the order of the group to a little-endian scalar: the same
// scalar in a spelling that RFC 8032 forbids.
func plusOrder(s []byte) []byte {
	order := [32]byte{
		0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
	}
	sum, carry := make([]byte, 32), 0
	for i := range sum {
		carry += int(s[i]) + int(order[i])
		sum[i] = byte(carry)
		carry >>= 8
	}
	return sum
}

func TestRefusals(t *testing.T) {
	keys := keySet(t)
	if _, err := Verify(withPayload(goodPayload()), keys); err != nil {
		t.Fatalf("the statement that the refusals are made of: %v", err)
	}
	for _, r := range refusals() {
		if s, err := Verify(r.raw, keys); !errors.Is(err, refusalErrors[r.want]) || refusalErrors[r.want] == nil || s != nil {
			t.Errorf("%s: %v, want %s", r.name, err, r.want)
		}
	}
}
