package events_test

import (
	"errors"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
)

func TestTimestamp(t *testing.T) {
	if got := now.String(); got != "2026-11-23T20:00:00.123456Z" {
		t.Error(got)
	}
	if got := now.Add(time.Second); got.Time().Sub(now.Time()) != time.Second {
		t.Error(got)
	}
	if _, err := events.Timestamp(0).MarshalText(); !errors.Is(err, events.ErrInvalid) {
		t.Error("1970 is written")
	}
}

func FuzzTimestamp(f *testing.F) {
	f.Add("2026-11-23T20:00:00.123456Z")
	f.Add("2026-11-23T20:00:00,123456Z")
	f.Add("2026-11-23T20:00:00.123456+00:00")
	f.Add("1969-11-23T20:00:00.123456Z")
	f.Add("2026-02-30T20:00:00.123456Z")
	f.Fuzz(func(t *testing.T, s string) {
		var ts events.Timestamp
		if err := ts.UnmarshalText([]byte(s)); err != nil {
			return
		}
		if back, err := ts.MarshalText(); err != nil || string(back) != s {
			t.Errorf("%q reads as %q, %v", s, back, err)
		}
	})
}
