package ledger_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/vault"
)

// graveyard is a clinic with records that live and one that dies between two backups.
type graveyard struct {
	*clinic
	living map[events.ID]string
	dead   events.ID
	early  *sides // a copy of both sides from before the death
	late   *sides // both sides after it
}

func newGraveyard(t *testing.T) *graveyard {
	g := &graveyard{clinic: newClinic(t), living: make(map[events.ID]string), late: newSides(t)}
	for _, content := range []string{"one", "two", strings.Repeat("large ", 50_000)} {
		g.living[g.record(content)] = content
	}
	g.dead = g.record("to be destroyed")
	g.backUp(g.late)
	g.early = g.late.copied(t)
	g.must(g.clinic.destroy(g.dead))
	g.backUp(g.late)
	return g
}

// mixed are the data side of one backup with the key side of another.
func mixed(data, keys *sides) *sides {
	m := *data
	m.plan.Keys = keys.plan.Keys
	return &m
}

// TestDestroyedStaysDead restores every combination of sides from before and after a
// destruction, on a new machine and on one whose secrets have survived: the record stays
// dead, and all others open; or the restoration is refused.
func TestDestroyedStaysDead(t *testing.T) {
	word := ledger.Restoration{NothingNewer: true}
	lost := ledger.Restoration{NothingNewer: true, LoseEvents: true}
	for name, test := range map[string]struct {
		pick     func(*graveyard) *sides
		r        ledger.Restoration
		survived bool // the secrets
		refused  bool
	}{
		"both sides from after":                            {func(g *graveyard) *sides { return g.late }, word, false, false},
		"both from after, and the secrets":                 {func(g *graveyard) *sides { return g.late }, word, true, false},
		"newer data, older keys":                           {func(g *graveyard) *sides { return mixed(g.late, g.early) }, word, false, false},
		"newer data, older keys, and the secrets":          {func(g *graveyard) *sides { return mixed(g.late, g.early) }, word, true, false},
		"older data, newer keys":                           {func(g *graveyard) *sides { return mixed(g.early, g.late) }, word, false, true},
		"older data, newer keys, knowingly":                {func(g *graveyard) *sides { return mixed(g.early, g.late) }, lost, false, false},
		"older data, newer keys, knowingly, with secrets":  {func(g *graveyard) *sides { return mixed(g.early, g.late) }, lost, true, false},
		"both sides from before, and the secrets survived": {func(g *graveyard) *sides { return g.early }, word, true, true},
		"that, knowingly":                                  {func(g *graveyard) *sides { return g.early }, lost, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGraveyard(t)
			g.close()
			config := g.config
			config.Dir, config.Secrets = filepath.Join(t.TempDir(), "elsewhere"), ""
			if test.survived {
				config.Secrets = g.config.SecretsFolder()
			}
			restored, err := ledger.Restore(t.Context(), config, test.pick(g).from(test.r))
			if (err != nil) != test.refused {
				t.Fatalf("restored: %v", err)
			}
			if err != nil {
				if !errors.Is(err, ledger.ErrWouldFork) {
					t.Error(err)
				}
				return
			}
			g.config = config
			g.judge()
			unlogged := uint64(0)
			if test.r.LoseEvents { // the log says that it lives
				unlogged = 1
				g.dieAgain()
			}
			if restored.Unlogged != unlogged {
				t.Errorf("%d records are said to be dead without an event, want %d", restored.Unlogged, unlogged)
			}
		})
	}
}

// dieAgain does what the restoration advises: it asks for the destruction again, of a
// record that is dead and that the log says lives. The ledger goes on after it, and its
// newest backup restores.
func (g *graveyard) dieAgain() {
	g.t.Helper()
	destroyed := g.must(g.clinic.destroy(g.dead))
	if d := destroyed.Event.Data.(*events.RecordDestroyed); d.Keys != 2 {
		g.t.Errorf("the event says that %d keys were destroyed, want the record's and the version's", d.Keys)
	}
	g.close()
	g.reopen()
	again := newSides(g.t)
	g.backUp(again)
	g.close()
	config := g.config
	config.Dir, config.Secrets = filepath.Join(g.t.TempDir(), "again"), ""
	if _, err := ledger.Restore(g.t.Context(), config, again.from(ledger.Restoration{NothingNewer: true})); err != nil {
		g.t.Fatal(err)
	}
	g.config = config
	g.judge()
}

