package access_test

import (
	"bytes"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/projections/access"
	"github.com/medledger/medledger/verifier/life"
)

func id(b int) events.ID {
	return events.DerivedID(bytes.Repeat([]byte{byte(b), byte(b >> 8)}, 8))
}

// history is a legal log of n events: a founder, a recipient, records that are
// read, shared and destroyed.
func history(n int) []events.Event {
	decided := events.Decision{Rule: "treatment", Rules: life.Rules}
	admin, recipient := id(1), id(2)
	log := []events.Event{}
	add := func(subject events.ID, d events.Data) {
		if len(log) < n {
			log = append(log, events.Event{
				ID: id(10_000 + len(log)), Source: "clinic.example", Type: d.EventType(), Subject: subject,
				Time: events.Timestamp(1_800_000_000_000_000 + len(log)), Data: d,
			})
		}
	}
	add(id(3), &events.LedgerOpened{Origin: "clinic.example"})
	add(admin, &events.ActorRegistered{Decision: decided, Organisation: id(4), Role: events.RoleAdmin})
	add(recipient, &events.ActorRegistered{By: admin, Decision: decided, Organisation: id(5), Role: events.RoleRecipient})
	for r := 100; len(log) < n; r++ {
		record := id(r)
		add(record, &events.RecordOriginated{Actor: admin, Decision: decided, Organisation: id(4), Patient: id(6), Kind: events.KindChart, Confidentiality: events.Normal})
		add(record, &events.RecordAccessed{Actor: admin, Decision: decided, Version: 1})
		add(record, &events.RecordDisclosed{Actor: admin, Decision: decided, Recipient: recipient, Share: id(r + 5000), Until: 1_900_000_000_000_000, Version: 1})
		if r%2 == 0 {
			add(record, &events.DestructionStarted{Actor: admin, Approver: recipient, Decision: decided, Destruction: id(7), Versions: 1})
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

func TestCopyEqualsReplay(t *testing.T) {
	log := history(300)
	path := filepath.Join(t.TempDir(), "lives.sqlite")
	p := open(t, path, 300)
	apply(t, p, log[:150], true)
	apply(t, p, log[150:200], true)
	shut(t, p)

	p = open(t, path, 300)
	defer shut(t, p)
	if size := p.State().Head().Size; size != 200 {
		t.Fatalf("the copy covers %d events, want 200", size)
	}
	apply(t, p, log[200:], true)

	want := life.NewState()
	for i, e := range log {
		if err := want.Apply(uint64(i), e); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(p.State(), want) {
		t.Error("the state from the copy differs from the one from the log")
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
		"another version": func(t *testing.T, path string) { exec(t, path, "UPDATE head SET version = 99") },
		"a damaged head":  func(t *testing.T, path string) { exec(t, path, "UPDATE head SET value = x'ff'") },
		"a damaged row":   func(t *testing.T, path string) { exec(t, path, "UPDATE record SET value = x'00'") },
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
