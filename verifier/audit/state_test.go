package audit_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// stateStory is a story with a state log from the second event on, whose places are
// known: the record that is destroyed is that of events 9, 11, 13, 14, 15, 20, 21, 22
// and 23, the other that of 10, 12, 17, 18, 19, 24 and 25.
func stateStory() *audittest.History {
	h := audittest.New("a")
	h.StateStory()
	return h
}

// ledger is a log with its state log, as somebody serves it.
type ledger struct {
	log, state audit.Source
}

func (l ledger) audit(t *testing.T, o audit.Options) (*audit.Report, error) {
	t.Helper()
	o.State = l.state
	return audit.Log(t.Context(), l.log, o)
}

// everywhere is a ledger from each of the places that it can be read from.
func everywhere(t *testing.T, h *audittest.History, leaves []state.Leaf) map[string]ledger {
	served, states := h.Serve(), h.ServeState(leaves)
	files := h.Folder(10)
	files.PutState(states, leaves)
	dir := folder(files)
	exported := openExport(t, exportBoth(t, served, states)).(*audit.Export)
	return map[string]ledger{
		"served": {served, states}, "folder": {dir, dir.State()}, "export": {exported, exported.State()},
	}
}

// TestHonestState audits honest logs of sizes at and around the edges of tiles with
// their state logs.
func TestHonestState(t *testing.T) {
	whole := audittest.New("a")
	whole.StateStory()
	whole.Fill(1200)
	for _, size := range []int{2, 3, 9, 22, 26, 255, 256, 257, 512, 600, 1200} {
		h := *whole
		h.Events, h.Statements = h.Events[:size], h.Statements[:size]
		for name, l := range everywhere(t, &h, h.HonestStates()) {
			r, err := l.audit(t, audit.Options{Verifier: h.Verifier})
			if err != nil || !r.OK() {
				t.Fatalf("%s of %d: error %v, findings %v", name, size, err, r.Findings)
			}
			if s := r.State; s.Announced != 1 || s.Compared != uint64(len(h.Batches())) || s.Compared != s.Checkpoint.Size || s.Beyond != 0 {
				t.Errorf("%s of %d: %+v", name, size, s)
			}
		}
	}
}

// TestStateRaces audits logs that have grown between the readings: what the state log
// has beyond the log's checkpoint is left aside.
func TestStateRaces(t *testing.T) {
	h := audittest.New("a").OpenState().Fill(700)
	leaves := h.HonestStates()
	served := audittest.Serve(h.Statements[:300], h.LogSigner)
	at := 0
	for leaves[at].Size < 300 {
		at++
	}
	early := append(leaves[:at:at], h.States(h.Seen(), []int{300})...)
	for beyond := range 3 {
		states := append(early[:len(early):len(early)], leaves[at+1:at+1+beyond]...)
		r, err := ledger{served, h.ServeState(states)}.audit(t, audit.Options{Verifier: h.Verifier})
		if err != nil || !r.OK() || r.State.Beyond != uint64(beyond) {
			t.Errorf("%d leaves beyond: error %v, findings %v, %+v", beyond, err, r.Findings, r.State)
		}
	}
}

// TestUpgraded audits a ledger that had no state log for a long time: its first leaf
// is of all that was before.
func TestUpgraded(t *testing.T) {
	h := story()
	h.AnnounceState()
	h.Fill(400)
	leaves := h.States(h.Seen(), []int{26, 30, 400})
	for name, l := range everywhere(t, h, leaves) {
		r, err := l.audit(t, audit.Options{Verifier: h.Verifier})
		if err != nil || !r.OK() || r.State.Announced != 25 || r.State.Compared != 3 {
			t.Errorf("%s: error %v, findings %v", name, err, r.Findings)
		}
	}
}

