//go:build cgo && linux

package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/custodytest"
	"github.com/medledger/medledger/ledger/custody/custodytest/softhsm"
)

// newConfig makes a token and says how to reach it from this process, which uses one
// at a time.
func newConfig(t testing.TB) (Config, *softhsm.Token) {
	t.Helper()
	k := softhsm.New(t)
	t.Setenv("SOFTHSM2_CONF", k.Config)
	return Config{Module: k.Module, Label: k.Label, PIN: pin(softhsm.PIN)}, k
}

func pin(s string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(s), nil } }

// newToken opens a new token, through what wrap makes of its module.
func newToken(t *testing.T, wrap func(module) module) *token {
	t.Helper()
	c, _ := newConfig(t)
	return mustOpen(t, c, wrap)
}

func mustOpen(t *testing.T, c Config, wrap func(module) module) *token {
	t.Helper()
	m, err := load(c)
	if err != nil {
		t.Fatal(err)
	}
	if wrap != nil {
		m = wrap(m)
	}
	k, err := open(t.Context(), c, m, labelPrefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func create(t *testing.T, k custody.Custody, name string) {
	t.Helper()
	if err := k.Create(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

var (
	plain = []byte("thirty-two bytes of a child key.")
	bound = []byte("the place of the child")
)

func seal(t *testing.T, k custody.Custody, name string) []byte {
	t.Helper()
	sealed, err := k.Seal(t.Context(), name, plain, bound)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func opens(t *testing.T, k custody.Custody, name string, sealed []byte) {
	t.Helper()
	if got, err := k.Open(t.Context(), name, sealed, bound); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opening gave %q, %v", got, err)
	}
}

func TestConformance(t *testing.T) {
	custodytest.Run(t, func(t *testing.T) func() (custody.Custody, error) {
		c, _ := newConfig(t)
		return func() (custody.Custody, error) { return Open(t.Context(), c) }
	})
}

// TestSealedBytes holds what is sealed against its format, byte by byte.
func TestSealedBytes(t *testing.T) {
	k := newToken(t, nil)
	create(t, k, "root-1")
	sealed := seal(t, k, "root-1")
	if len(sealed) != 1+12+len(plain)+16 || sealed[0] != 1 || bytes.Contains(sealed, plain) {
		t.Errorf("sealed is %x", sealed)
	}
	for i := range sealed {
		altered := bytes.Clone(sealed)
		altered[i] ^= 0x80
		if _, err := k.Open(t.Context(), "root-1", altered, bound); !errors.Is(err, custody.ErrSealed) {
			t.Errorf("byte %d altered: %v", i, err)
		}
		if _, err := k.Open(t.Context(), "root-1", sealed[:i], bound); !errors.Is(err, custody.ErrSealed) {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
	opens(t, k, "root-1", sealed)
}

// raw is another program's view of the token: the module itself, in a session of its
// own in the same process, so that the login counts for it, too.
func raw(t *testing.T, k *token) (*pkcs11.Ctx, pkcs11.SessionHandle) {
	t.Helper()
	m := pkcs11.New(k.config.Module)
	s, err := m.OpenSession(k.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	return m, s
}

func handle(t *testing.T, k *token, name string) pkcs11.ObjectHandle {
	t.Helper()
	var h pkcs11.ObjectHandle
	if err := k.do(t.Context(), func() (err error) { h, err = k.key(name); return err }); err != nil {
		t.Fatal(err)
	}
	return h
}

// TestKeyNeverLeaves asks for a root key in the clear and wrapped with a key that may
// wrap, as somebody with the PIN would, and for its template to be loosened.
func TestKeyNeverLeaves(t *testing.T) {
	k := newToken(t, nil)
	create(t, k, "root-1")
	key := handle(t, k, "root-1")
	m, s := raw(t, k)
	a, err := m.GetAttributeValue(s, key, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
	if !errors.Is(err, pkcs11.Error(pkcs11.CKR_ATTRIBUTE_SENSITIVE)) {
		t.Errorf("the value of the key: %v, %v", a, err)
	}
	wrapping, err := m.GenerateKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_WRAP, true),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
	})
	if err != nil {
		t.Fatal(err)
	}
	wrap := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_WRAP, nil)}
	if out, err := m.WrapKey(s, wrap, wrapping, wrapping); err != nil {
		t.Fatalf("nothing is wrapped at all: %x, %v", out, err)
	}
	if out, err := m.WrapKey(s, wrap, wrapping, key); !errors.Is(err, pkcs11.Error(pkcs11.CKR_KEY_UNEXTRACTABLE)) {
		t.Errorf("the wrapped key: %x, %v", out, err)
	}
	for name, loosened := range map[string]*pkcs11.Attribute{
		"extractable": pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
		"open":        pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false),
	} {
		if err := m.SetAttributeValue(s, key, []*pkcs11.Attribute{loosened}); err == nil {
			t.Errorf("the key was made %s", name)
		}
		if o, err := m.CopyObject(s, key, []*pkcs11.Attribute{loosened}); err == nil {
			t.Errorf("the key was copied and made %s: %v", name, o)
		}
	}
}

// TestForeignKeys: a key that somebody else put there is used for nothing, and a
// second one beside the ledger's stops both; destruction leaves none.
func TestForeignKeys(t *testing.T) {
	k := newToken(t, nil)
	create(t, k, "root-1")
	sealed := seal(t, k, "root-1")
	m, s := raw(t, k)
	plant := func(name string) {
		t.Helper()
		_, err := m.CreateObject(s, append(k.template(name)[:0:0],
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
			pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
			pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true), pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
			pkcs11.NewAttribute(pkcs11.CKA_LABEL, labelPrefix+name), pkcs11.NewAttribute(pkcs11.CKA_VALUE, make([]byte, 32))))
		if err != nil {
			t.Fatal(err)
		}
	}
	plant("root-1")
	plant("root-2")
	for name, want := range map[string]error{"root-1": errTwice, "root-2": errForeign} {
		if _, err := k.Seal(t.Context(), name, plain, bound); !errors.Is(err, want) {
			t.Errorf("sealing with %s: %v", name, err)
		}
		if _, err := k.Open(t.Context(), name, sealed, bound); !errors.Is(err, want) {
			t.Errorf("opening with %s: %v", name, err)
		}
		if err := k.Create(t.Context(), name); !errors.Is(err, want) {
			t.Errorf("making %s: %v", name, err)
		}
	}
	if names, err := k.Names(t.Context()); err != nil || !slices.Equal(names, []string{"root-1", "root-2"}) {
		t.Errorf("names %q, %v", names, err)
	}
	for _, name := range []string{"root-1", "root-2"} {
		if err := k.Destroy(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if names, err := k.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("names %q, %v", names, err)
	}
}

// TestOtherObjects: what is not the ledger's is neither listed nor destroyed.
func TestOtherObjects(t *testing.T) {
	k := newToken(t, nil)
	m, s := raw(t, k)
	for _, label := range []string{"root-1", "medledger/", "medledger/Upper", "other/root-1", "medledger-check/trial"} {
		template := k.template("")
		template[3] = pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)
		if _, err := m.GenerateKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, template); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := k.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("names %q, %v", names, err)
	}
	if err := k.Destroy(t.Context(), "root-1"); err != nil {
		t.Error(err)
	}
	var left []pkcs11.ObjectHandle
	if err := k.do(t.Context(), func() (err error) { left, err = k.search(); return err }); err != nil || len(left) != 5 {
		t.Errorf("%d objects are left, %v", len(left), err)
	}
}

