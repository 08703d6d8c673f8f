//go:build cgo

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/medledger/medledger/ledger/custody"
)

// errTwice says that a label stands for two keys.
var errTwice = errors.New("two keys in the token carry the label")

// errForeign says that a key was not made as Create makes them.
var errForeign = errors.New("the key in the token was not made by medledger")

// errHalfMade says that a crash left an object and no key, which counts as none.
var errHalfMade = fmt.Errorf("%w: a crash left one half made", custody.ErrNoKey)

// Create implements custody.Custody. The token makes the key and keeps it in one
// step, so a crash leaves it or nothing of it; with some, SoftHSM among them, it may
// leave an object without a key, which is cleared away here. If the session is lost
// in that step, what is there in the next one is what this call made: there was
// nothing before, and nobody else makes a key of the name at the same time.
func (t *token) Create(ctx context.Context, name string) error {
	if err := custody.CheckName(name); err != nil {
		return err
	}
	made := false
	return t.do(ctx, func() error {
		handle, err := t.key(name)
		if errors.Is(err, errHalfMade) {
			if destroyErr := t.module.DestroyObject(t.session, handle); destroyErr != nil {
				return fmt.Errorf("clearing away what a crash left: %w", destroyErr)
			}
		}
		switch {
		case err == nil && made:
			return nil
		case err == nil:
			return fmt.Errorf("%w: %s", custody.ErrExists, name)
		case !errors.Is(err, custody.ErrNoKey):
			return err
		}
		made = true
		return t.generate(name)
	})
}

// generate has the token make a key, and destroys it again if it is not as it was
// asked for: some tokens take a template and do otherwise.
func (t *token) generate(name string) error {
	mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}
	handle, err := t.module.GenerateKey(t.session, mechanism, t.template(name))
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	if err := t.vouch(handle, name); err != nil {
		return errors.Join(err, t.module.DestroyObject(t.session, handle))
	}
	return nil
}

func (t *token) template(name string) []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, custody.KeySize),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.prefix+name),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, false),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, false),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, false),
	}
}

// vouch looks whether a key is one that the token made and never showed. Whoever can
// write to the token could otherwise put a key of their own in the place of one, and
// read what is sealed with it.
func (t *token) vouch(handle pkcs11.ObjectHandle, name string) error {
	wanted := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_LOCAL, true),
		pkcs11.NewAttribute(pkcs11.CKA_ALWAYS_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_NEVER_EXTRACTABLE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, custody.KeySize),
	}
	got, err := t.module.GetAttributeValue(t.session, handle, wanted)
	if err != nil {
		return fmt.Errorf("looking at a key: %w", err)
	}
	for i, a := range got {
		if !slices.Equal(a.Value, wanted[i].Value) {
			return fmt.Errorf("%w: %s%s was imported, can be exported or is no AES-256 key (attribute 0x%x), so it is not used; find out who put it there before you delete it", errForeign, t.prefix, name, wanted[i].Type)
		}
	}
	return nil
}

// key returns the handle of the key of a name.
func (t *token) key(name string) (pkcs11.ObjectHandle, error) {
	handles, err := t.search(pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.prefix+name))
	switch {
	case err != nil:
		return 0, err
	case len(handles) == 0:
		return 0, fmt.Errorf("%w: %s", custody.ErrNoKey, name)
	case len(handles) > 1:
		return 0, fmt.Errorf("%w %s%s: another tool made or copied one, or the token failed while it made it. "+
			"Neither is used, because which of them sealed what is not known: look at both with the vendor's tool "+
			"(pkcs11-tool --list-objects --type secrkey) and delete the one that is not the ledger's", errTwice, t.prefix, name)
	}
	err = t.vouch(handles[0], name)
	if errors.Is(err, errForeign) && t.halfMade(handles[0]) {
		err = fmt.Errorf("%w: %s", errHalfMade, name)
	}
	return handles[0], err
}

