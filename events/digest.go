package events

import (
	"encoding/base64"
	"fmt"
)

// Digest is a SHA-256 value, written in unpadded base64url (RFC 4648 section 5).
type Digest [32]byte

var digestEncoding = base64.RawURLEncoding.Strict()

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) {
	return digestEncoding.AppendEncode(nil, d[:]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what
// MarshalText writes and nothing else.
func (d *Digest) UnmarshalText(text []byte) error {
	b, err := digestEncoding.DecodeString(string(text))
	if err != nil || len(b) != len(d) {
		return fmt.Errorf("digest of %d characters, want 43 of base64url: %w", len(text), ErrInvalid)
	}
	copy(d[:], b)
	return nil
}
