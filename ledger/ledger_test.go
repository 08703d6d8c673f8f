package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/receipt"
)

func TestLifeOfARecord(t *testing.T) {
	c := newClinic(t)
	record := c.record("first")
	if got := c.read(c.nurse, record, 0, events.PurposeTreatment); got != "first" {
		t.Errorf("read %q", got)
	}

	amended, err := c.Amend(t.Context(), c.doctor, ledger.Amendment{Record: record}, strings.NewReader("second"))
	if err != nil {
		t.Fatal(err)
	}
	c.verify(amended)
	if got := c.read(c.patient, record, 0, events.PurposePatient); got != "second" {
		t.Errorf("the newest version is %q", got)
	}
	if got := c.read(c.patient, record, 1, events.PurposePatient); got != "first" {
		t.Errorf("version 1 is %q", got)
	}

	_, err = c.Access(t.Context(), c.foreign, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
	c.refused(err, decision.RefusedOrganisation)
	_, err = c.Access(t.Context(), c.nurse, ledger.Reading{Record: record, Purpose: events.PurposeResearch})
	c.refused(err, decision.RefusedPurpose)
	_, err = c.Access(t.Context(), c.nurse, ledger.Reading{Record: events.MustNewID(), Purpose: events.PurposeTreatment})
	c.refused(err, decision.RefusedUnknownRecord)
	if _, err := c.Access(t.Context(), ledger.Command{Actor: events.MustNewID()}, ledger.Reading{Record: record}); !errors.Is(err, ledger.ErrUnknownActor) {
		t.Errorf("a stranger: %v", err)
	}

	disclosed, err := c.Disclose(t.Context(), c.doctor, ledger.Disclosure{
		Record: record, Version: 1, Recipient: c.recipient.Actor, Purpose: events.PurposeTreatment,
		Until: events.At(c.clock().Add(time.Hour)),
	})
	if err != nil {
		t.Fatal(err)
	}
	share := disclosed.Event.Data.(*events.RecordDisclosed).Share
	received, err := c.Receive(t.Context(), c.recipient, share)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.drain(received); got != "first" {
		t.Errorf("received %q", got)
	}
	_, err = c.Receive(t.Context(), c.foreign, share)
	c.refused(err, decision.RefusedRole)
	c.wait(time.Hour)
	_, err = c.Receive(t.Context(), c.recipient, share)
	c.refused(err, decision.RefusedShareEnded)

	requested := c.must(c.RequestDestruction(t.Context(), c.patient, record, events.GroundPatientRequest))
	_, err = c.ApproveDestruction(t.Context(), c.doctor, doom(requested))
	c.refused(err, decision.RefusedRole)
	destroyed := c.must(c.ApproveDestruction(t.Context(), c.admin, doom(requested)))
	if d := destroyed.Event.Data.(*events.RecordDestroyed); d.Keys != 3 { // of two versions, and the record's own
		t.Errorf("%d keys were destroyed, want 3", d.Keys)
	}
	_, err = c.Access(t.Context(), c.doctor, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
	c.refused(err, decision.RefusedDestroyed)
	_, err = c.RequestDestruction(t.Context(), c.patient, record, events.GroundPatientRequest)
	c.refused(err, decision.RefusedDestroyed)

	history := c.history(record)
	var types []string
	for _, r := range history {
		c.verify(r)
		types = append(types, strings.TrimPrefix(string(r.Event.Type), "medledger."))
	}
	want := "record.originated.v1 record.accessed.v1 record.amended.v1 record.accessed.v1 record.accessed.v1 " +
		"access.refused.v1 access.refused.v1 record.disclosed.v1 record.received.v1 access.refused.v1 access.refused.v1 " +
		"destruction.requested.v1 access.refused.v1 destruction.started.v1 record.destroyed.v1 access.refused.v1 access.refused.v1"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("the history is\n%s\nwant\n%s", got, want)
	}
}

func TestRepeatedCommands(t *testing.T) {
	c := newClinic(t)
	originate := func(key, content string) (*ledger.Result, error) {
		return c.Originate(context.Background(), keyed(c.doctor, key), c.origination(), strings.NewReader(content))
	}
	first, err := originate("a", "content")
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"at once", "after a restart"} {
		again, err := originate("a", "content")
		if err != nil || again.Event.ID != first.Event.ID || again.Index != first.Index || !bytes.Equal(again.Statement, first.Statement) {
			t.Errorf("%s: repeated as %+v, %v", when, again, err)
		} else {
			c.verify(again)
		}
		if _, err := originate("a", "other content"); !errors.Is(err, ledger.ErrKeyReused) {
			t.Errorf("%s: another content under the same key: %v", when, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c.reopen()
	}
	record := first.Event.Subject

	amend := func(key, content string) (*ledger.Result, error) {
		return c.Amend(context.Background(), keyed(c.doctor, key), ledger.Amendment{Record: record}, strings.NewReader(content))
	}
	if _, err := amend("a", "content"); !errors.Is(err, ledger.ErrKeyReused) {
		t.Errorf("an amendment under an origination's key: %v", err)
	}
	amended, err := amend("b", "more")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := amend("b", "more"); err != nil || again.Index != amended.Index {
		t.Errorf("repeated amendment: %+v, %v", again, err)
	}

	refusal := func() error {
		_, err := c.Disclose(context.Background(), keyed(c.nurse, "r"), ledger.Disclosure{Record: record, Recipient: c.recipient.Actor, Purpose: events.PurposeLegal, Until: events.At(c.clock().Add(1))})
		return err
	}
	c.refused(refusal(), decision.RefusedRole)
	size := c.Log().Published().Checkpoint.Size
	c.refused(refusal(), decision.RefusedRole)
	if now := c.Log().Published().Checkpoint.Size; now != size {
		t.Error("a repeated refusal was logged again")
	}
	if _, err := originate(strings.Repeat("x", 256), ""); !errors.Is(err, ledger.ErrBadKey) {
		t.Errorf("a long key: %v", err)
	}
}

// TestConcurrentRepetitions gives one command many times at once: it happens once.
//
// With turns of one command each, repetitions meet it in the turn before.
func TestConcurrentRepetitions(t *testing.T) {
	for _, size := range []int{1, 2, 256} {
		c := newClinic(t)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c.config.TurnSize = size
		c.reopen()
		for round := range 20 {
			command := c.doctor
			command.IdempotencyKey = fmt.Sprint("once ", round)
			before := c.Log().Published().Checkpoint.Size
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					r, err := c.Originate(context.Background(), command, c.origination(), strings.NewReader("content"))
					if err != nil || r.Index != before {
						t.Errorf("turns of %d: %+v, %v", size, r, err)
					}
				})
			}
			wg.Wait()
			if after := c.Log().Published().Checkpoint.Size; after != before+1 {
				t.Fatalf("turns of %d: it happened %d times", size, after-before)
			}
		}
	}
}

