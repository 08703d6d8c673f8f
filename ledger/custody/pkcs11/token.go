//go:build cgo

package pkcs11

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/miekg/pkcs11"

	"github.com/medledger/medledger/ledger/custody"
)

// module is what of a PKCS #11 module is used; *pkcs11.Ctx is one.
type module interface {
	Initialize(...pkcs11.InitializeOption) error
	Finalize() error
	Destroy()
	GetInfo() (pkcs11.Info, error)
	GetSlotList(present bool) ([]uint, error)
	GetTokenInfo(slot uint) (pkcs11.TokenInfo, error)
	GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error)
	OpenSession(slot, flags uint) (pkcs11.SessionHandle, error)
	GetSessionInfo(s pkcs11.SessionHandle) (pkcs11.SessionInfo, error)
	Login(s pkcs11.SessionHandle, user uint, pin string) error
	FindObjectsInit(s pkcs11.SessionHandle, template []*pkcs11.Attribute) error
	FindObjects(s pkcs11.SessionHandle, limit int) ([]pkcs11.ObjectHandle, bool, error)
	FindObjectsFinal(s pkcs11.SessionHandle) error
	GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error)
	GenerateKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error
	EncryptInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	Encrypt(s pkcs11.SessionHandle, plain []byte) ([]byte, error)
	DecryptInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	Decrypt(s pkcs11.SessionHandle, sealed []byte) ([]byte, error)
	WrapKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle) ([]byte, error)
}

// token is custody in a token. Calls go to it one after the other, through one
// session: small tokens work so anyhow, several sessions make some modules err, and
// custody is asked for the top of the key tree only.
type token struct {
	config Config
	module module
	prefix string // of labels

	// turn is held by the call that talks to the module; it guards what follows.
	turn    chan struct{}
	ready   bool // the module is initialised and the session logged in
	fresh   bool // the session was opened by this very call
	serial  string
	session pkcs11.SessionHandle
	slot    uint
	pinErr  error // why no login is tried any more
	closed  bool
}

// labelPrefix begins the labels of keys.
const labelPrefix = "medledger/"

// Open loads the module and logs in. The error wraps ErrPIN if the PIN is to blame,
// and custody.ErrUnavailable if there is no such token now. A call of the module
// cannot be interrupted: contexts are looked at before one.
func Open(ctx context.Context, c Config) (custody.Custody, error) {
	m, err := load(c)
	if err != nil {
		return nil, err
	}
	t, err := open(ctx, c, m, labelPrefix)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (c *Config) check() error {
	switch {
	case c.Module == "":
		return errors.New("no PKCS #11 module is named")
	case c.Label == "" && c.Slot == nil:
		return errors.New("neither a token's label nor a slot is named")
	case c.PIN == nil:
		return errors.New("there is no PIN")
	}
	return nil
}

// load loads the module's library.
func load(c Config) (module, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(c.Module); err != nil {
		return nil, fmt.Errorf("there is no PKCS #11 module: %w; install the token's software and name its library, such as /usr/lib/softhsm/libsofthsm2.so", err)
	}
	m := pkcs11.New(c.Module)
	if m == nil {
		return nil, fmt.Errorf("%s cannot be loaded as a PKCS #11 module; it must be a shared library for this machine, and what it needs must be installed (see ldd)", c.Module)
	}
	return m, nil
}

// open takes over the module.
func open(ctx context.Context, c Config, m module, prefix string) (*token, error) {
	if c.Random == nil {
		c.Random = rand.Reader
	}
	t := &token{config: c, module: m, prefix: prefix, turn: make(chan struct{}, 1)}
	if err := t.do(ctx, func() error { return nil }); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Kind implements custody.Custody.
func (t *token) Kind() custody.Kind { return custody.Token }

// Close implements custody.Custody. Finalising the module ends session and login.
func (t *token) Close() error {
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	if t.closed {
		return nil
	}
	t.forget()
	t.closed = true
	t.module.Destroy()
	return nil
}

// do runs f in a session that is logged in, when it is this call's turn; and once
// more in a new one if the session was lost. So f MUST bear being run again, and MUST
// NOT take what an earlier run was answered for the last word.
func (t *token) do(ctx context.Context, f func() error) error {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-t.turn }()
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.closed {
		return fmt.Errorf("%w: it was closed", custody.ErrUnavailable)
	}
	t.fresh = false
	for lost := false; ; {
		err := t.once(f)
		if v, ok := verdictOn(err); !ok || v != again || lost {
			return reported(err)
		}
		// Not to find a key in an old session is asked again in a new one, where it
		// is an answer. It is no loss.
		lost = !errors.Is(err, errAbsent)
	}
}

// once logs in if need be, and runs f. After a lost session and after an error of
// which nothing is known it forgets the session, so that the next call begins anew.
func (t *token) once(f func() error) error {
	err := t.login()
	if err == nil {
		err = f()
	}
	v, ok := verdictOn(err)
	if ok && (v == again || v == unavailable) || errors.Is(err, custody.ErrUnavailable) {
		t.forget()
	}
	return err
}

// forget lets go of the session. The whole module is finalised, because some see a
// token that was pulled and put back only when they are initialised again. Errors
// say what is known already: that the session is lost.
func (t *token) forget() {
	_ = t.module.Finalize()
	t.ready = false
}

// login initialises the module, finds the token and logs in, unless that was done.
func (t *token) login() error {
	if t.pinErr != nil {
		return t.pinErr
	}
	if t.ready {
		return nil
	}
	if err := t.module.Initialize(); err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return fmt.Errorf("initialising the PKCS #11 module: %w", err)
	}
	info, err := t.find()
	if err != nil {
		return err
	}
	if t.session, err = t.module.OpenSession(t.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION); err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	if err := t.enter(info.Flags); err != nil {
		return err
	}
	t.ready, t.fresh = true, true
	return nil
}

