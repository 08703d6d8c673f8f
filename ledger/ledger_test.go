package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/receipt"
)

const origin = "clinic.example/ledger"

// clinic is a ledger with one actor of each kind that a test needs.
type clinic struct {
	*ledger.Ledger
	t         testing.TB
	config    ledger.Config
	founding  *ledger.Founding
	admin     ledger.Command
	doctor    ledger.Command
	nurse     ledger.Command
	patient   ledger.Command
	recipient ledger.Command
	foreign   ledger.Command
	subject   events.ID // whom the patient's account stands for

	mu  sync.Mutex
	now time.Time
}

func newClinic(t testing.TB) *clinic {
	t.Helper()
	c := &clinic{t: t, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), subject: events.MustNewID()}
	c.config = ledger.Config{Dir: t.TempDir(), Clock: c.clock, Logger: slog.New(slog.DiscardHandler)}
	var err error
	if c.founding, err = ledger.Create(t.Context(), c.config, origin); err != nil {
		t.Fatal(err)
	}
	c.reopen()
	t.Cleanup(func() { c.Close() })
	c.admin = ledger.Command{Actor: c.founding.Administrator}
	hospital := events.MustNewID()
	c.doctor = c.register(ledger.Registration{Role: events.RoleClinician, Organisation: c.founding.Organisation})
	c.nurse = c.register(ledger.Registration{Role: events.RoleNurse, Organisation: c.founding.Organisation})
	c.patient = c.register(ledger.Registration{Role: events.RolePatient, Organisation: c.founding.Organisation, Patient: c.subject})
	c.recipient = c.register(ledger.Registration{Role: events.RoleRecipient, Organisation: hospital})
	c.foreign = c.register(ledger.Registration{Role: events.RoleClinician, Organisation: hospital})
	return c
}

