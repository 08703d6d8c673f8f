package access_test

import (
	"bytes"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/projections/access"
	"github.com/medledger/medledger/verifier/life"
)

func id(b int) events.ID {
	return events.DerivedID(bytes.Repeat([]byte{byte(b), byte(b >> 8)}, 8))
}

// history is a legal log of n events, which has everything that a state keeps.
func history(n int) []events.Event {
	decided := events.Decision{Rule: "treatment", Rules: life.Rules}
	admin, recipient, proxy := id(1), id(2), id(8)
	log := []events.Event{}
	add := func(subject events.ID, d events.Data) {
		if len(log) < n {
			log = append(log, events.Event{
				ID: id(50_000 + len(log)), Source: "clinic.example", Type: d.EventType(), Subject: subject,
				Time: events.Timestamp(1_800_000_000_000_000 + len(log)), Data: d,
			})
		}
	}
	patient := func(p events.ID) {
		add(p, &events.PatientRegistered{Actor: admin, Decision: decided, Organisation: id(4)})
	}
	add(id(3), &events.LedgerOpened{Origin: "clinic.example"})
	add(admin, &events.ActorRegistered{Decision: decided, Organisation: id(4), Role: events.RoleAdmin})
	add(recipient, &events.ActorRegistered{By: admin, Decision: decided, Organisation: id(5), Role: events.RoleRecipient})
	add(proxy, &events.ActorRegistered{By: admin, Decision: decided, Organisation: id(4), Role: events.RoleProxy})
	patient(id(6))
	for r := 100; len(log) < n; r++ {
		record, own := id(r), id(r+10_000)
		patient(own)
		token, digest := id(r+15_000), events.Digest{byte(r), byte(r >> 8)}
		add(proxy, &events.TokenIssued{By: admin, Decision: decided, Digest: digest, Expires: 1_900_000_000_000_000, Token: token})
		add(own, &events.CareOpened{Actor: admin, Decision: decided, Member: admin, Relationship: id(r + 20_000)})
		add(own, &events.ProxyAppointed{Actor: admin, Appointment: id(r + 25_000), Decision: decided, Proxy: proxy, Scope: []events.ProxyScope{events.ProxyRead}})
		add(own, &events.ConsentGranted{Actor: admin, Consent: id(r + 30_000), Decision: decided, Purpose: events.PurposeResearch})
		add(own, &events.ConsentWithdrawn{Actor: admin, Consent: id(r + 30_000), Decision: decided, Purpose: events.PurposeResearch})
		add(record, &events.RecordOriginated{Actor: admin, Decision: decided, Organisation: id(4), Patient: own, Kind: events.KindChart, Confidentiality: events.Normal})
		add(record, &events.RecordAccessed{Actor: admin, Decision: decided, Version: 1})
		add(record, &events.RecordDisclosed{Actor: admin, Decision: decided, Recipient: recipient, Share: id(r + 5000), Until: 1_900_000_000_000_000, Version: 1})
		add(record, &events.RecordReceived{Actor: recipient, Decision: decided, Share: id(r + 5000), Version: 1})
		switch r % 4 {
		case 0: // destroyed, and its patient erased
			add(record, &events.ShareEnded{Actor: admin, Decision: decided, Share: id(r + 5000)})
			add(record, &events.DestructionRequested{Actor: admin, Decision: decided, Destruction: id(r + 35_000)})
			add(record, &events.DestructionStarted{Actor: admin, Approver: recipient, Decision: decided, Destruction: id(r + 35_000), Versions: 1})
			add(record, &events.RecordDestroyed{Destruction: id(r + 35_000), Keys: 1})
			add(own, &events.PatientErased{})
		case 1: // one with the first patient
			add(own, &events.PatientMerged{Actor: admin, Decision: decided, Into: id(6)})
		case 2: // filed under the first patient
			add(record, &events.RecordRefiled{Actor: admin, Decision: decided, From: own, Patient: id(6)})
			add(own, &events.CareClosed{Actor: admin, Decision: decided, Relationship: id(r + 20_000)})
			add(proxy, &events.TokenRevoked{By: admin, Decision: decided, Token: token})
		case 3:
			add(record, &events.DestructionRequested{Actor: admin, Decision: decided, Destruction: id(r + 35_000)})
			add(own, &events.ProxyDismissed{Actor: admin, Appointment: id(r + 25_000), Decision: decided})
			add(record, &events.AccessRefused{Action: events.ActionAccess, Actor: proxy, Decision: decided})
			add(id(3), &events.LogRead{Actor: admin, Decision: decided})
		}
	}
	return log
}

func apply(t *testing.T, p *access.Projection, log []events.Event, persist bool) {
	t.Helper()
	var changes access.Changes
	for _, e := range log {
		if err := p.Apply(p.State().Head().Size, e, &changes); err != nil {
			t.Fatal(err)
		}
	}
	if persist {
		p.Persist(changes)
	}
}

