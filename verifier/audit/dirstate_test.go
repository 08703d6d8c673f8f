package audit_test

import (
	"fmt"
	"testing"

	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/state"
)

// stateFolder is a data folder whose state log's checkpoint covers the first leaves of
// its file.
func stateFolder(h *audittest.History, leaves []state.Leaf, covered int) audittest.Files {
	files := h.Folder(100)
	files.PutState(h.ServeState(leaves[:covered]), leaves)
	return files
}

// TestFolderOfCrashedLedger audits what a crash can leave in the file of leaves: more
// of them than were ever promised, one that is torn, and space that was not used.
func TestFolderOfCrashedLedger(t *testing.T) {
	h := audittest.New("a").OpenState().Fill(1300)
	leaves := h.HonestStates()
	n := len(leaves)
	next := audittest.New("a").OpenState().Fill(1320)
	leaves = append(leaves, next.States(next.Seen(), []int{1305, 1311, 1320})...)
	end := n * state.RecordSize
	for name, change := range map[string]func(file []byte) []byte{
		"as it was enlarged":         func(file []byte) []byte { return file },
		"nothing but what there was": func(file []byte) []byte { return file[:end] },
		"leaves without a checkpoint, the last torn": func(file []byte) []byte {
			clear(file[end+2*state.RecordSize+33:])
			return file
		},
		"a torn leaf, the next one whole": func(file []byte) []byte {
			clear(file[end+40 : end+state.RecordSize])
			return file
		},
		"cut within a leaf": func(file []byte) []byte { return file[:end+7] },
	} {
		files := stateFolder(h, leaves, n)
		files["state/leaves"] = change(files["state/leaves"])
		dir := folder(files)
		r, err := ledger{dir, dir.State()}.audit(t, audit.Options{Verifier: h.Verifier})
		if err != nil || !r.OK() || r.State.Checkpoint.Size != uint64(n) {
			t.Errorf("%s: error %v, findings %v", name, err, r.Findings)
		}
	}
}

// TestFolderOfRunningState audits a folder whose state log has gone on since its
// checkpoint was read.
func TestFolderOfRunningState(t *testing.T) {
	h := audittest.New("a").OpenState().Fill(1300)
	leaves := h.HonestStates()
	files := stateFolder(h, leaves, len(leaves))
	for _, covered := range []int{100, 255, 256, len(leaves) - 1} {
		size := int(leaves[covered-1].Size)
		files["log/checkpoint"] = audittest.Serve(h.Statements[:size], h.LogSigner)["checkpoint"]
		files["state/log/checkpoint"] = h.ServeState(leaves[:covered])["checkpoint"]
		dir := folder(files)
		r, err := ledger{dir, dir.State()}.audit(t, audit.Options{Verifier: h.Verifier})
		if err != nil || !r.OK() {
			t.Errorf("%d leaves: error %v, findings %v", covered, err, r.Findings)
		}
	}
}

// TestFolderLacksLeaves takes away what the state log's checkpoint promises.
func TestFolderLacksLeaves(t *testing.T) {
	h := audittest.New("a").OpenState().Fill(1300)
	leaves := h.HonestStates()
	n := len(leaves)
	for name, c := range map[string]struct {
		change func(files audittest.Files)
		want   string
	}{
		"the last one": {func(f audittest.Files) { clear(f["state/leaves"][(n-1)*state.RecordSize:]) }, fmt.Sprintf("[state-leaves-missing %d]", n-1)},
		"the last one, cut": {func(f audittest.Files) { f["state/leaves"] = f["state/leaves"][:n*state.RecordSize-1] },
			fmt.Sprintf("[state-leaves-missing %d]", n-1)},
		"a flipped bit":  {func(f audittest.Files) { f["state/leaves"][300*state.RecordSize+70] ^= 1 }, "[state-leaves-missing 300]"},
		"all":            {func(f audittest.Files) { f["state/leaves"] = nil }, "[state-leaves-missing 0]"},
		"the file":       {func(f audittest.Files) { delete(f, "state/leaves") }, "[state-leaves-missing 0]"},
		"a tile":         {func(f audittest.Files) { delete(f, "state/log/tile/0/000") }, "[state-tile-missing 0]"},
		"a tile above":   {func(f audittest.Files) { delete(f, "state/log/tile/1/000.p/1") }, "[state-tile-missing 0]"},
		"the checkpoint": {func(f audittest.Files) { delete(f, "state/log/checkpoint") }, "[state-missing 1]"},
		"the newest leaf, and the checkpoint put back": {func(f audittest.Files) {
			f.PutState(h.ServeState(leaves[:n-1]), leaves[:n-1])
		}, "[state-behind]"},
	} {
		files := stateFolder(h, leaves, n)
		c.change(files)
		dir := folder(files)
		r, err := ledger{dir, dir.State()}.audit(t, audit.Options{Verifier: h.Verifier})
		if got := fmt.Sprint(found(t, r)); err != nil || got != c.want {
			t.Errorf("%s: error %v, findings %s, want %s", name, err, got, c.want)
		}
	}
}