// TestSessionLost: what ends sessions and logins behind its back goes unnoticed.
func TestSessionLost(t *testing.T) {
	k := newToken(t, nil)
	create(t, k, "root-1")
	sealed := seal(t, k, "root-1")
	for name, lose := range map[string]func(m *pkcs11.Ctx, s pkcs11.SessionHandle) error{
		"sessions closed": func(m *pkcs11.Ctx, _ pkcs11.SessionHandle) error { return m.CloseAllSessions(k.slot) },
		"logged out":      func(m *pkcs11.Ctx, s pkcs11.SessionHandle) error { return m.Logout(s) },
		"finalised":       func(m *pkcs11.Ctx, _ pkcs11.SessionHandle) error { return m.Finalize() },
	} {
		m, s := raw(t, k)
		if err := lose(m, s); err != nil {
			t.Fatal(err)
		}
		opens(t, k, "root-1", sealed)
		m, s = raw(t, k)
		if err := lose(m, s); err != nil {
			t.Fatal(err)
		}
		if names, err := k.Names(t.Context()); err != nil || len(names) != 1 {
			t.Errorf("%s: names %q, %v", name, names, err)
		}
		create(t, k, "root-2")
		m, s = raw(t, k)
		if err := lose(m, s); err != nil {
			t.Fatal(err)
		}
		if err := k.Destroy(t.Context(), "root-2"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if names, err := k.Names(t.Context()); err != nil || len(names) != 1 {
			t.Errorf("%s, then destroyed: names %q, %v", name, names, err)
		}
	}
}

// TestTokenRemoved takes the token away and puts it back. Whatever is asked for first
// while it is away, nothing is said to be done.
func TestTokenRemoved(t *testing.T) {
	for name, first := range map[string]func(*token) error{
		"create":  func(k *token) error { return k.Create(t.Context(), "root-2") },
		"destroy": func(k *token) error { return k.Destroy(t.Context(), "root-1") },
		"names":   func(k *token) error { _, err := k.Names(t.Context()); return err },
		"open":    func(k *token) error { _, err := k.Open(t.Context(), "root-1", nil, nil); return err },
	} {
		t.Run(name, func(t *testing.T) { testTokenRemoved(t, first) })
	}
}

func testTokenRemoved(t *testing.T, first func(*token) error) {
	c, folder := newConfig(t)
	k := mustOpen(t, c, nil)
	create(t, k, "root-1")
	sealed := seal(t, k, "root-1")
	away := folder.Objects + ".away"
	if err := os.Rename(folder.Objects, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder.Objects, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := first(k); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("at first, without the token: %v", err)
	}
	for i := range 3 {
		if err := k.Destroy(t.Context(), "root-1"); !errors.Is(err, custody.ErrUnavailable) {
			t.Errorf("destroying without the token, time %d: %v", i, err)
		}
		if err := k.Create(t.Context(), "root-2"); !errors.Is(err, custody.ErrUnavailable) {
			t.Errorf("creating without the token, time %d: %v", i, err)
		}
		if _, err := k.Open(t.Context(), "root-1", sealed, bound); !errors.Is(err, custody.ErrUnavailable) {
			t.Errorf("opening without the token, time %d: %v", i, err)
		}
	}
	if err := errors.Join(os.Remove(folder.Objects), os.Rename(away, folder.Objects)); err != nil {
		t.Fatal(err)
	}
	opens(t, k, "root-1", sealed)
	create(t, k, "root-2")
}

// TestWrongPIN: a wrong PIN is tried once, whatever is asked for afterwards.
func TestWrongPIN(t *testing.T) {
	c, _ := newConfig(t)
	asked := 0
	c.PIN = func() ([]byte, error) { asked++; return []byte("wrong"), nil }
	if _, err := Open(t.Context(), c); !errors.Is(err, ErrPIN) || !errors.Is(err, custody.ErrUnavailable) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("opening: %v", err)
	}
	if asked != 1 {
		t.Errorf("the PIN was asked for %d times", asked)
	}
	// It was changed while the token was open.
	current := softhsm.PIN
	c.PIN = func() ([]byte, error) { asked++; return []byte(current), nil }
	k := mustOpen(t, c, nil)
	create(t, k, "root-1")
	asked, current = 0, "changed"
	m, _ := raw(t, k)
	if err := m.CloseAllSessions(k.slot); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := k.Seal(t.Context(), "root-1", plain, bound); !errors.Is(err, ErrPIN) {
			t.Errorf("sealing: %v", err)
		}
	}
	if asked != 1 {
		t.Errorf("the changed PIN was asked for %d times", asked)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	c.PIN = pin(softhsm.PIN)
	mustOpen(t, c, nil)
}