// judge opens the restored ledger, reads what lives, and tries to read what is dead.
func (g *graveyard) judge() {
	g.t.Helper()
	g.reopen()
	for record, want := range g.living {
		if got := string(g.content(record)); got != want {
			g.t.Errorf("a content of %d bytes came back with %d", len(want), len(got))
		}
	}
	if r, err := g.Access(g.t.Context(), g.doctor, treating(g.dead)); err == nil {
		g.t.Errorf("the destroyed record reads %q", g.drain(r))
	}
	// Nor does the vault have it, whatever the ledger says.
	g.close()
	v, err := vault.Open(g.t.Context(), g.vaultAt(g.config))
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := v.Get(g.t.Context(), g.dead, 1); !errors.Is(err, vault.ErrDestroyed) {
		g.t.Errorf("the destroyed record in the vault of the restored ledger: %v", err)
	}
	if err := v.Close(); err != nil {
		g.t.Error(err)
	}
	g.reopen()
	g.record("it goes on")
	next := newSides(g.t)
	g.backUp(next) // and so do its backups
}

// TestBothSidesFromBefore is the one case in which a destroyed record comes back: neither
// side is the newest, the secrets are lost, and the operator says that there is nothing
// newer. Whoever has the newest checkpoint is not restored to.
func TestBothSidesFromBefore(t *testing.T) {
	g := newGraveyard(t)
	kept := g.checkpoint()
	g.refusedOrNot("a checkpoint that covers the destruction", g.early, ledger.Restoration{Kept: kept}, ledger.ErrWouldFork)
	g.refusedOrNot("that, and everything else is said", g.early, ledger.Restoration{Kept: kept, NothingNewer: true, LoseEvents: true}, ledger.ErrWouldFork)
}

// TestOlderKeysLackRecords: keys that are older than the data are refused if a record
// would be without its key.
func TestOlderKeysLackRecords(t *testing.T) {
	g := newGraveyard(t)
	g.record("newer than the keys")
	g.backUp(g.late)
	g.refusedOrNot("older keys", mixed(g.late, g.early), ledger.Restoration{NothingNewer: true}, backup.ErrIncomplete)
}

