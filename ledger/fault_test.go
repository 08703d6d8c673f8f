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
	"strings"
	"syscall"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/audit"
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
	promised []promise
	contents map[events.ID]string // of records whose creation was acknowledged
	doomed   map[events.ID]bool   // whose destruction was asked for
	gone     map[events.ID]bool   // whose destruction was acknowledged
}

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
	return a
}

// folder makes the folders that SQLite needs in the real file system.
func folder(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "vault"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
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
	admin := ledger.Command{Actor: a.founding.Administrator}
	note := func(r *ledger.Result, err error) *ledger.Result {
		var refusal *ledger.RefusedError
		if errors.As(err, &refusal) {
			r, err = refusal.Result, nil
		}
		if err == nil {
			a.promised = append(a.promised, promise{r.Index, bytes.Clone(r.Statement)})
			return r
		}
		return nil
	}
	registered := note(l.Register(ctx, admin, ledger.Registration{Role: events.RoleClinician, Organisation: a.founding.Organisation}))
	other := note(l.Register(ctx, admin, ledger.Registration{Role: events.RoleAdmin, Organisation: a.founding.Organisation}))
	if registered == nil || other == nil {
		return
	}
	doctor := ledger.Command{Actor: registered.Event.Subject}
	create := func(content string) {
		o := ledger.Origination{Patient: events.MustNewID(), Kind: events.KindChart, Confidentiality: events.Normal}
		if r := note(l.Originate(ctx, doctor, o, strings.NewReader(content))); r != nil {
			a.contents[r.Event.Subject] = content
		}
	}
	create("small")
	create(strings.Repeat("large", 20_000))
	for record := range a.contents {
		if release, err := l.Access(ctx, doctor, ledger.Reading{Record: record, Purpose: events.PurposeTreatment}); err == nil {
			note(release.Result, nil)
			release.Content.Reader.Close()
		}
		if r := note(l.Amend(ctx, doctor, ledger.Amendment{Record: record}, strings.NewReader("amended"))); r != nil {
			a.contents[record] = "amended"
		}
	}
	note(l.RotateStatementKey(ctx))
	for record := range a.contents {
		a.doomed[record] = true
		if r := note(l.Destroy(ctx, admin, ledger.Destruction{
			Record: record, Approver: other.Event.Subject, Ground: events.GroundRetentionEnded,
		})); r != nil {
			a.gone[record] = true
		}
		break
	}
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
	for record, content := range a.contents {
		a.checkContent(l, when, record, content)
	}
	if err := l.Close(); err != nil {
		a.t.Fatalf("%s: %v", when, err)
	}
	report, err := audit.Log(context.Background(), audit.NewDir(a.fsys.View(a.config.Dir)), audit.Options{Verifier: l.VerifierKey(), Workers: 1})
	if err != nil || !report.OK() || report.Destroying > 0 {
		a.t.Fatalf("%s: the audit finds %+v, %v", when, report.Findings, err)
	}
}

