package history_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/jcs"
	"github.com/medledger/medledger/verifier/state"
)

// story is a ledger whose places are known: the record that is destroyed is that of
// events 9, 11, 13, 14, 15, 20, 21, 22 and 23, the other that of 10, 12, 17, 18, 19, 24
// and 25; keys are rotated at 16.
func story() (h *audittest.History, destroyed, alive events.ID) {
	h = audittest.New("a")
	h.StateStory()
	return h, h.Events[9].Subject, h.Events[10].Subject
}

// shown shows the leaf of a size in a log of another.
func shown(h *audittest.History, leaf, size int) audittest.Shown {
	at := slices.Index(audittest.Sizes, leaf)
	return audittest.Shown{Seen: h.Seen(), Sizes: audittest.Sizes, Leaf: at, Size: size}
}

// TestHonest verifies the history of every record, and of one that never was, at every
// leaf and under every later checkpoint.
func TestHonest(t *testing.T) {
	h, destroyed, alive := story()
	for _, record := range []events.ID{destroyed, alive, h.ID()} {
		for _, leaf := range audittest.Sizes {
			for size := leaf; size <= len(h.Events); size++ {
				b := h.Bundle(record, shown(h, leaf, size))
				var got []uint64
				v, err := history.Verify(bytes.NewReader(b.Write()), h.Verifier, func(index uint64, e events.Event) error {
					if e.ID != h.Events[index].ID {
						t.Errorf("event %v at index %d", e.ID, index)
					}
					got = append(got, index)
					return nil
				})
				if err != nil {
					t.Fatalf("leaf of %d in a log of %d: %v", leaf, size, err)
				}
				var want []uint64
				for i, e := range h.Events[:leaf] {
					if e.Subject == record {
						want = append(want, uint64(i))
					}
				}
				if !slices.Equal(got, want) || v.Record != record || v.Leaf.Size != uint64(leaf) || v.Checkpoint.Size != uint64(size) {
					t.Errorf("leaf of %d in a log of %d: events %v, want %v; %+v", leaf, size, got, want, v)
				}
				if (v.Summary == nil) != (len(want) == 0) || v.Summary != nil && v.Summary.Events != uint64(len(want)) {
					t.Errorf("leaf of %d: summary %+v of %d events", leaf, v.Summary, len(want))
				}
			}
		}
	}
	v, err := history.Verify(bytes.NewReader(h.Bundle(destroyed, shown(h, 26, 26)).Write()), h.Verifier, nil)
	if err != nil || v.Summary.Phase != state.Destroyed || v.Summary.Violations != 0 || v.StateCheckpoint.Size != 12 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestLong verifies a history of more events than a tile has.
func TestLong(t *testing.T) {
	h := audittest.New("a").OpenState()
	record := h.Originate()
	for range 300 {
		h.Access(record)
	}
	v, err := history.Verify(iotest.OneByteReader(bytes.NewReader(h.Bundle(record, h.Shown()).Write())), h.Verifier, nil)
	if err != nil || v.Summary.Events != 301 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestEachStops(t *testing.T) {
	h, _, alive := story()
	stop := errors.New("stop")
	_, err := history.Verify(bytes.NewReader(h.Bundle(alive, shown(h, 26, 26)).Write()), h.Verifier, func(uint64, events.Event) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if _, err := history.Verify(iotest.ErrReader(stop), h.Verifier, nil); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

// without leaves out a line.
func without(bundle []byte, at int) []byte {
	lines := bytes.SplitAfter(bundle, []byte("\n"))
	return bytes.Join(slices.Delete(lines, at, at+1), nil)
}

func swapped(bundle []byte, i, j int) []byte {
	lines := bytes.SplitAfter(bundle, []byte("\n"))
	lines[i], lines[j] = lines[j], lines[i]
	return bytes.Join(lines, nil)
}

// edit changes the header as JSON.
func edit(t *testing.T, bundle []byte, change func(header map[string]any)) []byte {
	t.Helper()
	line, rest, _ := bytes.Cut(bundle, []byte("\n"))
	var header map[string]any
	if err := json.Unmarshal(line, &header); err != nil {
		t.Fatal(err)
	}
	change(header)
	text, err := jcs.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(text, []byte("\n"), rest)
}

// TestEveryByte changes every byte of every line: none passes.
func TestEveryByte(t *testing.T) {
	h := audittest.New("a").OpenState()
	record := h.Originate()
	h.Access(record)
	s := h.Shown()
	s.Sizes, s.Leaf = []int{2, 10, 11}, 1
	bundle := h.Bundle(record, s).Write()
	if _, err := history.Verify(bytes.NewReader(bundle), h.Verifier, nil); err != nil {
		t.Fatal(err)
	}
	for i := range bundle {
		mangled := bytes.Clone(bundle)
		mangled[i] ^= 1
		if v, err := history.Verify(bytes.NewReader(mangled), h.Verifier, nil); err == nil {
			t.Errorf("byte %d: %+v", i, v)
		}
	}
}

// TestEveryEnd cuts a bundle after every line and within each.
func TestEveryEnd(t *testing.T) {
	h, _, alive := story()
	bundle := h.Bundle(alive, shown(h, 26, 26)).Write()
	at := 0
	for line := range bytes.Lines(bundle) {
		for _, cut := range []int{at, at + 1, at + len(line)/2, at + len(line) - 1} {
			if _, err := history.Verify(bytes.NewReader(bundle[:cut]), h.Verifier, nil); !errors.Is(err, history.ErrMalformed) {
				t.Errorf("cut after %d bytes: %v", cut, err)
			}
		}
		at += len(line)
	}
}

// TestOneSpelling writes a good bundle's lines in other ways: each is refused.
func TestOneSpelling(t *testing.T) {
	h, _, alive := story()
	good := string(h.Bundle(alive, shown(h, 17, 26)).Write())
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("bundle has no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	header, rest, _ := strings.Cut(good, "\n")
	for name, text := range map[string]string{
		"nothing":                  "",
		"empty line first":         "\n" + good,
		"empty line last":          good + "\n",
		"anything last":            good + "x",
		"a bundle more":            good + good,
		"a line too many":          good + rest[strings.LastIndex(strings.TrimSuffix(rest, "\n"), "\n")+1:],
		"no last newline":          strings.TrimSuffix(good, "\n"),
		"CRLF":                     strings.ReplaceAll(good, "\n", "\r\n"),
		"byte order mark":          "\ufeff" + good,
		"space":                    replace(`"format":`, `"format": `),
		"member twice":             replace(`"events":2`, `"events":2,"events":2`),
		"member twice, other case": replace(`"events":2`, `"Events":4,"events":2`),
		"wrong case":               replace(`"events":2`, `"Events":2`),
		"wrong case of a line":     replace(`"index":1`, `"Index":1`),
		"unknown member":           replace(`"format"`, `"extra":1,"format"`),
		"unknown member of a line": replace(`"path"`, `"key":1,"path"`),
		"null":                     replace(`"map":"`, `"map":null,"x":"`),
		"other order":              replace(`"announcements":2,"consistency"`, `"consistency":"","announcements":2,"x"`),
		"number as a float":        replace(`"events":2`, `"events":2.0`),
		"number with an exponent":  replace(`"events":2`, `"events":2e0`),
		"negative":                 replace(`"events":2`, `"events":-2`),
		"number as a string":       replace(`"events":2`, `"events":"2"`),
		"index beyond a double":    replace(`"index":1`, `"index":9007199254740993`),
		"other events":             replace(`"events":2`, `"events":3`),
		"no announcements":         replace(`"announcements":2`, `"announcements":0`),
		"too many announcements":   replace(`"announcements":2`, `"announcements":4097`),
		"other format":             replace(`history.v1`, `history.v2`),
		"format in capitals":       replace(`medledger.history`, `Medledger.history`),
		"escaped":                  replace(`"format":"m`, `"format":"\u006d`),
		"record in capitals":       replace(alive.String(), strings.ToUpper(alive.String())),
		"record is zero":           replace(alive.String(), events.ID{}.String()),
		"base64 with a line break": replace(`"leaf":"A`, `"leaf":"\nA`),
		"base64 without padding":   replace(`=="`, `="`),
		"summary empty":            replace(`"summary":"`, `"summary":"","x":"`),
		"summary null":             replace(`"summary":"`, `"summary":null,"x":"`),
		"leaf of another format":   replace(`"leaf":"AQ`, `"leaf":"Ag`),
		"path of half a hash":      replace(`"path":"`, `"path":"AAAA`),
		"array":                    "[" + header + "]\n" + rest,
		"a line of no end":         strings.Repeat(" ", 1<<20),
	} {
		if v, err := history.Verify(strings.NewReader(text), h.Verifier, nil); !errors.Is(err, history.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

// TestWriter writes otherwise than a header says.
func TestWriter(t *testing.T) {
	h, _, alive := story()
	b := h.Bundle(alive, shown(h, 26, 26))
	header := b.Header
	header.Announcements, header.Events = 2, 7
	w, err := history.NewWriter(io.Discard, header)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := w.Close(); !errors.Is(err, history.ErrOrder) {
			t.Errorf("closed after %d statements: %v", i, err)
		}
		if err := w.Statement(1, nil, h.Statements[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close()); err != nil {
		t.Error(err)
	}
	if err := w.Statement(1, nil, h.Statements[1]); !errors.Is(err, history.ErrOrder) {
		t.Errorf("a statement too many: %v", err)
	}
	for name, change := range map[string]func(h *history.Header){
		"no record":              func(h *history.Header) { h.Record = events.ID{} },
		"no announcements":       func(h *history.Header) { h.Announcements = 0 },
		"too many announcements": func(h *history.Header) { h.Announcements = 4097 },
		"other events":           func(h *history.Header) { h.Events++ },
		"events of nothing":      func(h *history.Header) { h.Summary = nil },
		"too long":               func(h *history.Header) { h.Map = make([]byte, 200_000) },
	} {
		bad := header
		change(&bad)
		if _, err := history.NewWriter(io.Discard, bad); !errors.Is(err, history.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w, err = history.NewWriter(io.Discard, header)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		index uint64
		raw   []byte
	}{"no statement": {0, nil}, "a long statement": {0, make([]byte, 70_000)}, "a great index": {1 << 53, []byte("x")}} {
		if err := w.Statement(c.index, nil, c.raw); !errors.Is(err, history.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzVerify wants nobody to make a bundle that holds but the ledger.
func FuzzVerify(f *testing.F) {
	h, destroyed, alive := story()
	var good []string
	for _, record := range []events.ID{destroyed, alive, h.ID()} {
		for _, leaf := range []int{17, 26} {
			bundle := h.Bundle(record, shown(h, leaf, 26)).Write()
			good = append(good, string(bundle))
			f.Add(bundle)
			for _, line := range []int{0, 1, 2} {
				f.Add(without(bundle, line))
			}
		}
	}
	f.Fuzz(func(t *testing.T, bundle []byte) {
		v, err := history.Verify(bytes.NewReader(bundle), h.Verifier, nil)
		if (v == nil) != (err != nil) {
			t.Errorf("%v with error %v", v, err)
		}
		if err == nil && !slices.Contains(good, string(bundle)) {
			t.Error(fmt.Errorf("holds, and nobody made it: %q", bundle))
		}
	})
}
