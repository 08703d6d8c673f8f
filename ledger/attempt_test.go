package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/decision"
)

// promise is what the ledger acknowledged.
type promise struct {
	index     uint64
	statement []byte
}

// attempt is a ledger on a file system that fails, and what it promised.
type attempt struct {
	t        *testing.T
	fsys     *disktest.FS
	config   ledger.Config
	founding *ledger.Founding

	admin, approver, doctor, nurse, clerk, proxy, recipient, auditor ledger.Command
	patient                                                          events.ID

	promised          []promise
	contents          map[events.ID]string // of records whose creation was acknowledged
	doomed            map[events.ID]bool   // whose destruction was asked for
	gone              map[events.ID]bool   // whose destruction was acknowledged
	own               []events.ID          // those that were the patient's from the beginning
	last, lastPatient events.ID            // the only record of a patient, and that patient
	revoked           string               // a token whose revocation was acknowledged
	refuses           bool                 // a withdrawal was acknowledged
}

// newAttempt makes a ledger with its staff and a patient, before anything fails.
func newAttempt(t *testing.T) *attempt {
	a := &attempt{
		t: t, fsys: disktest.New(),
		contents: make(map[events.ID]string), doomed: make(map[events.ID]bool), gone: make(map[events.ID]bool),
	}
	// SQLite's files are the operating system's: what it wrote survives every
	// crash here, so that its files are ahead of all others.
	a.config = ledger.Config{Dir: folder(t), FS: a.fsys, Logger: slog.New(slog.DiscardHandler)}
	var err error
	if a.founding, err = ledger.Create(t.Context(), a.config, origin); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), a.config)
	if err != nil {
		t.Fatal(err)
	}
	a.admin = ledger.Command{Actor: a.founding.Administrator}
	ward := events.MustNewID()
	for _, who := range []struct {
		is   *ledger.Command
		role events.Role
	}{
		{&a.approver, events.RoleAdmin}, {&a.doctor, events.RoleClinician}, {&a.nurse, events.RoleNurse},
		{&a.clerk, events.RoleClerk}, {&a.proxy, events.RoleProxy}, {&a.recipient, events.RoleRecipient},
		{&a.auditor, events.RoleAuditor},
	} {
		r, err := l.Register(t.Context(), a.admin, ledger.Registration{Role: who.role, Department: ward})
		if err != nil {
			t.Fatal(err)
		}
		who.is.Actor = r.Event.Subject
	}
	r, err := l.RegisterPatient(t.Context(), a.clerk, identifiers())
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	a.patient = r.Event.Subject
	return a
}

