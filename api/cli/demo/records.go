package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// contentType is that of all documents but the image.
const contentType = "application/fhir+json"

// write is the scene in which the records are made, each with its receipt.
func (s *story) write(ctx context.Context) error {
	s.scene("Records are written; each is answered with a receipt")
	if err := s.plan(); err != nil {
		return err
	}
	key := client.WithKey("the first document")
	first, err := s.create(ctx, s.first, s.first.original, key)
	if err != nil {
		return fmt.Errorf("writing the first record: %w", err)
	}
	s.expect(fmt.Sprintf("the doctor writes the first: event %d", first.Index), proved, s.keep(first.Done))
	again, err := s.create(ctx, s.first, s.first.original, key)
	s.expect("the answer was lost, the doctor sends it again", "the same event", outcome(err, sameEvent(first, again)))
	_, err = s.create(ctx, s.first, s.first.amended, key)
	s.expect("the same key, but something else", "422: unprocessable entity", outcome(err, "done"))
	s.expect(fmt.Sprintf("an image of %s", bytesText(s.image.size)), proved, s.originate(ctx, s.image))
	s.expect("a record of the other patient", proved, s.originate(ctx, s.visit))
	s.expect("a letter about the patient, filed under the other one", proved, s.originate(ctx, s.letter))
	s.each(s.rest, fmt.Sprintf("%d more patients come in, are admitted", len(s.rest)), proved, func(r *record) string {
		return s.admit(ctx, r)
	})
	s.each(s.rest, fmt.Sprintf("a record of each, %s", bytesOf(s.rest)), proved, func(r *record) string {
		return s.originate(ctx, r)
	})
	_, err = s.cast.clerk.CreateRecord(ctx, newRecord(s.first), bytes.NewReader(nil))
	s.expect("the clerk writes a record", "403: role-not-allowed", outcome(err, "done"))
	for _, r := range append([]*record{s.first, s.image, s.visit, s.letter}, s.rest...) {
		if r.id.IsZero() {
			return errors.New("the story cannot go on: not every record was written")
		}
	}
	return s.put(ctx, &s.early)
}

// plan says what the records are, and about whom.
func (s *story) plan() error {
	image, letter, visit, err := furtherDocuments()
	if err != nil {
		return err
	}
	s.first = &record{document: s.docs[0], patient: s.ana}
	s.image = &record{document: image, patient: s.ana}
	s.letter = &record{document: letter, patient: s.ben} // by mistake
	s.visit = &record{document: visit, patient: s.ben}
	for _, d := range s.docs[1:] {
		s.rest = append(s.rest, &record{document: d})
	}
	return nil
}

// admit registers the patient of a record, and has the ward care for them.
func (s *story) admit(ctx context.Context, r *record) string {
	number := client.Identifier{System: "urn:example:clinic", Value: "C-" + events.MustNewID().String()}
	if o := s.made(&r.patient)(s.cast.clerk.RegisterPatient(ctx, []client.Identifier{number})); o != proved {
		return o
	}
	var admission events.ID
	return s.made(&admission)(s.cast.clerk.OpenCare(ctx, r.patient, client.Care{Department: s.ward}))
}

func newRecord(r *record) client.NewRecord {
	return client.NewRecord{Patient: r.patient, Kind: r.kind, Confidentiality: events.Normal, ContentType: r.contentType}
}

// create writes a record as the doctor.
func (s *story) create(ctx context.Context, r *record, content func() ([]byte, error), options ...client.Option) (*client.RecordVersion, error) {
	b, err := content()
	if err != nil {
		return nil, err
	}
	v, err := s.cast.doctor.CreateRecord(ctx, newRecord(r), bytes.NewReader(b), options...)
	if err != nil {
		return nil, err
	}
	r.id = v.Record
	return v, nil
}

func (s *story) originate(ctx context.Context, r *record) string {
	v, err := s.create(ctx, r, r.original)
	if err != nil {
		return outcome(err, "")
	}
	return s.keep(v.Done)
}

