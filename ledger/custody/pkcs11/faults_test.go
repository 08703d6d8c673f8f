//go:build cgo

package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/medledger/medledger/ledger/custody"
)

// faulty is a real module of which one call fails.
type faulty struct {
	module
	calls []string // what was called since begin

	at   int          // the call that fails, counted from 0; -1 for none
	code pkcs11.Error // with what
	done bool         // after it was done
}

func (f *faulty) begin(at int, code pkcs11.Error, done bool) {
	f.calls, f.at, f.code, f.done = nil, at, code, done
}

// call makes a call, unless it is the one that fails.
func (f *faulty) call(name string, do func() error) error {
	f.calls = append(f.calls, name)
	if len(f.calls)-1 != f.at {
		return do()
	}
	if f.done {
		if err := do(); err != nil {
			return err
		}
	}
	return f.code
}

func (f *faulty) Initialize(o ...pkcs11.InitializeOption) error {
	return f.call("Initialize", func() error { return f.module.Initialize(o...) })
}

func (f *faulty) GetSlotList(present bool) (l []uint, err error) {
	err = f.call("GetSlotList", func() (err error) { l, err = f.module.GetSlotList(present); return err })
	return l, err
}

func (f *faulty) OpenSession(slot, flags uint) (s pkcs11.SessionHandle, err error) {
	err = f.call("OpenSession", func() (err error) { s, err = f.module.OpenSession(slot, flags); return err })
	return s, err
}

func (f *faulty) GetSessionInfo(s pkcs11.SessionHandle) (i pkcs11.SessionInfo, err error) {
	err = f.call("GetSessionInfo", func() (err error) { i, err = f.module.GetSessionInfo(s); return err })
	return i, err
}

func (f *faulty) Login(s pkcs11.SessionHandle, user uint, pin string) error {
	return f.call("Login", func() error { return f.module.Login(s, user, pin) })
}

func (f *faulty) FindObjectsInit(s pkcs11.SessionHandle, a []*pkcs11.Attribute) error {
	return f.call("FindObjectsInit", func() error { return f.module.FindObjectsInit(s, a) })
}

func (f *faulty) FindObjects(s pkcs11.SessionHandle, n int) (o []pkcs11.ObjectHandle, more bool, err error) {
	err = f.call("FindObjects", func() (err error) { o, more, err = f.module.FindObjects(s, n); return err })
	return o, more, err
}

func (f *faulty) FindObjectsFinal(s pkcs11.SessionHandle) error {
	return f.call("FindObjectsFinal", func() error { return f.module.FindObjectsFinal(s) })
}

func (f *faulty) GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) (b []*pkcs11.Attribute, err error) {
	err = f.call("GetAttributeValue", func() (err error) { b, err = f.module.GetAttributeValue(s, o, a); return err })
	return b, err
}

func (f *faulty) GenerateKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, a []*pkcs11.Attribute) (o pkcs11.ObjectHandle, err error) {
	err = f.call("GenerateKey", func() (err error) { o, err = f.module.GenerateKey(s, m, a); return err })
	return o, err
}

func (f *faulty) DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error {
	return f.call("DestroyObject", func() error { return f.module.DestroyObject(s, o) })
}

func (f *faulty) EncryptInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, o pkcs11.ObjectHandle) error {
	return f.call("EncryptInit", func() error { return f.module.EncryptInit(s, m, o) })
}

func (f *faulty) Encrypt(s pkcs11.SessionHandle, b []byte) (c []byte, err error) {
	err = f.call("Encrypt", func() (err error) { c, err = f.module.Encrypt(s, b); return err })
	return c, err
}

func (f *faulty) DecryptInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, o pkcs11.ObjectHandle) error {
	return f.call("DecryptInit", func() error { return f.module.DecryptInit(s, m, o) })
}

func (f *faulty) Decrypt(s pkcs11.SessionHandle, b []byte) (c []byte, err error) {
	err = f.call("Decrypt", func() (err error) { c, err = f.module.Decrypt(s, b); return err })
	return c, err
}