// TestCannotOpen: every message says what to do.
func TestCannotOpen(t *testing.T) {
	c, k := newConfig(t)
	text := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o700); err != nil {
		t.Fatal(err)
	}
	slot := uint(999)
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no module":    {func(c *Config) { c.Module = filepath.Join(filepath.Dir(text), "none.so") }, "install the token's software"},
		"text":         {func(c *Config) { c.Module = text }, "must be a shared library"},
		"other label":  {func(c *Config) { c.Label = "other" }, `no token with the label "other"`},
		"other slot":   {func(c *Config) { c.Slot = &slot }, "no token in slot 999"},
		"no PIN":       {func(c *Config) { c.PIN = pin("") }, "it is empty"},
		"PIN not read": {func(c *Config) { c.PIN = func() ([]byte, error) { return nil, errors.New("chmod 600") } }, "chmod 600"},
		"nothing said": {func(c *Config) { *c = Config{} }, "no PKCS #11 module is named"},
	} {
		altered := c
		test.change(&altered)
		if _, err := Open(t.Context(), altered); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Two tokens of one label, of which neither is guessed at.
	twin := exec.Command("softhsm2-util", "--init-token", "--free", "--label", k.Label, "--so-pin", "12345678", "--pin", softhsm.PIN)
	if out, err := twin.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "say which by --slot") {
		t.Errorf("two tokens: %v", err)
	}
}

// TestCrowd calls from many goroutines at once.
func TestCrowd(t *testing.T) {
	k := newToken(t, nil)
	create(t, k, "root-1")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				sealed, err := k.Seal(context.Background(), "root-1", plain, bound)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := k.Open(context.Background(), "root-1", sealed, bound); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	all.Wait()
}

func TestContextAndClose(t *testing.T) {
	k := newToken(t, nil)
	create(t, k, "root-1")
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := k.Seal(ended, "root-1", plain, bound); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
	k.turn <- struct{}{} // another call is under way
	if _, err := k.Names(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for its turn: %v", err)
	}
	<-k.turn
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Names(t.Context()); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}
