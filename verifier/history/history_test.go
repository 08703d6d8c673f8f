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

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/jcs"
	"github.com/medledger/medledger/verifier/mpt"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
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

// TestLies tells lies to somebody who has the log's verifier key and nothing else. Who
// tells them has all keys of the ledger, unless its name says otherwise; only the log
// is as it is.
func TestLies(t *testing.T) {
	h, destroyed, alive := story()
	whole := func() *audittest.Bundle { return h.Bundle(alive, shown(h, 26, 26)) }
	change := func(f func(b *audittest.Bundle)) []byte {
		b := whole()
		f(b)
		return b.Write()
	}
	lying := func(leaf int, f func(seen []audittest.Seen) []audittest.Seen) *audittest.Bundle {
		s := shown(h, leaf, 26)
		s.Seen = f(s.Seen)
		return h.Bundle(alive, s)
	}
	forger := audittest.New("forger")
	forger.StateStory()
	elsewhere := audittest.NewOf("elsewhere.example/ledger", "a")
	elsewhere.StateStory()
	fork := audittest.New("a").OpenState()
	fork.Fill(26)
	// An event that the ledger's key signed, and that never came into its log.
	invented := audittest.New("a")
	invented.StateStory()
	invented.Resign(24, h.Signer, func(e *events.Event) { e.Data.(*events.RecordAmended).Size++ })
	otherKey, _ := audittest.StateKey(audittest.Origin, "forger")
	stale := h.Bundle(alive, shown(h, 17, 26))

	for name, c := range map[string]struct {
		bundle []byte
		want   error // nil: some error of package note
	}{
		"an event is left out, and its line":    {edit(t, without(whole().Write(), 8), func(j map[string]any) { j["events"] = 6 }), history.ErrMalformed},
		"an event is left out, its line only":   {without(whole().Write(), 8), history.ErrMalformed},
		"an event stands twice":                 {change(func(b *audittest.Bundle) { b.Events[3] = b.Events[2] }), history.ErrForeign},
		"two events are exchanged":              {change(func(b *audittest.Bundle) { b.Events[2], b.Events[3] = b.Events[3], b.Events[2] }), history.ErrForeign},
		"two lines are exchanged":               {swapped(whole().Write(), 7, 8), history.ErrForeign},
		"an event is of another record":         {change(func(b *audittest.Bundle) { b.Events[3] = h.Prove(20, 26) }), history.ErrForeign},
		"an event is about no record":           {change(func(b *audittest.Bundle) { b.Events[3] = h.Prove(8, 26) }), history.ErrForeign},
		"an event is beyond the leaf":           {withEvents(stale, append(stale.Events[:1:1], h.Prove(24, 26))).Write(), history.ErrForeign},
		"an invented event in a hidden one's":   {change(func(b *audittest.Bundle) { b.Events[5] = invented.Prove(24, 26) }), proof.ErrProof},
		"an invented event with another's path": {change(func(b *audittest.Bundle) { b.Events[5].Statement = invented.Statements[24] }), proof.ErrProof},
		"an event at another place":             {change(func(b *audittest.Bundle) { b.Events[5].Index++ }), proof.ErrProof},
		"the state hides an event, the bundle does not": {func() []byte {
			b := lying(26, func(seen []audittest.Seen) []audittest.Seen { return slices.Delete(seen, 18, 19) })
			b.Events = slices.Delete(b.Events, 5, 6) // one is too many
			return b.Write()
		}(), history.ErrIncomplete},
		"the state invents an event, the bundle repeats another record's": {func() []byte {
			b := lying(26, func(seen []audittest.Seen) []audittest.Seen {
				return slices.Insert(seen, 18, audittest.Seen{At: 18, Index: 18, Record: alive, Effect: state.Any})
			})
			b.Events = slices.Insert(b.Events, 3, h.Prove(21, 26))
			return b.Write()
		}(), history.ErrForeign},
		"the state counts another record's event, and the bundle has it": {func() []byte {
			b := lying(26, func(seen []audittest.Seen) []audittest.Seen {
				seen[20].Record = alive
				return seen
			})
			b.Events = slices.Insert(b.Events, 5, h.Prove(20, 26))
			return b.Write()
		}(), history.ErrForeign},
		"the state counts what is about a patient of the same id, and the bundle has it": {func() []byte {
			h, _, alive := story()
			h.Add(alive, &events.AccessRefused{Action: events.ActionRegisterPatient, Actor: h.Clerk, Decision: h.Decision("role-not-allowed")})
			s := audittest.Shown{Seen: h.Seen(), Sizes: []int{27}, Size: 27}
			s.Seen[26].Effect = state.Any
			b := h.Bundle(alive, s)
			b.Events = append(b.Events, h.Prove(26, 27))
			return b.Write()
		}(), history.ErrForeign},
		"the state exchanges two events": {lying(26, func(seen []audittest.Seen) []audittest.Seen {
			seen[18].Leaf, seen[19].Leaf = seen[19].Leaf, seen[18].Leaf
			return seen
		}).Write(), history.ErrIncomplete},
		"the state forgets a destruction": {func() []byte {
			s := shown(h, 26, 26)
			s.Seen[22].Effect = state.Any
			return h.Bundle(destroyed, s).Write()
		}(), history.ErrIncomplete},
		"the state lets an access after the end pass": {func() []byte {
			h, destroyed, _ := story()
			h.Access(destroyed)
			s := audittest.Shown{Seen: h.Seen(), Sizes: []int{27}, Size: 27}
			s.Seen[26].Effect = state.Seen
			return h.Bundle(destroyed, s).Write()
		}(), history.ErrIncomplete},
		"the summary of another record": {change(func(b *audittest.Bundle) {
			s := *h.Bundle(destroyed, shown(h, 23, 26)).Header.Summary
			s.Events = 7
			b.Header.Summary = &s
		}), mpt.ErrProof},
		"another record's summary and proof": {change(func(b *audittest.Bundle) {
			o := h.Bundle(destroyed, shown(h, 26, 26))
			b.Header.Map, b.Header.Summary, b.Events = o.Header.Map, o.Header.Summary, o.Events
		}), mpt.ErrProof},
		"another record's bundle, renamed": {edit(t, h.Bundle(destroyed, shown(h, 26, 26)).Write(), func(j map[string]any) { j["record"] = alive.String() }), mpt.ErrProof},
		"a map proof of another root":      {change(func(b *audittest.Bundle) { b.Header.Map = h.Bundle(alive, shown(h, 20, 26)).Header.Map }), mpt.ErrProof},
		"absent, with another's proof":     {absent(h.Bundle(h.ID(), shown(h, 26, 26)), alive), mpt.ErrProof},
		"absent, with its own proof":       {absent(whole(), alive), mpt.ErrProof},
		"absent, with no proof":            {absent(&audittest.Bundle{Header: headerWith(whole(), nil), Opened: whole().Opened, Announcements: whole().Announcements}, alive), mpt.ErrProof},
		"present, as was proved absent": {change(func(b *audittest.Bundle) {
			b.Header.Map = h.Bundle(h.ID(), shown(h, 26, 26)).Header.Map
			b.Header.Record = h.ID()
		}), mpt.ErrProof},
		"a stale leaf with the newest summary": {change(func(b *audittest.Bundle) {
			o := h.Bundle(alive, shown(h, 24, 26)).Header
			b.Header.Leaf, b.Header.State, b.Header.Consistency = o.Leaf, o.State, o.Consistency
		}), mpt.ErrProof},
		"a stale leaf in place of the newest": {change(func(b *audittest.Bundle) { b.Header.Leaf = h.Bundle(alive, shown(h, 24, 26)).Header.Leaf }), history.ErrLeaf},
		"a leaf that is not in the state log": {change(func(b *audittest.Bundle) { b.Header.Leaf.Map[0] ^= 1 }), history.ErrLeaf},
		"a leaf at another place": {change(func(b *audittest.Bundle) {
			b.Header.State = bytes.Replace(b.Header.State, []byte("index 11"), []byte("index 10"), 1)
		}), history.ErrLeaf},
		"a leaf of a fork of the log": {forked(h, fork, alive), history.ErrLeaf},
		"a leaf of a log that is yet to be": {change(func(b *audittest.Bundle) {
			b.Header.Log = audittest.Serve(h.Statements[:24], h.LogSigner)["checkpoint"]
		}), proof.ErrProof},
		"a leaf of another ledger's state log": {change(func(b *audittest.Bundle) {
			o := elsewhere.Bundle(elsewhere.Events[10].Subject, shown(elsewhere, 26, 26)).Header
			b.Header.Leaf, b.Header.State = o.Leaf, o.State
		}), nil},
		"no consistency proof":                {change2(stale, func(b *audittest.Bundle) { b.Header.Consistency = nil }), history.ErrLeaf},
		"a consistency proof that is not due": {change(func(b *audittest.Bundle) { b.Header.Consistency = stale.Header.Consistency }), history.ErrLeaf},
		"another consistency proof":           {change2(stale, func(b *audittest.Bundle) { b.Header.Consistency = h.Bundle(alive, shown(h, 13, 26)).Header.Consistency }), history.ErrLeaf},
		"the state signed by another key":     {h.Bundle(alive, audittest.Shown{Seen: h.Seen(), Sizes: audittest.Sizes, Leaf: 11, Size: 26, Signer: otherKey}).Write(), nil},
		"the state signed by the log's key":   {h.Bundle(alive, audittest.Shown{Seen: h.Seen(), Sizes: audittest.Sizes, Leaf: 11, Size: 26, Signer: h.LogSigner}).Write(), nil},
		"the log signed by another key":       {forger.Bundle(forger.Events[10].Subject, shown(forger, 26, 26)).Write(), nil},
		"the log signed by the state's key":   {change(func(b *audittest.Bundle) { b.Header.Log = audittest.Serve(h.Statements, h.StateSigner())["checkpoint"] }), nil},
		"another ledger's statements, signed by the log's key": {func() []byte {
			o := audittest.NewOf("elsewhere.example/ledger", "a")
			o.StateStory()
			o.LogSigner = h.LogSigner
			return o.Bundle(o.Events[10].Subject, shown(o, 26, 26)).Write()
		}(), statement.ErrOrigin},
		"another ledger, whole":          {elsewhere.Bundle(elsewhere.Events[10].Subject, shown(elsewhere, 26, 26)).Write(), nil},
		"another state log announced":    {change(func(b *audittest.Bundle) { b.Opened = forger.Prove(1, 26) }), proof.ErrProof},
		"another event announces":        {change(func(b *audittest.Bundle) { b.Opened = h.Prove(2, 26) }), history.ErrChain},
		"announcement of another ledger": {change(func(b *audittest.Bundle) { b.Announcements[0] = forger.Prove(0, 26) }), proof.ErrProof},
		"rotation left out":              {change(func(b *audittest.Bundle) { b.Announcements = b.Announcements[:1] }), statement.ErrUnknownKey},
		"opening left out":               {change(func(b *audittest.Bundle) { b.Announcements = b.Announcements[1:] }), history.ErrChain},
		"announcements exchanged":        {change(func(b *audittest.Bundle) { slices.Reverse(b.Announcements) }), history.ErrChain},
		"announcement twice":             {change(func(b *audittest.Bundle) { b.Announcements = append(b.Announcements, b.Announcements[1]) }), history.ErrChain},
		"announcement that is none":      {change(func(b *audittest.Bundle) { b.Announcements = append(b.Announcements, b.Events[6]) }), history.ErrChain},
		"signed with a key rotated away": {resigned(24, audittest.StatementKey("a")), statement.ErrUnknownKey},
		"signed by nobody's key":         {resigned(24, audittest.StatementKey("forger")), statement.ErrUnknownKey},
	} {
		v, err := history.Verify(bytes.NewReader(c.bundle), h.Verifier, nil)
		if c.want == mpt.ErrProof && errors.Is(err, mpt.ErrMalformed) {
			err = mpt.ErrProof // a proof of presence and one of absence have different forms
		}
		var unverified *note.UnverifiedNoteError
		if v != nil || err == nil || c.want != nil && !errors.Is(err, c.want) || c.want == nil && !errors.As(err, &unverified) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// A stale leaf is no lie if it says so, and a leaf is not the newest for ever.
	if v, err := history.Verify(bytes.NewReader(stale.Write()), h.Verifier, nil); err != nil || v.Leaf.Size != 17 || v.Checkpoint.Size != 26 {
		t.Errorf("as of 17: %+v, %v", v, err)
	}
}

func change2(b *audittest.Bundle, f func(b *audittest.Bundle)) []byte {
	c := *b
	f(&c)
	return c.Write()
}

func withEvents(b *audittest.Bundle, events []audittest.Proved) *audittest.Bundle {
	c := *b
	c.Events = events
	return &c
}

func headerWith(b *audittest.Bundle, mapProof []byte) history.Header {
	h := b.Header
	h.Map = mapProof
	return h
}

// absent says that there is no such record.
func absent(b *audittest.Bundle, record events.ID) []byte {
	c := *b
	c.Header.Record, c.Header.Summary, c.Events = record, nil, nil
	return c.Write()
}

// forked proves the leaf of another log of the same keys.
func forked(h, fork *audittest.History, record events.ID) []byte {
	b := h.Bundle(record, shown(h, 26, 26))
	b.Header.Leaf, b.Header.State = fork.States(fork.Seen(), []int{26})[0], nil
	o := fork.Bundle(record, audittest.Shown{Seen: fork.Seen(), Sizes: []int{26}, Size: 26}).Header
	b.Header.State = o.State
	return b.Write()
}

// resigned is the history of a ledger whose log has an event that another key signed.
func resigned(at int, signer *statement.Signer) []byte {
	h, _, alive := story()
	h.Resign(at, signer, func(*events.Event) {})
	return h.Bundle(alive, shown(h, 26, 26)).Write()
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
