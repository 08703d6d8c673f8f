package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/receipt"
)

const origin = "clinic.example/ledger"

// clinic is a ledger with one actor of each kind that a test needs. When its test
// ends, its log is audited: every event of every test is decided again.
type clinic struct {
	*ledger.Ledger
	t        testing.TB
	config   ledger.Config
	founding *ledger.Founding
	ward     events.ID // the doctor's department
	hospital events.ID // another organisation

	admin     ledger.Command
	approver  ledger.Command // another administrator
	doctor    ledger.Command // of the ward
	nurse     ledger.Command // of no department, with a care relationship
	clerk     ledger.Command
	patient   ledger.Command // the subject's own account
	proxy     ledger.Command // appointed for everything
	recipient ledger.Command
	auditor   ledger.Command
	foreign   ledger.Command // a clinician of the hospital
	outsider  ledger.Command // a clerk of the hospital

	subject     events.ID // a patient
	care        events.ID // the nurse's relationship
	appointment events.ID // the proxy's

	mu    sync.Mutex
	now   time.Time
	stall *stall
}

// stall is a clock that does not answer the first who asks it, who goes no further.
type stall struct {
	asked         atomic.Bool
	reached, over chan struct{}
}

func newClinic(t testing.TB) *clinic {
	t.Helper()
	c := &clinic{t: t, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	c.config = ledger.Config{
		Dir: filepath.Join(t.TempDir(), "data"), Clock: c.clock, Logger: slog.New(slog.DiscardHandler),
	}
	var err error
	if c.founding, err = ledger.Create(t.Context(), c.config, origin); err != nil {
		t.Fatal(err)
	}
	c.reopen()
	t.Cleanup(c.audit)
	c.admin = ledger.Command{Actor: c.founding.Administrator}
	c.staff()
	c.subject = c.newPatient()
	c.patient = c.register(ledger.Registration{Role: events.RolePatient, Patient: c.subject})
	c.care = relationship(c.must(c.OpenCare(t.Context(), c.clerk, ledger.Care{Patient: c.subject, Member: c.nurse.Actor})))
	c.appointment = appointment(c.must(c.AppointProxy(t.Context(), c.clerk, c.fullProxy(c.subject))))
	return c
}

// vaultConfig opens the vault past the ledger, which must be closed.
func (c *clinic) vaultConfig() vault.Config {
	c.t.Helper()
	f := ledger.FolderAt(c.config.Dir)
	keys, err := custody.OpenFolder(custody.FolderConfig{Dir: f.RootKeys()})
	if err != nil {
		c.t.Fatal(err)
	}
	return vault.Config{Dir: f.Vault(), Custody: keys, Register: f.Register(), Logger: slog.New(slog.DiscardHandler)}
}

// staff registers everybody but the patient.
func (c *clinic) staff() {
	c.t.Helper()
	ctx := context.Background()
	var err1, err2 error
	c.ward, err1 = c.Department(ctx, c.founding.Organisation, "Ward 1")
	c.hospital, err2 = c.Organisation(ctx, "Hospital")
	if err := errors.Join(err1, err2); err != nil {
		c.t.Fatal(err)
	}
	c.approver = c.register(ledger.Registration{Role: events.RoleAdmin})
	c.doctor = c.register(ledger.Registration{Role: events.RoleClinician, Department: c.ward})
	c.nurse = c.register(ledger.Registration{Role: events.RoleNurse})
	c.clerk = c.register(ledger.Registration{Role: events.RoleClerk})
	c.proxy = c.register(ledger.Registration{Role: events.RoleProxy})
	c.recipient = c.register(ledger.Registration{Role: events.RoleRecipient, Organisation: c.hospital})
	c.auditor = c.register(ledger.Registration{Role: events.RoleAuditor})
	c.foreign = c.register(ledger.Registration{Role: events.RoleClinician, Organisation: c.hospital})
	c.outsider = c.register(ledger.Registration{Role: events.RoleClerk, Organisation: c.hospital})
}

func (c *clinic) clock() time.Time {
	c.mu.Lock()
	now, stall := c.now, c.stall
	c.mu.Unlock()
	if stall != nil && stall.asked.CompareAndSwap(false, true) {
		close(stall.reached)
		<-stall.over
	}
	return now
}

// whileDecided gives a command, and calls then while it is being decided.
func (c *clinic) whileDecided(command, then func()) {
	s := &stall{reached: make(chan struct{}), over: make(chan struct{})}
	c.mu.Lock()
	c.stall = s
	c.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(command)
	<-s.reached
	then()
	c.mu.Lock()
	c.stall = nil
	c.mu.Unlock()
	close(s.over)
	wg.Wait()
}

// inOneTurn gives commands in this order, so that they are decided in one turn:
// the turn before is held up until all of them wait.
func (c *clinic) inOneTurn(commands ...func()) {
	var wg sync.WaitGroup
	c.whileDecided(func() {
		if _, err := c.GrantConsent(context.Background(), c.clerk, c.subject, events.PurposeResearch); err != nil {
			c.t.Error(err)
		}
	}, func() {
		for _, command := range commands {
			wg.Go(command)
			time.Sleep(150 * time.Millisecond) // until it is queued
		}
	})
	wg.Wait()
}

func (c *clinic) wait(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// in is the moment after a duration.
func (c *clinic) in(d time.Duration) events.Timestamp { return events.At(c.clock().Add(d)) }

// reopen opens the ledger in the clinic's folder.
func (c *clinic) reopen() {
	c.t.Helper()
	l, err := ledger.Open(context.Background(), c.config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Ledger = l
}

func (c *clinic) close() {
	c.t.Helper()
	if err := c.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// restart closes the ledger and opens it again.
func (c *clinic) restart() {
	c.t.Helper()
	c.close()
	c.reopen()
}

// audit holds the clinic's log to its word.
func (c *clinic) audit() {
	if c.Ledger.Close() != nil || c.t.Failed() {
		return
	}
	dir := audit.NewDir(os.DirFS(c.config.Dir))
	defer dir.Close()
	report, err := audit.Log(context.Background(), dir, audit.Options{Verifier: c.VerifierKey(), State: dir.State(), Workers: 1})
	if err != nil || !report.OK() {
		c.t.Errorf("the audit of the test's log finds %+v, %v", report.Findings, err)
	}
}

// must expects a command to succeed, with a receipt.
func (c *clinic) must(r *ledger.Result, err error) *ledger.Result {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	c.verify(r)
	return r
}

func (c *clinic) register(r ledger.Registration) ledger.Command {
	c.t.Helper()
	return ledger.Command{Actor: c.must(c.Register(c.t.Context(), c.admin, r)).Event.Subject}
}

// identifiers are some that nobody has yet.
func identifiers() []ledger.Identifier {
	return []ledger.Identifier{{System: "urn:example:mrn", Value: events.MustNewID().String()}}
}

func (c *clinic) newPatient() events.ID {
	c.t.Helper()
	return c.must(c.RegisterPatient(c.t.Context(), c.clerk, identifiers())).Event.Subject
}

func (c *clinic) fullProxy(patient events.ID) ledger.Appointment {
	return ledger.Appointment{Patient: patient, Proxy: c.proxy.Actor, Scope: []events.ProxyScope{
		events.ProxyRead, events.ProxyConsents, events.ProxyDestruction,
	}}
}

func relationship(r *ledger.Result) events.ID { return r.Event.Data.(*events.CareOpened).Relationship }
func appointment(r *ledger.Result) events.ID {
	return r.Event.Data.(*events.ProxyAppointed).Appointment
}
func consent(r *ledger.Result) events.ID { return r.Event.Data.(*events.ConsentGranted).Consent }
func shareOf(r *ledger.Result) events.ID { return r.Event.Data.(*events.RecordDisclosed).Share }
func tokenOf(r *ledger.Result) events.ID { return r.Event.Data.(*events.TokenIssued).Token }
func doom(r *ledger.Result) events.ID    { return r.Event.Data.(*events.DestructionRequested).Destruction }

func keyed(who ledger.Command, key string) ledger.Command { who.IdempotencyKey = key; return who }

// record originates a record of the subject and returns its id.
func (c *clinic) record(content string) events.ID {
	c.t.Helper()
	return c.recordOf(c.subject, content)
}

func (c *clinic) recordOf(patient events.ID, content string) events.ID {
	c.t.Helper()
	o := c.origination()
	o.Patient = patient
	return c.must(c.Originate(c.t.Context(), c.doctor, o, strings.NewReader(content))).Event.Subject
}

func (c *clinic) origination() ledger.Origination {
	return ledger.Origination{
		Patient: c.subject, Kind: events.KindChart, Confidentiality: events.Normal, ContentType: "text/plain",
	}
}

// disclosure shares the newest version of a record for an hour.
func (c *clinic) disclosure(record events.ID) ledger.Disclosure {
	return ledger.Disclosure{
		Record: record, Recipient: c.recipient.Actor, Purpose: events.PurposeTreatment, Until: c.in(time.Hour),
	}
}

func (c *clinic) share(record events.ID) events.ID {
	c.t.Helper()
	return shareOf(c.must(c.Disclose(c.t.Context(), c.doctor, c.disclosure(record))))
}

// destroy has a record destroyed at the patient's wish.
func (c *clinic) destroy(record events.ID) (*ledger.Result, error) {
	requested, err := c.RequestDestruction(context.Background(), c.patient, record, events.GroundPatientRequest)
	if err != nil {
		return nil, fmt.Errorf("asking for it: %w", err)
	}
	return c.ApproveDestruction(context.Background(), c.admin, doom(requested))
}

// verify checks a result's receipt with nothing but the log's key.
func (c *clinic) verify(r *ledger.Result) {
	c.t.Helper()
	proof, err := r.Receipt(context.Background())
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

func treating(record events.ID) ledger.Reading {
	return ledger.Reading{Record: record, Purpose: events.PurposeTreatment}
}

// opened begins a release, which the test's end closes.
func (c *clinic) opened(r *ledger.Release, err error) *ledger.Release {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	c.verify(r.Result)
	c.t.Cleanup(func() { r.Close() })
	return r
}

func (c *clinic) read(who ledger.Command, record events.ID, version uint32, purpose events.Purpose) string {
	c.t.Helper()
	return c.drain(c.opened(c.Access(c.t.Context(), who, ledger.Reading{Record: record, Version: version, Purpose: purpose})))
}

func (c *clinic) drain(r *ledger.Release) string {
	c.t.Helper()
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// refused expects a refusal for the given reason, logged and proved, and returns
// it.
func (c *clinic) refused(err error, reason string) *ledger.Result {
	c.t.Helper()
	var refusal *ledger.RefusedError
	if !errors.As(err, &refusal) || refusal.Reason != reason || !errors.Is(err, ledger.ErrRefused) {
		c.t.Fatalf("got %v, want a refusal because of %s", err, reason)
	}
	d, ok := refusal.Result.Event.Data.(*events.AccessRefused)
	if !ok || d.Decision.Rules != decision.Version {
		c.t.Fatalf("the refusal is %+v", refusal.Result.Event)
	}
	c.verify(refusal.Result)
	return refusal.Result
}

// history is the history of a record as an auditor reads it, without that reading.
func (c *clinic) history(record events.ID) []*ledger.Result {
	c.t.Helper()
	history, err := c.History(context.Background(), c.auditor, record)
	if err != nil {
		c.t.Fatal(err)
	}
	return history[:len(history)-1]
}

// size is how many events the log has.
func (c *clinic) size() uint64 { return c.Log().Published().Checkpoint.Size }
