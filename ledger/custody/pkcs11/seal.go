//go:build cgo

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/miekg/pkcs11"

	"github.com/medledger/medledger/ledger/custody"
)

// The parts of what Seal returns.
const (
	format    = 1
	nonceSize = 12
	tagSize   = 16
	overhead  = 1 + nonceSize + tagSize
)

// Seal implements custody.Custody.
func (t *token) Seal(ctx context.Context, name string, plain, bound []byte) ([]byte, error) {
	if err := custody.CheckName(name); err != nil {
		return nil, err
	}
	if len(plain) > custody.MaxPlain {
		return nil, fmt.Errorf("%w: %d bytes", custody.ErrTooLong, len(plain))
	}
	var sealed []byte
	err := t.do(ctx, func() error {
		handle, err := t.key(name)
		if err != nil {
			return err
		}
		sealed, err = t.encrypt(handle, plain, bound)
		return err
	})
	return sealed, err
}

// Open implements custody.Custody.
func (t *token) Open(ctx context.Context, name string, sealed, bound []byte) ([]byte, error) {
	if err := custody.CheckName(name); err != nil {
		return nil, err
	}
	wellFormed := len(sealed) >= overhead && len(sealed) <= overhead+custody.MaxPlain && sealed[0] == format
	var plain []byte
	err := t.do(ctx, func() error {
		handle, err := t.key(name)
		if err != nil {
			return err
		}
		if !wellFormed {
			return custody.ErrSealed
		}
		plain, err = t.open(handle, sealed, bound)
		return err
	})
	return plain, err
}

// gcm is the mechanism of a call. The caller frees the parameters.
func gcm(nonce, bound []byte) (*pkcs11.GCMParams, []*pkcs11.Mechanism) {
	params := pkcs11.NewGCMParams(nonce, bound, 8*tagSize)
	return params, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}
}

// encrypt has the token encrypt. With a nonce of 96 random bits a key may seal 2^32
// times (NIST SP 800-38D, 8.3), which no key at the top of a tree comes near.
func (t *token) encrypt(key pkcs11.ObjectHandle, plain, bound []byte) ([]byte, error) {
	sealed := make([]byte, 1+nonceSize, overhead+len(plain))
	sealed[0] = format
	if _, err := io.ReadFull(t.config.Random, sealed[1:]); err != nil {
		return nil, fmt.Errorf("making a nonce: %w", err)
	}
	params, mechanism := gcm(sealed[1:], bound)
	defer params.Free()
	if err := t.module.EncryptInit(t.session, mechanism, key); err != nil {
		return nil, fmt.Errorf("beginning to encrypt: %w", err)
	}
	ciphertext, err := t.module.Encrypt(t.session, plain)
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	// Some modules take a nonce of their own and leave it here. Without cgo's
	// parameters, in tests, there is none.
	if used := params.IV(); len(used) == nonceSize {
		copy(sealed[1:], used)
	}
	if len(ciphertext) != len(plain)+tagSize {
		return nil, fmt.Errorf("%w: the token made %d bytes of %d, which is not AES-GCM", custody.ErrUnavailable, len(ciphertext), len(plain))
	}
	return append(sealed, ciphertext...), nil
}

// decrypt has the token decrypt what is well-formed.
func (t *token) decrypt(key pkcs11.ObjectHandle, sealed, bound []byte) ([]byte, error) {
	params, mechanism := gcm(sealed[1:1+nonceSize], bound)
	defer params.Free()
	if err := t.module.DecryptInit(t.session, mechanism, key); err != nil {
		return nil, fmt.Errorf("beginning to decrypt: %w", err)
	}
	plain, err := t.module.Decrypt(t.session, sealed[1+nonceSize:])
	if err != nil {
		return nil, &decryptError{err}
	}
	return plain, nil
}

// decryptError is an error of C_Decrypt itself, the one call that can fail because of
// what is sealed.
type decryptError struct{ err error }

func (e *decryptError) Error() string { return "decrypting: " + e.err.Error() }
func (e *decryptError) Unwrap() error { return e.err }

// open decrypts, and tells what was altered from a token that failed. PKCS #11 has
// codes for the one, but many modules, SoftHSM among them, answer CKR_GENERAL_ERROR,
// which is also what a broken token says. So after that the key is asked to open what
// it surely sealed. If it can, and still does not open the other, that was altered.
func (t *token) open(key pkcs11.ObjectHandle, sealed, bound []byte) ([]byte, error) {
	plain, err := t.decrypt(key, sealed, bound)
	if v, _ := verdictOn(err); !errors.As(err, new(*decryptError)) || v != unavailable {
		return plain, err
	}
	sure, sureErr := t.encrypt(key, make([]byte, custody.KeySize), bound)
	if sureErr == nil {
		_, sureErr = t.decrypt(key, sure, bound)
	}
	if sureErr != nil {
		return nil, err
	}
	if plain, err = t.decrypt(key, sealed, bound); errors.As(err, new(*decryptError)) {
		return nil, fmt.Errorf("%w (%w)", custody.ErrSealed, err)
	}
	return plain, err
}
