//go:build cgo && linux

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

// operation is a call of custody that is tried with every fault.
type operation struct {
	prepare, run func() error
	calls        []string // some that it must make of the module, or its rows are missing
}

// operations are all of them. What seal made last is in sealed, and must be opened.
func operations(t *testing.T, k *token, sealed *[]byte) map[string]operation {
	ctx, nothing := t.Context(), func() error { return nil }
	return map[string]operation{
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
			prepare: nothing,
			run: func() error {
				made, err := k.Seal(ctx, "used", plain, bound)
				if err == nil {
					*sealed = made
				}
				return err
			},
			calls: []string{"EncryptInit", "Encrypt"},
		},
		"open": {
			prepare: nothing,
			run: func() error {
				got, err := k.Open(ctx, "used", *sealed, bound)
				if err == nil && !bytes.Equal(got, plain) {
					t.Errorf("opened %q", got)
				}
				return err
			},
			calls: []string{"DecryptInit", "Decrypt"},
		},
		"names": {
			prepare: nothing,
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
	for name, o := range operations(t, k, &sealed) {
		for at, call := range f.record(t, name, o) {
			for _, code := range []pkcs11.Error{pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED} {
				for _, done := range []bool{false, true} {
					what := fmt.Sprintf("%s, %s (call %d), %v, done %v", name, call, at, code, done)
					if err := o.prepare(); err != nil {
						t.Fatalf("preparing for %s: %v", what, err)
					}
					f.begin(at, code, done)
					err := o.run()
					f.begin(-1, 0, false)
					judge(t, what, call, code, err)
					if again := o.run(); again != nil && !(name == "create" && errors.Is(again, custody.ErrExists)) {
						t.Errorf("%s: and again: %v", what, again)
					}
					opens(t, k, "used", sealed)
				}
			}
		}
	}
	var handles []pkcs11.ObjectHandle
	if err := k.do(t.Context(), func() (err error) { handles, err = k.search(); return err }); err != nil || len(handles) > 2 {
		t.Errorf("%d keys are in the token, %v", len(handles), err)
	}
}

// record returns the calls that an operation makes of the module.
func (f *faulty) record(t *testing.T, name string, o operation) []string {
	t.Helper()
	if err := o.prepare(); err != nil {
		t.Fatal(err)
	}
	f.begin(-1, 0, false)
	if err := o.run(); err != nil {
		t.Fatal(err)
	}
	for _, call := range o.calls {
		if !slices.Contains(f.calls, call) {
			t.Errorf("%s does not call %s: %q", name, call, f.calls)
		}
	}
	return f.calls
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
	l.serial, l.deaf = "", true
	if err := k.Destroy(t.Context(), "root-1"); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("destroying without a login: %v", err)
	}
	l.deaf = false
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
	if err := reported(pkcs11.Error(pkcs11.CKR_VENDOR_DEFINED + 7)); !errors.Is(err, custody.ErrUnavailable) {
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
