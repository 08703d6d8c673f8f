//go:build cgo

package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/medledger/medledger/ledger/custody"
)

// checkPrefix begins the labels of trial keys, so that no ledger takes one for its
// own.
const checkPrefix = "medledger-check/"

// trial is the name of the trial key.
const trial = "trial"

// Check tells whether a token is usable: it logs in, looks for the mechanisms, and
// makes, uses and destroys a trial key. It says what it found, line by line, and
// returns an error that says what is wrong at the first thing that is. A trial key
// that an earlier check left is destroyed first.
func Check(ctx context.Context, c Config, say func(what, found string)) (err error) {
	m, err := load(c)
	if err != nil {
		return err
	}
	t, err := open(ctx, c, m, checkPrefix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.do(ctx, func() error { return t.introduce(say) }); err != nil {
		return err
	}
	if err := t.Destroy(ctx, trial); err != nil {
		return fmt.Errorf("destroying what an earlier check left: %w", err)
	}
	if err := t.try(ctx); err != nil {
		return errors.Join(err, t.Destroy(context.WithoutCancel(ctx), trial))
	}
	if err := t.Destroy(ctx, trial); err != nil {
		return fmt.Errorf("destroying the trial key: %w", err)
	}
	if _, err := t.Seal(ctx, trial, nil, nil); !errors.Is(err, custody.ErrNoKey) {
		return fmt.Errorf("the trial key can be used after its destruction (%v); do not trust this token", err)
	}
	say("trial key", "made, used, not to be read or exported, destroyed")
	return nil
}

// introduce says what there is, and looks for the mechanisms.
func (t *token) introduce(say func(what, found string)) error {
	info, err := t.module.GetInfo()
	if err != nil {
		return fmt.Errorf("asking the module what it is: %w", err)
	}
	say("module", fmt.Sprintf("%s, %s %d.%d", info.ManufacturerID, info.LibraryDescription, info.LibraryVersion.Major, info.LibraryVersion.Minor))
	tokenInfo, err := t.module.GetTokenInfo(t.slot)
	if err != nil {
		return fmt.Errorf("asking the token what it is: %w", err)
	}
	say("token", fmt.Sprintf("%q, %s, in slot %d", tokenInfo.Label, tokenInfo.Model, t.slot))
	say("login", "accepted")
	for _, m := range []struct {
		name string
		id   uint
		does uint
	}{
		{"CKM_AES_KEY_GEN", pkcs11.CKM_AES_KEY_GEN, pkcs11.CKF_GENERATE},
		{"CKM_AES_GCM", pkcs11.CKM_AES_GCM, pkcs11.CKF_ENCRYPT | pkcs11.CKF_DECRYPT},
	} {
		info, err := t.module.GetMechanismInfo(t.slot, []*pkcs11.Mechanism{pkcs11.NewMechanism(m.id, nil)})
		if v, ok := verdictOn(err); ok && v == again {
			return err
		}
		if err != nil || info.Flags&m.does != m.does {
			return fmt.Errorf("the token does not offer %s, without which it cannot keep the ledger's keys; take another model or firmware (flags 0x%x, %v)", m.name, info.Flags, err)
		}
	}
	say("mechanisms", "CKM_AES_KEY_GEN, CKM_AES_GCM")
	return nil
}

// try makes a trial key and uses it.
func (t *token) try(ctx context.Context) error {
	if err := t.Create(ctx, trial); err != nil {
		return fmt.Errorf("making a trial key: %w", err)
	}
	plain, bound := bytes.Repeat([]byte{7}, custody.MaxPlain), []byte("medledger-token --check")
	sealed, err := t.Seal(ctx, trial, plain, bound)
	if err != nil {
		return fmt.Errorf("sealing with the trial key: %w", err)
	}
	if opened, err := t.Open(ctx, trial, sealed, bound); err != nil || !bytes.Equal(opened, plain) {
		return fmt.Errorf("what the trial key sealed, it does not open (%w); do not trust this token", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := t.Open(ctx, trial, sealed, bound); !errors.Is(err, custody.ErrSealed) {
		return fmt.Errorf("the token opens what was altered (%v); do not trust it", err)
	}
	return t.do(ctx, t.keepsToItself)
}

// keepsToItself asks for the trial key in the clear and wrapped, which must fail.
func (t *token) keepsToItself() error {
	handle, err := t.key(trial)
	if err != nil {
		return err
	}
	value := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)}
	if got, err := t.module.GetAttributeValue(t.session, handle, value); err == nil && len(got[0].Value) > 0 {
		clear(got[0].Value)
		return errors.New("the token shows a key that it was told to keep; do not trust it")
	}
	for _, id := range []uint{pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKM_AES_KEY_WRAP_PAD, pkcs11.CKM_AES_CBC_PAD} {
		var parameter any
		if id == pkcs11.CKM_AES_CBC_PAD {
			parameter = make([]byte, 16)
		}
		if _, err := t.module.WrapKey(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(id, parameter)}, handle, handle); err == nil {
			return errors.New("the token exports a key that it was told to keep; do not trust it")
		}
	}
	return nil
}
