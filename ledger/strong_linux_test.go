package ledger_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/custodytest/softhsm"
	"github.com/medledger/medledger/ledger/vault"
)

// image is a copy of all of a ledger but its token: the data folder, the folder of the
// secrets and both sides of the backups.
type image struct {
	config  ledger.Config
	backups *sides
}

// guarded is a clinic that moved into a real token, and the image that somebody made of it
// before two records died: one from before the move, and one from after it.
type guarded struct {
	*clinic
	token   *softhsm.Custody
	backups *sides
	living  map[events.ID]string
	// patients say what their erasure is worth.
	patients map[events.ID]string
	old      events.ID         // dead: was there before the move
	dead     events.ID         // dead: came after it
	secrets  map[string][]byte // of the dead record
	before   image
	// unguarded is a copy of the backup that was taken before the move.
	unguarded *sides
	folders   []string // that there were besides
}

// TestDestroyedIsGoneWithATokenForTheWholeLedger is the table of the README, "What a
// destruction is worth", with a token as custody: whoever has copies of everything but the
// token, and the token as it is now, cannot read what was destroyed. Only with a key side
// from before can he, while its epoch lives.
func TestDestroyedIsGoneWithATokenForTheWholeLedger(t *testing.T) {
	g := newGuarded(t)
	names := g.names()
	g.end()
	if slices.Equal(names, g.names()) {
		t.Fatal("the destructions changed nothing in the token")
	}
	g.copiesOpenNothing()
	g.whileTheEpochLives()
	g.onceItIsRetired()
	g.restoredNewest()
	g.nothingIsLeft()
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{token: softhsm.Start(t), clinic: newClinic(t), backups: newSides(t), living: map[events.ID]string{}}
	g.live("before the move", 2)
	g.patients = map[events.ID]string{g.newPatient(): events.CustodyFile}
	g.old = g.record("from before the move")
	g.backUp(g.backups) // an epoch in the folder
	g.unguarded = g.backups.copied(t)
	g.close()
	g.config.Token.Socket = g.token.Socket
	if err := ledger.MoveCustody(t.Context(), g.config, custody.Token, false); err != nil {
		t.Fatal(err)
	}
	g.reopen()
	g.live("after the move", 2)
	g.patients[g.newPatient()] = events.CustodyToken
	plain := make([]byte, 4096)
	_, _ = rand.Read(plain)
	g.dead = g.record(string(plain))
	g.close()
	v := g.openVault(g.config)
	salt, err := v.Opening(t.Context(), g.dead, 1)
	if err := errors.Join(err, v.Close()); err != nil {
		t.Fatal(err)
	}
	g.secrets = map[string][]byte{
		"content": plain, "salt": salt[:],
		"salt in hex": []byte(hex.EncodeToString(salt[:])), "salt in base64": []byte(base64.RawStdEncoding.EncodeToString(salt[:30])),
	}
	g.reopen()
	g.live("and more", 1)
	if r := g.backUp(g.backups); r.Epoch != 2 {
		t.Fatalf("epoch %d after the move", r.Epoch)
	}
	g.before = g.imageOf() // while the ledger is open, with what its databases have not merged
	return g
}

// live makes records that stay, a small and a large one each time.
func (g *guarded) live(content string, n int) {
	g.t.Helper()
	for i := range n {
		small, large := strings.Repeat(content, i+1), strings.Repeat(content, 20_000)
		g.living[g.record(small)], g.living[g.record(large)] = small, large
	}
}

func (g *guarded) imageOf() image {
	g.t.Helper()
	dir := g.t.TempDir()
	m := image{g.config, g.backups.copied(g.t)}
	m.config.Dir, m.config.Custody = filepath.Join(dir, "data"), filepath.Join(dir, "secrets")
	for from, to := range map[string]string{g.config.Dir: m.config.Dir, g.config.Secrets(): m.config.Custody} {
		copyPrivately(g.t, from, to)
	}
	return m
}

