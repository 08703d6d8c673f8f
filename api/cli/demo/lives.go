package demo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/receipt"
)

// create is the scene in which the records are made, each with its receipt.
func (s *story) create(ctx context.Context) error {
	s.scene("Records are created")
	for i, d := range s.docs {
		r := &record{document: d, patient: events.MustNewID()}
		if i == 0 {
			r.patient = s.cast.patientID
		}
		s.records = append(s.records, r)
	}
	first := s.records[0]
	command := ledger.Command{Actor: s.cast.doctor, IdempotencyKey: "the first document"}
	result, err := s.originate(ctx, command, first, first.original)
	if err != nil {
		return fmt.Errorf("creating the first record: %w", err)
	}
	s.expect(fmt.Sprintf("the doctor writes the first: event %d, with a receipt", result.Index),
		"proved", s.keep(ctx, result))
	again, err := s.originate(ctx, command, first, first.original)
	if err == nil && (again.Index != result.Index || !bytes.Equal(again.Statement, result.Statement)) {
		err = fmt.Errorf("event %d, with other bytes", again.Index)
	}
	s.expect("the answer was lost, the doctor sends it again", "the same event", outcome(err, "the same event"))
	_, err = s.originate(ctx, command, first, first.amended)
	s.expect("the same key, but something else", "refused: key was used before", outcome(err, "done"))
	s.each(s.others(), fmt.Sprintf("the other %d, %s", len(s.others()), bytesOf(s.others())), "proved", func(r *record) string {
		result, err := s.originate(ctx, by(s.cast.doctor), r, r.original)
		if err != nil {
			return outcome(err, "")
		}
		return s.keep(ctx, result)
	})
	s.put(&s.early)
	return s.all(func(r *record) bool { return !r.id.IsZero() }, "was created")
}

// contentType is that of all documents.
const contentType = "application/json"

