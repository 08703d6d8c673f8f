package ledger_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
	stateformat "github.com/medledger/medledger/verifier/state"
)

// copied copies a folder that others may not look into.
func copied(t *testing.T, folder string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(folder))
	err := os.CopyFS(to, os.DirFS(folder))
	if err == nil {
		err = filepath.WalkDir(to, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chmod(path, 0o700))
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// keptIn is the file of kept checkpoints of a ledger.
func keptIn(c ledger.Config) string {
	return ledger.Folder{Data: c.Dir, Secrets: c.SecretsFolder()}.Kept()
}

func forgetKept(t *testing.T, c ledger.Config) {
	t.Helper()
	if err := os.Remove(keptIn(c)); err != nil {
		t.Fatal(err)
	}
}

// signedIn is how many events the log in a folder has signed.
func signedIn(t *testing.T, c ledger.Config) uint64 {
	t.Helper()
	f := ledger.FolderAt(c.Dir)
	key, err := os.ReadFile(f.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	v, err := proof.ParseVerifierKey(key)
	if err != nil {
		t.Fatal(err)
	}
	last, err := tlog.LastSigned(disk.OS{}, f.Log(), v)
	if err != nil {
		t.Fatal(err)
	}
	return last.Checkpoint.Size
}

// both are the newest checkpoints of the clinic, as 'medverify audit --keep' writes them.
func (c *clinic) both() []byte {
	return slices.Concat(c.Log().Published().Note, c.StateLog().Published().Note)
}

// TestKeptCheckpoints: the file is written when the ledger is opened, while it serves, and
// when it is closed.
func TestKeptCheckpoints(t *testing.T) {
	c := newClinic(t)
	has := func() bool {
		raw, err := os.ReadFile(keptIn(c.config))
		return err == nil && bytes.Equal(raw, c.both())
	}
	c.record("x")
	for until := time.Now().Add(20 * time.Second); !has(); {
		if time.Now().After(until) {
			t.Fatal("the newest checkpoints are not kept while the ledger serves")
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.record("y")
	both := c.both()
	c.close()
	if raw, err := os.ReadFile(keptIn(c.config)); err != nil || !bytes.Equal(raw, both) {
		t.Errorf("a closed ledger has kept %q, %v", raw, err)
	}
	forgetKept(t, c.config) // an older ledger's folder
	c.reopen()
	if !has() {
		t.Error("the newest checkpoints are not kept when a ledger is opened")
	}
	b := newSides(t)
	c.backUp(b)
	config, err := c.restoredAt(b, ledger.Restoration{NothingNewer: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(keptIn(config)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a backup has the kept checkpoints: %v", err)
	}
}

// TestKeptIsDamaged: what cannot be read is refused, with what to do.
func TestKeptIsDamaged(t *testing.T) {
	c := newClinic(t)
	other := newClinic(t)
	log, states, foreign := c.Log().Published().Note, c.StateLog().Published().Note, other.both()
	c.close()
	whole, err := os.ReadFile(keptIn(c.config))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(log)-5] ^= 1
	for name, file := range map[string][]byte{
		"empty": nil, "cut": whole[:len(whole)-3], "flipped": flipped, "another ledger's": foreign,
		"the log's alone": log, "the state log's alone": states, "twice": slices.Concat(whole, whole),
	} {
		if err := os.WriteFile(keptIn(c.config), file, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.opens(); !errors.Is(err, ledger.ErrKept) || !strings.Contains(err.Error(), "checkpoints.kept") {
			t.Errorf("%s: it opens with %v", name, err)
		}
	}
	forgetKept(t, c.config)
	c.reopen()
}

// TestAnotherHistory shows a folder that went on otherwise what the ledger has signed.
func TestAnotherHistory(t *testing.T) {
	c := newClinic(t)
	c.record("both have this")
	c.close()
	fork := c.copy(t)
	fork.Secrets = copied(t, c.config.SecretsFolder())
	c.reopen()
	c.record("one")
	c.close()
	kept, err := os.ReadFile(keptIn(c.config))
	if err != nil {
		t.Fatal(err)
	}
	mine := c.config
	c.config = fork
	c.reopen()
	for range 3 {
		c.record("another")
	}
	c.close()
	if err := os.WriteFile(keptIn(fork), kept, 0o600); err != nil {
		t.Fatal(err)
	}
	c.opensInStep(t, fork, ledger.ErrOlder)
	if _, err := ledger.Rebuild(t.Context(), fork, nil); !errors.Is(err, ledger.ErrOlder) {
		t.Errorf("rebuilt: %v", err)
	}
	forgetKept(t, fork)
	log, _, _ := bytes.Cut(kept, []byte(stateformat.Origin(origin)+"\n"))
	for name, file := range map[string][]byte{"of both logs": kept, "of the log": log} {
		if _, err := ledger.Rebuild(t.Context(), fork, file); !errors.Is(err, ledger.ErrOlder) {
			t.Errorf("rebuilt with a checkpoint %s: %v", name, err)
		}
	}
	c.config = mine
	c.reopen()
}

// TestKeptFaults fails every call of closing a ledger, in every way, and crashes. A ledger
// does not mind if its checkpoints are not kept, and a crash never makes a folder look
// older than it is.
func TestKeptFaults(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	for _, effect := range disktest.Effects {
		fsys := disktest.New()
		config := ledger.Config{Dir: folder(t), FS: fsys, Logger: slog.New(slog.DiscardHandler)}
		founding, err := ledger.Create(t.Context(), config, origin)
		if err != nil {
			t.Fatal(err)
		}
		ofFile := 0
		for n, failed := 1, true; failed; n++ {
			l, err := ledger.Open(t.Context(), config)
			if err != nil {
				t.Fatalf("%s: it does not open: %v", effect, err)
			}
			for range 2 {
				if _, err := l.Register(t.Context(), ledger.Command{Actor: founding.Administrator}, ledger.Registration{Role: events.RoleNurse}); err != nil {
					t.Fatal(err)
				}
			}
			fsys.FailCall(n, effect)
			err = l.Close()
			failed = fsys.Failed()
			if strings.Contains(fsys.Failure(), "checkpoints.kept") {
				ofFile++
				if err != nil {
					t.Errorf("%s, %s: %v", fsys.Failure(), effect, err)
				}
			}
			fsys.FailNone()
			fsys.Crash(disktest.Losses[random.IntN(len(disktest.Losses))], random)
		}
		if ofFile < 4 {
			t.Errorf("%s: only %d calls of the file were tried", effect, ofFile)
		}
	}
}

// TestKeptCannotBeWritten: without the file a ledger does not open, for then nobody would
// be warned in time.
func TestKeptCannotBeWritten(t *testing.T) {
	c := newClinic(t)
	c.close()
	forgetKept(t, c.config)
	if err := os.Mkdir(keptIn(c.config)+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.opens(); err == nil || !strings.Contains(err.Error(), "keeping the newest checkpoints") {
		t.Errorf("it opens with %v", err)
	}
	if err := os.Remove(keptIn(c.config) + ".tmp"); err != nil {
		t.Fatal(err)
	}
	c.reopen()
}

// stuck is a disk on which the file of kept checkpoints cannot be written to for a while,
// and then not at all.
type stuck struct {
	disk.FS
	armed         atomic.Bool
	once          sync.Once
	reached, over chan struct{}
}

func (s *stuck) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if s.armed.Load() && strings.Contains(name, "checkpoints.kept") {
		s.once.Do(func() { close(s.reached) })
		<-s.over
		return nil, syscall.EIO
	}
	return s.FS.OpenFile(name, flag, perm)
}

// TestNoTurnWaitsForKept: while the file is being written the ledger goes on, and it goes
// on if that fails. It says so once, and names nobody.
func TestNoTurnWaitsForKept(t *testing.T) {
	c := newClinic(t)
	c.close()
	var logged bytes.Buffer
	disk := &stuck{FS: disk.OS{}, reached: make(chan struct{}), over: make(chan struct{})}
	config := c.config
	c.config.FS, c.config.Logger = disk, slog.New(slog.NewTextHandler(&logged, nil))
	c.reopen()
	c.record("one")
	disk.armed.Store(true)
	c.record("two")
	<-disk.reached
	c.record("three")
	close(disk.over)
	c.record("four")
	c.close()
	if n := strings.Count(logged.String(), "the newest checkpoints are not kept"); n != 1 || strings.Contains(logged.String(), c.subject.String()) {
		t.Errorf("it says %d times that they are not kept:\n%s", n, logged.String())
	}
	c.config = config
	c.reopen()
}