// TestFaults fails each call of the module that an operation makes, before and after
// it was done, with a code of each verdict: {fail, do but fail} x every call. A lost
// session is not noticed; every other failure is told as what it is, loses and doubles
// no key, and is over with the next call.
func TestFaults(t *testing.T) {
	f := &faulty{at: -1}
	k := newToken(t, func(m module) module { f.module = m; return f })
	create(t, k, "used")
	sealed := seal(t, k, "used")
	ctx := t.Context()
	operations := map[string]struct {
		prepare, run func() error
		calls        []string // some that the operation must make, or the table is empty
	}{
		"create": {
			prepare: func() error { return k.Destroy(ctx, "new") },
			run:     func() error { return k.Create(ctx, "new") },
			calls:   []string{"Login", "GenerateKey", "GetAttributeValue"},
		},
		"destroy": {
			prepare: func() error {
				if err := k.Create(ctx, "new"); !errors.Is(err, custody.ErrExists) {
					return err
				}
				return nil
			},
			run:   func() error { return k.Destroy(ctx, "new") },
			calls: []string{"DestroyObject", "FindObjects", "GetSessionInfo"},
		},
		"seal": {
			run: func() error {
				made, err := k.Seal(ctx, "used", plain, bound)
				if err == nil {
					sealed = made // and must be opened below
				}
				return err
			},
			calls: []string{"EncryptInit", "Encrypt"},
		},
		"open": {
			run: func() error {
				got, err := k.Open(ctx, "used", sealed, bound)
				if err == nil && !bytes.Equal(got, plain) {
					t.Errorf("opened %q", got)
				}
				return err
			},
			calls: []string{"DecryptInit", "Decrypt"},
		},
		"names": {
			run: func() error {
				names, err := k.Names(ctx)
				if err == nil && !slices.Contains(names, "used") {
					t.Errorf("names %q", names)
				}
				return err
			},
			calls: []string{"FindObjectsInit", "FindObjectsFinal"},
		},
	}
	for operation, o := range operations {
		prepare := func() {
			f.begin(-1, 0, false)
			if o.prepare != nil {
				if err := o.prepare(); err != nil {
					t.Fatal(err)
				}
			}
		}
		prepare()
		f.begin(-1, 0, false)
		if err := o.run(); err != nil {
			t.Fatal(err)
		}
		calls := f.calls
		for _, name := range o.calls {
			if !slices.Contains(calls, name) {
				t.Errorf("%s does not call %s: %q", operation, name, calls)
			}
		}
		for at, name := range calls {
			for _, code := range []pkcs11.Error{pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_VENDOR_DEFINED + 7, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED} {
				for _, done := range []bool{false, true} {
					prepare()
					f.begin(at, code, done)
					err := o.run()
					f.begin(-1, 0, false)
					what := fmt.Sprintf("%s, %s (call %d), %v, done %v", operation, name, at, code, done)
					judge(t, what, name, code, err)
					if again := o.run(); again != nil && !(operation == "create" && errors.Is(again, custody.ErrExists)) {
						t.Errorf("%s: and again: %v", what, again)
					}
					opens(t, k, "used", sealed)
				}
			}
		}
	}
	opens(t, k, "used", sealed)
	var handles []pkcs11.ObjectHandle
	if err := k.do(ctx, func() (err error) { handles, err = k.search(); return err }); err != nil || len(handles) > 2 {
		t.Errorf("%d keys are in the token, %v", len(handles), err)
	}
}

