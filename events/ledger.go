package events

import "encoding/base64"

// LedgerOpened is the first event of every ledger, at log index 0.
type LedgerOpened struct {
	// Created is the time at which the ledger was made; the event's own.
	Created Timestamp `json:"created"`
	// Origin is the name of the log; the event's source.
	Origin string `json:"origin"`
	// StatementKeys are the keys that may sign statements, this one included.
	StatementKeys []StatementKey `json:"statementKeys"`
}

// KeyRotated replaces the keys that may sign statements. It is signed by a key
// of the set that it replaces; from the next index on only the new set holds.
type KeyRotated struct {
	// Previous is the log index of the announcement that this one replaces.
	Previous uint64 `json:"previous"`
	// StatementKeys are the keys that may sign from the next index on.
	StatementKeys []StatementKey `json:"statementKeys"`
}

// LedgerRestored says that the ledger was put back from a backup and goes on
// from there. Its subject is the ledger.
type LedgerRestored struct {
	// Size is how many events the backup had: the event's own index.
	Size uint64 `json:"size"`
}

// StateLogOpened announces the key of the state log, whose leaves commit to where
// every record stands (verifier/state). It stands in the log once, and its subject
// is the ledger.
type StateLogOpened struct {
	// PublicKey is the Ed25519 key that signs the state log's checkpoints, 32 bytes
	// in unpadded base64url.
	PublicKey string `json:"publicKey"`
}

// StatementKey is an Ed25519 public key as a JSON Web Key (RFC 8037).
type StatementKey struct {
	Crv string `json:"crv"` // "Ed25519"
	Kid string `json:"kid"` // see verifier/statement
	Kty string `json:"kty"` // "OKP"
	X   string `json:"x"`   // the public key in unpadded base64url
}

// MaxStatementKeys is how many keys may sign at one time.
const MaxStatementKeys = 8

// EventType implements Data.
func (*LedgerOpened) EventType() Type { return TypeLedgerOpened }

// Check implements Data.
func (d *LedgerOpened) Check() error {
	if err := d.Created.check("created"); err != nil {
		return err
	}
	if err := CheckOrigin(d.Origin); err != nil {
		return err
	}
	return checkKeys(d.StatementKeys)
}

// EventType implements Data.
func (*KeyRotated) EventType() Type { return TypeKeyRotated }

// Check implements Data.
func (d *KeyRotated) Check() error {
	if d.Previous > maxSafeInteger {
		return invalid("rotation of the keys announced at %d", d.Previous)
	}
	return checkKeys(d.StatementKeys)
}

// EventType implements Data.
func (*LedgerRestored) EventType() Type { return TypeLedgerRestored }

// Check implements Data.
func (d *LedgerRestored) Check() error {
	if d.Size == 0 || d.Size > maxSafeInteger {
		return invalid("restored from a backup of %d events", d.Size)
	}
	return nil
}

// EventType implements Data.
func (*StateLogOpened) EventType() Type { return TypeStateLogOpened }

// Check implements Data.
func (d *StateLogOpened) Check() error {
	if !isBase64URL(d.PublicKey, 32) {
		return invalid("the state log's key is not 32 bytes of base64url")
	}
	return nil
}

func checkKeys(keys []StatementKey) error {
	if len(keys) == 0 || len(keys) > MaxStatementKeys {
		return invalid("%d statement keys, want 1 to %d", len(keys), MaxStatementKeys)
	}
	kids := make(map[string]bool)
	for _, k := range keys {
		if k.Kty != "OKP" || k.Crv != "Ed25519" {
			return invalid("statement key is not an Ed25519 key")
		}
		if !isBase64URL(k.X, 32) {
			return invalid("statement key's x is not 32 bytes of base64url")
		}
		if !isBase64URL(k.Kid, 8) || kids[k.Kid] {
			return invalid("statement key's kid is repeated or not 8 bytes of base64url")
		}
		kids[k.Kid] = true
	}
	return nil
}

// isBase64URL reports whether s is n bytes in unpadded base64url. The decoder
// skips line breaks; the length tells.
func isBase64URL(s string, n int) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == n && len(s) == base64.RawURLEncoding.EncodedLen(n)
}

// StatementKeys returns the keys that the event announces; none if it is no
// announcement.
func (e Event) StatementKeys() []StatementKey {
	switch d := e.Data.(type) {
	case *LedgerOpened:
		return d.StatementKeys
	case *KeyRotated:
		return d.StatementKeys
	}
	return nil
}
