package statement

import (
	"errors"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
)

func rotated(previous uint64, keys ...events.StatementKey) events.Event {
	return event(0x11, &events.KeyRotated{Previous: previous, StatementKeys: keys})
}

// An announcement is a statement and where it is said to stand.
type announcement struct {
	raw   []byte
	index uint64
}

func (a announcement) to(t testing.TB, k KeySet) (KeySet, error) {
	t.Helper()
	s, err := Parse(a.raw)
	if err != nil {
		t.Fatal(err)
	}
	return k.Announce(s, a.index)
}

func TestAnnounce(t *testing.T) {
	one, two, three := signer(1), signer(2), signer(3)
	opening := announcement{sign(t, one, opened(one.JWK(), two.JWK())), 0}
	rotation := announcement{sign(t, two, rotated(0, three.JWK())), 7}
	elsewhere := rotated(0, three.JWK())
	elsewhere.Source = "other.example/ledger"
	tampered := append([]byte(nil), opening.raw...)
	tampered[len(tampered)-1] ^= 1

	for _, c := range []struct {
		name  string
		chain []announcement // the last one is judged, the others hold
		want  error
	}{
		{"opening", []announcement{opening}, nil},
		{"rotation", []announcement{opening, rotation}, nil},
		{"two rotations", []announcement{opening, rotation, {sign(t, three, rotated(7, one.JWK())), 8}}, nil},
		{"rotation that keeps its key", []announcement{opening, {sign(t, one, rotated(0, one.JWK())), 1}}, nil},

		{"opening at another index", []announcement{{opening.raw, 1}}, ErrAnnouncement},
		{"second opening", []announcement{opening, opening}, ErrAnnouncement},
		{"opening after a rotation", []announcement{opening, rotation, {opening.raw, 9}}, ErrAnnouncement},
		{"opening signed by a key it does not announce", []announcement{{sign(t, three, opened(one.JWK())), 0}}, ErrUnknownKey},
		{"opening with a broken signature", []announcement{{tampered, 0}}, ErrSignature},
		{"rotation before the opening", []announcement{rotation}, ErrAnnouncement},
		{"rotation signed by its own new key", []announcement{opening, {sign(t, three, rotated(0, three.JWK())), 7}}, ErrUnknownKey},
		{"rotation signed by a key rotated away", []announcement{opening, rotation, {sign(t, one, rotated(7, one.JWK())), 9}}, ErrUnknownKey},
		{"rotation of another ledger", []announcement{opening, {sign(t, one, elsewhere), 7}}, ErrOrigin},
		{"rotation that names another announcement", []announcement{opening, {sign(t, one, rotated(3, three.JWK())), 7}}, ErrAnnouncement},
		{"rotation that skips a rotation", []announcement{opening, rotation, {sign(t, three, rotated(0, one.JWK())), 9}}, ErrAnnouncement},
		{"rotation before the last one", []announcement{opening, rotation, {sign(t, three, rotated(7, one.JWK())), 6}}, ErrAnnouncement},
		{"rotation at the place of the last one", []announcement{opening, {sign(t, one, rotated(0, three.JWK())), 0}}, ErrAnnouncement},
		{"no announcement", []announcement{opening, {sign(t, one, samples()[7].event), 7}}, ErrAnnouncement},
		{"no announcement, first", []announcement{{sign(t, one, samples()[7].event), 0}}, ErrAnnouncement},
	} {
		var keys KeySet
		var err error
		for i, a := range c.chain {
			if keys, err = a.to(t, keys); err != nil && i < len(c.chain)-1 {
				t.Fatalf("%s: announcement %d: %v", c.name, i, err)
			}
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err != nil && len(keys.keys) > 0 {
			t.Errorf("%s: refused, and yet a set of keys", c.name)
		}
	}
}

func TestKeySetReplaces(t *testing.T) {
	keys := keySet(t)
	if keys.Origin() != origin || keys.announced != 0 {
		t.Errorf("origin %q, announced at %d", keys.Origin(), keys.announced)
	}
	next, err := announcement{sign(t, signer(2), rotated(0, signer(3).JWK())), 7}.to(t, keys)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[byte]bool{1: false, 2: false, 3: true} {
		raw := sign(t, signer(n), samples()[7].event)
		if _, err := Verify(raw, next); (err == nil) != want || err != nil && !errors.Is(err, ErrUnknownKey) {
			t.Errorf("key %d after the rotation: %v", n, err)
		}
		if _, err := Verify(raw, keys); (err == nil) == want {
			t.Errorf("key %d before the rotation: %v", n, err)
		}
	}
	if next.announced != 7 || next.Origin() != origin {
		t.Errorf("origin %q, announced at %d", next.Origin(), next.announced)
	}
	if _, err := Verify(sign(t, signer(1), samples()[7].event), KeySet{}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("the zero set: %v, want ErrUnknownKey", err)
	}
}

// Keys that an announcement may not have. The event's own check refuses all but
// those whose kid belongs to another key.
func TestAnnouncedKeys(t *testing.T) {
	good := signer(1).JWK()
	for n := byte(2); !strings.ContainsAny(good.X, "-_"); n++ {
		good = signer(n).JWK() // one whose spelling differs between the alphabets
	}
	change := func(f func(*events.StatementKey)) events.StatementKey {
		k := good
		f(&k)
		return k
	}
	many := make([]events.StatementKey, events.MaxStatementKeys+1)
	for i := range many {
		many[i] = signer(byte(i)).JWK()
	}
	for _, c := range []struct {
		name string
		keys []events.StatementKey
		want error
	}{
		{"one", []events.StatementKey{good}, nil},
		{"eight", many[:events.MaxStatementKeys], nil},
		{"none", nil, events.ErrInvalid},
		{"nine", many, events.ErrInvalid},
		{"repeated", []events.StatementKey{good, good}, events.ErrInvalid},
		{"kid of another key", []events.StatementKey{change(func(k *events.StatementKey) { k.Kid = signer(99).JWK().Kid })}, ErrAnnouncement},
		{"kid empty", []events.StatementKey{change(func(k *events.StatementKey) { k.Kid = "" })}, events.ErrInvalid},
		{"kid padded", []events.StatementKey{change(func(k *events.StatementKey) { k.Kid += "=" })}, events.ErrInvalid},
		{"kty EC", []events.StatementKey{change(func(k *events.StatementKey) { k.Kty = "EC" })}, events.ErrInvalid},
		{"crv X25519", []events.StatementKey{change(func(k *events.StatementKey) { k.Crv = "X25519" })}, events.ErrInvalid},
		{"x short", []events.StatementKey{change(func(k *events.StatementKey) { k.X = k.X[:42] })}, events.ErrInvalid},
		{"x padded", []events.StatementKey{change(func(k *events.StatementKey) { k.X += "=" })}, events.ErrInvalid},
		{"x with a line break", []events.StatementKey{change(func(k *events.StatementKey) { k.X = k.X[:20] + "\n" + k.X[20:] })}, events.ErrInvalid},
		{"x in standard base64", []events.StatementKey{change(func(k *events.StatementKey) { k.X = strings.NewReplacer("-", "+", "_", "/").Replace(k.X) })}, events.ErrInvalid},
	} {
		e := opened(c.keys...)
		err := e.Check()
		if err == nil {
			_, err = newKeySet(origin, 0, c.keys)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
