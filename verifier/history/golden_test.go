package history_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// TestGolden verifies bundles as the first release with them wrote them. They stay for
// a second implementation to be held against.
func TestGolden(t *testing.T) {
	key, err := os.ReadFile("testdata/log.vkey")
	if err != nil {
		t.Fatal(err)
	}
	v, err := proof.ParseVerifierKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		record string
		events uint64
		phase  state.Phase
		leaf   uint64
	}{
		"destroyed-v1": {"2b31ee25-a1c9-86e3-98fe-379933b7b3db", 9, state.Destroyed, 26},
		"earlier-v1":   {"5f786c44-039e-85b4-9627-c289369319d9", 2, state.Active, 17},
		"absent-v1":    {"6d3d21e7-9158-81d0-8bc9-7ab26bb69a21", 0, 0, 26},
	} {
		bundle, err := os.ReadFile("testdata/" + name + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		got, err := history.Verify(bytes.NewReader(bundle), v, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var summary state.Summary
		if got.Summary != nil {
			summary = *got.Summary
		}
		if got.Record.String() != want.record || summary.Events != want.events || summary.Phase != want.phase ||
			got.Leaf.Size != want.leaf || got.Checkpoint.Size != 26 || got.StateCheckpoint.Size != 12 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
