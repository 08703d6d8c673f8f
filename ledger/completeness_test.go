package ledger_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

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

// TestLongHistory takes the bundle of a record that was read very often. Neither who
// writes nor who verifies it keeps more than a line and the keys.
func TestLongHistory(t *testing.T) {
	const readers, times = 64, 50
	c := newClinic(t)
	record := c.record("content")
	var busy sync.WaitGroup
	for range readers {
		busy.Go(func() {
			for range times {
				if _, _, err := c.HistoryAfter(t.Context(), c.patient, record, 0, 1); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	busy.Wait()
	p, err := c.Completeness(t.Context(), c.auditor, record)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, w := io.Pipe()
	busy.Go(func() { w.CloseWithError(p.Write(t.Context(), w)) })
	counted := new(counting)
	seen, first, grown := 0, uint64(0), int64(0)
	begun := time.Now()
	_, err = history.Verify(io.TeeReader(r, counted), c.VerifierKey(), func(uint64, events.Event) error {
		switch seen++; seen {
		case 100:
			first = inUse()
		case readers * times:
			grown = int64(inUse() - first)
		}
		return nil
	})
	took := time.Since(begun)
	r.Close() // whoever writes goes no further
	busy.Wait()
	if err != nil || seen != readers*times+2 { // its creation, and this reading
		t.Errorf("%d events, %v", seen, err)
	}
	if grown > counted.n/4 {
		t.Errorf("%d bytes are kept of a bundle of %d", grown, counted.n)
	}
	t.Logf("%d events are %d bytes, %d each, in %v; kept are %d", seen, counted.n, counted.n/int64(seen), took, grown)
}

// inUse is how many bytes are in use.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// counting counts what is written.
type counting struct{ n int64 }

func (c *counting) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// at is a writer that calls then in the middle of the write with a number.
type at struct {
	write, now int
	then       func()
}

func (w *at) Write(p []byte) (int, error) {
	if w.now++; w.now == w.write {
		w.then()
	}
	return len(p), nil
}

// TestRightEndsWhileAHistoryIsWritten takes a right away while a bundle is being taken:
// no further line of it is written. What others take goes on.
func TestRightEndsWhileAHistoryIsWritten(t *testing.T) {
	c := newClinic(t)
	record := c.record("content")
	for range 5 {
		c.read(c.doctor, record, 1, events.PurposeTreatment)
	}
	logged := func(who ledger.Command) ledger.Command {
		who.Token = c.token(who, time.Hour)
		return who
	}
	revoke := func(who ledger.Command) func() {
		return func() { c.must(c.RevokeToken(t.Context(), c.admin, who.Actor, who.Token)) }
	}
	nurse, auditor, idle := logged(c.nurse), logged(c.auditor), logged(c.auditor)
	for _, test := range []struct {
		name   string
		who    ledger.Command
		record events.ID
		end    func()
	}{
		{"token revoked", nurse, record, revoke(nurse)},
		{"an auditor's token revoked", auditor, record, revoke(auditor)},
		{"the same, of a record that never was", idle, events.MustNewID(), revoke(idle)},
		{"token run out", logged(c.nurse), record, func() { c.wait(time.Hour) }},
		{"care closed", c.nurse, record, func() { c.must(c.CloseCare(t.Context(), c.clerk, c.subject, c.care)) }},
		{"proxy dismissed", c.proxy, record, func() { c.must(c.DismissProxy(t.Context(), c.patient, c.subject, c.appointment)) }},
		{"consent withdrawn", c.doctor, record, func() {
			c.must(c.WithdrawConsent(t.Context(), c.patient, c.subject, events.ID{}, events.PurposeTreatment))
		}},
		{"record refiled", c.patient, record, func() {
			c.must(c.GrantConsent(t.Context(), c.patient, c.subject, events.PurposeTreatment))
			c.must(c.Refile(t.Context(), c.clerk, record, c.newPatient()))
		}},
	} {
		p, err := c.Completeness(t.Context(), test.who, test.record)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		bystander, err := c.Completeness(t.Context(), c.auditor, test.record)
		if err != nil {
			t.Fatal(err)
		}
		w := &at{write: 2, then: test.end}
		if err := p.Write(t.Context(), w); !errors.Is(err, ledger.ErrRightEnded) || w.now != w.write {
			t.Errorf("%s: %d lines are written, %v", test.name, w.now, err)
		}
		p.Close()
		if err := bystander.Write(t.Context(), new(at)); err != nil {
			t.Errorf("%s: what somebody else takes ends with %v", test.name, err)
		}
		bystander.Close()
		if n := c.Passages(); n != 0 {
			t.Errorf("%s: %d are still known to be under way", test.name, n)
		}
	}
}

// TestRightEndsBeforeAHistory: it ends after the reading is decided and before there is
// anything to answer.
func TestRightEndsBeforeAHistory(t *testing.T) {
	c := newClinic(t)
	record := c.record("content")
	var list []*ledger.Result
	var err error
	c.inOneTurn(func() {
		list, err = c.History(t.Context(), c.doctor, record)
	}, func() {
		c.must(c.WithdrawConsent(t.Context(), c.patient, c.subject, events.ID{}, events.PurposeTreatment))
	})
	if list != nil || !errors.Is(err, ledger.ErrRightEnded) {
		t.Errorf("answered with %d events, %v", len(list), err)
	}
	if n := c.Passages(); n != 0 {
		t.Errorf("%d are still known to be under way", n)
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