// folder makes the folders that SQLite needs in the real file system.
func folder(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"vault", "state"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// note keeps what was acknowledged, and returns it.
func (a *attempt) note(r *ledger.Result, err error) *ledger.Result {
	var refusal *ledger.RefusedError
	if errors.As(err, &refusal) {
		r, err = refusal.Result, nil
	}
	if err != nil {
		return nil
	}
	a.promised = append(a.promised, promise{r.Index, bytes.Clone(r.Statement)})
	return r
}

// work does a little of everything and goes on, as callers would, whatever
// fails. It notes what was acknowledged.
func (a *attempt) work() {
	l, err := ledger.Open(context.Background(), a.config)
	if err != nil {
		return
	}
	defer l.Close()
	ctx := context.Background()
	small := a.create(l, a.patient, "small")
	large := a.create(l, a.patient, strings.Repeat("large", 20_000))
	for record := range a.contents {
		if r := a.note(l.Amend(ctx, a.doctor, ledger.Amendment{Record: record}, strings.NewReader("amended"))); r != nil {
			a.contents[record] = "amended"
		}
	}
	a.note(l.RotateStatementKey(ctx))
	a.rights(l)
	if small != (events.ID{}) {
		a.disclose(l, small)
	}
	a.duplicates(l)
	if large != (events.ID{}) {
		a.destroy(l, large)
	}
	if r := a.note(l.RegisterPatient(ctx, a.clerk, identifiers())); r != nil {
		if last := a.create(l, r.Event.Subject, "last"); last != (events.ID{}) {
			a.last, a.lastPatient = last, r.Event.Subject
			a.destroy(l, last)
		}
	}
	if r := a.note(l.WithdrawConsent(ctx, a.clerk, a.patient, events.ID{}, events.PurposeTreatment)); r != nil {
		a.refuses = true
	}
}

func (a *attempt) create(l *ledger.Ledger, patient events.ID, content string) (record events.ID) {
	o := ledger.Origination{Patient: patient, Kind: events.KindChart, Confidentiality: events.Normal}
	r := a.note(l.Originate(context.Background(), a.doctor, o, strings.NewReader(content)))
	if r == nil {
		return events.ID{}
	}
	record = r.Event.Subject
	a.contents[record] = content
	if patient == a.patient {
		a.own = append(a.own, record)
	}
	if release, err := l.Access(context.Background(), a.doctor, treating(record)); err == nil {
		a.note(release.Result, nil)
		release.Close()
	}
	return record
}

// rights gives rights and takes them again.
func (a *attempt) rights(l *ledger.Ledger) {
	ctx := context.Background()
	if r := a.note(l.OpenCare(ctx, a.clerk, ledger.Care{Patient: a.patient, Member: a.nurse.Actor})); r != nil {
		a.note(l.CloseCare(ctx, a.clerk, a.patient, relationship(r)))
	}
	appointed := ledger.Appointment{Patient: a.patient, Proxy: a.proxy.Actor, Scope: []events.ProxyScope{events.ProxyRead}}
	if r := a.note(l.AppointProxy(ctx, a.clerk, appointed)); r != nil {
		a.note(l.DismissProxy(ctx, a.clerk, a.patient, appointment(r)))
	}
	if r := a.note(l.GrantConsent(ctx, a.clerk, a.patient, events.PurposeResearch)); r != nil {
		a.note(l.WithdrawConsent(ctx, a.clerk, a.patient, consent(r), ""))
	}
	issued, secret, err := l.IssueToken(ctx, a.admin, a.nurse.Actor, events.At(time.Now().Add(time.Hour)))
	if r := a.note(issued, err); r != nil {
		if a.note(l.RevokeToken(ctx, a.admin, a.nurse.Actor, tokenOf(r))) != nil {
			a.revoked = secret
		}
	}
}

// disclose takes a share through its life.
func (a *attempt) disclose(l *ledger.Ledger, record events.ID) {
	ctx := context.Background()
	r := a.note(l.Disclose(ctx, a.clerk, ledger.Disclosure{
		Record: record, Recipient: a.recipient.Actor, Purpose: events.PurposeLegal, Until: events.At(time.Now().Add(time.Hour)),
	}))
	if r == nil {
		return
	}
	if release, err := l.Receive(ctx, a.recipient, shareOf(r)); err == nil {
		a.note(release.Result, nil)
		release.Close()
	}
	a.note(l.AcknowledgeShare(ctx, a.recipient, shareOf(r)))
	a.note(l.EndShare(ctx, a.clerk, shareOf(r)))
}

// duplicates registers the patient a second time, and puts that right.
func (a *attempt) duplicates(l *ledger.Ledger) {
	ctx := context.Background()
	r := a.note(l.RegisterPatient(ctx, a.clerk, identifiers()))
	if r == nil {
		return
	}
	if misfiled := a.create(l, r.Event.Subject, "misfiled"); misfiled != (events.ID{}) {
		a.note(l.Refile(ctx, a.clerk, misfiled, a.patient))
	}
	a.create(l, r.Event.Subject, "of the duplicate")
	a.note(l.MergePatients(ctx, a.clerk, r.Event.Subject, a.patient))
	listed, _, err := l.ListRecords(ctx, a.clerk, ledger.Listing{Patient: r.Event.Subject, Purpose: events.PurposeOperations})
	a.note(listed, err)
}

// destroy asks for a record's end and approves it.
func (a *attempt) destroy(l *ledger.Ledger, record events.ID) (gone bool) {
	ctx := context.Background()
	r := a.note(l.RequestDestruction(ctx, a.clerk, record, events.GroundRetentionEnded))
	if r == nil {
		return false
	}
	a.doomed[record] = true
	a.gone[record] = a.note(l.ApproveDestruction(ctx, a.approver, doom(r))) != nil
	return a.gone[record]
}

// check opens the ledger again and holds it to its promises.
func (a *attempt) check(when string) {
	a.t.Helper()
	l, err := ledger.Open(context.Background(), a.config)
	if err != nil {
		a.t.Fatalf("%s: the ledger does not open: %v", when, err)
	}
	defer l.Close()
	for _, p := range a.promised {
		if raw, err := l.Log().Leaf(context.Background(), p.index); err != nil || !bytes.Equal(raw, p.statement) {
			a.t.Fatalf("%s: event %d was acknowledged and is not there: %v", when, p.index, err)
		}
	}
	a.checkRights(l, when)
	for record, content := range a.contents {
		a.checkContent(l, when, record, content)
	}
	if err := l.Close(); err != nil {
		a.t.Fatalf("%s: %v", when, err)
	}
	dir := audit.NewDir(a.fsys.View(a.config.Dir))
	report, err := audit.Log(context.Background(), dir, audit.Options{Verifier: l.VerifierKey(), State: dir.State(), Workers: 1})
	if err != nil || !report.OK() || report.Destroying > 0 {
		a.t.Fatalf("%s: the audit finds %+v, %v", when, report.Findings, err)
	}
}

// checkRights shows that what was taken is still taken, and lets the patient
// agree again so that contents can be checked.
func (a *attempt) checkRights(l *ledger.Ledger, when string) {
	a.t.Helper()
	ctx := context.Background()
	if a.revoked != "" {
		if _, err := l.Authenticate(a.revoked); !errors.Is(err, ledger.ErrUnauthenticated) {
			a.t.Fatalf("%s: a revoked token is worth something: %v", when, err)
		}
	}
	a.checkErasure(l, when)
	if a.refuses {
		for _, record := range a.own {
			if release, err := l.Access(ctx, a.doctor, treating(record)); err == nil {
				release.Close()
				a.t.Fatalf("%s: a record is released after its patient's withdrawal", when)
			}
		}
	}
	if _, err := l.GrantConsent(ctx, a.clerk, a.patient, events.PurposeTreatment); err != nil {
		a.t.Fatalf("%s: %v", when, err)
	}
}

// checkErasure shows that a patient whose only record is destroyed is erased, also
// if nobody was told that it is.
func (a *attempt) checkErasure(l *ledger.Ledger, when string) {
	a.t.Helper()
	if a.last.IsZero() {
		return
	}
	history, err := l.History(context.Background(), a.auditor, a.last)
	if err != nil {
		a.t.Fatalf("%s: %v", when, err)
	}
	destroyed := slices.ContainsFunc(history, func(r *ledger.Result) bool { return r.Event.Type == events.TypeRecordDestroyed })
	_, err = l.GrantConsent(context.Background(), a.clerk, a.lastPatient, events.PurposeTreatment)
	refusal := new(ledger.RefusedError)
	erased := errors.As(err, &refusal) && refusal.Reason == decision.RefusedErased
	if destroyed != erased || a.gone[a.last] && !erased {
		a.t.Fatalf("%s: the last record is destroyed: %v, its patient is erased: %v (%v)", when, destroyed, erased, err)
	}
}

func (a *attempt) checkContent(l *ledger.Ledger, when string, record events.ID, content string) {
	a.t.Helper()
	if _, err := l.History(context.Background(), a.auditor, record); err != nil {
		a.t.Fatalf("%s: %v", when, err)
	}
	release, err := l.Access(context.Background(), a.doctor, treating(record))
	switch {
	case errors.Is(err, ledger.ErrRefused) && a.doomed[record]:
		return
	case err != nil:
		a.t.Fatalf("%s: the content of an acknowledged record: %v", when, err)
	case a.gone[record]:
		a.t.Fatalf("%s: a destroyed record is released", when)
	}
	b, err := io.ReadAll(release)
	release.Close()
	// An amendment that failed late may have happened all the same.
	if err != nil || string(b) != content && string(b) != "amended" {
		a.t.Fatalf("%s: the content has %d bytes, %v", when, len(b), err)
	}
}

// restart opens the ledger after a fault, has it acknowledge something, and
// crashes the machine under it.
func (a *attempt) restart(loss disktest.Loss, random *rand.Rand) {
	l, err := ledger.Open(context.Background(), a.config)
	if err != nil {
		a.t.Fatalf("after a restart: %v", err)
	}
	r, err := l.Register(context.Background(), ledger.Command{Actor: a.founding.Administrator},
		ledger.Registration{Role: events.RoleNurse, Organisation: a.founding.Organisation})
	if err != nil {
		a.t.Fatalf("after a restart: %v", err)
	}
	a.promised = append(a.promised, promise{r.Index, bytes.Clone(r.Statement)})
	a.fsys.Crash(loss, random)
	l.Close() // says that its files are dead
}

func (a *attempt) size(dir string) (total int64) {
	entries, err := a.fsys.ReadDir(dir)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			total += a.size(path)
		} else if info, err := a.fsys.Stat(path); err == nil {
			total += info.Size()
		}
	}
	return total
}
