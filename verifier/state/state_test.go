package state_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// TestRootIsOfTheWholeTree compares the incremental root with RFC 6962's
// definition.
func TestRootIsOfTheWholeTree(t *testing.T) {
	var h state.History
	var leaves []tlog.Hash
	for i := range uint64(300) {
		index, leaf := 3*i+1, sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		h.Add(index, leaf, state.Any)
		leaves = append(leaves, state.MiniLeaf(index, leaf))
		s := h.Summary()
		if want := audittest.Root(leaves); s.Root != want || s.Events != i+1 || s.Last != index {
			t.Fatalf("after %d events: %+v, want root %v", i+1, s, want)
		}
		again, err := state.ParseSummary(s.Marshal())
		if err != nil || again != s {
			t.Fatalf("read again as %+v: %v", again, err)
		}
	}
}

func TestPhases(t *testing.T) {
	for name, test := range map[string]struct {
		effects    []state.Effect
		phase      state.Phase
		violations uint64
	}{
		"one event":                     {[]state.Effect{state.Any}, state.Active, 0},
		"a destruction begun":           {[]state.Effect{state.Any, state.Starts}, state.Destroying, 0},
		"seen while it is destroyed":    {[]state.Effect{state.Any, state.Starts, state.Seen}, state.Destroying, 0},
		"destroyed":                     {[]state.Effect{state.Any, state.Starts, state.Destroys}, state.Destroyed, 0},
		"seen afterwards":               {[]state.Effect{state.Any, state.Starts, state.Destroys, state.Seen, state.Seen}, state.Destroyed, 0},
		"amended afterwards":            {[]state.Effect{state.Any, state.Starts, state.Destroys, state.Any, state.Seen}, state.Destroyed, 1},
		"destroyed twice":               {[]state.Effect{state.Any, state.Destroys, state.Destroys}, state.Destroyed, 1},
		"destruction begun again":       {[]state.Effect{state.Any, state.Destroys, state.Starts, state.Any}, state.Destroyed, 2},
		"a refusal before its creation": {[]state.Effect{state.Seen}, state.Active, 0},
	} {
		var h state.History
		for i, effect := range test.effects {
			h.Add(uint64(i), tlog.Hash{byte(i)}, effect)
		}
		s := h.Summary()
		if s.Phase != test.phase || s.Terminal != (test.phase == state.Destroyed) || s.Violations != test.violations {
			t.Errorf("%s: %+v", name, s)
		}
		if again, err := state.ParseSummary(s.Marshal()); err != nil || again != s {
			t.Errorf("%s: read again as %+v: %v", name, again, err)
		}
	}
}

// TestEffects names what an event of every type does.
func TestEffects(t *testing.T) {
	about, actor := events.ID{1}, events.ID{2}
	special := map[events.Type]state.Effect{
		events.TypeDestructionStarted: state.Starts, events.TypeRecordDestroyed: state.Destroys,
		events.TypeHistoryRead: state.Seen, events.TypeDeliveryFailed: state.Seen, events.TypeAccessRefused: state.Seen,
		events.TypeRecordOriginated: state.Any, events.TypeRecordAmended: state.Any, events.TypeRecordAccessed: state.Any,
		events.TypeRecordRefiled: state.Any, events.TypeRecordDisclosed: state.Any, events.TypeRecordReceived: state.Any,
		events.TypeShareAcknowledged: state.Any, events.TypeShareEnded: state.Any, events.TypeDestructionRequested: state.Any,
	}
	for _, typ := range events.Types() {
		data, err := events.New(typ)
		if err != nil {
			t.Fatal(err)
		}
		if got := state.EffectOf(events.Event{Type: typ, Subject: about, Data: data}); got != special[typ] {
			t.Errorf("%s: effect %d, want %d", typ, got, special[typ])
		}
	}
	for name, d := range map[string]*events.AccessRefused{
		"of a patient":           {Actor: actor, Action: events.ActionRegisterPatient},
		"of nothing that exists": {Actor: about, Action: events.ActionAccess},
	} {
		if got := state.EffectOf(events.Event{Type: events.TypeAccessRefused, Subject: about, Data: d}); got != state.None {
			t.Errorf("a refusal %s has effect %d on a record", name, got)
		}
	}
}

// TestOneEncoding flips every bit of a summary, a leaf and a record: what is still
// read has to be written back as it was.
func TestOneEncoding(t *testing.T) {
	summary := state.Summary{Events: 9, Root: tlog.Hash{7}, Last: 800, Phase: state.Destroyed, Terminal: true, Violations: 2}.Marshal()
	leaf := state.Leaf{Size: 900, Root: tlog.Hash{1}, Map: tlog.Hash{2}}
	everyBit(summary, func(b []byte) {
		if s, err := state.ParseSummary(b); err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Errorf("%x is read as %+v", b, s)
		}
	})
	everyBit(leaf.Marshal(), func(b []byte) {
		if l, err := state.ParseLeaf(b); err == nil && !bytes.Equal(l.Marshal(), b) {
			t.Errorf("%x is read as %+v", b, l)
		}
	})
	record := state.AppendRecord(nil, leaf)
	if l, ok := state.ParseRecord(record); !ok || l != leaf {
		t.Errorf("a record is read as %+v, %v", l, ok)
	}
	everyBit(record, func(b []byte) {
		if l, ok := state.ParseRecord(b); ok {
			t.Errorf("%x is read as %+v", b, l)
		}
	})
	for _, b := range [][]byte{nil, make([]byte, state.RecordSize), record[1:], append(record, 0)} {
		if l, ok := state.ParseRecord(b); ok {
			t.Errorf("%d bytes are read as %+v", len(b), l)
		}
	}
}

func everyBit(b []byte, f func([]byte)) {
	for i := range 8 * len(b) {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		f(c)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(state.Summary{Events: 1, Phase: state.Active}.Marshal())
	f.Add(state.Leaf{Size: 1}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := state.ParseSummary(b); err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Errorf("summary %x", b)
		}
		if l, err := state.ParseLeaf(b); err == nil && !bytes.Equal(l.Marshal(), b) {
			t.Errorf("leaf %x", b)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	var h state.History
	leaf := proof.LeafHash(nil)
	for i := range b.N {
		h.Add(uint64(i), leaf, state.Any)
		if rand.IntN(2) == 0 {
			_ = h.Summary()
		}
	}
}

// TestKey announces a key and verifies a checkpoint of the state log with what the
// event says.
func TestKey(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	e := events.Event{Source: "clinic.example/ledger", Type: events.TypeStateLogOpened, Data: state.Announce(key.Public().(ed25519.PublicKey))}
	v, err := state.Verifier(e)
	if err != nil || v.Name() != "clinic.example/ledger/state" {
		t.Fatalf("%v, %v", v, err)
	}
	if message := []byte("checkpoint"); !v.Verify(message, ed25519.Sign(key, message)) {
		t.Error("the key does not verify what it signed")
	}
	for name, e := range map[string]events.Event{
		"another event": {Source: e.Source, Data: &events.LedgerRestored{}},
		"no key":        {Source: e.Source, Data: &events.StateLogOpened{}},
		"short key":     {Source: e.Source, Data: &events.StateLogOpened{PublicKey: "AAAA"}},
		"another form":  {Source: e.Source, Data: &events.StateLogOpened{PublicKey: strings.Repeat("/", 43)}},
		"bad origin":    {Source: "a b", Data: e.Data},
	} {
		if v, err := state.Verifier(e); !errors.Is(err, state.ErrMalformed) {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}
