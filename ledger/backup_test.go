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
	"github.com/medledger/medledger/ledger/backup"
)

// sides are the two sides of a clinic's backups, and the paper with the identity.
type sides struct {
	plan     backup.Plan
	identity []byte
}

func newSides(t testing.TB) *sides {
	t.Helper()
	identity, recipient, err := backup.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &sides{backup.Plan{Data: filepath.Join(dir, "data"), Keys: filepath.Join(dir, "keys"), Recipients: []string{recipient}}, []byte(identity)}
}

// from completes a restoration.
func (s *sides) from(r ledger.Restoration) ledger.Restoration {
	r.Data, r.Keys, r.Identity = s.plan.Data, s.plan.Keys, s.identity
	return r
}

// copied is a copy of both sides, which is put aside.
func (s *sides) copied(t testing.TB) *sides {
	t.Helper()
	c, dir := *s, t.TempDir()
	c.plan.Data, c.plan.Keys = filepath.Join(dir, "data"), filepath.Join(dir, "keys")
	for from, to := range map[string]string{s.plan.Data: c.plan.Data, s.plan.Keys: c.plan.Keys} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	return &c
}

// backUp takes a backup.
func (c *clinic) backUp(s *sides) *backup.Report {
	c.t.Helper()
	r, err := c.Backup(c.t.Context(), s.plan, false)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// restoredAt restores a backup in a fresh folder, with the secrets of the key side, and
// returns the configuration of what came of it.
func (c *clinic) restoredAt(s *sides, r ledger.Restoration) (ledger.Config, error) {
	c.t.Helper()
	config := c.config
	config.Dir, config.Secrets = filepath.Join(c.t.TempDir(), "elsewhere"), ""
	_, err := ledger.Restore(c.t.Context(), config, s.from(r))
	return config, err
}

// goOnAt closes the clinic and goes on with what was restored.
func (c *clinic) goOnAt(s *sides, r ledger.Restoration) {
	c.t.Helper()
	c.close()
	config, err := c.restoredAt(s, r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.config = config
	c.reopen()
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

	b := newSides(t)
	c.backUp(b)
	c.record("after the first backup")
	m := c.backUp(b)
	kept, old := c.checkpoint(), c.config
	c.goOnAt(b, ledger.Restoration{Kept: kept, NothingNewer: true})
	config := c.config
	if size := c.Log().Published().Checkpoint.Size; size != m.Size+1 || m.Increment != 2 {
		t.Errorf("the log has %d events, the backup had %+v", size, m)
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
// links that somebody put where it is to lie, and its sides not into each other.
func TestBackupFolders(t *testing.T) {
	c := newClinic(t)
	c.record("x")
	b := newSides(t)
	c.backUp(b)
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
	link(c.config.SecretsFolder(), filepath.Join(elsewhere, "secrets"))
	try := func(data, keys string) error {
		p := b.plan
		p.Data, p.Keys = data, keys
		_, err := c.Backup(t.Context(), p, false)
		return err
	}
	for _, own := range []string{
		filepath.Join(c.config.Dir, "backup"), filepath.Join(c.config.SecretsFolder(), "backup"), filepath.Join(c.config.Dir, "a", "b"),
		filepath.Join(elsewhere, "data", "new", "backup"), filepath.Join(elsewhere, "secrets", "backup"),
	} {
		for _, err := range []error{try(own, b.plan.Keys), try(b.plan.Data, own)} {
			if err == nil || !strings.Contains(err.Error(), "the ledger's own") {
				t.Errorf("a backup in %s: %v", own, err)
			}
		}
		if _, err := os.Stat(own); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was made", own)
		}
	}
	for _, inside := range []error{try(b.plan.Data, b.plan.Data), try(b.plan.Data, filepath.Join(b.plan.Data, "x")), try(filepath.Join(b.plan.Keys, "x"), b.plan.Keys)} {
		if inside == nil || !strings.Contains(inside.Error(), "lie apart") {
			t.Errorf("sides in each other: %v", inside)
		}
	}
	precious := filepath.Join(elsewhere, "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		filepath.Join(b.plan.Data, "0000000002.age.tmp"), filepath.Join(b.plan.Data, "position.tmp"),
		filepath.Join(b.plan.Keys, "epoch-0001", "tree-2.tmp"), filepath.Join(b.plan.Keys, "epoch-0001", "tree-7"),
	} {
		link(precious, name)
		if err := try(b.plan.Data, b.plan.Keys); err == nil {
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
	link(b.plan.Data, filepath.Join(elsewhere, "disk"))
	if err := try(filepath.Join(elsewhere, "disk"), b.plan.Keys); err != nil {
		t.Error(err)
	}
}

// TestRestoreNeverForks: whatever shows that the log went on refuses the backup.
func TestRestoreNeverForks(t *testing.T) {
	c := newClinic(t)
	older := c.checkpoint()
	c.record("one")
	b := newSides(t)
	c.backUp(b)
	before := c.checkpoint()
	c.record("two")
	after := c.checkpoint()
	other := newClinic(t)

	for name, test := range map[string]struct {
		r    ledger.Restoration
		want error
	}{
		"a newer checkpoint":             {ledger.Restoration{Kept: after}, ledger.ErrWouldFork},
		"a newer one, whatever is said":  {ledger.Restoration{Kept: after, NothingNewer: true, LoseEvents: true}, ledger.ErrWouldFork},
		"no evidence":                    {ledger.Restoration{}, ledger.ErrNothingKept},
		"the checkpoint of the backup":   {ledger.Restoration{Kept: before}, ledger.ErrNothingKept},
		"an older checkpoint":            {ledger.Restoration{Kept: older, LoseEvents: true}, ledger.ErrNothingKept},
		"that, and the operator's word":  {ledger.Restoration{Kept: before, NothingNewer: true}, nil},
		"the operator's word":            {ledger.Restoration{NothingNewer: true}, nil},
		"a checkpoint of another ledger": {ledger.Restoration{Kept: other.checkpoint()}, errAny},
		"no checkpoint":                  {ledger.Restoration{Kept: []byte("x")}, errAny},
	} {
		c.refusedOrNot(name, b, test.r, test.want)
	}
	// A data side that is older than the key side.
	old := b.copied(t)
	c.backUp(b)
	old.plan.Keys = b.plan.Keys
	c.refusedOrNot("an older data side", old, ledger.Restoration{Kept: before}, ledger.ErrWouldFork)
	c.refusedOrNot("an older data side, knowingly", old, ledger.Restoration{Kept: before, NothingNewer: true, LoseEvents: true}, nil)
	c.refusedOrNot("an older data side, with newer evidence", old, ledger.Restoration{Kept: after, LoseEvents: true}, ledger.ErrWouldFork)
}

// refusedOrNot restores a backup, and holds the outcome to what it should be.
func (c *clinic) refusedOrNot(name string, b *sides, r ledger.Restoration, want error) {
	c.t.Helper()
	config, err := c.restoredAt(b, r)
	if !errors.Is(err, want) && !(want == errAny && err != nil) {
		c.t.Errorf("%s: %v, want %v", name, err, want)
	}
	for _, folder := range []string{config.Dir, config.SecretsFolder()} {
		if _, statErr := os.Stat(folder); err != nil && !errors.Is(statErr, os.ErrNotExist) {
			c.t.Errorf("%s: a refused restoration left %s", name, folder)
		}
	}
}

var errAny = errors.New("any error")

// TestBadBackups: what is damaged, unfinished or somebody else's is refused, and
// leaves nothing.
func TestBadBackups(t *testing.T) {
	c := newClinic(t)
	record := c.record("content")
	first := newSides(t)
	c.backUp(first)
	c.record("more")
	c.backUp(first)
	other := newClinic(t)
	foreign := newSides(t)
	foreign.plan.Recipients, foreign.identity = first.plan.Recipients, first.identity
	other.backUp(foreign)
	for name, spoil := range map[string]func(b *sides) error{
		"no increments":        func(b *sides) error { return os.RemoveAll(b.plan.Data) },
		"a missing increment":  func(b *sides) error { return os.Remove(filepath.Join(b.plan.Data, "0000000001.age")) },
		"a cut increment":      func(b *sides) error { return os.Truncate(filepath.Join(b.plan.Data, "0000000002.age"), 4096) },
		"an altered increment": func(b *sides) error { return alter(filepath.Join(b.plan.Data, "0000000001.age")) },
		"no keys":              func(b *sides) error { return os.RemoveAll(b.plan.Keys) },
		"no secrets":           func(b *sides) error { return os.Remove(filepath.Join(b.plan.Keys, "secrets.age")) },
		"altered secrets":      func(b *sides) error { return alter(filepath.Join(b.plan.Keys, "secrets.age")) },
		"no epoch":             func(b *sides) error { return os.RemoveAll(filepath.Join(b.plan.Keys, "epoch-0001")) },
		"an altered tree":      func(b *sides) error { return alter(tree(t, b)) },
		"an altered snapshot":  func(b *sides) error { return alter(filepath.Join(b.plan.Keys, "epoch-0001", "snapshot")) },
		"no key":               func(b *sides) error { return os.Remove(filepath.Join(b.plan.Keys, "epoch-0001", "key.age")) },
		"a foreign data side":  func(b *sides) error { b.plan.Data = foreign.plan.Data; return nil },
		"a foreign key side":   func(b *sides) error { b.plan.Keys = foreign.plan.Keys; return nil },
		"another identity":     func(b *sides) error { b.identity = newSides(t).identity; return nil },
		"no identity":          func(b *sides) error { b.identity = []byte("x"); return nil },
	} {
		b := first.copied(t)
		if err := spoil(b); err != nil {
			t.Fatal(err)
		}
		c.refusedOrNot(name, b, ledger.Restoration{NothingNewer: true}, errAny)
		if _, err := c.restoredAt(b, ledger.Restoration{NothingNewer: true}); err != nil && strings.Contains(err.Error(), record.String()) {
			t.Errorf("%s: the message names a record: %v", name, err)
		}
	}
	if _, err := ledger.Restore(t.Context(), c.config, first.from(ledger.Restoration{NothingNewer: true})); err == nil {
		t.Error("a backup was restored over a ledger")
	}
	if _, err := other.Backup(t.Context(), first.plan, false); err == nil {
		t.Error("a backup was written over another ledger's")
	}
}

// tree is the file of the snapshot of the key tree.
func tree(t testing.TB, b *sides) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(b.plan.Keys, "epoch-0001", "tree-*"))
	if err != nil || len(list) != 1 {
		t.Fatalf("snapshots %v, %v", list, err)
	}
	return list[0]
}

// alter alters one bit in the middle of a file.
func alter(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	raw[len(raw)/2] ^= 1
	return os.WriteFile(file, raw, 0o600)
}

// TestBackupHoldsNoSecret: neither side alone nor both without the identity open anything,
// nor does the data folder.
func TestBackupHoldsNoSecret(t *testing.T) {
	c := newClinic(t)
	c.record("a secret content")
	b := newSides(t)
	c.backUp(b)
	c.close()
	var secrets [][]byte
	err := filepath.WalkDir(c.config.SecretsFolder(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == backup.EpochsFile {
			return err
		}
		raw, err := os.ReadFile(path)
		secrets = append(secrets, bytes.TrimSpace(raw))
		return err
	})
	if err != nil || len(secrets) < 5 {
		t.Fatalf("%d secrets, %v", len(secrets), err)
	}
	for _, dir := range []string{b.plan.Data, b.plan.Keys, c.config.Dir} {
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
}

// TestRestoreInterrupted fails the file operations of a restoration in turn: it
// leaves no ledger, and the next one succeeds.
func TestRestoreInterrupted(t *testing.T) {
	c := newClinic(t)
	c.record("content")
	b := newSides(t)
	c.backUp(b)
	every := 7
	if os.Getenv("MEDLEDGER_LONG") != "" {
		every = 1
	}
	for name, there := range map[string]bool{"an absent folder": false, "a folder that is there": true} {
		t.Run(name, func(t *testing.T) { c.interrupted(t, b, every, there) })
	}
}

func (c *clinic) interrupted(t *testing.T, b *sides, every int, there bool) {
	config := c.config
	config.Dir, config.Secrets = filepath.Join(t.TempDir(), "elsewhere"), ""
	empty := func() {
		if err := errors.Join(os.RemoveAll(config.Dir), os.RemoveAll(config.SecretsFolder())); err != nil {
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
		_, err := ledger.Restore(t.Context(), config, b.from(ledger.Restoration{NothingNewer: true}))
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
	for _, name := range []string{".restoring", "unpacked"} {
		if _, err := os.Stat(filepath.Join(config.Dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	l, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestRestoreIntoGivenFolders: folders that are there and empty, as a service manager makes
// them, are filled; of a restoration that fails nothing is left in them.
func TestRestoreIntoGivenFolders(t *testing.T) {
	c := newClinic(t)
	record := c.record("content")
	b := newSides(t)
	c.backUp(b)
	config, dir := c.config, t.TempDir()
	config.Dir, config.Secrets = filepath.Join(dir, "data"), filepath.Join(dir, "secrets")
	for _, folder := range []string{config.Dir, config.Secrets} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bad := b.copied(t)
	if err := alter(tree(t, bad)); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Restore(t.Context(), config, bad.from(ledger.Restoration{NothingNewer: true})); err == nil {
		t.Error("an altered tree was restored")
	}
	secrets, err := filepath.Glob(filepath.Join(config.Secrets, "*.key"))
	if err != nil || len(secrets) != 0 {
		t.Errorf("secrets are left: %v, %v", secrets, err)
	}
	if keys, err := filepath.Glob(filepath.Join(config.Secrets, "keys", "*")); err != nil || len(keys) != 0 {
		t.Errorf("keys are left in custody: %v, %v", keys, err)
	}
	if _, err := ledger.Restore(t.Context(), config, b.from(ledger.Restoration{NothingNewer: true})); err != nil {
		t.Fatal(err)
	}
	c.close()
	c.config = config
	c.reopen()
	if got := string(c.content(record)); got != "content" {
		t.Errorf("the record reads %q", got)
	}
}