// bytesOf sets how long the documents of some records are.
func bytesOf(records []*record) string {
	var n int64
	for _, r := range records {
		n += r.size
	}
	if n < 1e6 {
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// originate creates a record.
func (s *story) originate(ctx context.Context, c ledger.Command, r *record, content func() ([]byte, error)) (*ledger.Result, error) {
	b, err := content()
	if err != nil {
		return nil, err
	}
	result, err := s.ledger.Originate(ctx, c, ledger.Origination{
		Patient: r.patient, Kind: r.kind, Confidentiality: events.Normal, ContentType: contentType,
	}, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	r.id = result.Event.Subject
	return result, nil
}

// all returns an error if a record lacks what the next scenes build on.
func (s *story) all(has func(*record) bool, what string) error {
	for i, r := range s.records {
		if !has(r) {
			return fmt.Errorf("the story cannot go on: not every record %s, such as the one with number %d", what, i+1)
		}
	}
	return nil
}

// keep writes an event's receipt to a file and says what the receipt is worth to
// somebody who has the log's public key only.
func (s *story) keep(ctx context.Context, result *ledger.Result) string {
	r, err := result.Receipt(ctx)
	if err != nil {
		return outcome(err, "")
	}
	text, err := receipt.Marshal(r)
	if err != nil {
		return outcome(err, "")
	}
	verified, err := receipt.Verify(r, s.verifier)
	if err != nil {
		return outcome(err, "")
	}
	if verified.Index != result.Index || verified.Event.ID != result.Event.ID {
		return "a receipt of another event"
	}
	// A reader's copy, which nothing depends on: it is not synced.
	if err := os.WriteFile(s.receiptFile(result.Index), text, 0o644); err != nil {
		return outcome(err, "")
	}
	return "proved"
}

func (s *story) receiptFile(index uint64) string {
	return s.file("receipts", receiptName(index))
}

func receiptName(index uint64) string { return fmt.Sprintf("event-%d.json", index) }

// put keeps the latest checkpoint in memory.
func (s *story) put(c *signed) {
	published := s.ledger.Log().Published()
	*c = signed{published.Note, published.Checkpoint.Size}
}

// access reads a record's content.
func (s *story) access(ctx context.Context, actor events.ID, r *record, version uint32, purpose events.Purpose) string {
	want := r.original
	if version == 2 {
		want = r.amended
	}
	release, err := s.ledger.Access(ctx, by(actor), ledger.Reading{Record: r.id, Version: version, Purpose: purpose})
	return compare(release, err, want)
}

// read is the scene in which records are read, by those who may.
func (s *story) read(ctx context.Context) error {
	s.scene("Records are read, by those who may; every attempt is an event")
	s.clock.pass(1)
	first := s.records[0]
	for _, a := range []struct {
		what    string
		actor   events.ID
		purpose events.Purpose
		want    string
	}{
		{"the doctor, for treatment", s.cast.doctor, events.PurposeTreatment, released},
		{"the nurse, for treatment", s.cast.nurse, events.PurposeTreatment, released},
		{"the patient, about themselves", s.cast.patient, events.PurposePatient, released},
		{"another clinic's doctor, for treatment", s.cast.stranger, events.PurposeTreatment, "refused: other-organisation"},
		{"the nurse, for research", s.cast.nurse, events.PurposeResearch, "refused: purpose-not-allowed"},
		{"the clerk, for treatment", s.cast.clerk, events.PurposeTreatment, "refused: role-not-allowed"},
		{"somebody whom nobody registered", events.MustNewID(), events.PurposeTreatment, "no such actor"},
	} {
		s.expect(a.what, a.want, s.access(ctx, a.actor, first, 1, a.purpose))
	}
	for _, other := range s.others()[:min(1, len(s.others()))] {
		s.expect("the patient, somebody else's record", "refused: not-own-record",
			s.access(ctx, s.cast.patient, other, 1, events.PurposePatient))
	}
	s.each(s.others(), fmt.Sprintf("the doctor reads the other %d", len(s.others())), released, func(r *record) string {
		return s.access(ctx, s.cast.doctor, r, 1, events.PurposeTreatment)
	})
	reads, refusals, err := s.logged(ctx, first)
	if err != nil {
		return err
	}
	s.expect("the first record's history shows", "3 reads, 3 refusals", fmt.Sprintf("%d reads, %d refusals", reads, refusals))
	return nil
}

// logged counts what the log says of a record.
func (s *story) logged(ctx context.Context, r *record) (reads, refusals int, err error) {
	history, err := s.ledger.History(ctx, r.id)
	if err != nil {
		return 0, 0, fmt.Errorf("reading a record's history: %w", err)
	}
	for _, h := range history {
		switch h.Event.Data.(type) {
		case *events.RecordAccessed:
			reads++
		case *events.AccessRefused:
			refusals++
		}
	}
	return reads, refusals, nil
}

// amend is the scene in which records are amended.
func (s *story) amend(ctx context.Context) error {
	s.scene("Records are amended; what was written before stays readable")
	s.clock.pass(1)
	first := s.records[0]
	s.expect("the doctor amends the first", "version 2", s.revise(ctx, first))
	s.expect("the nurse reads version 1", released, s.access(ctx, s.cast.nurse, first, 1, events.PurposeTreatment))
	s.expect("the nurse reads version 2", released, s.access(ctx, s.cast.nurse, first, 2, events.PurposeTreatment))
	s.each(s.others(), fmt.Sprintf("the doctor amends the other %d", len(s.others())), "version 2", func(r *record) string {
		return s.revise(ctx, r)
	})
	return nil
}

func (s *story) revise(ctx context.Context, r *record) string {
	content, err := r.amended()
	if err != nil {
		return outcome(err, "")
	}
	result, err := s.ledger.Amend(ctx, by(s.cast.doctor), ledger.Amendment{
		Record: r.id, ContentType: contentType,
	}, bytes.NewReader(content))
	if err != nil {
		return outcome(err, "")
	}
	return fmt.Sprintf("version %d", result.Event.Data.(*events.RecordAmended).Version)
}

// share is the scene in which records go to somebody outside, for a while.
func (s *story) share(ctx context.Context) error {
	s.scene("Records are shared, for a week")
	s.clock.pass(1)
	first := s.records[0]
	s.expect("the clerk shares the first with the insurer, for payment", "shared", s.disclose(ctx, first))
	s.expect("the insurer receives it", released, s.receive(ctx, s.cast.insurer, first))
	s.expect("another clinic's doctor tries the share", "refused: role-not-allowed", s.receive(ctx, s.cast.stranger, first))
	s.each(s.others(), fmt.Sprintf("the other %d are shared", len(s.others())), "shared", func(r *record) string {
		return s.disclose(ctx, r)
	})
	s.each(s.others(), "the insurer receives them", released, func(r *record) string {
		return s.receive(ctx, s.cast.insurer, r)
	})
	s.clock.pass(8)
	s.say("Eight days later:")
	s.expect("the insurer comes again", "refused: share-ended", s.receive(ctx, s.cast.insurer, first))
	if err := s.all(func(r *record) bool { return !r.share.IsZero() }, "was shared"); err != nil {
		return err
	}
	// The auditor's copy; it is not synced, as nothing of the ledger depends on it.
	var kept signed
	s.put(&kept)
	if err := os.WriteFile(s.file("checkpoint.kept"), kept.note, 0o644); err != nil {
		return fmt.Errorf("keeping a checkpoint: %w", err)
	}
	s.done("an auditor passes by and keeps a checkpoint", fmt.Sprintf("of %d events", kept.size))
	return nil
}

func (s *story) disclose(ctx context.Context, r *record) string {
	result, err := s.ledger.Disclose(ctx, by(s.cast.clerk), ledger.Disclosure{
		Record: r.id, Recipient: s.cast.insurer, Purpose: events.PurposePayment,
		Until: events.At(s.clock.Now()).Add(7 * 24 * time.Hour),
	})
	if err != nil {
		return outcome(err, "")
	}
	r.share = result.Event.Data.(*events.RecordDisclosed).Share
	return "shared"
}

func (s *story) receive(ctx context.Context, actor events.ID, r *record) string {
	release, err := s.ledger.Receive(ctx, by(actor), r.id, r.share)
	return compare(release, err, r.amended)
}

// rotate is the scene in which the ledger gets a new key.
func (s *story) rotate(ctx context.Context) error {
	s.scene("The key that signs statements is replaced")
	s.clock.pass(1)
	result, err := s.ledger.RotateStatementKey(ctx)
	if err != nil {
		return fmt.Errorf("replacing the statement key: %w", err)
	}
	s.expect(fmt.Sprintf("the old key announces the new one: event %d", result.Index), "proved", s.keep(ctx, result))
	s.expect("the doctor reads on", released, s.access(ctx, s.cast.doctor, s.records[0], 2, events.PurposeTreatment))
	return nil
}
