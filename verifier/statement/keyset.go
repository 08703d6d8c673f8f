package statement

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"

	"github.com/medledger/medledger/events"
)

// KeySet is the set of keys that may sign statements at some place in a log. It
// is made of announcements alone; see the package comment. The zero KeySet is
// the one before index 0, and only an opening passes it. A KeySet does not
// change.
type KeySet struct {
	origin    string
	announced uint64
	keys      []publicKey // none in the zero KeySet
}

type publicKey struct {
	id  KeyID
	key ed25519.PublicKey
}

// Origin returns the origin of the log, or "" for the zero KeySet.
func (k KeySet) Origin() string { return k.origin }

// Announced returns the log index of the announcement that made the set.
func (k KeySet) Announced() uint64 { return k.announced }

// Key returns the key with the given id, if it may sign.
func (k KeySet) Key(id KeyID) (ed25519.PublicKey, bool) {
	for _, p := range k.keys {
		if p.id == id {
			return p.key, true
		}
	}
	return nil, false
}

// Check checks a parsed statement against the set: the key that it names, its
// signature, and its source. Its errors wrap ErrUnknownKey, ErrSignature or
// ErrOrigin.
func (k KeySet) Check(s *Statement) error {
	key, ok := k.Key(s.KeyID)
	if !ok {
		return fmt.Errorf("key %v: %w", s.KeyID, ErrUnknownKey)
	}
	if err := s.verify(key); err != nil {
		return err
	}
	if s.Event.Source != k.origin {
		return fmt.Errorf("source %q in the log %q: %w", s.Event.Source, k.origin, ErrOrigin)
	}
	return nil
}

// Announce checks an announcement that stands at the given log index and returns
// the set that holds from the next index on. The announcement of the zero set
// is an opening at index 0; that of any other is a rotation. Its errors wrap
// ErrAnnouncement, or are those of Check.
func (k KeySet) Announce(s *Statement, index uint64) (KeySet, error) {
	switch d := s.Event.Data.(type) {
	case *events.LedgerOpened:
		if len(k.keys) > 0 || index != 0 {
			return KeySet{}, fmt.Errorf("ledger opened at index %d, or a second time: %w", index, ErrAnnouncement)
		}
		opened, err := newKeySet(s.Event.Source, index, d.StatementKeys)
		if err != nil {
			return KeySet{}, err
		}
		if err := opened.Check(s); err != nil {
			return KeySet{}, err
		}
		return opened, nil
	case *events.KeyRotated:
		if len(k.keys) == 0 {
			return KeySet{}, fmt.Errorf("keys rotated before the ledger was opened: %w", ErrAnnouncement)
		}
		if err := k.Check(s); err != nil {
			return KeySet{}, err
		}
		if d.Previous != k.announced || index <= k.announced {
			return KeySet{}, fmt.Errorf("rotation at index %d replaces the announcement at %d, but the last one is at %d: %w",
				index, d.Previous, k.announced, ErrAnnouncement)
		}
		return newKeySet(k.origin, index, d.StatementKeys)
	}
	return KeySet{}, fmt.Errorf("%s announces no keys: %w", s.Event.Type, ErrAnnouncement)
}

func newKeySet(origin string, index uint64, announced []events.StatementKey) (KeySet, error) {
	if len(announced) == 0 || len(announced) > events.MaxStatementKeys {
		return KeySet{}, fmt.Errorf("%d keys, want 1 to %d: %w", len(announced), events.MaxStatementKeys, ErrAnnouncement)
	}
	k := KeySet{origin: origin, announced: index, keys: make([]publicKey, 0, len(announced))}
	for _, jwk := range announced {
		if jwk.Kty != "OKP" || jwk.Crv != "Ed25519" {
			return KeySet{}, fmt.Errorf("a key that is not Ed25519: %w", ErrAnnouncement)
		}
		x, err := base64.RawURLEncoding.Strict().DecodeString(jwk.X)
		if err != nil || len(x) != ed25519.PublicKeySize || base64.RawURLEncoding.EncodeToString(x) != jwk.X {
			return KeySet{}, fmt.Errorf("a key that is not 32 bytes of base64url: %w", ErrAnnouncement)
		}
		id := KeyIDOf(x)
		if jwk.Kid != id.String() {
			return KeySet{}, fmt.Errorf("a kid that is not its key's, which is %v: %w", id, ErrAnnouncement)
		}
		if _, repeated := k.Key(id); repeated {
			return KeySet{}, fmt.Errorf("key %v twice: %w", id, ErrAnnouncement)
		}
		k.keys = append(k.keys, publicKey{id, x})
	}
	return k, nil
}
