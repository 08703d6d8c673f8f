package ledger_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/state"
)

// bundle gets the completeness bundle of a record and verifies it.
func (c *clinic) bundle(who ledger.Command, record events.ID) (*history.Verified, []events.Type) {
	c.t.Helper()
	var types []events.Type
	v, err := history.Verify(bytes.NewReader(c.bundleText(who, record)), c.VerifierKey(), func(_ uint64, e events.Event) error {
		types = append(types, e.Type)
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return v, types
}

// TestCompleteness follows a record's life by its bundles. Each reading is the last
// event of the bundle that it is answered with.
func TestCompleteness(t *testing.T) {
	c := newClinic(t)
	record, other := c.record("first"), c.record("other")
	v, types := c.bundle(c.auditor, record)
	if s := v.Summary; s == nil || s.Phase != state.Active || s.Events != 2 || len(types) != 2 || types[1] != events.TypeHistoryRead {
		t.Fatalf("%+v, %v", s, types)
	}
	if published := c.Log().Published().Checkpoint; v.Leaf.Size != published.Size || v.Checkpoint != published {
		t.Errorf("it is of %d events, the log has %d", v.Leaf.Size, published.Size)
	}
	if _, err := c.RotateStatementKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.read(c.doctor, record, 1, events.PurposeTreatment)
	if _, err := c.destroy(record); err != nil {
		t.Fatal(err)
	}
	c.restart()
	v, types = c.bundle(c.auditor, record)
	if s := v.Summary; s.Phase != state.Destroyed || !s.Terminal || s.Violations != 0 || s.Events != uint64(len(types)) {
		t.Errorf("destroyed: %+v, %v", s, types)
	}
	if v, _ := c.bundle(c.auditor, other); v.Summary.Phase != state.Active {
		t.Errorf("another record: %+v", v.Summary)
	}
}

// TestAbsence proves to an auditor that there is no such record. Nobody else is told
// more than that they may not see one.
func TestAbsence(t *testing.T) {
	c := newClinic(t)
	c.record("content")
	if v, types := c.bundle(c.auditor, events.MustNewID()); v.Summary != nil || len(types) != 0 {
		t.Errorf("a record that never was: %+v, %v", v.Summary, types)
	}
	for name, who := range map[string]ledger.Command{"a doctor": c.doctor, "the patient": c.patient, "a clerk": c.clerk, "an administrator": c.admin} {
		if _, err := c.Completeness(t.Context(), who, events.MustNewID()); !errors.Is(err, ledger.ErrRefused) {
			t.Errorf("%s is answered %v", name, err)
		}
	}
}

// TestBundlesWhileTheLogGrows takes bundles of records that are written to meanwhile:
// each is of one moment.
func TestBundlesWhileTheLogGrows(t *testing.T) {
	c := newClinic(t)
	records := []events.ID{c.record("first"), c.record("second"), c.record("third")}
	ended := make(chan struct{})
	var busy sync.WaitGroup
	for range 2 {
		busy.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-ended:
					return
				default:
				}
				r, err := c.Access(t.Context(), c.doctor, treating(records[i%len(records)]))
				if err != nil {
					t.Error(err)
					return
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	size := uint64(0)
	for i := range 20 {
		v, types := c.bundle(c.auditor, records[i%len(records)])
		if v.Summary.Events != uint64(len(types)) || v.Leaf.Size <= size {
			t.Errorf("after one of %d events a bundle of %d, with %d of %d", size, v.Leaf.Size, len(types), v.Summary.Events)
		}
		size = v.Leaf.Size
	}
	close(ended)
	busy.Wait()
}
