package ledger_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/custody"
)

// restoredAt restores a backup in a fresh folder, with a copy of the clinic's
// secrets, and returns the configuration of what came of it.
func (c *clinic) restoredAt(backup string, r ledger.Restoration) (ledger.Config, error) {
	c.t.Helper()
	config := c.config
	config.Dir = filepath.Join(c.t.TempDir(), "elsewhere")
	c.copySecrets(ledger.DefaultCustody(config.Dir))
	_, err := ledger.Restore(c.t.Context(), config, backup, r)
	return config, err
}

// copySecrets copies the clinic's secrets into a new folder.
func (c *clinic) copySecrets(to string) {
	c.t.Helper()
	err := os.CopyFS(to, os.DirFS(c.config.Secrets()))
	err = errors.Join(err, filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		mode := os.FileMode(0o600)
		if err == nil && d.IsDir() {
			mode = 0o700
		}
		return errors.Join(err, os.Chmod(path, mode))
	}))
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *clinic) checkpoint() []byte { return bytes.Clone(c.Log().Published().Note) }

// TestRestoreGoesOn takes a backup of a ledger that goes on, stops it, and goes on
// elsewhere: people, contents, tokens, identifiers and repeated commands are there.
func TestRestoreGoesOn(t *testing.T) {
	c := newClinic(t)
	record, gone := c.record("version one"), c.record("to be destroyed")
	large := bytes.Repeat([]byte("large "), 100_000)
	big := c.must(c.Originate(t.Context(), c.doctor, c.origination(), bytes.NewReader(large))).Event.Subject
	if _, err := c.destroy(gone); err != nil {
		t.Fatal(err)
	}
	issued, secret, err := c.IssueToken(t.Context(), c.admin, c.doctor.Actor, c.in(time.Hour))
	c.must(issued, err)
	once := c.must(c.Originate(t.Context(), keyed(c.doctor, "once"), c.origination(), strings.NewReader("once")))
	id := identifiers()
	found := c.must(c.RegisterPatient(t.Context(), c.clerk, id)).Event.Subject

	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := c.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	c.record("after the first backup")
	m, err := c.Backup(t.Context(), backup)
	if err != nil {
		t.Fatal(err)
	}
	kept := c.checkpoint()
	c.close()

	config, err := c.restoredAt(backup, ledger.Restoration{Kept: kept})
	if err != nil {
		t.Fatal(err)
	}
	old := c.config
	c.config = config
	c.reopen()
	if size := c.Log().Published().Checkpoint.Size; size != m.Size+1 {
		t.Errorf("the log has %d events, the backup had %d", size, m.Size)
	}
	events1, err := c.History(t.Context(), c.auditor, record)
	if err != nil || len(events1) < 1 {
		t.Errorf("the history of a record: %v, %v", events1, err)
	}
	for id, want := range map[events.ID][]byte{record: []byte("version one"), big: large} {
		if got := c.content(id); !bytes.Equal(got, want) {
			t.Errorf("a content of %d bytes came back with %d", len(want), len(got))
		}
	}
	if _, err := c.Access(t.Context(), c.doctor, treating(gone)); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("a destroyed record: %v", err)
	}
	if who, err := c.Authenticate(secret); err != nil || who.ActorID != c.doctor.Actor {
		t.Errorf("a token from before: %+v, %v", who, err)
	}
	again, err := c.Originate(t.Context(), keyed(c.doctor, "once"), c.origination(), strings.NewReader("once"))
	if err != nil || again.Index != once.Index {
		t.Errorf("a command from before, repeated: %v, %v", again, err)
	}
	looked, err := c.LookUpPatient(t.Context(), c.clerk, id[0], events.PurposeTreatment)
	if err != nil || looked.Event.Subject != found {
		t.Errorf("a patient from before: %v, %v", looked, err)
	}
	c.must(c.Originate(t.Context(), c.doctor, c.origination(), strings.NewReader("new")))
	if raw, err := os.ReadFile(filepath.Join(old.Dir, "log.vkey")); err != nil {
		t.Error(err)
	} else if again, err := os.ReadFile(filepath.Join(config.Dir, "log.vkey")); err != nil || !bytes.Equal(raw, again) {
		t.Error("the verifier key is another one")
	}
}

// content reads the newest version of a record.
func (c *clinic) content(record events.ID) []byte {
	c.t.Helper()
	r := c.opened(c.Access(c.t.Context(), c.doctor, treating(record)))
	raw, err := io.ReadAll(r)
	if err != nil {
		c.t.Error(err)
	}
	return raw
}

