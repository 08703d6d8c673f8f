package statement

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/veraison/go-cose"

	"github.com/medledger/medledger/events"
)

// KeyID names a statement key; see the package comment.
type KeyID [8]byte

// String returns the kid as JWKs have it.
func (id KeyID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// keyIDOf returns the id of a public key.
func keyIDOf(key ed25519.PublicKey) KeyID {
	jwk := `{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`
	thumbprint := sha256.Sum256([]byte(jwk))
	return KeyID(thumbprint[:])
}

// Signer signs events with one key.
type Signer struct {
	cose cose.Signer
	id   KeyID
	jwk  events.StatementKey
}

// NewSigner returns a signer for a key of ed25519.GenerateKey or
// ed25519.NewKeyFromSeed.
func NewSigner(key ed25519.PrivateKey) *Signer {
	public := key.Public().(ed25519.PublicKey)
	id := keyIDOf(public)
	// The constructor fails only for keys that are not Ed25519.
	signer, err := cose.NewSigner(cose.AlgorithmEdDSA, key)
	if err != nil {
		panic(err)
	}
	return &Signer{cose: signer, id: id, jwk: events.StatementKey{
		Crv: "Ed25519",
		Kid: id.String(),
		Kty: "OKP",
		X:   base64.RawURLEncoding.EncodeToString(public),
	}}
}

// JWK returns the public key as announcements have it.
func (s *Signer) JWK() events.StatementKey { return s.jwk }

// Sign returns the statement of an event. The same event and key give the same
// bytes. Its errors wrap events.ErrInvalid if the event does not pass its Check,
// and ErrTooLarge.
func (s *Signer) Sign(e events.Event) ([]byte, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	payload, err := encodeEvent(e)
	if err != nil {
		return nil, err
	}
	if size := around + len(payload); size > MaxSize {
		return nil, fmt.Errorf("%s of %d bytes, limit %d: %w", e.Type, size, MaxSize, ErrTooLarge)
	}
	m := cose.Sign1Message{
		Headers: cose.Headers{
			RawProtected: appendProtected(make([]byte, 0, protectedSize), s.id),
			Protected:    cose.ProtectedHeader{cose.HeaderLabelAlgorithm: cose.AlgorithmEdDSA},
		},
		Payload: payload,
	}
	if err := m.Sign(nil, nil, s.cose); err != nil {
		return nil, fmt.Errorf("signing %s: %w", e.Type, err)
	}
	return appendFrame(make([]byte, 0, around+len(payload)), s.id, payload, m.Signature), nil
}

// Statement is a parsed statement. Raw and Payload are not to be modified.
type Statement struct {
	Raw     []byte       // the statement's bytes, those given to Parse
	KeyID   KeyID        // the key that is said to have signed it
	Payload []byte       // the signed event, a part of Raw
	Event   events.Event // as it was signed; see events.Upcast
}

// Parse reads a statement. It does not check the signature, so nothing that the
// statement says has been vouched for. The package comment lists what it
// refuses, and with which errors.
func Parse(raw []byte) (*Statement, error) {
	kid, payload, ok := cutFrame(raw)
	if !ok {
		return nil, explainFrame(raw)
	}
	e, err := decodeEvent(payload)
	if err != nil {
		return nil, err
	}
	return &Statement{Raw: raw, KeyID: kid, Payload: payload, Event: e}, nil
}

// Verify checks the signature with a public key. Its errors wrap ErrUnknownKey
// if the statement names another key, and ErrSignature.
func (s *Statement) Verify(key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize || keyIDOf(key) != s.KeyID {
		return fmt.Errorf("statement names key %v: %w", s.KeyID, ErrUnknownKey)
	}
	return s.verify(key)
}

// verify is Verify for a key that is known to have s.KeyID.
func (s *Statement) verify(key ed25519.PublicKey) error {
	kid, payload, ok := cutFrame(s.Raw)
	if !ok || kid != s.KeyID {
		return fmt.Errorf("statement was not made by Parse: %w", ErrMalformed)
	}
	v, err := cose.NewVerifier(cose.AlgorithmEdDSA, key)
	if err != nil {
		return fmt.Errorf("key %v: %w", s.KeyID, ErrUnknownKey)
	}
	return verifyFrame(s.Raw, payload, v)
}

// Verify parses a statement and checks it against the keys that may sign at its
// place in the log: the key it names, the signature, and that its source is the
// log's origin. It does not judge announcements; KeySet.Announce does.
func Verify(raw []byte, keys KeySet) (*Statement, error) {
	s, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	if err := keys.Check(s); err != nil {
		return nil, err
	}
	return s, nil
}
