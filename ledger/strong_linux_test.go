package ledger_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

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
	g.config.Helper.Socket = g.token.Socket
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
	for name, secrets := range map[string]string{"the secrets of now": g.config.SecretsFolder(), "the copied secrets": g.before.config.Secrets} {
		config := g.before.config
		config.Dir, config.Secrets = filepath.Join(g.t.TempDir(), "data"), secrets
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
	g.folders = append(g.folders, former.Dir, former.SecretsFolder())
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
	copyPrivately(g.t, g.before.config.Secrets, copied)
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
	g.config.Helper = ledger.Helper{}
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
	files, known := 0, 0
	g.eachFile(func(path string, b []byte) {
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
	})
	if files < 100 || known < 10 {
		g.t.Errorf("looked into %d files, of which %d name the record: this test tries too little", files, known)
	}
}
