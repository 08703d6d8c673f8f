package token

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/medledger/medledger/ledger/custody"
)

var requests = []*request{
	{op: opHello},
	{op: opCreate, name: "root-1"},
	{op: opSeal, name: "root-1", context: []byte("place"), data: make([]byte, custody.MaxPlain)},
	{op: opSeal, name: "r", context: []byte{}, data: []byte{}},
	{op: opOpen, name: strings.Repeat("z", 64), context: make([]byte, maxContext), data: make([]byte, custody.MaxSealed)},
	{op: opDestroy, name: "root-1"},
	{op: opNames},
	{op: opNames, name: "root-1"},
}

var responses = []*response{
	{op: opHello, kind: custody.Token},
	{op: opCreate},
	{op: opCreate, status: statusExists, text: "there is one"},
	{op: opSeal, data: []byte("sealed")},
	{op: opOpen, data: []byte{}},
	{op: opOpen, status: statusSealed, text: ""},
	{op: opDestroy, status: statusFailed, text: strings.Repeat("ä", maxText/2)},
	{op: opNames, names: []string{"a", "b", "root-1"}, more: true},
	{op: opNames},
}

func FuzzRequest(f *testing.F) {
	for _, q := range requests {
		f.Add(q.frame()[4:])
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if q, err := parseRequest(message); err == nil && !bytes.Equal(q.frame()[4:], message) {
			t.Errorf("%x was read as %x", message, q.frame()[4:])
		}
	})
}

func FuzzResponse(f *testing.F) {
	for _, a := range responses {
		f.Add(a.frame()[4:])
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if a, err := parseResponse(message); err == nil && !bytes.Equal(a.frame()[4:], message) {
			t.Errorf("%x was read as %x", message, a.frame()[4:])
		}
	})
}

// TestMessages: what is made is read; what is cut or goes on is not.
func TestMessages(t *testing.T) {
	var frames [][]byte
	parse := make(map[int]func([]byte) error)
	for _, q := range requests {
		parse[len(frames)] = func(b []byte) error { _, err := parseRequest(b); return err }
		frames = append(frames, q.frame())
	}
	for _, a := range responses {
		parse[len(frames)] = func(b []byte) error { _, err := parseResponse(b); return err }
		frames = append(frames, a.frame())
	}
	for i, frame := range frames {
		message, err := readFrame(bytes.NewReader(frame))
		if err != nil || !bytes.Equal(message, frame[4:]) {
			t.Errorf("frame %d: %v", i, err)
		}
		if err := parse[i](message); err != nil {
			t.Errorf("%x: %v", message, err)
		}
		for n := range message {
			if err := parse[i](message[:n]); err == nil {
				t.Errorf("%x was read", message[:n])
			}
		}
		if err := parse[i](append(message, 0)); !errors.Is(err, errMalformed) {
			t.Errorf("%x and more was read: %v", message, err)
		}
		message[0] = 2
		if err := parse[i](message); !errors.Is(err, errVersion) {
			t.Errorf("version 2: %v", err)
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, message := range map[string]string{
		"no op":             "\x01",
		"op 0":              "\x01\x00",
		"op 7":              "\x01\x07",
		"name of nothing":   "\x01\x02\x00",
		"upper case":        "\x01\x02\x01A",
		"name of 65":        "\x01\x02\x41" + strings.Repeat("a", 65),
		"a key of 65 bytes": "\x01\x03\x01a\x00\x00\x00\x41" + strings.Repeat("k", 65),
		"sealed, too long":  "\x01\x04\x01a\x00\x00\x00\x81" + strings.Repeat("s", 129),
		"a long context":    "\x01\x03\x01a\x10\x01" + strings.Repeat("c", 4097) + "\x00\x00",
	} {
		if q, err := parseRequest([]byte(message)); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %+v, %v", name, q, err)
		}
	}
	for name, message := range map[string]string{
		"no status":        "\x01\x02",
		"status 10":        "\x01\x02\x0a\x00\x00",
		"op 0":             "\x01\x00\x00",
		"kind of nothing":  "\x01\x01\x00\x00",
		"kind in capitals": "\x01\x01\x00\x01T",
		"more is 2":        "\x01\x06\x00\x02\x00\x00",
		"names descend":    "\x01\x06\x00\x00\x00\x02\x01b\x01a",
		"a name twice":     "\x01\x06\x00\x00\x00\x02\x01a\x01a",
		"513 names":        "\x01\x06\x00\x00\x02\x01",
		"a control in it":  "\x01\x02\x09\x00\x01\x07",
		"no UTF-8":         "\x01\x02\x09\x00\x01\xff",
		"a key of 65":      "\x01\x04\x00\x00\x41" + strings.Repeat("k", 65),
		"a long text":      "\x01\x02\x09\x02\x01" + strings.Repeat("a", 513),
	} {
		if a, err := parseResponse([]byte(message)); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	for name, frame := range map[string]string{"short": "\x00\x00\x00\x01\x01", "long": "\x00\x01\x00\x00", "huge": "\xff\xff\xff\xff"} {
		if m, err := readFrame(strings.NewReader(frame)); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %x, %v", name, m, err)
		}
	}
}

// TestErrorsCross: each of the contract's errors is the same at the other end.
func TestErrorsCross(t *testing.T) {
	for _, s := range statuses {
		a, err := parseResponse(failure(opOpen, s.err).frame()[4:])
		if err != nil {
			t.Fatal(err)
		}
		want := s.err
		if s.status == statusUnavailable {
			want = custody.ErrUnavailable
		}
		if err := a.err(); !errors.Is(err, want) || !strings.Contains(err.Error(), s.err.Error()) {
			t.Errorf("%v became %v", s.err, err)
		}
	}
	a, err := parseResponse(failure(opOpen, errors.New("of\tits own\x00kind")).frame()[4:])
	if err != nil || a.err() == nil || !strings.HasSuffix(a.err().Error(), "of its own kind") {
		t.Errorf("%v, %v", a, err)
	}
}
