package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/state"
)

// found lists findings with their places.
func found(t *testing.T, r *audit.Report) []string {
	t.Helper()
	var got []string
	for _, f := range r.Findings {
		text := string(f.What)
		if f.Located {
			text += fmt.Sprint(" ", f.Index)
		}
		got = append(got, text)
		if f.Why == "" {
			t.Errorf("%s without a reason", text)
		}
	}
	return got
}

// places are where a lie can be told.
func places(t *testing.T, h *audittest.History, l audittest.StateLie) map[string]ledger {
	t.Helper()
	leaves, states := l.Tell(h)
	served := h.Serve()
	places := map[string]ledger{"served": {served, states}}
	if !l.ServedOnly {
		files := h.Folder(10)
		files.PutState(states, leaves)
		if len(states) == 0 {
			delete(files, "state/leaves")
		}
		dir := folder(files)
		places["folder"] = ledger{dir, dir.State()}
	}
	var exported bytes.Buffer
	err := archive.Write(t.Context(), &exported, served, states)
	if err == nil {
		e := openExport(t, exported.Bytes()).(*audit.Export)
		places["export"] = ledger{e, e.State()}
	} else if !errors.Is(err, archive.ErrSource) {
		t.Fatal(err)
	}
	return places
}

// TestStateLies tells every lie and wants every finding about it, no more and no
// fewer, from everywhere that it can be told.
func TestStateLies(t *testing.T) {
	for _, l := range audittest.StateLies() {
		t.Run(l.Name, func(t *testing.T) {
			h := stateStory()
			o := audit.Options{Verifier: h.Verifier}
			if l.Kept != nil {
				o.KeptState = l.Kept(h)
			}
			want := slices.Sorted(slices.Values(l.Want))
			for name, place := range places(t, h, l) {
				r, err := place.audit(t, o)
				if err != nil {
					t.Fatalf("%s: could not check: %v", name, err)
				}
				got := found(t, r)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("%s: findings\n%v\nwant\n%v", name, r.Findings, l.Want)
				}
				if r.OK() || !r.FoundFalse() {
					t.Errorf("%s: OK %v, found false %v", name, r.OK(), r.FoundFalse())
				}
			}
		})
	}
}

func honest(h *audittest.History) []state.Leaf { return h.States(h.Seen(), audittest.Sizes) }

// TestLaterFoundOut invents a leaf of a log that is yet to be: nobody can tell, until
// the log is there.
func TestLaterFoundOut(t *testing.T) {
	h := stateStory()
	leaves := honest(h)
	invented := append(slices.Clone(leaves), state.Leaf{Size: 30, Root: leaves[3].Root, Map: leaves[3].Map})
	kept := h.ServeState(invented)["checkpoint"]
	r, err := ledger{h.Serve(), h.ServeState(invented)}.audit(t, audit.Options{Verifier: h.Verifier})
	if err != nil || !r.OK() || r.State.Beyond != 1 {
		t.Fatalf("error %v, findings %v", err, r.Findings)
	}
	for range 4 {
		h.Access(h.Events[10].Subject)
	}
	for name, c := range map[string]struct {
		leaves []state.Leaf
		want   string
	}{
		"it stays":        {invented, "[state-log-root 12 state-root-mismatch 12]"},
		"it is taken out": {append(slices.Clone(leaves), h.States(h.Seen(), []int{30})...), "[state-kept-fork]"},
	} {
		r, err := ledger{h.Serve(), h.ServeState(c.leaves)}.audit(t, audit.Options{Verifier: h.Verifier, KeptState: kept})
		if got := fmt.Sprint(found(t, r)); err != nil || got != c.want {
			t.Errorf("%s: error %v, findings %s, want %s", name, err, got, c.want)
		}
	}
}

// hiding hides an access.
func hiding(h *audittest.History) []state.Leaf {
	return h.States(slices.Delete(h.Seen(), 11, 12), audittest.Sizes)
}

