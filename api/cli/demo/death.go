package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// everyFourth is how many of the other records are destroyed.
const everyFourth = 4

// destroy is the scene in which records come to their end.
func (s *story) destroy(ctx context.Context) error {
	s.scene("The patient wants her records destroyed")
	patient, admin := s.cast.patient, s.cast.administrator
	if err := s.copyDisks(); err != nil {
		return err
	}
	var asked, own events.ID
	s.expect("the patient asks for the end of the first record", proved, s.made(&asked)(patient.RequestDestruction(ctx, s.first.id, "")))
	_, err := patient.ApproveDestruction(ctx, asked)
	s.expect("the patient approves it herself", "403: role-not-allowed", outcome(err, "destroyed"))
	s.expect("the administrator asks for the end of another", proved,
		s.made(&own)(admin.RequestDestruction(ctx, s.visit.id, events.GroundRetentionEnded)))
	_, err = admin.ApproveDestruction(ctx, own)
	s.expect("… and approves that himself", "403: approver-not-allowed", outcome(err, "destroyed"))
	key := client.WithKey("the end of the first")
	s.expect("the administrator approves what the patient asked for", "3 keys destroyed", s.approve(ctx, s.first, asked, key))
	s.expect("the answer was lost, he sends it again", "3 keys destroyed", s.approve(ctx, s.first, asked, key))
	s.expect("the doctor reads it", "410: record-destroyed", s.access(ctx, s.cast.doctor, s.first, 2, events.PurposeTreatment))
	s.expect("the patient reads it", "410: record-destroyed", s.access(ctx, patient, s.first, 1, events.PurposePatient))
	s.expect("the patient's image comes to its end", "2 keys destroyed", s.finish(ctx, patient, s.image))
	s.expect("she can still be found", "the same patient", s.find(ctx, numberOfAna, s.ana))
	s.expect("the letter, her last record", "2 keys destroyed", s.finish(ctx, patient, s.letter))
	s.expect("with it went the ledger's knowledge of who she was", "404: not found", s.find(ctx, numberOfAna, s.ana))
	var some []*record
	for i, r := range s.rest {
		if i%everyFourth == 0 {
			some = append(some, r)
		}
	}
	s.each(some, fmt.Sprintf("%d more, at the clerk's request", len(some)), "3 keys destroyed", func(r *record) string {
		return s.finish(ctx, s.cast.clerk, r)
	})
	s.each(s.others(), fmt.Sprintf("reading the %d that live", len(s.others())), released, func(r *record) string {
		return s.access(ctx, s.cast.doctor, r, 2, events.PurposeTreatment)
	})
	if !s.first.destroyed {
		return errors.New("the story cannot go on: the first record was not destroyed")
	}
	return nil
}

// finish has somebody ask for the end of a record, and the administrator approve it.
func (s *story) finish(ctx context.Context, who person, r *record) string {
	var asked events.ID
	if o := s.made(&asked)(who.RequestDestruction(ctx, r.id, events.GroundPatientRequest)); o != proved {
		return o
	}
	return s.approve(ctx, r, asked)
}

// approve has the administrator approve a destruction.
func (s *story) approve(ctx context.Context, r *record, asked events.ID, options ...client.Option) string {
	destroyed, err := s.cast.administrator.ApproveDestruction(ctx, asked, options...)
	if err != nil {
		return outcome(err, "")
	}
	if o := s.keep(destroyed.Done); o != proved {
		return o
	}
	if r == s.first {
		s.final = destroyed.Index
	}
	r.destroyed = true
	return fmt.Sprintf("%d keys destroyed", destroyed.Keys)
}

// account is the scene in which the patient is told who saw what, with receipts.
func (s *story) account(ctx context.Context) error {
	s.scene("The patient asks who saw or received what, ever")
	list, err := accesses(ctx, s.cast.patient, s.ana, events.PurposePatient)
	if err != nil {
		return fmt.Errorf("reading the list of accesses: %w", err)
	}
	good, lines := 0, []string{"event time  what      for    whom"}
	for _, e := range list {
		if s.keep(client.Done{Event: e.Event, Index: e.Index, Receipt: e.Receipt}) == proved {
			good++
		}
		if e.Outcome == client.OutcomeReleased || e.Outcome == client.OutcomeDisclosed {
			lines = append(lines, accessLine(e))
		}
	}
	s.quote(strings.Join(lines, "\n"), 100)
	s.done("contents went out in all", count(list, client.OutcomeReleased, client.OutcomeDisclosed))
	s.done("beside them", count(list, client.OutcomeRefused, client.OutcomeNotDelivered, client.OutcomeAnswered))
	s.expect("each line comes with a receipt", fmt.Sprintf("%d × %s", len(list), proved), fmt.Sprintf("%d × %s", good, proved))
	history, err := s.cast.auditor.RecordEvents(ctx, s.first.id, "")
	if err != nil {
		return fmt.Errorf("reading a history: %w", err)
	}
	good = 0
	for _, e := range history.Events {
		if s.keep(client.Done{Event: e.Event, Index: e.Index, Receipt: e.Receipt}) == proved {
			good++
		}
	}
	s.expect("the auditor asks for the whole life of the first record", fmt.Sprintf("%d × %s", len(history.Events), proved),
		fmt.Sprintf("%d × %s", good, proved))
	return nil
}

// accessLine sets an entry of the list of accesses.
func accessLine(e client.Entry) string {
	return fmt.Sprintf("%5d %s %-9s %-6s %s of %s", e.Index, e.Time.Format("15:04"), e.Outcome, e.Purpose, e.Role, e.OrganisationName)
}
