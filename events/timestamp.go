package events

import (
	"fmt"
	"time"
)

// Timestamp is a moment in microseconds since 1970-01-01T00:00:00Z. It is
// written as RFC 3339 in UTC with exactly six fractional digits, so that every
// moment has one spelling: 2026-11-23T20:00:00.000000Z. Years 2000 to 9999.
type Timestamp int64

const timestampLayout = "2006-01-02T15:04:05.000000Z"

// The first and the last moment that a Timestamp may be.
var (
	minTimestamp = At(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	maxTimestamp = At(time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC))
)

// At returns t cut to microseconds.
func At(t time.Time) Timestamp { return Timestamp(t.UnixMicro()) }

// Time returns the moment as a time in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMicro(int64(t)).UTC() }

// Add returns the moment d later, cut to microseconds.
func (t Timestamp) Add(d time.Duration) Timestamp { return t + Timestamp(d.Microseconds()) }

// String returns the RFC 3339 form.
func (t Timestamp) String() string { return t.Time().Format(timestampLayout) }

// MarshalText implements encoding.TextMarshaler.
func (t Timestamp) MarshalText() ([]byte, error) {
	if err := t.check("time"); err != nil {
		return nil, err
	}
	return t.Time().AppendFormat(nil, timestampLayout), nil
}

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what
// MarshalText writes and nothing else.
func (t *Timestamp) UnmarshalText(text []byte) error {
	parsed, err := time.Parse(timestampLayout, string(text))
	// time.Parse takes a comma for the point, among others.
	if err != nil || parsed.Format(timestampLayout) != string(text) {
		return fmt.Errorf("time of %d characters, want the form %s: %w", len(text), timestampLayout, ErrInvalid)
	}
	*t = At(parsed)
	return t.check("time")
}

func (t Timestamp) check(field string) error {
	if t < minTimestamp || t > maxTimestamp {
		return invalid("%s lies outside the years 2000 to 9999", field)
	}
	return nil
}