// judge holds the error of an operation against the verdict on the code that caused it.
func judge(t *testing.T, what, call string, code pkcs11.Error, err error) {
	t.Helper()
	if errors.Is(err, custody.ErrSealed) || errors.Is(err, custody.ErrNoKey) || errors.Is(err, errTwice) {
		t.Errorf("%s: %v", what, err)
	}
	switch verdicts[code] {
	case again:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case unavailable:
		// C_Decrypt is asked once more, and answers; and how a search ends does not
		// matter if it is made again.
		forgiven := err == nil && (call == "Decrypt" || call == "FindObjectsFinal")
		if !errors.Is(err, custody.ErrUnavailable) && !forgiven {
			t.Errorf("%s: %v", what, err)
		}
	case refused:
		if err == nil && call == "FindObjectsFinal" {
			return
		}
		if err == nil || errors.Is(err, custody.ErrUnavailable) || !strings.Contains(err.Error(), "medledger-token --check") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestNothingBetter: what fails again and again is unavailable, and not tried for ever.
func TestNothingBetter(t *testing.T) {
	f := &broken{}
	k := newToken(t, func(m module) module { f.module = m; return f })
	f.code = pkcs11.CKR_DEVICE_REMOVED
	if _, err := k.Names(t.Context()); !errors.Is(err, custody.ErrUnavailable) || f.failed != 2 {
		t.Errorf("after %d tries: %v", f.failed, err)
	}
}

// broken fails at every search.
type broken struct {
	module
	code   pkcs11.Error
	failed int
}

func (b *broken) FindObjectsInit(s pkcs11.SessionHandle, a []*pkcs11.Attribute) error {
	if b.code != 0 {
		b.failed++
		return b.code
	}
	return b.module.FindObjectsInit(s, a)
}

// lying is a token that does otherwise than it says.
type lying struct {
	module
	keeps, loose, short bool
	hides               bool // what it said to destroy, until it is initialised again
	half                bool // keys are objects without a value
	flags               uint
	logins              int
	serial              string
}

func (l *lying) DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error {
	if l.keeps {
		return nil
	}
	l.half = false
	return l.module.DestroyObject(s, o)
}

func (l *lying) Initialize(o ...pkcs11.InitializeOption) error {
	l.hides = false
	return l.module.Initialize(o...)
}

func (l *lying) FindObjects(s pkcs11.SessionHandle, n int) ([]pkcs11.ObjectHandle, bool, error) {
	handles, more, err := l.module.FindObjects(s, n)
	if l.hides {
		handles = nil
	}
	return handles, more, err
}

func (l *lying) GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error) {
	got, err := l.module.GetAttributeValue(s, o, a)
	for _, a := range got {
		if l.loose && a.Type == pkcs11.CKA_NEVER_EXTRACTABLE || l.half && a.Type == pkcs11.CKA_LOCAL {
			a.Value = []byte{0}
		}
	}
	return got, err
}

func (l *lying) Encrypt(s pkcs11.SessionHandle, b []byte) ([]byte, error) {
	c, err := l.module.Encrypt(s, b)
	if l.short && err == nil {
		c = c[:len(b)]
	}
	if l.half {
		return nil, pkcs11.Error(pkcs11.CKR_MECHANISM_INVALID) // as SoftHSM says
	}
	return c, err
}

func (l *lying) GetTokenInfo(slot uint) (pkcs11.TokenInfo, error) {
	info, err := l.module.GetTokenInfo(slot)
	info.Flags |= l.flags
	info.SerialNumber += l.serial
	return info, err
}

func (l *lying) Login(s pkcs11.SessionHandle, user uint, pin string) error {
	l.logins++
	return l.module.Login(s, user, pin)
}

func TestLyingToken(t *testing.T) {
	l := &lying{}
	k := newToken(t, func(m module) module { l.module = m; return l })
	create(t, k, "root-1")
	l.keeps = true
	if err := k.Destroy(t.Context(), "root-1"); err == nil || !strings.Contains(err.Error(), "do not trust this token") {
		t.Errorf("a key that stays: %v", err)
	}
	l.keeps, l.loose = false, true
	if err := k.Create(t.Context(), "root-2"); !errors.Is(err, errForeign) {
		t.Errorf("a key that can be exported: %v", err)
	}
	l.loose = false
	if names, err := k.Names(t.Context()); err != nil || !slices.Equal(names, []string{"root-1"}) {
		t.Errorf("names %q, %v", names, err)
	}
	l.short = true
	if sealed, err := k.Seal(t.Context(), "root-1", plain, bound); err == nil {
		t.Errorf("sealed without a tag: %x", sealed)
	}
	l.short, l.serial = false, "2"
	if err := k.Destroy(t.Context(), "root-7"); !errors.Is(err, custody.ErrUnavailable) || !strings.Contains(err.Error(), "is another now") {
		t.Errorf("destroying in another token: %v", err)
	}
	l.serial = ""
	if err := k.Destroy(t.Context(), "root-7"); err != nil {
		t.Error(err)
	}
}

// TestHidden: a token that only hides what it was to destroy is found out in a new
// session.
func TestHidden(t *testing.T) {
	l := &lying{}
	k := newToken(t, func(m module) module { l.module = m; return l })
	create(t, k, "root-1")
	l.keeps, l.hides = true, true
	if err := k.Destroy(t.Context(), "root-1"); err == nil || !strings.Contains(err.Error(), "do not trust this token") {
		t.Errorf("a key that is hidden: %v", err)
	}
}

// TestHalfMade: what a crash left instead of a key is none, and Create clears it away.
func TestHalfMade(t *testing.T) {
	l := &lying{}
	k := newToken(t, func(m module) module { l.module = m; return l })
	create(t, k, "root-1")
	l.half = true
	if names, err := k.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("names %q, %v", names, err)
	}
	if _, err := k.Seal(t.Context(), "root-1", plain, bound); !errors.Is(err, custody.ErrNoKey) {
		t.Errorf("sealing: %v", err)
	}
	create(t, k, "root-1")
	opens(t, k, "root-1", seal(t, k, "root-1"))
}