// TestStateEvidence checks that a finding about the map says which records it can be.
func TestStateEvidence(t *testing.T) {
	h := stateStory()
	hidden := hiding(h)
	r, err := ledger{h.Serve(), h.ServeState(hidden)}.audit(t, audit.Options{Verifier: h.Verifier})
	if err != nil || len(r.Findings) != 1 {
		t.Fatalf("error %v, findings %v", err, r.Findings)
	}
	f := r.Findings[0]
	record := h.Events[11].Subject.String()
	want := map[string]string{
		"root of the map in the leaf": hidden[4].Map.String(), "computed root": honest(h)[4].Map.String(),
		"checkpoint of the state log": string(h.ServeState(hidden)["checkpoint"]),
		"record " + record:            "2 events up to index 11, active, root ",
	}
	for _, e := range f.Evidence {
		if text, ok := want[e.Name]; ok && bytes.HasPrefix([]byte(e.Text), []byte(text)) {
			delete(want, e.Name)
		}
	}
	if len(want) > 0 || !f.OfState() {
		t.Errorf("evidence %v lacks %v", f.Evidence, want)
	}
	if why := "it has the root in which record " + record + " is left as it was before, with 1 events up to index 9"; !bytes.Contains([]byte(f.Why), []byte(why)) {
		t.Errorf("why: %s", f.Why)
	}
}

// TestMapLeftAsItWas finds out that a leaf repeats the map of the leaf before.
func TestMapLeftAsItWas(t *testing.T) {
	h := stateStory()
	leaves := honest(h)
	leaves[7].Map = leaves[6].Map
	r, err := ledger{h.Serve(), h.ServeState(leaves)}.audit(t, audit.Options{Verifier: h.Verifier})
	if err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Why, "it has the root before the events since the last leaf") {
		t.Errorf("error %v, findings %v", err, r.Findings)
	}
}

// TestForgedAnnouncement has the key of the state log announced by somebody who does
// not have the statement key.
func TestForgedAnnouncement(t *testing.T) {
	h := stateStory()
	h.Resign(1, audittest.StatementKey("forger"), func(*events.Event) {})
	r, err := ledger{h.Serve(), h.ServeState(honest(h))}.audit(t, audit.Options{Verifier: h.Verifier})
	if got := fmt.Sprint(found(t, r)); !errors.Is(err, audit.ErrNoState) || got != "[statement-key 1]" || r.OK() {
		t.Errorf("error %v, findings %s", err, got)
	}
}

// TestEveryStateByte flips bytes all over the state log: none passes.
func TestEveryStateByte(t *testing.T) {
	h := stateStory()
	for name, data := range h.ServeState(honest(h)) {
		for at := 0; at < len(data); at += 1 + len(data)/60 {
			states := h.ServeState(honest(h))
			states[name][at] ^= 0x01
			r, err := ledger{h.Serve(), states}.audit(t, audit.Options{Verifier: h.Verifier})
			if err == nil && r.OK() {
				t.Errorf("byte %d of %s flipped: verified", at, name)
			}
		}
	}
}

// TestLogLiesWithState tells the lies about the log to an audit of both logs: what is
// found about the log is found all the same.
func TestLogLiesWithState(t *testing.T) {
	for name, change := range map[string]func(h *audittest.History){
		"forged statement": func(h *audittest.History) {
			h.Resign(11, audittest.StatementKey("forger"), func(*events.Event) {})
		},
		"leaf that is no statement": func(h *audittest.History) { h.Statements[11] = []byte("not a statement") },
		"a patient registers an administrator": func(h *audittest.History) {
			h.Resign(6, h.Signed(6), func(e *events.Event) { e.Data.(*events.ActorRegistered).By = h.Patient })
		},
	} {
		h := stateStory()
		change(h)
		leaves := honest(h)
		plain, err := audit.Log(t.Context(), h.Serve(), audit.Options{Verifier: h.Verifier})
		if err != nil || !plain.FoundFalse() {
			t.Fatalf("%s: error %v, findings %v", name, err, plain.Findings)
		}
		r, err := ledger{h.Serve(), h.ServeState(leaves)}.audit(t, audit.Options{Verifier: h.Verifier})
		if got, want := fmt.Sprint(found(t, r)), fmt.Sprint(found(t, plain)); err != nil || got != want {
			t.Errorf("%s: error %v, findings %s, want %s", name, err, got, want)
		}
	}
}
