package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/archive"
)

// everyFourth is how many of the other records are destroyed with the first.
const everyFourth = 4

// destroy is the scene in which records come to their end.
func (s *story) destroy(ctx context.Context) error {
	s.scene("A patient asks for the end of their record")
	s.clock.pass(1)
	first := s.records[0]
	command := ledger.Command{Actor: s.cast.patient, IdempotencyKey: "the end"}
	end := func(c ledger.Command, r *record, approver events.ID) string {
		result, err := s.ledger.Destroy(ctx, c, ledger.Destruction{
			Record: r.id, Approver: approver, Ground: events.GroundPatientRequest,
		})
		if err != nil {
			return outcome(err, "")
		}
		r.destroyed = true
		return fmt.Sprintf("destroyed, %d keys", result.Event.Data.(*events.RecordDestroyed).Keys)
	}
	s.expect("the patient asks and approves it", "refused: approver-not-allowed",
		end(by(s.cast.patient), first, s.cast.patient))
	s.expect("the patient asks, the administrator approves", "destroyed, 2 keys", end(command, first, s.cast.administrator))
	s.expect("the answer was lost, the patient asks again", "destroyed, 2 keys", end(command, first, s.cast.administrator))
	s.expect("the doctor reads it again", "refused: record-destroyed",
		s.access(ctx, s.cast.doctor, first, 2, events.PurposeTreatment))
	s.expect("the patient reads it again", "refused: record-destroyed",
		s.access(ctx, s.cast.patient, first, 1, events.PurposePatient))
	var some []*record
	for i, r := range s.others() {
		if i%everyFourth == 0 {
			some = append(some, r)
		}
	}
	s.each(some, fmt.Sprintf("%d more, at a clerk's request", len(some)), "destroyed, 2 keys", func(r *record) string {
		return end(by(s.cast.clerk), r, s.cast.administrator)
	})
	s.each(some, fmt.Sprintf("reading these %d again", len(some)), "refused: record-destroyed", func(r *record) string {
		return s.access(ctx, s.cast.doctor, r, 1, events.PurposeTreatment)
	})
	s.each(s.others(), fmt.Sprintf("reading the %d that live", len(s.others())), released, func(r *record) string {
		return s.access(ctx, s.cast.doctor, r, 2, events.PurposeTreatment)
	})
	return s.all(func(r *record) bool { return r.destroyed || r != first }, "was destroyed")
}

// hand is the scene in which the auditor is given what there is to check: the
// receipts of a whole life, and the log as one file.
func (s *story) hand(ctx context.Context) error {
	s.scene("The evidence is handed over, the ledger is closed")
	s.clock.pass(int(threeWeeks.Hours() / 24))
	history, err := s.ledger.History(ctx, s.records[0].id)
	if err != nil {
		return fmt.Errorf("reading the first record's history: %w", err)
	}
	proved := 0
	for _, h := range history {
		if s.keep(ctx, h) == "proved" {
			proved++
		}
		if _, ended := h.Event.Data.(*events.RecordDestroyed); ended {
			s.final = h.Index
		}
	}
	s.expect("a receipt of every event of the first record's life",
		fmt.Sprintf("%d × proved", len(history)), fmt.Sprintf("%d × proved", proved))
	s.put(&s.end)
	size, err := s.export(ctx)
	if err != nil {
		return err
	}
	s.done("an export of the log: no keys, no contents", fmt.Sprintf("%d events, %d kB", s.end.size, size/1000))
	return nil
}

// export writes the log to one file and returns how long that is.
func (s *story) export(ctx context.Context) (size int64, err error) {
	// The reader's copy: it is not synced, as nothing of the ledger depends on it.
	f, err := os.Create(s.file("log.export"))
	if err != nil {
		return 0, fmt.Errorf("making the export: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := archive.Write(ctx, f, s.ledger.Log()); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("looking at the export: %w", err)
	}
	return info.Size(), nil
}

// look is the scene in which the vault is opened past the ledger, with its root
// key.
func (s *story) look(ctx context.Context) (err error) {
	s.scene("The vault is opened past the ledger, with its root key")
	at := ledger.Folder(s.dir)
	v, err := vault.Open(ctx, vault.Config{
		Dir: at.Vault(), RootKeyFile: at.RootKey(), Random: rand.Reader,
	})
	if err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	open := func(r *record) string {
		content, err := v.Get(ctx, r.id, 1)
		if err != nil {
			return outcome(err, "")
		}
		return compareContent(content, r.original)
	}
	s.expect("the record that was destroyed", "destroyed", open(s.records[0]))
	for _, other := range s.others()[:min(1, len(s.others()))] {
		s.expect("one that lives", released, open(other))
	}
	return nil
}
