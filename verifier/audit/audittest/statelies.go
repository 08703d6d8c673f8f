package audittest

import (
	"slices"

	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// Sizes are the batches of the story that the lies are told about.
var Sizes = []int{2, 9, 10, 11, 13, 16, 17, 20, 22, 23, 24, 26}

// StateLie is a lie in a state log, told by somebody who has all keys unless its name
// says otherwise: every leaf, tile and checkpoint is consistent with it.
type StateLie struct {
	Name string
	// Tell tells it of a story, which it may continue.
	Tell func(h *History) (leaves []state.Leaf, served Files)
	// Kept returns a checkpoint that somebody kept; nil for none.
	Kept func(h *History) []byte
	// ServedOnly says that a data folder, which has the leaves in another form, cannot
	// tell it.
	ServedOnly bool
	// Want are the findings, with their places if they have one.
	Want []string
}

type (
	leavesOf = func(h *History) []state.Leaf
	telling  = func(h *History) ([]state.Leaf, Files)
)

// saying serves the leaves.
func saying(leaves leavesOf) telling {
	return func(h *History) ([]state.Leaf, Files) {
		said := leaves(h)
		return said, h.ServeState(said)
	}
}

// serving changes what is served of honest leaves.
func serving(change func(h *History, files Files)) telling {
	return func(h *History) ([]state.Leaf, Files) {
		files := h.ServeState(honest(h))
		change(h, files)
		return honest(h), files
	}
}

// forged changes a leaf and all tiles after the checkpoint was signed.
func forged(h *History) ([]state.Leaf, Files) {
	leaves := honest(h)
	signed := h.ServeState(leaves)["checkpoint"]
	leaves[5].Map[0] ^= 1
	served := h.ServeState(leaves)
	served["checkpoint"] = signed
	return leaves, served
}

// seeing lets the state log count other events than there are.
func seeing(change func(h *History, seen []Seen) []Seen) leavesOf {
	return func(h *History) []state.Leaf { return h.States(change(h, h.Seen()), Sizes) }
}

func honest(h *History) []state.Leaf { return h.States(h.Seen(), Sizes) }

// changing changes an honest state log's leaves.
func changing(change func(h *History, leaves []state.Leaf) []state.Leaf) func(*History) []state.Leaf {
	return func(h *History) []state.Leaf { return change(h, honest(h)) }
}

// StateLies returns the lies.
func StateLies() []StateLie { return stateLies }

var stateLies = []StateLie{
	{Name: "an access is hidden", Tell: saying(seeing(func(_ *History, seen []Seen) []Seen {
		return slices.Delete(seen, 11, 12)
	})), Want: []string{"state-root-mismatch 4"}},
	{Name: "a record is hidden", Tell: saying(seeing(func(h *History, seen []Seen) []Seen {
		return slices.DeleteFunc(seen, func(s Seen) bool { return s.Record == h.Events[10].Subject })
	})), Want: []string{"state-root-mismatch 3"}},
	{Name: "two events of a record are exchanged", Tell: saying(seeing(func(_ *History, seen []Seen) []Seen {
		seen[13].Index, seen[14].Index = seen[14].Index, seen[13].Index
		return seen
	})), Want: []string{"state-root-mismatch 5"}},
	{Name: "an event is counted for another record", Tell: saying(seeing(func(h *History, seen []Seen) []Seen {
		seen[17].Record = h.Events[9].Subject
		return seen
	})), Want: []string{"state-root-mismatch 7"}},
	{Name: "an event is invented", Tell: saying(seeing(func(h *History, seen []Seen) []Seen {
		return slices.Insert(seen, 18, Seen{At: 18, Index: 18, Leaf: proof.LeafHash([]byte("never")), Record: h.Events[10].Subject, Effect: state.Any})
	})), Want: []string{"state-root-mismatch 7"}},
	{Name: "an event is counted twice", Tell: saying(seeing(func(_ *History, seen []Seen) []Seen {
		return slices.Insert(seen, 18, seen[17])
	})), Want: []string{"state-root-mismatch 7"}},
	{Name: "a destruction is never finished", Tell: saying(seeing(func(_ *History, seen []Seen) []Seen {
		seen[22].Effect = state.Any
		return seen
	})), Want: []string{"state-root-mismatch 9"}},
	{Name: "a destruction was never begun", Tell: saying(seeing(func(_ *History, seen []Seen) []Seen {
		seen[21].Effect, seen[22].Effect = state.Any, state.Any
		return seen
	})), Want: []string{"state-root-mismatch 8"}},
	{Name: "a record is destroyed that was not", Tell: saying(seeing(func(_ *History, seen []Seen) []Seen {
		seen[24].Effect = state.Destroys
		return seen
	})), Want: []string{"state-root-mismatch 11"}},
	{Name: "a destroyed record lives again", Tell: saying(func(h *History) []state.Leaf {
		seen := h.Seen()
		seen[22].Effect = state.Any
		return append(honest(h)[:10], h.States(seen, Sizes)[10:]...)
	}), Want: []string{"state-root-mismatch 10"}},
	{Name: "an access after the end is no violation", Tell: saying(func(h *History) []state.Leaf {
		h.Access(h.Events[9].Subject)
		seen := h.Seen()
		seen[26].Effect = state.Seen
		return h.States(seen, append(slices.Clone(Sizes), 27))
	}), Want: []string{"event-illegal 26", "state-root-mismatch 12"}},
	{Name: "the map is not made anew", Tell: saying(changing(func(_ *History, leaves []state.Leaf) []state.Leaf {
		leaves[7].Map = leaves[6].Map
		return leaves
	})), Want: []string{"state-root-mismatch 7"}},
	{Name: "a leaf has the map of a later size", Tell: saying(changing(func(_ *History, leaves []state.Leaf) []state.Leaf {
		leaves[6].Map = leaves[7].Map
		return leaves
	})), Want: []string{"state-root-mismatch 6"}},
	{Name: "all maps are of one batch later", Tell: saying(changing(func(_ *History, leaves []state.Leaf) []state.Leaf {
		for i := range 11 {
			leaves[i].Map = leaves[i+1].Map
		}
		return leaves
	})), Want: []string{"state-root-mismatch 1"}}, // the first two have no record
	{Name: "a leaf has another root of the log", Tell: saying(changing(func(_ *History, leaves []state.Leaf) []state.Leaf {
		leaves[6].Root[0] ^= 1
		return leaves
	})), Want: []string{"state-log-root 6"}},
	{Name: "a leaf is of a size that it exchanges with another", Tell: saying(changing(func(_ *History, leaves []state.Leaf) []state.Leaf {
		leaves[6].Size, leaves[7].Size = leaves[7].Size, leaves[6].Size
		return leaves
	})), Want: []string{"state-order 7", "state-log-root 6", "state-root-mismatch 6"}},
	{Name: "a leaf stands twice", Tell: saying(changing(func(_ *History, leaves []state.Leaf) []state.Leaf {
		return slices.Insert(leaves, 5, leaves[4])
	})), Want: []string{"state-order 5"}},
	{Name: "two leaves are exchanged", Tell: saying(changing(func(_ *History, leaves []state.Leaf) []state.Leaf {
		leaves[4], leaves[5] = leaves[5], leaves[4]
		return leaves
	})), Want: []string{"state-order 5"}},
	{Name: "a leaf for a size that the log never was given out at, of another log", Tell: saying(changing(func(h *History, leaves []state.Leaf) []state.Leaf {
		other := New("a").OpenState().Fill(26)
		return slices.Insert(leaves, 5, other.States(other.Seen(), []int{14})...)
	})), Want: []string{"state-log-root 5", "state-root-mismatch 5"}},
	{Name: "the leaf of the checkpoint is missing", Tell: saying(changing(func(_ *History, leaves []state.Leaf) []state.Leaf {
		return leaves[:11]
	})), Want: []string{"state-behind"}},
	{Name: "the leaf of the checkpoint is missing, and one of a log that will be is there", Tell: saying(changing(func(_ *History, leaves []state.Leaf) []state.Leaf {
		leaves[11].Size = 40
		return leaves
	})), Want: []string{"state-behind"}},
	{Name: "the state log is empty", Tell: saying(func(*History) []state.Leaf { return nil }), Want: []string{"state-behind"}},
	{Name: "the state log is not there", Tell: serving(func(_ *History, files Files) { clear(files) }), Want: []string{"state-missing 1"}},
	{Name: "a leaf of another format", Tell: serving(func(h *History, files Files) {
		raws := marshalled(honest(h))
		raws[4][0] = 2
		serveInstead(files, Serve(raws, h.StateSigner()))
	}), Want: []string{"state-leaf-malformed 4"}, ServedOnly: true},
	{Name: "a leaf of no log", Tell: serving(func(h *History, files Files) {
		raws := marshalled(honest(h))
		copy(raws[4][1:], make([]byte, 8))
		serveInstead(files, Serve(raws, h.StateSigner()))
	}), Want: []string{"state-leaf-malformed 4"}, ServedOnly: true},
	{Name: "a bundle that is cut", Tell: serving(func(_ *History, files Files) {
		files["tile/entries/000.p/12"] = files["tile/entries/000.p/12"][:100]
	}), Want: []string{"state-bundle-malformed 0"}, ServedOnly: true},
	{Name: "a hash tile that does not match", Tell: serving(func(_ *History, files Files) {
		files["tile/0/000.p/12"][5*32] ^= 1
	}), Want: []string{"state-tile-mismatch 5"}},
	{Name: "a leaf changed after it was signed, its tile too", Tell: forged, Want: []string{"state-root-mismatch 5", "state-tree-mismatch"}},
	{Name: "a checkpoint that is none", Tell: serving(func(_ *History, files Files) {
		files["checkpoint"] = []byte("hello")
	}), Want: []string{"state-checkpoint-malformed"}},
	{Name: "a checkpoint signed by another key of the same name", Tell: serving(func(h *History, files Files) {
		signer, _ := StateKey(Origin, "forger")
		serveInstead(files, Serve(marshalled(honest(h)), signer))
	}), Want: []string{"state-checkpoint-signature"}},
	{Name: "a checkpoint signed by the log's key, under its name", Tell: serving(func(h *History, files Files) {
		serveInstead(files, Serve(marshalled(honest(h)), h.LogSigner))
	}), Want: []string{"state-checkpoint-origin"}},
	{Name: "the state log of another ledger", Tell: func(*History) ([]state.Leaf, Files) {
		other := NewOf("elsewhere.example/ledger", "a")
		other.StateStory()
		return honest(other), other.ServeState(honest(other))
	}, Want: []string{"state-log-root 0", "state-log-root 1", "state-log-root 2", "state-root-mismatch 2", "state-log-root 3",
		"state-log-root 4", "state-log-root 5", "state-log-root 6", "state-log-root 7", "state-log-root 8", "state-log-root 9",
		"state-log-root 10", "state-log-root 11", "state-checkpoint-origin"}},
	{Name: "the log itself in place of the state log", Tell: serving(func(h *History, files Files) {
		serveInstead(files, Serve(h.Statements[:2], h.StateSigner()))
	}), Want: []string{"state-leaf-malformed 0", "state-leaf-malformed 1", "state-behind"}, ServedOnly: true},
	{Name: "the state log shrinks", Tell: saying(func(h *History) []state.Leaf {
		return h.States(h.Seen(), []int{26})
	}), Kept: keptOf(honest), Want: []string{"state-kept-larger 1"}},
	{Name: "the state log was another one", Tell: saying(honest), Kept: keptOf(func(h *History) []state.Leaf {
		return h.States(slices.Delete(h.Seen(), 11, 12), Sizes)[:8]
	}), Want: []string{"state-kept-fork"}},
	{Name: "the state log was another one of the same size", Tell: saying(honest), Kept: keptOf(seeing(func(_ *History, seen []Seen) []Seen {
		return slices.Delete(seen, 25, 26)
	})), Want: []string{"state-kept-fork"}},
	{Name: "leaves that are neither the kept ones nor the signed ones", Tell: forged, Kept: keptOf(honest),
		Want: []string{"state-root-mismatch 5", "state-tree-mismatch", "state-kept-mismatch"}},
}

func keptOf(leaves func(*History) []state.Leaf) func(*History) []byte {
	return func(h *History) []byte { return h.ServeState(leaves(h))["checkpoint"] }
}

func marshalled(leaves []state.Leaf) [][]byte {
	raws := make([][]byte, len(leaves))
	for i, l := range leaves {
		raws[i] = l.Marshal()
	}
	return raws
}

func serveInstead(files, served Files) {
	clear(files)
	for name, data := range served {
		files[name] = data
	}
}
