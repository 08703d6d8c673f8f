package events

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// ID names an event, a record, a patient, an actor, a share: anything the
// ledger issues a name for. It is a UUID (RFC 9562) and is written in lower
// case with hyphens. An ID never derives from anything personal.
//
// The zero ID names nothing; it is written as the empty string and read back
// from it, so that an optional field can be left out with omitzero.
type ID [16]byte

// ErrBadID is wrapped by the errors of ParseID.
var ErrBadID = errors.New("not a lower-case hyphenated UUID")

// NewID returns a random ID (UUID version 4) read from random, usually
// crypto/rand.Reader.
func NewID(random io.Reader) (ID, error) {
	var id ID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return ID{}, fmt.Errorf("reading randomness for an id: %w", err)
	}
	return id.stamp(4), nil
}

// NewOrderedID returns an ID of which the first 48 bits are the time in
// milliseconds and 74 others random (UUID version 7): ids sort roughly by age,
// which keeps the pages of an index together on disk.
func NewOrderedID(now time.Time, random io.Reader) (ID, error) {
	var id ID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return ID{}, fmt.Errorf("reading randomness for an id: %w", err)
	}
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id.stamp(7), nil
}

// DerivedID turns 16 or more bytes of a keyed digest into an ID (UUID version
// 8), so that the same command always finds the same event.
func DerivedID(digest []byte) ID {
	var id ID
	copy(id[:], digest)
	return id.stamp(8)
}

// MustNewID is NewID over crypto/rand.Reader, which does not fail.
func MustNewID() ID {
	id, err := NewID(rand.Reader)
	if err != nil {
		panic(err)
	}
	return id
}

func (id ID) stamp(version byte) ID {
	id[6] = id[6]&0x0f | version<<4
	id[8] = id[8]&0x3f | 0x80
	return id
}

// IsZero reports whether the id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the hyphenated form, or "" for the zero ID.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return string(id.AppendText(nil))
}

// AppendText appends the hyphenated form to b, whatever the id.
func (id ID) AppendText(b []byte) []byte {
	const groups = "\x04\x02\x02\x02\x06"
	rest := id[:]
	for i := range len(groups) {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, rest[:groups[i]])
		rest = rest[groups[i]:]
	}
	return b
}

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return []byte{}, nil
	}
	return id.AppendText(make([]byte, 0, 36)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what
// MarshalText writes and nothing else.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseID reads the hyphenated lower-case form of a UUID. The all-zero UUID is
// refused: it names nothing.
func ParseID(s string) (ID, error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("id of %d bytes: %w", len(s), ErrBadID)
	}
	var id ID
	n := 0
	for i := 0; i < len(s); {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			i++ // the hyphen
			continue
		}
		hi, lo := hexDigit(s[i]), hexDigit(s[i+1])
		if hi < 0 || lo < 0 {
			return ID{}, fmt.Errorf("id with a bad digit at byte %d: %w", i, ErrBadID)
		}
		id[n] = byte(hi<<4 | lo)
		n++
		i += 2
	}
	if id.IsZero() {
		return ID{}, fmt.Errorf("all-zero id: %w", ErrBadID)
	}
	return id, nil
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