func TestConcurrentAmendmentsConflict(t *testing.T) {
	c := newClinic(t)
	record := c.record("1")
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 16 {
		wg.Go(func() {
			_, err := c.Amend(context.Background(), c.doctor, ledger.Amendment{Record: record}, strings.NewReader("n"))
			if err != nil && !errors.Is(err, ledger.ErrConflict) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				done++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if history := c.history(record); done == 0 || len(history) != 1+done {
		t.Errorf("%d amendments succeeded, %d are in the log", done, len(history)-1)
	}
}

func TestRotatedKeys(t *testing.T) {
	c := newClinic(t)
	before, err := c.Originate(t.Context(), c.doctor, c.origination(), strings.NewReader("before"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		rotated, err := c.RotateStatementKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.verify(rotated)
		c.record("after")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c.reopen()
		c.record("after a restart")
	}
	later, err := c.Receipt(t.Context(), before.Event.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipt.Verify(later, c.VerifierKey()); err != nil || len(later.Announcements) != 1 {
		t.Errorf("the receipt of an old event: %d keys, %v", len(later.Announcements), err)
	}
}

// TestInterruptedRotation leaves what a crash leaves: a key that was never
// announced, and one that was replaced.
func TestInterruptedRotation(t *testing.T) {
	c := newClinic(t)
	stale, err := filepath.Glob(filepath.Join(ledger.DefaultCustody(c.config.Dir), "statement-*.pem"))
	if err != nil || len(stale) != 1 {
		t.Fatal(stale, err)
	}
	old, err := os.ReadFile(stale[0])
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := c.RotateStatementKey(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale[0], old, 0o600); err != nil {
		t.Fatal(err)
	}
	c.reopen()
	c.record("after")
	left, err := filepath.Glob(filepath.Join(ledger.DefaultCustody(c.config.Dir), "statement-*.pem"))
	if err != nil || len(left) != 1 || left[0] == stale[0] {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestClockThatStepsBack(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	c.wait(-48 * time.Hour)
	c.read(c.nurse, record, 0, events.PurposeTreatment)
	if history := c.history(record); history[1].Event.Time < history[0].Event.Time {
		t.Errorf("%v", history)
	}
}

func TestCancelledCommandsLeaveTheLedgerWorking(t *testing.T) {
	c := newClinic(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Originate(ctx, c.doctor, c.origination(), strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.record("y")
}

func TestClosedLedger(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Access(t.Context(), c.nurse, ledger.Reading{Record: record, Purpose: events.PurposeTreatment}); !errors.Is(err, ledger.ErrStopped) {
		t.Errorf("a command after Close: %v", err)
	}
	c.reopen()
}

func TestCreateTwice(t *testing.T) {
	c := newClinic(t)
	if _, err := ledger.Create(t.Context(), c.config, origin); !errors.Is(err, ledger.ErrExists) {
		t.Error(err)
	}
	if _, err := ledger.Open(t.Context(), ledger.Config{Dir: t.TempDir()}); !errors.Is(err, ledger.ErrNoLedger) {
		t.Error(err)
	}
	if _, err := ledger.Create(t.Context(), ledger.Config{Dir: t.TempDir()}, "Not An Origin"); !errors.Is(err, events.ErrInvalid) {
		t.Error(err)
	}
}

func TestDestroyedContentIsGone(t *testing.T) {
	c := newClinic(t)
	record := c.record("secret")
	release, err := c.Access(t.Context(), c.nurse, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.destroy(record); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(release); !errors.Is(err, ledger.ErrRightEnded) {
		t.Errorf("a reader from before reads %q, %v", b, err)
	}
}