func config(path string, size uint64) access.Config {
	return access.Config{Path: path, Key: bytes.Repeat([]byte{7}, 32), Events: size, Logger: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, path string, size uint64) *access.Projection {
	t.Helper()
	p, err := access.Open(t.Context(), config(path, size))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func shut(t *testing.T, p *access.Projection) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// replayed is the state after a log.
func replayed(t *testing.T, log []events.Event) *life.State {
	t.Helper()
	s := life.NewState()
	for i, e := range log {
		if err := s.Apply(uint64(i), e); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// ordered puts the records of every patient in one order: the copy does not keep
// that in which they were filed.
func ordered(s *life.State) *life.State {
	for _, p := range s.Patients {
		slices.SortFunc(p.Records, func(a, b events.ID) int { return bytes.Compare(a[:], b[:]) })
		if len(p.Records) == 0 {
			p.Records = nil
		}
	}
	return s
}

// TestCopyEqualsReplay stops in the middle of a history, wherever that is, and goes
// on from the copy.
func TestCopyEqualsReplay(t *testing.T) {
	const size = 130
	log := history(size)
	for stop := 1; stop < size; stop++ {
		path := filepath.Join(t.TempDir(), "lives.sqlite")
		p := open(t, path, size)
		apply(t, p, log[:stop/2], true)
		apply(t, p, log[stop/2:stop], true)
		shut(t, p)

		p = open(t, path, size)
		covered := p.State().Head().Size
		// The copy is written when a row changes: a reading of the log alone, and the
		// ledger's opening, change none.
		if covered > uint64(stop) || covered+1 < uint64(stop) {
			t.Fatalf("the copy covers %d events, want %d", covered, stop)
		}
		if !reflect.DeepEqual(ordered(p.State()), ordered(replayed(t, log[:covered]))) {
			t.Fatalf("the state from the copy at %d differs from the one from the log", stop)
		}
		apply(t, p, log[covered:], true)
		if !reflect.DeepEqual(ordered(p.State()), ordered(replayed(t, log))) {
			t.Fatalf("the state that goes on from the copy at %d differs from the one from the log", stop)
		}
		shut(t, p)
	}
}

// TestCopyNeverLeads shows that what was applied but not persisted, as when its
// commit failed, is not in the copy.
func TestCopyNeverLeads(t *testing.T) {
	log := history(60)
	path := filepath.Join(t.TempDir(), "lives.sqlite")
	p := open(t, path, 60)
	apply(t, p, log[:40], true)
	apply(t, p, log[40:], false)
	shut(t, p)
	p = open(t, path, 40)
	defer shut(t, p)
	if size := p.State().Head().Size; size != 40 {
		t.Errorf("the copy covers %d events, want 40", size)
	}
}

func TestRefusedEventChangesNothing(t *testing.T) {
	log := history(20)
	p := open(t, filepath.Join(t.TempDir(), "lives.sqlite"), 0)
	defer shut(t, p)
	var changes access.Changes
	if err := p.Apply(0, log[5], &changes); err == nil {
		t.Fatal("an access opened the ledger")
	}
	apply(t, p, log, true)
}

func TestUnusableCopyIsReplaced(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"not a database": func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"another version":  func(t *testing.T, path string) { exec(t, path, "UPDATE head SET version = 99") },
		"a damaged head":   func(t *testing.T, path string) { exec(t, path, "UPDATE head SET value = x'ff'") },
		"an older version": func(t *testing.T, path string) { exec(t, path, "UPDATE head SET version = version - 1") },
		"a damaged row":    func(t *testing.T, path string) { exec(t, path, "UPDATE record SET value = x'00'") },
		"a patient less": func(t *testing.T, path string) {
			exec(t, path, "DELETE FROM patient WHERE id = (SELECT max(id) FROM patient)")
		},
		"a patient twice": func(t *testing.T, path string) {
			exec(t, path, "INSERT INTO record SELECT id, value FROM patient LIMIT 1")
		},
		"another's rights": func(t *testing.T, path string) {
			exec(t, path, "UPDATE patient SET value = (SELECT value FROM patient ORDER BY id LIMIT 1)")
		},
		"no patients": func(t *testing.T, path string) { exec(t, path, "DROP TABLE patient") },
		"a patient as an actor": func(t *testing.T, path string) {
			exec(t, path, "INSERT INTO actor SELECT id, value FROM patient LIMIT 1; DELETE FROM patient WHERE id IN (SELECT id FROM actor)")
		},
		"a foreign id": func(t *testing.T, path string) {
			exec(t, path, "INSERT INTO actor SELECT x'00', value FROM actor LIMIT 1")
		},
		"a longer log": func(*testing.T, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lives.sqlite")
			p := open(t, path, 100)
			apply(t, p, history(100), true)
			shut(t, p)
			spoil(t, path)
			size := uint64(100)
			if name == "a longer log" {
				size = 99
			}
			p = open(t, path, size)
			defer shut(t, p)
			if got := p.State().Head().Size; got != 0 {
				t.Errorf("a copy that covers %d events was trusted", got)
			}
		})
	}
}

func exec(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkReopen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "lives.sqlite")
	p, err := access.Open(b.Context(), config(path, 1<<40))
	if err != nil {
		b.Fatal(err)
	}
	var changes access.Changes
	for i, e := range history(60_000) {
		if err := p.Apply(uint64(i), e, &changes); err != nil {
			b.Fatal(err)
		}
	}
	p.Persist(changes)
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := access.Open(b.Context(), config(path, 1<<40))
		if err != nil {
			b.Fatal(err)
		}
		_, records := p.State().Counts()
		b.ReportMetric(float64(records), "records")
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
