//go:build cgo && linux

package pkcs11

import "github.com/miekg/pkcs11"

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
	deaf                bool // says that it logged in and did not
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
	if l.deaf {
		return nil
	}
	return l.module.Login(s, user, pin)
}

// poor is a token without AES-GCM.
type poor struct{ module }

func (p *poor) GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error) {
	if m[0].Mechanism == pkcs11.CKM_AES_GCM {
		return pkcs11.MechanismInfo{}, pkcs11.Error(pkcs11.CKR_MECHANISM_INVALID)
	}
	return p.module.GetMechanismInfo(slot, m)
}
