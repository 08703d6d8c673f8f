package events

// The events of this file have the actor whom the token is for as their subject.

// TokenIssued gives an actor a bearer token to log in with. Who holds the token
// is not told by its digest: a token is 32 random bytes, of which a digest says
// nothing.
type TokenIssued struct {
	// By is the actor who issued it; zero if it was issued on the ledger's own
	// machine.
	By ID `json:"by,omitzero"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Digest is the SHA-256 of the token.
	Digest Digest `json:"digest"`
	// Expires is from when on it is worth nothing.
	Expires Timestamp `json:"expires"`
	// Token names the token.
	Token ID `json:"token"`
}

// TokenRevoked makes a token worthless at once.
type TokenRevoked struct {
	// By is the actor who revoked it; zero if it was revoked on the ledger's own
	// machine.
	By ID `json:"by,omitzero"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Token is the token.
	Token ID `json:"token"`
}

// EventType implements Data.
func (*TokenIssued) EventType() Type { return TypeTokenIssued }

// Check implements Data.
func (d *TokenIssued) Check() error {
	if d.Token.IsZero() || d.Digest == (Digest{}) {
		return invalid("token without an id or a digest")
	}
	if err := d.Expires.check("expires"); err != nil {
		return err
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*TokenRevoked) EventType() Type { return TypeTokenRevoked }

// Check implements Data.
func (d *TokenRevoked) Check() error {
	if d.Token.IsZero() {
		return invalid("revocation without a token")
	}
	return d.Decision.check()
}
