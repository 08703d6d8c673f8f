package ledger_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/statement"
)

// folder1 unpacks a data folder that the first version wrote: 53 events, keys in
// the folder, records some of which are destroyed.
func folder1(t *testing.T) ledger.Config {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "old")
	unpack(t, "testdata/folder1.tar.gz", dir)
	return ledger.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)}
}

// folder2 unpacks a data folder, and the folder of its secrets, that the second
// version wrote: the story of its demo, of 146 events.
func folder2(t *testing.T) ledger.Config {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "old")
	unpack(t, "testdata/folder2.tar.gz", dir)
	return ledger.Config{Dir: filepath.Join(dir, "data"), Secrets: filepath.Join(dir, "custody"), Logger: slog.New(slog.DiscardHandler)}
}

// folders are those of every earlier format.
var folders = map[string]func(*testing.T) ledger.Config{"format 1": folder1, "format 2": folder2}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var raw []byte
			if raw, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, raw, os.FileMode(h.Mode).Perm())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestUpgrade(t *testing.T) {
	for name, folder := range folders {
		t.Run(name, func(t *testing.T) { testUpgrade(t, folder(t)) })
	}
}

func testUpgrade(t *testing.T, config ledger.Config) {
	if _, err := ledger.Open(t.Context(), config); !errors.Is(err, ledger.ErrOldFormat) {
		t.Fatalf("opening an old folder: %v", err)
	}
	if changed, err := ledger.Upgrade(t.Context(), config); err != nil || !changed {
		t.Fatalf("%v, %v", changed, err)
	}
	if changed, err := ledger.Upgrade(t.Context(), config); err != nil || changed {
		t.Errorf("a second time: %v, %v", changed, err)
	}
	judgeUpgraded(t, config)
}

// judgeUpgraded holds an upgraded folder to what it was: the log goes on under the
// new rules, contents open, what was destroyed stays destroyed.
func judgeUpgraded(t *testing.T, config ledger.Config) {
	t.Helper()
	for _, gone := range []string{"keys", "lives.sqlite"} {
		if _, err := os.Stat(filepath.Join(config.Dir, gone)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", gone, err)
		}
	}
	l, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	size := l.Log().Published().Checkpoint.Size
	if size < 50 {
		t.Errorf("the log has %d events", size)
	}
	living, destroyed, own := oldRecords(t, l, size)
	for _, record := range living {
		r, err := l.Access(t.Context(), own[record], ledger.Reading{Record: record, Purpose: events.PurposePatient})
		if own[record].Actor.IsZero() {
			continue // nobody has an account for its patient
		}
		if err != nil {
			t.Fatalf("reading an old record: %v", err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n == 0 {
			t.Errorf("an old record has %d bytes, %v", n, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(living) == 0 || len(destroyed) == 0 {
		t.Errorf("%d living records and %d destroyed ones: the old folder tests nothing", len(living), len(destroyed))
	}
	founding, err := l.Founding(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Register(t.Context(), ledger.Command{Actor: founding.Administrator}, ledger.Registration{Role: events.RoleClerk}); err != nil {
		t.Errorf("going on under the new rules: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := audit.NewDir(os.DirFS(config.Dir))
	defer dir.Close()
	report, err := audit.Log(t.Context(), dir, audit.Options{Verifier: l.VerifierKey(), State: dir.State()})
	if err != nil || !report.OK() {
		t.Errorf("the audit finds %+v, %v", report.Findings, err)
	}
}

// oldRecords returns the records of an old log, and who is the patient of each.
func oldRecords(t *testing.T, l *ledger.Ledger, size uint64) (living, destroyed []events.ID, own map[events.ID]ledger.Command) {
	t.Helper()
	leaves, err := l.Log().Leaves(context.Background(), 0, int(size))
	if err != nil {
		t.Fatal(err)
	}
	accounts, patients := make(map[events.ID]events.ID), make(map[events.ID]events.ID)
	ended := make(map[events.ID]bool)
	for _, leaf := range leaves {
		parsed, err := statement.Parse(leaf)
		if err != nil {
			t.Fatal(err)
		}
		switch d := events.Upcast(parsed.Event).Data.(type) {
		case *events.ActorRegistered:
			accounts[d.Patient] = parsed.Event.Subject
		case *events.RecordOriginated:
			patients[parsed.Event.Subject] = d.Patient
		case *events.RecordDestroyed:
			ended[parsed.Event.Subject] = true
		}
	}
	own = make(map[events.ID]ledger.Command)
	for record, patient := range patients {
		own[record] = ledger.Command{Actor: accounts[patient]}
		if ended[record] {
			destroyed = append(destroyed, record)
		} else {
			living = append(living, record)
		}
	}
	return living, destroyed, own
}

// TestUpgradeInterrupted fails every file operation of an upgrade in turn, and
// completes it by calling it again.
func TestUpgradeInterrupted(t *testing.T) {
	for name, folder := range folders {
		t.Run(name, func(t *testing.T) {
			for n := 0; interruptUpgrade(t, folder(t), n); n++ {
			}
		})
	}
}

// interruptUpgrade reports whether there was an operation n to fail.
func interruptUpgrade(t *testing.T, config ledger.Config, n int) bool {
	failing := &failAt{FS: disk.OS{}, left: n}
	config.FS = failing
	_, err := ledger.Upgrade(t.Context(), config)
	if err == nil && failing.left >= 0 {
		if n == 0 {
			t.Fatal("an upgrade makes no file operation")
		}
		return false
	}
	config.FS = nil
	if _, err := ledger.Upgrade(t.Context(), config); err != nil {
		t.Fatalf("after operation %d failed: %v", n, err)
	}
	judgeUpgraded(t, config)
	return true
}

// failAt fails one call that changes something.
type failAt struct {
	disk.FS
	left int // calls until it fails; negative once it has
}

var errDisk = errors.New("the disk failed")

func (f *failAt) fails() bool {
	f.left--
	return f.left == -1
}

func (f *failAt) OpenFile(name string, flag int, perm os.FileMode) (disk.File, error) {
	if flag != os.O_RDONLY && f.fails() {
		return nil, errDisk
	}
	return f.FS.OpenFile(name, flag, perm)
}

func (f *failAt) Rename(from, to string) error {
	if f.fails() {
		return errDisk
	}
	return f.FS.Rename(from, to)
}

func (f *failAt) Remove(name string) error {
	if f.fails() {
		return errDisk
	}
	return f.FS.Remove(name)
}

func (f *failAt) SyncDir(name string) error {
	if f.fails() {
		return errDisk
	}
	return f.FS.SyncDir(name)
}