// TestBackupFolders: a backup goes neither into the ledger's own folders nor through
// links that somebody put where it is to lie.
func TestBackupFolders(t *testing.T) {
	c := newClinic(t)
	c.record("x")
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := c.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	link := func(to, name string) {
		if err := os.Symlink(to, name); err != nil {
			if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
				t.Fatal(err)
			}
			t.Skip("this system makes no links:", err)
		}
	}
	link(c.config.Dir, filepath.Join(elsewhere, "data"))
	link(c.config.Secrets(), filepath.Join(elsewhere, "secrets"))
	for _, own := range []string{
		filepath.Join(c.config.Dir, "backup"), filepath.Join(c.config.Secrets(), "backup"), filepath.Join(c.config.Dir, "a", "b"),
		filepath.Join(elsewhere, "data", "new", "backup"), filepath.Join(elsewhere, "secrets", "backup"),
	} {
		if _, err := c.Backup(t.Context(), own); err == nil || !strings.Contains(err.Error(), "the ledger's own") {
			t.Errorf("a backup in %s: %v", own, err)
		}
		if _, err := os.Stat(own); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was made", own)
		}
	}
	precious := filepath.Join(elsewhere, "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"log.export.tmp", "backup.json.tmp", "vault/rows.tmp", "vault/segments/0000000009.seg.copying"} {
		name = filepath.Join(backup, filepath.FromSlash(name))
		link(precious, name)
		if _, err := c.Backup(t.Context(), backup); err == nil {
			t.Errorf("a backup through %s", name)
		}
		if raw, err := os.ReadFile(precious); err != nil || string(raw) != "precious" {
			t.Errorf("%s: what it points at is now %q, %v", name, raw, err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	// The folder itself may be a link: a disk that is mounted elsewhere.
	link(backup, filepath.Join(elsewhere, "disk"))
	if _, err := c.Backup(t.Context(), filepath.Join(elsewhere, "disk")); err != nil {
		t.Error(err)
	}
}

// TestRestoreNeverForks: whatever shows that the log went on refuses the backup.
func TestRestoreNeverForks(t *testing.T) {
	c := newClinic(t)
	c.record("one")
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := c.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	before := c.checkpoint()
	c.record("two")
	after := c.checkpoint()
	other := newClinic(t)

	for name, test := range map[string]struct {
		r    ledger.Restoration
		want error
	}{
		"a newer checkpoint":             {ledger.Restoration{Kept: after}, ledger.ErrWouldFork},
		"a newer one, whatever is said":  {ledger.Restoration{Kept: after, NothingNewer: true}, ledger.ErrWouldFork},
		"no evidence":                    {ledger.Restoration{}, ledger.ErrNothingKept},
		"the checkpoint of the backup":   {ledger.Restoration{Kept: before}, nil},
		"the operator's word":            {ledger.Restoration{NothingNewer: true}, nil},
		"a checkpoint of another ledger": {ledger.Restoration{Kept: other.checkpoint()}, errAny},
		"no checkpoint":                  {ledger.Restoration{Kept: []byte("x")}, errAny},
	} {
		config, err := c.restoredAt(backup, test.r)
		if !errors.Is(err, test.want) && !(test.want == errAny && err != nil) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if _, statErr := os.Stat(config.Dir); err != nil && !errors.Is(statErr, os.ErrNotExist) {
			t.Errorf("%s: a refused restoration left a folder", name)
		}
	}
	// A key that was replaced after the backup is gone from the secrets.
	if _, err := c.RotateStatementKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.restoredAt(backup, ledger.Restoration{NothingNewer: true}); err == nil {
		t.Error("a backup from before a rotation was restored with the secrets from after it")
	}
}

var errAny = errors.New("any error")

// TestBadBackups: what is damaged, unfinished or somebody else's is refused, and
// leaves nothing.
func TestBadBackups(t *testing.T) {
	c := newClinic(t)
	record := c.record("content")
	for name, spoil := range map[string]func(dir string) error{
		"unfinished": func(dir string) error { return os.Remove(filepath.Join(dir, "backup.json")) },
		"newer format": func(dir string) error {
			return replace(filepath.Join(dir, "backup.json"), `"format": 2`, `"format": 3`)
		},
		"foreign": func(dir string) error {
			return replace(filepath.Join(dir, "backup.json"), origin, "other.example/ledger")
		},
		"an altered event": func(dir string) error {
			return replace(filepath.Join(dir, "log.export"), string(events.TypeRecordOriginated), "medledger.record.originateb.v1")
		},
		"a cut log":   func(dir string) error { return os.Truncate(filepath.Join(dir, "log.export"), 4096) },
		"no log":      func(dir string) error { return os.Remove(filepath.Join(dir, "log.export")) },
		"no vault":    func(dir string) error { return os.RemoveAll(filepath.Join(dir, "vault")) },
		"empty vault": func(dir string) error { return emptied(filepath.Join(dir, "vault")) },
	} {
		backup := filepath.Join(t.TempDir(), "backup")
		if _, err := c.Backup(t.Context(), backup); err != nil {
			t.Fatal(err)
		}
		if err := spoil(backup); err != nil {
			t.Fatal(err)
		}
		config, err := c.restoredAt(backup, ledger.Restoration{NothingNewer: true})
		if err == nil {
			t.Errorf("%s: restored", name)
		} else if strings.Contains(err.Error(), record.String()) {
			t.Errorf("%s: the message names a record: %v", name, err)
		}
		if _, err := os.Stat(config.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: left a folder: %v", name, err)
		}
	}
	// Nor is anything written over.
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.doc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Backup(t.Context(), full); err == nil {
		t.Error("a backup was written into a folder with something else")
	}
	other := newClinic(t)
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := c.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Backup(t.Context(), backup); err == nil {
		t.Error("a backup was written over another ledger's")
	}
	if _, err := ledger.Restore(t.Context(), c.config, backup, ledger.Restoration{NothingNewer: true}); err == nil {
		t.Error("a backup was restored over a ledger")
	}
}

func replace(file, old, other string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Contains(raw, []byte(old)) {
		return errors.New("there is nothing to replace")
	}
	return os.WriteFile(file, bytes.ReplaceAll(raw, []byte(old), []byte(other)), 0o600)
}

// emptied truncates every file of a folder.
func emptied(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			err = errors.Join(err, os.Truncate(filepath.Join(dir, entry.Name()), 0))
		}
	}
	return err
}