// find finds the slot of the token. It is looked for at each login: slots may be
// numbered otherwise when a token was put back. It must be the same one for the life
// of the process, since of another's keys it would be said that they are gone.
func (t *token) find() (pkcs11.TokenInfo, error) {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return pkcs11.TokenInfo{}, fmt.Errorf("listing the slots: %w", err)
	}
	var found []pkcs11.TokenInfo
	for _, slot := range slots {
		if t.config.Slot != nil && *t.config.Slot != slot {
			continue
		}
		info, err := t.module.GetTokenInfo(slot)
		if err != nil || t.config.Slot == nil && info.Label != t.config.Label {
			continue // a token that does not even say its name is not the one
		}
		t.slot = slot
		found = append(found, info)
	}
	name := fmt.Sprintf("with the label %q", t.config.Label)
	if t.config.Slot != nil {
		name = fmt.Sprintf("in slot %d", *t.config.Slot)
	}
	switch {
	case len(found) == 0:
		return pkcs11.TokenInfo{}, fmt.Errorf("%w: there is no token %s in any of %d slots; plug it in, or initialise it with its vendor's tool", custody.ErrUnavailable, name, len(slots))
	case len(found) > 1:
		return pkcs11.TokenInfo{}, fmt.Errorf("%w: there are %d tokens %s; say which by --slot", custody.ErrUnavailable, len(found), name)
	case t.serial != "" && t.serial != found[0].SerialNumber:
		return pkcs11.TokenInfo{}, fmt.Errorf("%w: the token %s is another now, or was initialised anew; put the right one back, or start medledger-token again if this is meant", custody.ErrUnavailable, name)
	}
	t.serial = found[0].SerialNumber
	return found[0], nil
}

// enter logs the user in. A PIN that was refused is never tried again in the life of
// the process: a token locks itself after a few tries, and whoever starts the process
// again and again must look at its exit code.
func (t *token) enter(flags uint) error {
	switch {
	case flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		t.pinErr = fmt.Errorf("%w: %w: it is locked; unlock it with its vendor's tool and the security officer's PIN", custody.ErrUnavailable, ErrPIN)
		return t.pinErr
	case flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		t.pinErr = fmt.Errorf("%w: %w: the token has one try left, which is not taken here; log in with its vendor's tool first", custody.ErrUnavailable, ErrPIN)
		return t.pinErr
	}
	pin, err := t.config.PIN()
	if err != nil {
		return fmt.Errorf("%w: getting the PIN: %w", custody.ErrUnavailable, err)
	}
	defer clear(pin)
	if len(pin) == 0 {
		return fmt.Errorf("%w: %w: it is empty", custody.ErrUnavailable, ErrPIN)
	}
	// No copy of the PIN that nobody could wipe; Login does not keep it.
	err = t.module.Login(t.session, pkcs11.CKU_USER, unsafe.String(&pin[0], len(pin)))
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
		return nil
	}
	for _, code := range pinCodes {
		if errors.Is(err, code) {
			t.pinErr = fmt.Errorf("%w: %w (%w); it is not tried again before a new start, since tries are few: correct the PIN's file first", custody.ErrUnavailable, ErrPIN, err)
			return t.pinErr
		}
	}
	if err != nil {
		return fmt.Errorf("logging in: %w", err)
	}
	return nil
}

// pinCodes are the answers to a login that another try of the same cannot better.
var pinCodes = []pkcs11.Error{
	pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_EXPIRED,
	pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_USER_PIN_NOT_INITIALIZED,
}