// TestNoState audits ledgers of before there were state logs: they are not verified.
func TestNoState(t *testing.T) {
	h := story()
	files := h.Folder(10)
	dir := folder(files)
	exported := openExport(t, export(t, h.Serve())).(*audit.Export)
	for name, l := range map[string]ledger{
		"served": {h.Serve(), audittest.Files{}}, "folder": {dir, dir.State()}, "export": {exported, exported.State()},
		"unannounced": {h.Serve(), h.ServeState(h.HonestStates())},
	} {
		r, err := l.audit(t, audit.Options{Verifier: h.Verifier})
		if !errors.Is(err, audit.ErrNoState) || r.OK() || r.FoundFalse() {
			t.Errorf("%s: error %v, findings %v", name, err, r.Findings)
		}
	}
}

// TestKeptState compares honest state logs with checkpoints of every size that
// matters.
func TestKeptState(t *testing.T) {
	h := audittest.New("a").OpenState().Fill(1300)
	leaves := h.HonestStates()
	for _, size := range []int{0, 1, 255, 256, 257, len(leaves) - 1, len(leaves)} {
		kept := h.ServeState(leaves[:size])["checkpoint"]
		r, err := ledger{h.Serve(), h.ServeState(leaves)}.audit(t, audit.Options{Verifier: h.Verifier, KeptState: kept})
		if err != nil || !r.OK() || !r.State.KeptHolds || r.State.Kept.Size != uint64(size) {
			t.Errorf("kept %d: error %v, findings %v", size, err, r.Findings)
		}
	}
	for name, kept := range map[string][]byte{"of the log": h.Serve()["checkpoint"], "none": []byte("hello")} {
		r, err := ledger{h.Serve(), h.ServeState(leaves)}.audit(t, audit.Options{Verifier: h.Verifier, KeptState: kept})
		if !errors.Is(err, audit.ErrKeptState) || r.OK() {
			t.Errorf("kept checkpoint %s: error %v", name, err)
		}
	}
}

// TestCouldNotCheckState lets every file of a state log fail: the audit ends with the
// source's error, and finds nothing false.
func TestCouldNotCheckState(t *testing.T) {
	h := audittest.New("a").OpenState().Fill(1300)
	served, states := h.Serve(), h.ServeState(h.HonestStates())
	for _, name := range slices.Sorted(maps.Keys(states)) {
		tile, err := proof.ParsePath(name)
		if err != nil {
			continue
		}
		r, err := ledger{served, failing{states, tile}}.audit(t, audit.Options{Verifier: h.Verifier})
		if !errors.Is(err, errDisk) || r.OK() || r.FoundFalse() {
			t.Errorf("%s fails: error %v, findings %v", name, err, r.Findings)
		}
	}
	r, err := ledger{served, noCheckpoint{states}}.audit(t, audit.Options{Verifier: h.Verifier})
	if !errors.Is(err, errDisk) || r.OK() || r.FoundFalse() {
		t.Errorf("the checkpoint fails: error %v, findings %v", err, r.Findings)
	}
}

// noCheckpoint is a log whose checkpoint cannot be read.
type noCheckpoint struct{ audittest.Files }

func (noCheckpoint) Checkpoint(context.Context) ([]byte, error) { return nil, errDisk }

// TestCancelledState stops an audit that reads a state log from within, and one that
// waits for the state log.
func TestCancelledState(t *testing.T) {
	h := audittest.New("a").OpenState().Fill(1300)
	states := h.ServeState(h.HonestStates())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := audit.Options{Verifier: h.Verifier, State: states, Progress: func(uint64, uint64) { cancel() }}
	if r, err := audit.Log(ctx, h.Serve(), o); !errors.Is(err, context.Canceled) || r.OK() {
		t.Errorf("error %v, OK %v", err, r.OK())
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	o = audit.Options{Verifier: h.Verifier, State: hanging{states, cancel}}
	if r, err := audit.Log(ctx, h.Serve(), o); !errors.Is(err, context.Canceled) || r.OK() {
		t.Errorf("error %v, OK %v", err, r.OK())
	}
}

// hanging is a log whose leaves never come.
type hanging struct {
	audittest.Files
	asked func()
}

func (h hanging) Entries(ctx context.Context, _ uint64, _ int) ([]byte, error) {
	h.asked()
	<-ctx.Done()
	return nil, ctx.Err()
}
