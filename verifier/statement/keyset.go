package statement

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"

	"github.com/medledger/medledger/events"
)

// KeySet is the set of keys that may sign statements at some place in a log. It
// is made of announcements alone; see the package comment. The zero KeySet is
// the one before index 0. A KeySet does not change.
type KeySet struct {
	origin    string
	announced uint64      // the log index of the announcement that made the set
	keys      []publicKey // none in the zero KeySet
}

type publicKey struct {
	id  KeyID
	key ed25519.PublicKey
}

// Origin returns the origin of the log, or "" for the zero KeySet.
func (k KeySet) Origin() string { return k.origin }

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
// the set that holds from the next index on. On the zero KeySet only an opening at
// index 0 passes; on any other only a rotation. The statement must come from
// Parse. Errors wrap ErrAnnouncement, or are those of Check.
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

// newKeySet makes the set of the keys that a parsed statement announces. The
// event's own check has settled their number, their form and that no kid is
// repeated; that each kid is its key's is left to be checked.
func newKeySet(origin string, index uint64, announced []events.StatementKey) (KeySet, error) {
	k := KeySet{origin: origin, announced: index, keys: make([]publicKey, 0, len(announced))}
	for _, jwk := range announced {
		x, err := base64.RawURLEncoding.DecodeString(jwk.X)
		id := keyIDOf(x)
		if err != nil || jwk.Kid != id.String() {
			return KeySet{}, fmt.Errorf("a kid that is not its key's, which is %v: %w", id, ErrAnnouncement)
		}
		k.keys = append(k.keys, publicKey{id, x})
	}
	return k, nil
}