func sameEvent(first, again *client.RecordVersion) string {
	if again == nil || again.Index != first.Index || again.Event != first.Event || again.Record != first.Record {
		return "another event"
	}
	return "the same event"
}

// access reads a record's content.
func (s *story) access(ctx context.Context, who person, r *record, version uint32, purpose events.Purpose) string {
	want := r.original
	if version == 2 {
		want = r.amended
	}
	content, err := who.Content(ctx, r.id, version, purpose)
	return compare(content, err, want)
}

// read is the scene in which records are read, by those who may.
func (s *story) read(ctx context.Context) error {
	s.scene("Records are read by those who may; every attempt is an event")
	const treat = events.PurposeTreatment
	for _, a := range []struct {
		what    string
		who     person
		purpose events.Purpose
		want    string
	}{
		{"the doctor, for treatment", s.cast.doctor, treat, released},
		{"the nurse, for treatment", s.cast.nurse, treat, released},
		{"the nurse, for research", s.cast.nurse, events.PurposeResearch, "403: purpose-not-allowed"},
		{"the other doctor, who is curious", s.cast.colleague, treat, "403: no-care-relationship"},
		{"the clerk", s.cast.clerk, treat, "403: role-not-allowed"},
		{"the administrator", s.cast.administrator, treat, "403: role-not-allowed"},
		{"the auditor", s.cast.auditor, treat, "403: role-not-allowed"},
		{"the insurer", s.cast.insurer, events.PurposePayment, "403: role-not-allowed"},
	} {
		s.expect(a.what, a.want, s.access(ctx, a.who, s.first, 1, a.purpose))
	}
	s.each(s.rest, fmt.Sprintf("the doctor reads the other %d", len(s.rest)), released, func(r *record) string {
		return s.access(ctx, s.cast.doctor, r, 1, treat)
	})
	s.expect("the clerk lists the patient's records", "2 listed, no contents", s.list(ctx, s.cast.clerk, s.ana))
	s.expect("the insurer lists them", "403: role-not-allowed", s.list(ctx, s.cast.insurer, s.ana))
	return nil
}

// list lists a patient's records as somebody.
func (s *story) list(ctx context.Context, who person, patient events.ID) string {
	list, err := who.ListRecords(ctx, patient, client.RecordQuery{})
	if err != nil {
		return outcome(err, "")
	}
	return fmt.Sprintf("%d listed, no contents", len(list.Records))
}

// correct is the scene in which mistakes are corrected: what was written before
// stays readable.
func (s *story) correct(ctx context.Context) error {
	s.scene("Mistakes are corrected; what was written before stays readable")
	const treat = events.PurposeTreatment
	s.expect("the clerk files the letter under the right patient", proved, s.happened(s.cast.clerk.Refile(ctx, s.letter.id, s.ana)))
	s.expect("she has it now", "3 listed, no contents", s.list(ctx, s.cast.clerk, s.ana))
	s.expect("the other patient has it no more", "1 listed, no contents", s.list(ctx, s.cast.clerk, s.ben))
	s.expect("the doctor amends the first record", "version 2", s.amend(ctx, s.first))
	s.expect("the nurse reads version 1", released, s.access(ctx, s.cast.nurse, s.first, 1, treat))
	s.expect("the nurse reads version 2", released, s.access(ctx, s.cast.nurse, s.first, 2, treat))
	s.each(s.rest, fmt.Sprintf("the doctor amends the other %d", len(s.rest)), "version 2", func(r *record) string {
		return s.amend(ctx, r)
	})
	return s.backUpAtNoon(ctx)
}

func (s *story) amend(ctx context.Context, r *record) string {
	content, err := r.amended()
	if err != nil {
		return outcome(err, "")
	}
	v, err := s.cast.doctor.Amend(ctx, r.id, r.contentType, bytes.NewReader(content))
	if err != nil {
		return outcome(err, "")
	}
	if kept := s.keep(v.Done); kept != proved {
		return kept
	}
	return fmt.Sprintf("version %d", v.Version)
}