// TestLastTry: the try that could lock the token is not taken.
func TestLastTry(t *testing.T) {
	for name, flag := range map[string]uint{"final try": pkcs11.CKF_USER_PIN_FINAL_TRY, "locked": pkcs11.CKF_USER_PIN_LOCKED} {
		c, _ := newConfig(t)
		m, err := load(c)
		if err != nil {
			t.Fatal(err)
		}
		l := &lying{module: m, flags: flag}
		if _, err := open(t.Context(), c, l, labelPrefix); !errors.Is(err, ErrPIN) || l.logins != 0 {
			t.Errorf("%s: %v after %d logins", name, err, l.logins)
		}
	}
}

// TestVerdicts: what stands in the table is what is done, and a code that is not
// there is not taken for good news.
func TestVerdicts(t *testing.T) {
	for code, v := range verdicts {
		err := reported(fmt.Errorf("calling: %w", code))
		if v == forged != errors.Is(err, custody.ErrSealed) || (v == again || v == unavailable) != errors.Is(err, custody.ErrUnavailable) {
			t.Errorf("%v: %v", code, err)
		}
	}
	if err := reported(pkcs11.Error(0x7777)); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("an unknown code: %v", err)
	}
}

func TestCheck(t *testing.T) {
	c, _ := newConfig(t)
	var said []string
	if err := Check(t.Context(), c, func(what, _ string) { said = append(said, what) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"module", "token", "login", "mechanisms", "trial key"}; !slices.Equal(said, want) {
		t.Errorf("said %q", said)
	}
	k := mustOpen(t, c, nil)
	var left []pkcs11.ObjectHandle
	if err := k.do(t.Context(), func() (err error) { left, err = k.search(); return err }); err != nil || len(left) != 0 {
		t.Errorf("%d objects are left, %v", len(left), err)
	}
	// A token without AES-GCM, as small ones are.
	k.module = &poor{k.module}
	if err := k.do(t.Context(), func() error { return k.introduce(func(string, string) {}) }); err == nil || !strings.Contains(err.Error(), "does not offer CKM_AES_GCM") {
		t.Errorf("without AES-GCM: %v", err)
	}
}

// poor is a token without AES-GCM.
type poor struct{ module }

func (p *poor) GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error) {
	if m[0].Mechanism == pkcs11.CKM_AES_GCM {
		return pkcs11.MechanismInfo{}, pkcs11.Error(pkcs11.CKR_MECHANISM_INVALID)
	}
	return p.module.GetMechanismInfo(slot, m)
}
