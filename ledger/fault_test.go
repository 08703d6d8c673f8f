package ledger_test

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger"
)

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
				if len(a.promised) < 35 || len(a.gone) != 2 || !a.gone[a.last] {
					t.Errorf("without a fault only %d events were acknowledged", len(a.promised))
				}
				break
			}
		}
	}
	t.Logf("%d faults", tried)
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
			secret, err := disk.ReadFile(fsys, ledger.FolderAt(config.Dir).AdminToken())
			if err != nil {
				t.Fatalf("%s, %s: %v", failure, effect, err)
			}
			founding, err := l.Founding(t.Context())
			if who, err2 := l.Authenticate(strings.TrimSpace(string(secret))); err != nil || err2 != nil || who.ActorID != founding.Administrator {
				t.Errorf("%s, %s: admin.token is %v's: %v, %v", failure, effect, who.ActorID, err, err2)
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
