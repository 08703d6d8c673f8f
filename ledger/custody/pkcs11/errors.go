//go:build cgo

package pkcs11

import (
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/medledger/medledger/ledger/custody"
)

// verdict is what becomes of a call that the token answered with an error.
type verdict int

const (
	// unavailable: nothing is known of the keys. It is every code that the table
	// does not have, for fail closed is the only safe reading of those.
	unavailable verdict = iota
	// again: the session or the login is gone, or a handle with it. The module is
	// opened anew and the call made once more; then it is unavailable.
	again
	// refused: the token does not do this, now or later. What to do is in advice.
	refused
	// forged: what is to be decrypted is not of this key and context.
	forged
)

// verdicts is what each code means. C_Decrypt needs a second look, see open.
var verdicts = map[pkcs11.Error]verdict{
	pkcs11.CKR_SESSION_HANDLE_INVALID:    again,
	pkcs11.CKR_SESSION_CLOSED:            again,
	pkcs11.CKR_DEVICE_REMOVED:            again,
	pkcs11.CKR_TOKEN_NOT_PRESENT:         again,
	pkcs11.CKR_TOKEN_NOT_RECOGNIZED:      again,
	pkcs11.CKR_SLOT_ID_INVALID:           again,
	pkcs11.CKR_USER_NOT_LOGGED_IN:        again,
	pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED:  again,
	pkcs11.CKR_OBJECT_HANDLE_INVALID:     again,
	pkcs11.CKR_KEY_HANDLE_INVALID:        again,
	pkcs11.CKR_OPERATION_ACTIVE:          again,
	pkcs11.CKR_OPERATION_NOT_INITIALIZED: again,
	pkcs11.CKR_FUNCTION_CANCELED:         again,

	pkcs11.CKR_GENERAL_ERROR:   unavailable,
	pkcs11.CKR_FUNCTION_FAILED: unavailable,
	pkcs11.CKR_DEVICE_ERROR:    unavailable,
	pkcs11.CKR_DEVICE_MEMORY:   unavailable,
	pkcs11.CKR_HOST_MEMORY:     unavailable,
	pkcs11.CKR_SESSION_COUNT:   unavailable,

	pkcs11.CKR_MECHANISM_INVALID:          refused,
	pkcs11.CKR_MECHANISM_PARAM_INVALID:    refused,
	pkcs11.CKR_FUNCTION_NOT_SUPPORTED:     refused,
	pkcs11.CKR_TEMPLATE_INCONSISTENT:      refused,
	pkcs11.CKR_TEMPLATE_INCOMPLETE:        refused,
	pkcs11.CKR_ATTRIBUTE_TYPE_INVALID:     refused,
	pkcs11.CKR_ATTRIBUTE_VALUE_INVALID:    refused,
	pkcs11.CKR_KEY_SIZE_RANGE:             refused,
	pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED: refused,
	pkcs11.CKR_KEY_TYPE_INCONSISTENT:      refused,
	pkcs11.CKR_TOKEN_WRITE_PROTECTED:      refused,
	pkcs11.CKR_SESSION_READ_ONLY:          refused,
	actionProhibited:                      refused,

	pkcs11.CKR_ENCRYPTED_DATA_INVALID:   forged,
	pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE: forged,
	aeadDecryptFailed:                   forged,
}

// Codes of PKCS #11 that the binding has no error type for, or no name.
const (
	actionProhibited  pkcs11.Error = pkcs11.CKR_ACTION_PROHIBITED
	aeadDecryptFailed pkcs11.Error = 0x35 // PKCS #11 3.0
)

// errAbsent says that a search found nothing in a session of an earlier call.
var errAbsent = errors.New("no such key in a session that may be stale")

// verdictOn reads an error of the module. ok is false for other errors, which are
// verdicts of their own.
func verdictOn(err error) (v verdict, ok bool) {
	if errors.Is(err, errAbsent) {
		return again, true
	}
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return 0, false
	}
	return verdicts[code], true
}

// reported is an error of the module in the contract's terms.
func reported(err error) error {
	switch v, ok := verdictOn(err); {
	case !ok || errors.Is(err, custody.ErrUnavailable) || errors.Is(err, custody.ErrSealed):
		return err
	case v == refused:
		return fmt.Errorf("the token cannot do what is needed (%w); 'medledger-token --check' says what is missing", err)
	case v == forged:
		return fmt.Errorf("%w (%w)", custody.ErrSealed, err)
	default:
		return fmt.Errorf("%w: the token answered %w; see that it is plugged in and reachable, and ask 'medledger-token --check'", custody.ErrUnavailable, err)
	}
}