// halfMade tells an object that a crash left from a key that somebody put there: it
// was not finished, so the token does not say that it made it, and although it is for
// encryption it has no value to encrypt with. Nothing was ever sealed with it, since
// every use vouches for the key.
func (t *token) halfMade(handle pkcs11.ObjectHandle) bool {
	wanted := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_LOCAL, false),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true),
	}
	got, err := t.module.GetAttributeValue(t.session, handle, wanted)
	if err != nil || !slices.Equal(got[0].Value, wanted[0].Value) || !slices.Equal(got[1].Value, wanted[1].Value) {
		return false
	}
	_, err = t.encrypt(handle, make([]byte, custody.KeySize), nil)
	v, ok := verdictOn(err)
	return ok && v != again
}

// search returns the handles of all secret keys in the token that have the
// attributes.
func (t *token) search(more ...*pkcs11.Attribute) (handles []pkcs11.ObjectHandle, err error) {
	template := append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
	}, more...)
	if err := t.module.FindObjectsInit(t.session, template); err != nil {
		return nil, fmt.Errorf("searching for keys: %w", err)
	}
	// A search that is not ended stands in the way of the session's next one.
	defer func() {
		if finalErr := t.module.FindObjectsFinal(t.session); err == nil && finalErr != nil {
			err = fmt.Errorf("ending a search for keys: %w", finalErr)
		}
	}()
	for {
		page, _, err := t.module.FindObjects(t.session, 64)
		if err != nil {
			return nil, fmt.Errorf("searching for keys: %w", err)
		}
		if len(page) == 0 && len(handles) == 0 {
			return nil, t.absent()
		}
		if len(page) == 0 {
			return handles, nil
		}
		handles = append(handles, page...)
	}
}

// absent says whether it may be believed that there is no key. To a session that was
// logged out, or whose token is gone, a module may say that nothing is found as if it
// were so, and a destruction would be attested that never was. So it is believed only
// in a session of the user's which this call opened itself.
func (t *token) absent() error {
	if !t.fresh {
		return errAbsent
	}
	info, err := t.module.GetSessionInfo(t.session)
	if err != nil {
		return fmt.Errorf("looking at the session: %w", err)
	}
	if info.State != pkcs11.CKS_RW_USER_FUNCTIONS {
		return fmt.Errorf("a session in state %d: %w", info.State, pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN))
	}
	return nil
}

// Destroy implements custody.Custody. The token erases the key; then a new session
// must not find it any more (see absent). Of several keys of the label none is left, whoever made them.
// A crash between leaves the key or nothing of it, and the call is made again.
func (t *token) Destroy(ctx context.Context, name string) error {
	if err := custody.CheckName(name); err != nil {
		return err
	}
	label := pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.prefix+name)
	return t.do(ctx, func() error {
		handles, err := t.search(label)
		if err != nil {
			return err
		}
		for _, handle := range handles {
			if err := t.module.DestroyObject(t.session, handle); err != nil {
				return fmt.Errorf("destroying the key %s: %w", name, err)
			}
		}
		if handles, err = t.search(label); err != nil {
			return err
		}
		if len(handles) > 0 {
			return fmt.Errorf("the token says that it destroyed the key %s, and has it still; delete it with its vendor's tool, and do not trust this token", name)
		}
		return nil
	})
}

// Names implements custody.Custody. A label that stands for two keys or a foreign one
// is there once; using it says what is wrong.
func (t *token) Names(ctx context.Context) ([]string, error) {
	var names []string
	err := t.do(ctx, func() error {
		names = nil
		handles, err := t.search()
		if err != nil {
			return err
		}
		for _, handle := range handles {
			name, err := t.named(handle)
			if err != nil {
				return err
			}
			if name != "" {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			return t.absent()
		}
		return nil
	})
	slices.Sort(names)
	return slices.Compact(names), err
}

// named is the name of a key, or empty for what is none of the ledger's.
func (t *token) named(handle pkcs11.ObjectHandle) (string, error) {
	a, err := t.module.GetAttributeValue(t.session, handle, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, nil)})
	if err != nil {
		return "", fmt.Errorf("reading a key's label: %w", err)
	}
	name, ok := strings.CutPrefix(string(a[0].Value), t.prefix)
	if !ok || custody.CheckName(name) != nil {
		return "", nil
	}
	if err = t.vouch(handle, name); !errors.Is(err, errForeign) {
		return name, err
	}
	if t.halfMade(handle) {
		return "", nil
	}
	return name, nil
}