// copyPrivately copies a folder so that only its owner may read it: secrets that others may
// read are refused.
func copyPrivately(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(name, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(name, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// openVault opens the vault of a configuration past the ledger, with the token.
func (g *guarded) openVault(config ledger.Config) *vault.Vault {
	g.t.Helper()
	v, err := vault.Open(g.t.Context(), g.inToken(config))
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

func (g *guarded) inToken(config ledger.Config) vault.Config {
	f := ledger.Folder{Data: config.Dir, Custody: config.Secrets()}
	return vault.Config{Dir: f.Vault(), Custody: g.token, Register: f.Register(), Logger: slog.New(slog.DiscardHandler)}
}

// end has both records destroyed, and two patients erased. Each event says what that is
// worth.
func (g *guarded) end() {
	g.t.Helper()
	for record, want := range map[events.ID]string{g.old: events.CustodyFile, g.dead: events.CustodyToken} {
		destroyed := g.must(g.destroy(record))
		if d := destroyed.Event.Data.(*events.RecordDestroyed); d.Custody != want {
			g.t.Errorf("the event says custody %q, want %q", d.Custody, want)
		}
	}
	for patient, want := range g.patients {
		last := g.recordOf(patient, "the last one")
		requested := g.must(g.RequestDestruction(g.t.Context(), g.clerk, last, events.GroundRetentionEnded))
		destroyed := g.must(g.ApproveDestruction(g.t.Context(), g.admin, doom(requested)))
		erased, ok := g.event(destroyed.Index + 1).Data.(*events.PatientErased)
		if !ok || erased.Custody != want {
			g.t.Errorf("the erasure says %+v, want custody %q", erased, want)
		}
	}
}

// copiesOpenNothing opens the copied data folder beside the token, with the secrets of now
// and with those that were copied: it is refused. So is its vault. With the key database of
// now, all contents of the copy open but those that died.
func (g *guarded) copiesOpenNothing() {
	g.t.Helper()
	g.close()
	for name, secrets := range map[string]string{"the secrets of now": g.config.Secrets(), "the copied secrets": g.before.config.Custody} {
		config := g.before.config
		config.Dir, config.Custody = filepath.Join(g.t.TempDir(), "data"), secrets
		copyPrivately(g.t, g.before.config.Dir, config.Dir)
		g.refusesToOpen(config, "the copied folder with "+name)
		former, now := ledger.Folder{Data: config.Dir}.Vault(), ledger.Folder{Data: g.config.Dir}.Vault()
		stale, err := filepath.Glob(filepath.Join(former, "keys.sqlite*"))
		for _, file := range stale {
			err = errors.Join(err, os.Remove(file))
		}
		raw, readErr := os.ReadFile(filepath.Join(now, "keys.sqlite"))
		if err := errors.Join(err, readErr, os.WriteFile(filepath.Join(former, "keys.sqlite"), raw, 0o600)); err != nil || len(stale) == 0 {
			g.t.Fatal(stale, err)
		}
		g.judgeVault(g.openVault(config), "the copied contents with the keys of now and "+name)
	}
	g.reopen()
	g.judgeLedger("the present folder")
}

// refusesToOpen expects neither a ledger nor its vault to open, for want of the root key.
func (g *guarded) refusesToOpen(config ledger.Config, name string) {
	g.t.Helper()
	if _, err := ledger.Open(g.t.Context(), config); !errors.Is(err, vault.ErrRootKey) {
		g.t.Errorf("%s: %v", name, err)
	}
	if _, err := vault.Open(g.t.Context(), g.inToken(config)); !errors.Is(err, vault.ErrRootKey) {
		g.t.Errorf("%s, its vault: %v", name, err)
	}
}

// judgeVault expects everything but the dead to open in a vault, which it closes.
func (g *guarded) judgeVault(v *vault.Vault, name string) {
	g.t.Helper()
	for record, want := range g.living {
		c, err := v.Get(g.t.Context(), record, 1)
		if err != nil {
			g.t.Errorf("%s: a content of %d bytes: %v", name, len(want), err)
			continue
		}
		got, err := io.ReadAll(c.Reader)
		if err := errors.Join(err, c.Reader.Close()); err != nil || string(got) != want {
			g.t.Errorf("%s: a content of %d bytes came back with %d, %v", name, len(want), len(got), err)
		}
	}
	for _, record := range []events.ID{g.old, g.dead} {
		_, err := v.Get(g.t.Context(), record, 1)
		_, saltErr := v.Opening(g.t.Context(), record, 1)
		for _, err := range []error{err, saltErr} {
			if !errors.Is(err, vault.ErrDestroyed) && !errors.Is(err, vault.ErrNotFound) {
				g.t.Errorf("%s: what was destroyed: %v", name, err)
			}
		}
	}
	if err := v.Close(); err != nil {
		g.t.Error(err)
	}
}

// judgeLedger expects everything but the dead to be read from the clinic's ledger, and from
// its vault.
func (g *guarded) judgeLedger(name string) {
	g.t.Helper()
	for record, want := range g.living {
		if got := string(g.content(record)); got != want {
			g.t.Errorf("%s: a content of %d bytes came back with %d", name, len(want), len(got))
		}
	}
	for _, record := range []events.ID{g.old, g.dead} {
		if r, err := g.Access(g.t.Context(), g.doctor, treating(record)); err == nil {
			g.t.Errorf("%s: a destroyed record reads %d bytes", name, len(g.drain(r)))
		}
	}
	g.close()
	g.judgeVault(g.openVault(g.config), name+", its vault")
	g.reopen()
}

// restoring restores with the token, into a new folder and with the given secrets, none for
// those of the key side.
func (g *guarded) restoring(from *sides, secrets string, clock func() time.Time) (ledger.Config, error) {
	g.t.Helper()
	config := g.config
	config.Dir, config.Custody, config.Clock = filepath.Join(g.t.TempDir(), "elsewhere"), secrets, clock
	g.folders = append(g.folders, config.Dir, config.Secrets())
	_, err := ledger.Restore(g.t.Context(), config, from.from(ledger.Restoration{NothingNewer: true}))
	config.Clock = g.clock
	return config, err
}

// aside restores, and looks at what came of it while the clinic's ledger is closed. Then it
// is given up, and its root key destroyed, as whoever goes on with the other has to.
func (g *guarded) aside(from *sides, secrets string, look func()) {
	g.t.Helper()
	g.close()
	before, kept := g.names(), g.config
	config, err := g.restoring(from, secrets, g.clock)
	if err != nil {
		g.t.Fatal(err)
	}
	g.config = config
	g.reopen()
	look()
	g.close()
	for _, name := range g.names() {
		if slices.Contains(before, name) {
			continue
		}
		if err := g.token.Destroy(g.t.Context(), name); err != nil {
			g.t.Fatal(err)
		}
	}
	g.config = kept
	g.reopen()
}

func (g *guarded) names() []string {
	g.t.Helper()
	names, err := g.token.Names(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	return names
}

// secretsNow is a copy of the folder of the secrets, for a restoration where they survived.
func (g *guarded) secretsNow() string {
	g.t.Helper()
	to := filepath.Join(g.t.TempDir(), "survived")
	copyPrivately(g.t, g.config.Secrets(), to)
	g.folders = append(g.folders, to)
	return to
}

// whileTheEpochLives restores the copied backup. With the register that the secrets have, or
// with a log that knows, the dead stay dead. With neither they come back: the row of the
// table that a token does not change until the epoch is retired.
func (g *guarded) whileTheEpochLives() {
	g.t.Helper()
	g.aside(g.before.backups, g.secretsNow(), func() { g.judgeLedger("the copied backup, and the register") })
	g.aside(g.before.backups, "", func() {
		if got := g.content(g.dead); !bytes.Equal(got, g.secrets["content"]) {
			g.t.Errorf("while the epoch lives its key side opens %d bytes: this test tries too little", len(got))
		}
	})
	// The PC is lost, and the newest stick: the clinic goes on with the older keys.
	g.backUp(g.backups)
	g.close()
	former := g.config
	config, err := g.restoring(mixed(g.backups, g.before.backups), "", g.clock)
	if err != nil {
		g.t.Fatal(err)
	}
	g.folders = append(g.folders, former.Dir, former.Secrets())
	g.config = config
	g.reopen()
	g.judgeLedger("the newest data, and the copied keys")
	// Its first destruction ends the ledger that was lost.
	g.must(g.destroy(g.record("the first to die after the restoration")))
	g.refusesToOpen(former, "the ledger that was lost")
}

// onceItIsRetired lets the day of the epoch pass, and restores the copied backup in every
// way, also with a clock that stands still: all are refused. The record from before the move
// still comes back, from the key side that the folder's epoch left: it was attested as that.
func (g *guarded) onceItIsRetired() {
	g.t.Helper()
	then := g.clock()
	past := func() time.Time { return then }
	g.wait(36 * 24 * time.Hour)
	if r := g.backUp(g.backups); r.Epoch != 3 {
		g.t.Errorf("epoch %d after the second was retired", r.Epoch)
	}
	if slices.Contains(g.names(), "epoch-0002") {
		g.t.Error("the retired epoch's key is in the token")
	}
	g.close()
	copied := filepath.Join(g.t.TempDir(), "copied")
	copyPrivately(g.t, g.before.config.Custody, copied)
	for name, test := range map[string]struct {
		secrets string
		clock   func() time.Time
		want    error
	}{
		"a new machine":                      {"", g.clock, backup.ErrRetired},
		"a new machine, the clock set back":  {"", past, custody.ErrNoKey},
		"the secrets of now":                 {g.secretsNow(), past, backup.ErrRetired},
		"copied secrets, the clock set back": {copied, past, custody.ErrNoKey},
	} {
		if _, err := g.restoring(g.before.backups, test.secrets, test.clock); !errors.Is(err, test.want) {
			g.t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	trees, err := filepath.Glob(filepath.Join(g.before.backups.plan.Keys, "epoch-0002", "tree-*"))
	if err != nil || len(trees) != 1 {
		g.t.Fatal(trees, err)
	}
	raw, err := os.ReadFile(trees[0])
	if err != nil {
		g.t.Fatal(err)
	}
	into := g.inToken(g.config)
	into.Dir = filepath.Join(g.t.TempDir(), "vault")
	if err := vault.Restore(g.t.Context(), into, vault.Source{Contents: g.t.TempDir(), Keys: bytes.NewReader(raw)}); !errors.Is(err, custody.ErrNoKey) {
		g.t.Errorf("the copied key tree: %v", err)
	}
	g.withoutToken(past)
	g.reopen()
}

// withoutToken restores what was copied before the move, with the folder's own epoch.
func (g *guarded) withoutToken(clock func() time.Time) {
	g.t.Helper()
	kept := g.config
	g.config.Token = ledger.Token{}
	config, err := g.restoring(g.unguarded, "", clock)
	if err != nil {
		g.t.Fatal(err)
	}
	g.config = config
	g.reopen()
	if got := string(g.content(g.old)); got != "from before the move" {
		g.t.Errorf("the record that is attested as file reads %d bytes", len(got))
	}
	if r, err := g.Access(g.t.Context(), g.doctor, treating(g.dead)); err == nil {
		g.t.Errorf("the record from after the move reads %d bytes", len(g.drain(r)))
	}
	g.close()
	g.config = kept
}

// restoredNewest goes on with the newest backup.
func (g *guarded) restoredNewest() {
	g.t.Helper()
	g.close()
	config, err := g.restoring(g.backups, "", g.clock)
	if err != nil {
		g.t.Fatal(err)
	}
	g.config = config
	g.reopen()
	g.judgeLedger("the newest backup")
	g.record("it goes on")
}

// nothingIsLeft looks into every file that there is or was copied, of the token too, and
// with the paper's identity into what is encrypted to it.
func (g *guarded) nothingIsLeft() {
	g.t.Helper()
	identities, err := age.ParseIdentities(bytes.NewReader(g.backups.identity))
	if err != nil {
		g.t.Fatal(err)
	}
	files, known := 0, 0
	look := func(path string, b []byte) {
		files++
		if bytes.Contains(b, []byte(g.dead.String())) || bytes.Contains(b, g.dead[:]) {
			known++
		}
		for what, secret := range g.secrets {
			for part := range slices.Chunk(secret, 16) {
				if len(part) == 16 && bytes.Contains(b, part) {
					g.t.Errorf("%s of the destroyed record: a part is in %s", what, path)
					break
				}
			}
		}
	}
	for _, dir := range append(g.folders, g.before.config.Dir, g.before.config.Custody, g.before.backups.plan.Data, g.before.backups.plan.Keys,
		g.backups.plan.Data, g.backups.plan.Keys, g.token.Token.Objects) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && path == dir { // of a restoration that was refused
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			look(path, b)
			if filepath.Ext(path) != ".age" {
				return nil
			}
			plain, err := age.Decrypt(bytes.NewReader(b), identities...)
			if err != nil {
				return err
			}
			b, err = io.ReadAll(plain)
			look(path+", decrypted", b)
			return err
		})
		if err != nil {
			g.t.Error(err)
		}
	}
	g.t.Logf("%d files, %d of which name the record", files, known)
	if files < 100 || known < 10 {
		g.t.Errorf("looked into %d files, of which %d name the record: this test tries too little", files, known)
	}
}
