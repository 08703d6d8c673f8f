package ledger_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/statement"
)

// opens tries to open the clinic's ledger, and closes it again.
func (c *clinic) opens() error {
	l, err := ledger.Open(context.Background(), c.config)
	if err != nil {
		return err
	}
	return l.Close()
}

func (c *clinic) path(elem ...string) string {
	return filepath.Join(append([]string{c.config.Dir}, elem...)...)
}

// TestInventedEventIsNotSigned appends an event to the store of a stopped ledger,
// as somebody can who writes to the disk and has no key.
func TestInventedEventIsNotSigned(t *testing.T) {
	c := newClinic(t)
	record := c.record("secret")
	history := c.history(record)
	last := history[len(history)-1]
	size := c.size()
	c.close()

	_, own, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	nurse := events.MustNewID()
	invented := events.Event{
		ID: events.MustNewID(), Source: origin, Type: events.TypeActorRegistered, Subject: nurse, Time: last.Event.Time,
		Data: &events.ActorRegistered{
			By: c.admin.Actor, Organisation: c.founding.Organisation, Role: events.RoleNurse,
			Decision: events.Decision{Position: size, Rule: "administrator", Rules: decision.Version},
		},
	}
	forged, err := statement.NewSigner(own).Sign(invented)
	if err != nil {
		t.Fatal(err)
	}
	misfiled := bytes.Clone(last.Statement)
	for name, event := range map[string]store.Event{
		"signed with a key of one's own": {ID: invented.ID, Statement: forged},
		"under another id":               {ID: events.MustNewID(), Statement: misfiled},
		"no statement at all":            {ID: events.MustNewID(), Statement: []byte("hello")},
	} {
		t.Run(name, func(t *testing.T) {
			broken := c.copy(t)
			s, err := segment.Open(t.Context(), segment.Config{Dir: filepath.Join(broken.Dir, "store")})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Append(t.Context(), store.Append{Stream: invented.Stream(), Expected: store.Any, Events: []store.Event{event}}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			l, err := ledger.Open(t.Context(), broken)
			if err == nil {
				l.Close()
				t.Fatal("the ledger opens on an event that nobody signed")
			}
			signed, err := tlog.LastSigned(disk.OS{}, filepath.Join(broken.Dir, "log"), c.VerifierKey())
			if err != nil || signed.Checkpoint.Size != size {
				t.Errorf("what is signed now: %+v, %v", signed, err)
			}
		})
	}
}

// copy copies the clinic's data folder; the secrets stay where they are.
func (c *clinic) copy(t *testing.T) ledger.Config {
	t.Helper()
	config := c.config
	config.Dir, config.Secrets = t.TempDir(), ledger.DefaultCustody(c.config.Dir)
	if err := os.CopyFS(config.Dir, os.DirFS(c.config.Dir)); err != nil {
		t.Fatal(err)
	}
	return config
}

// TestEditedCopyDecidesNothing edits the state's copy, as somebody can who writes
// to the disk and has no key.
func TestEditedCopyDecidesNothing(t *testing.T) {
	for name, query := range map[string]string{
		"everybody is a colleague": "UPDATE actor SET value = (SELECT value FROM actor WHERE id = ?1) WHERE id = ?2",
		"nothing was destroyed":    "DELETE FROM record",
	} {
		c := newClinic(t)
		record := c.record("secret")
		c.close()
		db, err := sql.Open("sqlite", "file:"+c.path("access.sqlite"))
		if err != nil {
			t.Fatal(err)
		}
		doctor, foreign := c.doctor.Actor, c.foreign.Actor
		args := []any{doctor[:], foreign[:]}
		if _, err := db.Exec(query, args[:2*strings.Count(query, "?1")]...); err != nil {
			t.Fatal(name, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		c.reopen()
		_, err = c.Access(t.Context(), c.foreign, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
		c.refused(err, decision.RefusedOrganisation)
		c.read(c.nurse, record, 0, events.PurposeTreatment)
	}
}

func TestMissingVault(t *testing.T) {
	c := newClinic(t)
	c.record("x")
	c.close()
	if err := os.Rename(c.path("vault"), c.path("elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := c.opens(); !errors.Is(err, ledger.ErrNoVault) {
		t.Errorf("without its vault: %v", err)
	}
	if err := os.Mkdir(c.path("vault"), 0o700); err != nil { // a mount point
		t.Fatal(err)
	}
	if err := c.opens(); !errors.Is(err, ledger.ErrNoVault) {
		t.Errorf("with an empty folder in its place: %v", err)
	}
	if err := errors.Join(os.Remove(c.path("vault")), os.Rename(c.path("elsewhere"), c.path("vault"))); err != nil {
		t.Fatal(err)
	}
	c.reopen()
}

// TestVaultFromCopy puts an old copy of the vault back: after a destruction nothing
// opens it, and the present one is whole.
func TestVaultFromCopy(t *testing.T) {
	c := newClinic(t)
	record, other := c.record("secret"), c.record("another")
	c.close()
	backup := c.copy(t)
	c.reopen()
	if _, err := c.destroy(record); err != nil {
		t.Fatal(err)
	}
	c.close()
	if err := errors.Join(os.Rename(c.path("vault"), c.path("present")), os.Rename(filepath.Join(backup.Dir, "vault"), c.path("vault"))); err != nil {
		t.Fatal(err)
	}
	if err := c.opens(); !errors.Is(err, vault.ErrRootKey) {
		t.Errorf("with a vault from before a destruction: %v", err)
	}
	if err := errors.Join(os.RemoveAll(c.path("vault")), os.Rename(c.path("present"), c.path("vault"))); err != nil {
		t.Fatal(err)
	}
	c.reopen()
	if got := c.read(c.doctor, other, 0, events.PurposeTreatment); got != "another" {
		t.Errorf("another record reads %q", got)
	}
}

// TestLostCheckpoint loses everything that was signed: nothing is cut, nothing is
// signed anew, and a kept checkpoint brings the log back.
func TestLostCheckpoint(t *testing.T) {
	c := newClinic(t)
	for range 5 {
		c.record("x")
	}
	kept := c.Log().Published()
	c.close()
	for _, name := range []string{"checkpoint", "signed"} {
		if err := os.Remove(c.path("log", name)); err != nil {
			t.Fatal(err)
		}
	}
	file := c.path("store", "00000000000000000000.seg")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.opens(); !errors.Is(err, tlog.ErrNoCheckpoint) {
		t.Errorf("opening: %v", err)
	}
	if _, err := ledger.Rebuild(t.Context(), c.config, nil); !errors.Is(err, tlog.ErrNoCheckpoint) {
		t.Errorf("rebuilding: %v", err)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the event store was touched: %v", err)
	}
	if _, err := ledger.Rebuild(t.Context(), c.config, []byte("a checkpoint")); err == nil {
		t.Error("rebuilt from nonsense")
	}
	rebuilt, err := ledger.Rebuild(t.Context(), c.config, kept.Note)
	if err != nil || rebuilt.Checkpoint != kept.Checkpoint {
		t.Errorf("rebuilt with a kept checkpoint: %+v, %v", rebuilt, err)
	}
	c.reopen()
}

// TestRebuild drops everything derived and gets it back.
func TestRebuild(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	before := c.Log().Published()
	c.close()
	for _, name := range []string{"access.sqlite", "store/index.sqlite", "log/tile", "log/synced"} {
		if err := os.RemoveAll(c.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	rebuilt, err := ledger.Rebuild(t.Context(), c.config, nil)
	if err != nil || rebuilt.Checkpoint != before.Checkpoint {
		t.Fatalf("%+v, %v", rebuilt, err)
	}
	c.reopen()
	c.read(c.nurse, record, 0, events.PurposeTreatment)
}

// unread fails the test if anybody reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("a content was read for somebody who may not bring one")
	return 0, io.EOF
}

func TestContentOfTheUnauthorisedIsNotRead(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	if _, err := c.Originate(t.Context(), ledger.Command{Actor: events.MustNewID()}, c.origination(), unread{t}); !errors.Is(err, ledger.ErrUnknownActor) {
		t.Error(err)
	}
	_, err := c.Originate(t.Context(), c.recipient, c.origination(), unread{t})
	c.refused(err, decision.RefusedRole)
	_, err = c.Amend(t.Context(), c.foreign, ledger.Amendment{Record: record}, unread{t})
	c.refused(err, decision.RefusedOrganisation)
	_, err = c.Amend(t.Context(), c.doctor, ledger.Amendment{Record: events.MustNewID()}, unread{t})
	c.refused(err, decision.RefusedUnknownRecord)
}

// TestCancelledAmendmentsLeaveNothingBehind cancels amendments at every stage: the
// next one goes through.
func TestCancelledAmendmentsLeaveNothingBehind(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		_, err := c.Amend(ctx, c.doctor, ledger.Amendment{Record: record}, strings.NewReader("cancelled"))
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if _, err := c.Amend(t.Context(), c.doctor, ledger.Amendment{Record: record}, strings.NewReader("y")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConcurrentRepetitionsOfAnAmendment(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	for round := range 20 {
		command := c.doctor
		command.IdempotencyKey = fmt.Sprint("amend ", round)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := c.Amend(context.Background(), command, ledger.Amendment{Record: record}, strings.NewReader("y")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if history := c.history(record); len(history) != 21 {
		t.Errorf("%d events", len(history))
	}
}

func TestReusedKeys(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	_, err := c.Amend(t.Context(), keyed(c.foreign, "k"), ledger.Amendment{Record: record}, strings.NewReader("y"))
	c.refused(err, decision.RefusedOrganisation)
	_, err = c.Amend(t.Context(), keyed(c.foreign, "k"), ledger.Amendment{Record: record}, strings.NewReader("y"))
	c.refused(err, decision.RefusedOrganisation)
	if _, err := c.Originate(t.Context(), keyed(c.foreign, "k"), c.origination(), strings.NewReader("y")); !errors.Is(err, ledger.ErrKeyReused) {
		t.Errorf("a refusal answers another command: %v", err)
	}
	if _, err := c.Originate(t.Context(), keyed(c.doctor, "t"), c.origination(), strings.NewReader("y")); err != nil {
		t.Fatal(err)
	}
	o := c.origination()
	o.ContentType = "text/html"
	if _, err := c.Originate(t.Context(), keyed(c.doctor, "t"), o, strings.NewReader("y")); !errors.Is(err, ledger.ErrKeyReused) {
		t.Errorf("another content type under the same key: %v", err)
	}
}

// TestAmendmentsBesideADestruction: whatever wins, nothing is released afterwards
// and the ledger goes on.
func TestAmendmentsBesideADestruction(t *testing.T) {
	c := newClinic(t)
	c.record("the patient's last one is another")
	for range 15 {
		record := c.record("x")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, err := c.Amend(context.Background(), c.doctor, ledger.Amendment{Record: record}, strings.NewReader("y"))
				if err != nil && !errors.Is(err, ledger.ErrRefused) && !errors.Is(err, ledger.ErrConflict) && !errors.Is(err, vault.ErrDestroyed) {
					t.Error(err)
				}
			})
		}
		if _, err := c.destroy(record); err != nil {
			t.Error(err)
		}
		wg.Wait()
		_, err := c.Access(t.Context(), c.doctor, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
		c.refused(err, decision.RefusedDestroyed)
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// TestTwoCreators makes one ledger twice at the same time: one of them does, and
// the folder is whole.
func TestTwoCreators(t *testing.T) {
	for range 5 {
		config := ledger.Config{Dir: filepath.Join(t.TempDir(), "data"), Logger: slog.New(slog.DiscardHandler)}
		errs := make([]error, 3)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = ledger.Create(context.Background(), config, origin) })
		}
		wg.Wait()
		made := 0
		for _, err := range errs {
			switch {
			case err == nil:
				made++
			case !errors.Is(err, ledger.ErrExists) && !errors.Is(err, segment.ErrLocked):
				t.Error(err)
			}
		}
		l, err := ledger.Open(t.Context(), config)
		if err != nil || made == 0 {
			t.Fatalf("made by %d of 3, then %v", made, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
