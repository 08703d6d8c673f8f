package state

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
)

// Announce returns what a ledger says of the key that signs its state log's
// checkpoints.
func Announce(key ed25519.PublicKey) *events.StateLogOpened {
	return &events.StateLogOpened{PublicKey: base64.RawURLEncoding.EncodeToString(key)}
}

// Verifier returns the key of the state log that an event announces; its name is
// the state log's origin. The event must have been verified. Errors wrap
// ErrMalformed.
func Verifier(e events.Event) (note.Verifier, error) {
	opened, ok := e.Data.(*events.StateLogOpened)
	if !ok {
		return nil, fmt.Errorf("%s announces no state log: %w", e.Type, ErrMalformed)
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(opened.PublicKey)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("key of the state log: %w", ErrMalformed)
	}
	text, err := note.NewEd25519VerifierKey(Origin(e.Source), key)
	if err != nil {
		return nil, fmt.Errorf("key of the state log: %w: %w", ErrMalformed, err)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("key of the state log: %w: %w", ErrMalformed, err)
	}
	return v, nil
}