// TestBackupHoldsNoSecret: neither the backup nor the data folder alone opens
// anything.
func TestBackupHoldsNoSecret(t *testing.T) {
	c := newClinic(t)
	c.record("a secret content")
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := c.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	c.close()
	var secrets [][]byte
	err := filepath.WalkDir(c.config.Secrets(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		secrets = append(secrets, bytes.TrimSpace(raw))
		return err
	})
	if err != nil || len(secrets) != 6 {
		t.Fatalf("%d secrets, %v", len(secrets), err)
	}
	for _, dir := range []string{backup, c.config.Dir} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, secret := range append(secrets, []byte("a secret content")) {
				if bytes.Contains(raw, secret) {
					t.Errorf("%s holds a secret", path)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	without := c.config
	without.Dir, without.Custody = filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(t.TempDir(), "nothing")
	if _, err := ledger.Restore(t.Context(), without, backup, ledger.Restoration{NothingNewer: true}); err == nil || !strings.Contains(err.Error(), "--custody") {
		t.Errorf("restored without the secrets: %v", err)
	}
	// With another ledger's key of the epoch it is as good as nothing.
	other := newClinic(t)
	c.copySecrets(without.Custody)
	key, err := os.ReadFile(filepath.Join(other.config.Secrets(), "keys", "epoch-1.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(without.Custody, "keys", "epoch-1.key"), key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Restore(t.Context(), without, backup, ledger.Restoration{NothingNewer: true}); !errors.Is(err, custody.ErrSealed) {
		t.Errorf("restored with another key: %v", err)
	}
}

// TestRestoreInterrupted fails the file operations of a restoration in turn: it
// leaves no ledger, and the next one succeeds.
func TestRestoreInterrupted(t *testing.T) {
	c := newClinic(t)
	c.record("content")
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := c.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	every := 5
	if os.Getenv("MEDLEDGER_LONG") != "" {
		every = 1
	}
	for name, there := range map[string]bool{"an absent folder": false, "a folder that is there": true} {
		t.Run(name, func(t *testing.T) { c.interrupted(t, backup, every, there) })
	}
}

func (c *clinic) interrupted(t *testing.T, backup string, every int, there bool) {
	config := c.config
	config.Dir = filepath.Join(t.TempDir(), "elsewhere")
	c.copySecrets(ledger.DefaultCustody(config.Dir))
	empty := func() {
		if err := os.RemoveAll(config.Dir); err != nil {
			t.Fatal(err)
		}
		if !there {
			return
		}
		if err := os.Mkdir(config.Dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	empty()
	for n := 0; ; n += every {
		failing := &failAt{FS: disk.OS{}, left: n}
		config.FS = failing
		_, err := ledger.Restore(t.Context(), config, backup, ledger.Restoration{NothingNewer: true})
		if failing.left >= 0 {
			if err != nil || n == 0 {
				t.Errorf("with no failure in %d operations: %v", n, err)
			}
			break
		}
		if err == nil {
			// What failed was derived data, which is made again. The ledger must be whole.
			empty()
			continue
		}
		if _, err := os.Stat(filepath.Join(config.Dir, "medledger.json")); err == nil {
			empty() // it was whole, and what failed was to make its name durable
		}
		if _, err := os.Stat(config.Dir); !there && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("operation %d failed and left a folder: %v", n, err)
		}
	}
	config.FS = nil
	if info, err := os.Stat(config.Dir); err != nil || there && info.Mode().Perm() != 0o750 {
		t.Errorf("the folder that was there is another now: %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(filepath.Join(config.Dir, ".restoring")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unfinished folder is left: %v", err)
	}
	l, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