func (c *clinic) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clinic) wait(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// reopen opens the ledger in the clinic's folder.
func (c *clinic) reopen() {
	c.t.Helper()
	l, err := ledger.Open(context.Background(), c.config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Ledger = l
}

func (c *clinic) register(r ledger.Registration) ledger.Command {
	c.t.Helper()
	result, err := c.Register(c.t.Context(), c.admin, r)
	if err != nil {
		c.t.Fatal(err)
	}
	return ledger.Command{Actor: result.Event.Subject}
}

// record originates a record and returns its id.
func (c *clinic) record(content string) events.ID {
	c.t.Helper()
	result, err := c.Originate(c.t.Context(), c.doctor, c.origination(), strings.NewReader(content))
	if err != nil {
		c.t.Fatal(err)
	}
	c.verify(result)
	return result.Event.Subject
}

func (c *clinic) origination() ledger.Origination {
	return ledger.Origination{
		Patient: c.subject, Kind: events.KindChart, Confidentiality: events.Normal, ContentType: "text/plain",
	}
}

// verify checks a result's receipt with nothing but the log's key.
func (c *clinic) verify(r *ledger.Result) {
	c.t.Helper()
	proof, err := r.Receipt(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	verified, err := receipt.Verify(proof, c.VerifierKey())
	if err != nil {
		c.t.Fatalf("the receipt of event %d: %v", r.Index, err)
	}
	if verified.Index != r.Index || verified.Event.ID != r.Event.ID {
		c.t.Fatalf("the receipt of event %d is of event %d", r.Index, verified.Index)
	}
}

func (c *clinic) read(who ledger.Command, record events.ID, version uint32, purpose events.Purpose) string {
	c.t.Helper()
	release, err := c.Access(c.t.Context(), who, ledger.Reading{Record: record, Version: version, Purpose: purpose})
	if err != nil {
		c.t.Fatal(err)
	}
	c.verify(release.Result)
	return c.drain(release)
}

func (c *clinic) drain(r *ledger.Release) string {
	c.t.Helper()
	b, err := io.ReadAll(r.Content.Reader)
	if err := errors.Join(err, r.Content.Reader.Close()); err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// refused expects a refusal for the given reason, logged and proved.
func (c *clinic) refused(err error, reason string) {
	c.t.Helper()
	var refusal *ledger.RefusedError
	if !errors.As(err, &refusal) || refusal.Reason != reason || !errors.Is(err, ledger.ErrRefused) {
		c.t.Fatalf("got %v, want a refusal because of %s", err, reason)
	}
	if _, ok := refusal.Result.Event.Data.(*events.AccessRefused); !ok {
		c.t.Fatalf("the refusal is a %s", refusal.Result.Event.Type)
	}
	c.verify(refusal.Result)
}

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
	received, err := c.Receive(t.Context(), c.recipient, record, share)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.drain(received); got != "first" {
		t.Errorf("received %q", got)
	}
	_, err = c.Receive(t.Context(), c.foreign, record, share)
	c.refused(err, decision.RefusedRole)
	c.wait(time.Hour)
	_, err = c.Receive(t.Context(), c.recipient, record, share)
	c.refused(err, decision.RefusedShareEnded)

	_, err = c.Destroy(t.Context(), c.patient, ledger.Destruction{Record: record, Approver: c.doctor.Actor, Ground: events.GroundPatientRequest})
	c.refused(err, decision.RefusedApprover)
	destroyed, err := c.Destroy(t.Context(), c.patient, ledger.Destruction{Record: record, Approver: c.admin.Actor, Ground: events.GroundPatientRequest})
	if err != nil {
		t.Fatal(err)
	}
	c.verify(destroyed)
	if d := destroyed.Event.Data.(*events.RecordDestroyed); d.Keys != 3 {
		t.Errorf("%d keys were destroyed, want 3: of two versions and of the record", d.Keys)
	}
	_, err = c.Access(t.Context(), c.doctor, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
	c.refused(err, decision.RefusedDestroyed)
	_, err = c.Destroy(t.Context(), c.patient, ledger.Destruction{Record: record, Approver: c.admin.Actor, Ground: events.GroundPatientRequest})
	c.refused(err, decision.RefusedDestroyed)

	history, err := c.History(t.Context(), record)
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, r := range history {
		c.verify(r)
		types = append(types, strings.TrimPrefix(string(r.Event.Type), "medledger."))
	}
	want := "record.originated.v1 record.accessed.v1 record.amended.v1 record.accessed.v1 record.accessed.v1 " +
		"access.refused.v1 access.refused.v1 record.disclosed.v1 record.received.v1 access.refused.v1 access.refused.v1 " +
		"access.refused.v1 destruction.started.v1 record.destroyed.v1 access.refused.v1 access.refused.v1"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("the history is\n%s\nwant\n%s", got, want)
	}
}

func TestRepeatedCommands(t *testing.T) {
	c := newClinic(t)
	keyed := func(who ledger.Command, key string) ledger.Command { who.IdempotencyKey = key; return who }
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

	destroy := func() (*ledger.Result, error) {
		return c.Destroy(context.Background(), keyed(c.patient, "d"), ledger.Destruction{Record: record, Approver: c.admin.Actor, Ground: events.GroundPatientRequest})
	}
	destroyed, err := destroy()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := destroy(); err != nil || again.Index != destroyed.Index {
		t.Errorf("repeated destruction: %+v, %v", again, err)
	}
	refusal := func() error {
		_, err := c.Disclose(context.Background(), keyed(c.nurse, "r"), ledger.Disclosure{Record: record, Recipient: c.recipient.Actor, Purpose: events.PurposeLegal, Until: events.At(c.clock().Add(1))})
		return err
	}
	c.refused(refusal(), decision.RefusedDestroyed)
	size := c.Log().Published().Checkpoint.Size
	c.refused(refusal(), decision.RefusedDestroyed)
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
	history, err := c.History(t.Context(), record)
	if err != nil || done == 0 || len(history) != 1+done {
		t.Errorf("%d amendments succeeded, %d are in the log, %v", done, len(history)-1, err)
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
	stale, err := filepath.Glob(filepath.Join(c.config.Dir, "keys", "statement-*.pem"))
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
	left, err := filepath.Glob(filepath.Join(c.config.Dir, "keys", "statement-*.pem"))
	if err != nil || len(left) != 1 || left[0] == stale[0] {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestClockThatStepsBack(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	c.wait(-48 * time.Hour)
	c.read(c.nurse, record, 0, events.PurposeTreatment)
	history, err := c.History(t.Context(), record)
	if err != nil || history[1].Event.Time < history[0].Event.Time {
		t.Errorf("%v, %v", history, err)
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
	if _, err := c.Destroy(t.Context(), c.patient, ledger.Destruction{Record: record, Approver: c.admin.Actor, Ground: events.GroundPatientRequest}); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(release.Content.Reader); !errors.Is(err, vault.ErrDestroyed) {
		t.Errorf("a reader from before reads %q, %v", b, err)
	}
}
