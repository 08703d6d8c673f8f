package statement

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

// ContentType is the content type in the protected header.
const ContentType = "application/cloudevents+json"

// The constant bytes of the envelope; see the package comment.
const (
	frameTag      = "\xd2\x84"
	protectedHead = "\x58\x2c\xa3\x01\x27\x03\x78\x1c" + ContentType + "\x04\x48"
	unprotected   = "\xa0"
	signatureHead = "\x58\x40"

	protectedSize = len(protectedHead) + len(KeyID{})
	signatureSize = 64

	// around is what a payload of 256 bytes or more has around it.
	around = len(frameTag) + protectedSize + len(unprotected) + 3 + len(signatureHead) + signatureSize
)

// appendFrame appends the statement that is made of the three parts.
func appendFrame(dst []byte, kid KeyID, payload, signature []byte) []byte {
	dst = append(dst, frameTag...)
	dst = appendProtected(dst, kid)
	dst = append(dst, unprotected...)
	dst = appendHead(dst, len(payload))
	dst = append(dst, payload...)
	dst = append(dst, signatureHead...)
	return append(dst, signature...)
}

// appendProtected appends the protected header, as a byte string.
func appendProtected(dst []byte, kid KeyID) []byte {
	dst = append(dst, protectedHead...)
	return append(dst, kid[:]...)
}

// appendHead appends the shortest head of a byte string of n <= MaxSize bytes.
func appendHead(dst []byte, n int) []byte {
	switch {
	case n < 24:
		return append(dst, 0x40|byte(n))
	case n < 1<<8:
		return append(dst, 0x58, byte(n))
	}
	return binary.BigEndian.AppendUint16(append(dst, 0x59), uint16(n))
}

// The frame has two readers, and so has the payload: cutFrame is the fast reader
// of the one accepted form; explainFrame runs only on what it refuses, to find the
// error.

// cutFrame takes a statement apart. It succeeds only if appendFrame makes the
// very same bytes of the parts. The payload shares memory with raw.
func cutFrame(raw []byte) (kid KeyID, payload []byte, ok bool) {
	const fixed = len(frameTag) + protectedSize + len(unprotected)
	const tail = len(signatureHead) + signatureSize
	if len(raw) < fixed+1+tail || len(raw) > MaxSize {
		return kid, nil, false
	}
	kid = KeyID(raw[fixed-len(unprotected)-len(kid):])
	var buf [fixed + 3]byte
	rest := len(raw) - fixed - tail // the payload and its head
	n := rest - 1
	switch {
	case n >= 1<<8+2:
		n -= 2
	case n >= 24+1:
		n--
	}
	want := appendProtected(append(buf[:0], frameTag...), kid)
	want = appendHead(append(want, unprotected...), n)
	end := len(raw) - tail
	if n != end-len(want) || string(raw[:len(want)]) != string(want) || string(raw[end:end+len(signatureHead)]) != signatureHead {
		return kid, nil, false
	}
	return kid, raw[len(want):end:end], true
}

// explainFrame says why cutFrame refuses raw. It never returns nil.
func explainFrame(raw []byte) error {
	if len(raw) > MaxSize {
		return fmt.Errorf("%d bytes, limit %d: %w", len(raw), MaxSize, ErrTooLarge)
	}
	notDeterministic := fmt.Errorf("CBOR is not deterministic (RFC 8949 section 4.2.1): %w", ErrNotCanonical)
	if otherSpelling(raw) {
		return notDeterministic
	}
	var m cose.Sign1Message
	if err := m.UnmarshalCBOR(raw); err != nil {
		return fmt.Errorf("not a tagged COSE_Sign1 (%s): %w", oneLine(err), ErrMalformed)
	}
	if alg, err := m.Headers.Protected.Algorithm(); err != nil || alg != cose.AlgorithmEdDSA {
		return ErrAlgorithm
	}
	kid, _ := m.Headers.Protected[cose.HeaderLabelKeyID].([]byte)
	switch {
	case m.Headers.Protected[cose.HeaderLabelContentType] != any(ContentType):
		return fmt.Errorf("content type is not %s: %w", ContentType, ErrMalformed)
	case len(kid) != len(KeyID{}):
		return fmt.Errorf("kid of %d bytes, want %d: %w", len(kid), len(KeyID{}), ErrMalformed)
	case len(m.Headers.Protected) != 3:
		return fmt.Errorf("%d protected headers, want alg, content type and kid: %w", len(m.Headers.Protected), ErrMalformed)
	case len(m.Headers.Unprotected) != 0:
		return fmt.Errorf("a header that is not protected: %w", ErrMalformed)
	case m.Payload == nil:
		return fmt.Errorf("payload is detached: %w", ErrMalformed)
	case len(m.Signature) != signatureSize:
		return fmt.Errorf("signature of %d bytes, want %d: %w", len(m.Signature), signatureSize, ErrMalformed)
	}
	return notDeterministic // within the protected header, all else is settled
}

// otherSpelling reports whether raw is CBOR that deterministic encoding spells
// otherwise. It does not look into byte strings.
func otherSpelling(raw []byte) bool {
	decoding, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF}.DecMode()
	if err != nil {
		return false
	}
	encoding, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return false
	}
	var v any
	if err := decoding.Unmarshal(raw, &v); err != nil {
		return false
	}
	again, err := encoding.Marshal(v)
	return err == nil && !bytes.Equal(again, raw)
}

// oneLine keeps a message of the CBOR decoder printable and short: it can quote
// what it read.
func oneLine(err error) string {
	s := strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, err.Error()), "?")
	return s[:min(len(s), 120)]
}

// verifyFrame checks the signature of a statement that cutFrame accepted.
func verifyFrame(raw, payload []byte, v cose.Verifier) error {
	m := cose.Sign1Message{
		Headers: cose.Headers{
			RawProtected: raw[len(frameTag) : len(frameTag)+protectedSize],
			Protected:    cose.ProtectedHeader{cose.HeaderLabelAlgorithm: cose.AlgorithmEdDSA},
		},
		Payload:   payload,
		Signature: raw[len(raw)-signatureSize:],
	}
	err := m.Verify(nil, v)
	if errors.Is(err, cose.ErrVerification) {
		return ErrSignature
	}
	if err != nil {
		return fmt.Errorf("checking the signature (%s): %w", oneLine(err), ErrSignature)
	}
	return nil
}
