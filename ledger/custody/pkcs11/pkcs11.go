// Package pkcs11 keeps keys in a PKCS #11 token (OASIS PKCS #11 2.40): a hardware
// security module, or SoftHSM for trying it out. It needs cgo, so it runs in a
// process of its own, medledger-token, and the ledger reaches it through package
// token. Without cgo its functions say so.
//
// A key is an object of the token (CKO_SECRET_KEY, CKK_AES, 32 bytes) which the token
// made itself and never shows: CKA_TOKEN, CKA_PRIVATE and CKA_SENSITIVE are true,
// CKA_EXTRACTABLE, CKA_MODIFIABLE, CKA_WRAP and CKA_DERIVE are false. CKA_LABEL is
//
//	medledger/NAME
//
// and nothing else tells keys apart: CKA_ID is left to the token, because some allow
// each value once. A key of that label that was made otherwise, imported say, is not
// used. What Seal returns is
//
//	format      1 byte, 1
//	nonce       12 bytes, random
//	ciphertext  as long as the plaintext
//	tag         16 bytes
//
// made by the token with CKM_AES_GCM and the caller's context as additional data.
package pkcs11

import (
	"errors"
	"io"
)

// ErrPIN says that the token refused the PIN, or would be locked by another try.
// It is tried once: a token locks itself after a few.
var ErrPIN = errors.New("the token's PIN was not accepted")

// Config says which token to use.
type Config struct {
	// Module is the path of the PKCS #11 module, a shared library of the token's
	// vendor. A process uses one token of one module.
	Module string
	// Label is the token's label. It is not looked at if Slot is set.
	Label string
	// Slot is the token's slot, for tokens that share a label. Slots may be
	// numbered otherwise when a token is put back.
	Slot *uint
	// PIN returns the user's PIN. It is asked at every login, and what it returned
	// is wiped, so that the PIN is in memory no longer than it must be.
	PIN func() ([]byte, error)
	// Random makes nonces. nil means crypto/rand.
	Random io.Reader
}