func (a *attempt) checkContent(l *ledger.Ledger, when string, record events.ID, content string) {
	a.t.Helper()
	history, err := l.History(context.Background(), record)
	if err != nil {
		a.t.Fatalf("%s: %v", when, err)
	}
	doctor := history[0].Event.Data.(*events.RecordOriginated).Actor
	release, err := l.Access(context.Background(), ledger.Command{Actor: doctor}, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
	switch {
	case errors.Is(err, ledger.ErrRefused) && a.doomed[record]:
		return
	case err != nil:
		a.t.Fatalf("%s: the content of an acknowledged record: %v", when, err)
	case a.gone[record]:
		a.t.Fatalf("%s: a destroyed record is released", when)
	}
	b, err := io.ReadAll(release.Content.Reader)
	release.Content.Reader.Close()
	// An amendment that failed late may have happened all the same.
	if err != nil || string(b) != content && string(b) != "amended" {
		a.t.Fatalf("%s: the content has %d bytes, %v", when, len(b), err)
	}
}

// TestFaults fails every call to the file system in turn, in every way, then
// crashes and holds the ledger to what it had acknowledged. Unless
// MEDLEDGER_LONG is set only some of the calls are tried.
func TestFaults(t *testing.T) {
	stride := 11
	if os.Getenv("MEDLEDGER_LONG") != "" {
		stride = 1
	}
	random := rand.New(rand.NewPCG(1, 1))
	tried := 0
	for e, effect := range disktest.Effects {
		for n := 1 + e; ; n += stride {
			a := newAttempt(t)
			a.fsys.FailCall(n, effect)
			a.work()
			failed, failure := a.fsys.Failed(), a.fsys.Failure()
			a.fsys.FailNone()
			loss := disktest.Losses[random.IntN(len(disktest.Losses))]
			// Every other time only the process restarts, signs what it finds in
			// the page cache, and the machine crashes then.
			if tried%2 == 1 {
				failure += ", a restart"
				a.restart(loss, random)
			} else {
				a.fsys.Crash(loss, random)
			}
			a.check(failure + ", " + string(effect) + ", " + string(loss))
			tried++
			if !failed {
				if len(a.promised) < 8 || len(a.gone) != 1 {
					t.Errorf("without a fault only %d events were acknowledged", len(a.promised))
				}
				break
			}
		}
	}
	t.Logf("%d faults", tried)
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

// TestFaultsInCreate fails every call while a ledger is made: made again, it is
// whole.
func TestFaultsInCreate(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	stride := 3
	if os.Getenv("MEDLEDGER_LONG") != "" {
		stride = 1
	}
	for e, effect := range disktest.Effects {
		for n := 1 + e; ; n += stride {
			fsys := disktest.New()
			config := ledger.Config{Dir: folder(t), FS: fsys, Logger: slog.New(slog.DiscardHandler)}
			fsys.FailCall(n, effect)
			_, err := ledger.Create(t.Context(), config, origin)
			failed, failure := fsys.Failed(), fsys.Failure()
			if !failed && err != nil {
				t.Fatal(err)
			}
			fsys.FailNone()
			fsys.Crash(disktest.Losses[random.IntN(len(disktest.Losses))], random)
			if _, err := ledger.Create(t.Context(), config, origin); err != nil && !errors.Is(err, ledger.ErrExists) {
				t.Fatalf("%s, %s: made again: %v", failure, effect, err)
			}
			l, err := ledger.Open(t.Context(), config)
			if err != nil {
				t.Fatalf("%s, %s: opened: %v", failure, effect, err)
			}
			if _, err := l.Founding(t.Context()); err != nil {
				t.Error(err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if !failed {
				break
			}
		}
	}
}

// TestFullDisk fills the disk at several points: what is stored stays readable,
// the error says what to do, and with room again the ledger goes on.
func TestFullDisk(t *testing.T) {
	probe := newAttempt(t)
	probe.work()
	used := probe.size(probe.config.Dir)
	for room := int64(5_000); room < used; room += used / 6 {
		a := newAttempt(t)
		a.fsys.LimitSpace(a.size(a.config.Dir) + room)
		l, err := ledger.Open(t.Context(), a.config)
		if err == nil {
			var full error
			for range 500 {
				_, err := l.Register(t.Context(), ledger.Command{Actor: a.founding.Administrator},
					ledger.Registration{Role: events.RoleNurse, Organisation: a.founding.Organisation})
				if err != nil {
					full = err
					break
				}
			}
			if full != nil && (!errors.Is(full, ledger.ErrStopped) || !errors.Is(full, syscall.ENOSPC)) {
				t.Errorf("with %d bytes of room: %v", room, full)
			}
			if _, err := l.Log().Leaf(t.Context(), 0); err != nil {
				t.Errorf("a full disk cannot be read: %v", err)
			}
			l.Close()
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("with %d bytes of room: %v", room, err)
		}
		a.fsys.LimitSpace(-1)
		a.check("after a full disk")
	}
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
