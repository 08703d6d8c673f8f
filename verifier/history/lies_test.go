package history_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/mpt"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

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
		"no consistency proof":                {changed(stale, func(b *audittest.Bundle) { b.Header.Consistency = nil }), history.ErrLeaf},
		"a consistency proof that is not due": {change(func(b *audittest.Bundle) { b.Header.Consistency = stale.Header.Consistency }), history.ErrLeaf},
		"another consistency proof":           {changed(stale, func(b *audittest.Bundle) { b.Header.Consistency = h.Bundle(alive, shown(h, 13, 26)).Header.Consistency }), history.ErrLeaf},
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

func changed(b *audittest.Bundle, f func(b *audittest.Bundle)) []byte {
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