// TestRetiredEpochRevivesNothing lets the day of an epoch pass: with the ledger's own
// custody and on a new machine, nothing is restored from it, whatever copy there is.
func TestRetiredEpochRevivesNothing(t *testing.T) {
	g := newGraveyard(t)
	g.clinic.wait(40 * 24 * time.Hour)
	s := g.status(g.late)
	if len(s.Epochs) != 1 || !s.Epochs[0].Due || len(s.Overdue) != 2 {
		t.Errorf("status before it is retired: %+v", s)
	}
	g.backUp(g.late)
	if s := g.status(g.late); len(s.Epochs) != 1 || s.Epochs[0].Number != 2 || len(s.Overdue) != 0 {
		t.Errorf("status after it was retired: %+v", s)
	}
	g.close()
	config := g.config
	for name, custody := range map[string]string{"a new machine": "", "the ledger's own custody": g.config.SecretsFolder()} {
		config.Dir, config.Secrets = filepath.Join(t.TempDir(), "elsewhere"), custody
		_, err := ledger.Restore(t.Context(), config, g.early.from(ledger.Restoration{NothingNewer: true}))
		if !errors.Is(err, backup.ErrRetired) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The copy of the tree, with the keys as custody has them now, opens nothing.
	copied, err := os.Open(tree(t, g.early))
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	into := g.vaultAt(g.config)
	into.Dir = filepath.Join(t.TempDir(), "vault")
	if err := vault.Restore(t.Context(), into, vault.Source{Contents: t.TempDir(), Keys: copied}); !errors.Is(err, custody.ErrNoKey) {
		t.Errorf("the tree of the retired epoch: %v", err)
	}
	g.reopen()
	g.goOnAt(g.late, ledger.Restoration{Kept: g.checkpoint(), NothingNewer: true})
	for record, want := range g.living {
		if got := string(g.content(record)); got != want {
			t.Errorf("a content of %d bytes came back with %d", len(want), len(got))
		}
	}
}

// TestTrimmedRegisterRevivesNothing has two sticks take turns in one epoch, one of them with
// the older keys. When the epoch is retired the register forgets what died in it, and where
// that is so nothing is restored from either stick: the secrets that have the register know
// of the retirement, and custody has no key.
func TestTrimmedRegisterRevivesNothing(t *testing.T) {
	g := newGraveyard(t) // g.early is the stick that was put aside, g.late the other one
	if n := len(g.registered()); n != 1 {
		t.Fatalf("the register has %d destructions", n)
	}
	g.wait(7 * 24 * time.Hour)
	later := g.record("to be destroyed in the second epoch")
	if r := g.backUp(g.late); r.Epoch != 2 {
		t.Errorf("epoch %d", r.Epoch)
	}
	living := g.late.copied(t)
	g.must(g.clinic.destroy(later))
	g.wait(28 * 24 * time.Hour)
	g.backUp(g.late)
	if list := g.registered(); len(list) != 1 {
		t.Errorf("when the first epoch is retired the register has %v", list)
	}
	g.close()
	config := g.config
	config.Dir, config.Secrets = filepath.Join(t.TempDir(), "elsewhere"), g.config.SecretsFolder()
	for name, old := range map[string]*sides{"both sides": g.early, "the keys": mixed(g.late, g.early)} {
		_, err := ledger.Restore(t.Context(), config, old.from(ledger.Restoration{NothingNewer: true, LoseEvents: true}))
		if !errors.Is(err, backup.ErrRetired) {
			t.Errorf("%s of the retired epoch: %v", name, err)
		}
	}
	// What died since the epoch that lives began is in the register still.
	if _, err := ledger.Restore(t.Context(), config, living.from(ledger.Restoration{NothingNewer: true, LoseEvents: true})); err != nil {
		t.Fatal(err)
	}
	g.config = config
	g.judge()
	if r, err := g.Access(t.Context(), g.doctor, treating(later)); err == nil {
		t.Errorf("what was destroyed in the second epoch reads %q", g.drain(r))
	}
}

// registered is what the register of the clinic's secrets has.
func (c *clinic) registered() []vault.Destroyed {
	c.t.Helper()
	list, err := vault.ReadRegister(disk.OS{}, ledger.Folder{Data: c.config.Dir, Secrets: c.config.SecretsFolder()}.Register())
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

// vaultAt opens the vault of a configuration past the ledger, which must be closed.
func (c *clinic) vaultAt(config ledger.Config) vault.Config {
	c.t.Helper()
	f := ledger.Folder{Data: config.Dir, Secrets: config.SecretsFolder()}
	keys, err := custody.OpenFolder(custody.FolderConfig{Dir: f.RootKeys()})
	if err != nil {
		c.t.Fatal(err)
	}
	return vault.Config{Dir: f.Vault(), Custody: keys, Register: f.Register(), Logger: slog.New(slog.DiscardHandler)}
}

func (c *clinic) status(b *sides) *backup.Status {
	c.t.Helper()
	s, err := c.BackupStatus(context.Background(), b.plan)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// TestVerifyBackup: a good backup is found good, and leaves nothing; a bad one is found.
func TestVerifyBackup(t *testing.T) {
	g := newGraveyard(t)
	config := g.config
	verify := func(b *sides) (*ledger.VerifiedBackup, error) {
		config.Dir = filepath.Join(t.TempDir(), "scratch")
		v, err := ledger.VerifyBackup(t.Context(), config, b.from(ledger.Restoration{}))
		if _, statErr := os.Stat(config.Dir); !errors.Is(statErr, os.ErrNotExist) {
			t.Errorf("something is left: %v", statErr)
		}
		return v, err
	}
	if v, err := verify(g.late); err != nil || v.Contents != 3 || v.Documents == 0 || v.Destroyed != 1 || v.Increments != 2 || v.Size != g.size() {
		t.Errorf("%+v, %v", v, err)
	}
	bad := g.late.copied(t)
	if err := alter(filepath.Join(bad.plan.Data, "0000000001.age")); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(bad); err == nil {
		t.Error("a damaged backup was found good")
	}
	full := t.TempDir()
	precious := filepath.Join(full, "thesis.doc")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config.Dir = full
	if _, err := ledger.VerifyBackup(t.Context(), config, g.late.from(ledger.Restoration{})); err == nil {
		t.Error("a folder with something else was taken for a scratch folder")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("what lay there is gone: %v", err)
	}
}

// TestSidesOfTwoHistories has a ledger go on in two ways from one moment, as no ledger may:
// the data side of one with the key side of the other is refused, also if a checkpoint was
// given that the data side agrees with.
func TestSidesOfTwoHistories(t *testing.T) {
	c := newClinic(t)
	c.record("common")
	one, two := newSides(t), newSides(t)
	two.plan.Recipients, two.identity = one.plan.Recipients, one.identity
	c.close()
	fork := c.config
	fork.Dir = filepath.Join(t.TempDir(), "fork")
	for from, to := range map[string]string{c.config.Dir: fork.Dir, c.config.SecretsFolder(): fork.SecretsFolder()} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(path, 0o700)
			} else if err == nil {
				return os.Chmod(path, 0o600)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	original := c.config
	c.reopen()
	c.record("one")
	c.record("two")
	c.backUp(one)
	c.close()
	c.config = fork
	c.reopen()
	c.record("another")
	for range 4 {
		c.register(ledger.Registration{Role: events.RoleNurse})
	}
	c.backUp(two)
	kept := c.checkpoint()
	for _, r := range []ledger.Restoration{{Kept: kept, NothingNewer: true}, {NothingNewer: true}, {Kept: kept, NothingNewer: true, LoseEvents: true}} {
		c.refusedOrNot("the sides of two histories", mixed(two, one), r, ledger.ErrWouldFork)
	}
	c.close()
	c.config = original
	c.reopen()
}

// TestRetirementHoldsWhateverFails: neither folders that are refused nor a clock that was
// set back behind the log keep an epoch alive.
func TestRetirementHoldsWhateverFails(t *testing.T) {
	c := newClinic(t)
	c.record("one")
	b := newSides(t)
	c.backUp(b)
	c.wait(36 * 24 * time.Hour)
	c.record("the log's time is past the epoch's day")
	c.wait(-30 * 24 * time.Hour)
	if s := c.status(b); !s.Epochs[0].Due {
		t.Errorf("the clock was set back: %+v", s)
	}
	refused := b.plan
	refused.Data = c.config.Dir
	if _, err := c.Backup(t.Context(), refused, false); err == nil {
		t.Error("a backup into the ledger's own folder")
	}
	if s := c.status(b); !s.Epochs[0].Retired {
		t.Errorf("not retired: %+v", s)
	}
}

// TestDestroyedAgainOneByOne: a vault that remembers as many destructions as the log has,
// and others, is told of those that it lacks.
func TestDestroyedAgainOneByOne(t *testing.T) {
	g := newGraveyard(t)
	g.close()
	v, err := vault.Open(t.Context(), g.vaultAt(g.config))
	if err != nil {
		t.Fatal(err)
	}
	other := events.MustNewID()
	if _, err := v.Destroy(t.Context(), other); err != nil {
		t.Error(err)
	}
	lives := events.MustNewID()
	without, err := v.WithoutTombstone(t.Context(), []events.ID{g.dead, lives, other})
	if err != nil || len(without) != 1 || without[0] != lives {
		t.Errorf("without a tombstone: %v, %v; want %v", without, err, lives)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	g.reopen()
}
