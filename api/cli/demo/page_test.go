package demo

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string // rows, joined by a bar
	}{
		{"", 5, ""},
		{"abc", 3, "abc"},
		{"abc def", 3, "abc|def"},
		{"abc def", 6, "abc|def"},
		{"abc def", 7, "abc def"},
		{"abcdefg", 3, "abc|def|g"},
		{"a bcdefg", 3, "a|bcd|efg"},
		{"äöü ✓✓✓", 3, "äöü|✓✓✓"},
		{"a  b", 4, "a  b"},
	} {
		if got := strings.Join(wrap(c.text, c.n), "|"); got != c.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", c.text, c.n, got, c.want)
		}
	}
}

func FuzzWrap(f *testing.F) {
	f.Add("the quick brown fox  jumps", uint8(7))
	f.Add("", uint8(0))
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		most := int(n%100) + 1
		letters := ""
		for _, row := range wrap(text, most) {
			if columns(row) > most {
				t.Errorf("row %q has more than %d columns", row, most)
			}
			letters += strings.ReplaceAll(row, " ", "")
		}
		if want := strings.ReplaceAll(string([]rune(text)), " ", ""); letters != want {
			t.Errorf("%q became %q", want, letters)
		}
	})
}

// ticking is a clock that goes on by one step a look.
func ticking(step time.Duration) func() time.Time {
	now := time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)
	return func() time.Time { now = now.Add(step); return now }
}

func TestPage(t *testing.T) {
	for _, colour := range []bool{false, true} {
		var out bytes.Buffer
		p := newPage(&out, colour, ticking(1500*time.Microsecond))
		p.scene("A scene")
		p.done("something is done", "done")
		p.expect("something that takes a line and a half of the page to be told, or nearly", "refused: for good reasons", "refused: for good reasons")
		p.expect("something goes wrong", "this", "that")
		p.command("medverify", "log", "--dir", "$D", strings.Repeat("x", 40), strings.Repeat("y", 40))
		p.quote("one\n  two\nthree", 2)
		const want = `
 1. A scene
  ✓ something is done                                               done  1.5 ms
  ✓ something that takes a line and a half of the page to be told, or
    nearly                                     refused: for good reasons  1.5 ms
  ✗ something goes wrong                               NOT AS IT MUST BE  1.5 ms
        expected: this
        happened: that
    $ medverify log --dir $D xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx \
        yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
    | one
    |   two
    | …
`
		got := out.String()
		if colour == (strings.Count(got, "\x1b") == 0) {
			t.Errorf("with colour %v: %q", colour, got)
		}
		for _, code := range []string{bold, dim, green, red, plain} {
			got = strings.ReplaceAll(got, code, "")
		}
		if got != want {
			t.Errorf("page:\n%s\nwant:\n%s", got, want)
		}
		if p.unmet != 1 {
			t.Errorf("%d expectations were not met, want 1", p.unmet)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0 ms", 1234 * time.Microsecond: "1.2 ms", 9999 * time.Microsecond: "10 ms", 999800 * time.Microsecond: "1.0 s",
		123 * time.Millisecond: "123 ms", 1230 * time.Millisecond: "1.2 s", 61 * time.Second: "61.0 s",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %q, want %q", d, got, want)
		}
	}
}

// failing is a writer that fails after some bytes.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// TestBrokenPipe makes sure that a story nobody could read is no success.
func TestBrokenPipe(t *testing.T) {
	if err := Run(t.Context(), Options{Binary: binary}, &failing{left: 500}); !errors.Is(err, errFull) {
		t.Errorf("error %v, want that of the writer", err)
	}
}
