package events_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
)

func TestID(t *testing.T) {
	for version, made := range map[byte]func() (events.ID, error){
		'4': func() (events.ID, error) { return events.NewID(rand.Reader) },
		'7': func() (events.ID, error) { return events.NewOrderedID(time.Now(), rand.Reader) },
		'8': func() (events.ID, error) { return id(200), nil },
	} {
		id, err := made()
		if err != nil {
			t.Fatal(err)
		}
		s := id.String()
		back, err := events.ParseID(s)
		if err != nil || back != id || s[14] != version || !strings.ContainsRune("89ab", rune(s[19])) {
			t.Errorf("%s: %v, %v", s, back, err)
		}
	}
	if _, err := events.NewID(bytes.NewReader(nil)); err == nil {
		t.Error("an id without randomness")
	}
	early, _ := events.NewOrderedID(time.UnixMilli(1), rand.Reader)
	late, _ := events.NewOrderedID(time.UnixMilli(2), rand.Reader)
	if bytes.Compare(early[:], late[:]) >= 0 {
		t.Error("event ids do not sort by age")
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(id(7).String())
	f.Add("00000000-0000-0000-0000-000000000000")
	f.Add("0FFFFFFF-0000-0000-0000-000000000000")
	f.Add("-0000000-0000-0000-0000-000000000000")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := events.ParseID(s)
		if err == nil && id.String() != s {
			t.Errorf("%q reads as %q", s, id)
		}
		if err != nil && !errors.Is(err, events.ErrBadID) {
			t.Errorf("%q: %v", s, err)
		}
	})
}
