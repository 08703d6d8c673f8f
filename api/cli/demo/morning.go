package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/proof"
)

// open is the scene in which the ledger is made and its people are registered.
func (s *story) open(ctx context.Context) error {
	s.scene("A clinic opens its ledger, on one PC")
	s.command("medledger", "init", "--dir", firstMachine, "--origin", origin)
	if _, err := s.medledger.run(ctx, "init", "--dir", s.old.Data, "--origin", origin); err != nil {
		return err
	}
	s.done("keys, the log's first events, an administrator's token", "made")
	if err := s.loadKey(s.old); err != nil {
		return err
	}
	s.command("medledger", "serve", "--dir", firstMachine)
	if err := s.serve(ctx, s.old); err != nil {
		return err
	}
	token, err := readToken(s.old.AdminToken())
	if err != nil {
		return err
	}
	s.cast.administrator = s.holding(token)
	if err := s.staff(ctx); err != nil {
		return err
	}
	s.done("the administrator registers a doctor and a nurse of the ward, another doctor, a clerk, an insurer, a pharmacy, an auditor", "7 tokens")
	admin := s.cast.administrator
	first, err := admin.RegisterActor(ctx, nightNurse, client.WithKey("night nurse"))
	if err != nil {
		return fmt.Errorf("registering a nurse: %w", err)
	}
	second, err := admin.RegisterActor(ctx, nightNurse, client.WithKey("night nurse"))
	s.expect("another nurse, twice, with the same key", "one nurse, her token shown once", outcome(err, registeredOnce(first, second)))
	s.expect("that token is taken back", "revoked", outcome(admin.RevokeToken(ctx, first.ID, first.TokenID), "revoked"))
	_, err = s.holding(first.Token).ListRecords(ctx, first.ID, client.RecordQuery{})
	s.expect("somebody with that token", "401: unauthorized", outcome(err, "let in"))
	_, err = s.holding("").ListRecords(ctx, first.ID, client.RecordQuery{})
	s.expect("somebody without a token", "401: unauthorized", outcome(err, "let in"))
	_, err = s.cast.doctor.RegisterActor(ctx, nightNurse)
	s.expect("the doctor registers a nurse", "403: role-not-allowed", outcome(err, "done"))
	return nil
}

// nightNurse is somebody who is registered and plays no part.
var nightNurse = client.Registration{Role: events.RoleNurse, Department: ward}

func registeredOnce(first, second *client.Registered) string {
	switch {
	case second == nil:
		return ""
	case first.ID != second.ID || first.Index != second.Index:
		return "two nurses"
	case first.Token == "" || second.Token != "" || !second.TokenShown:
		return "one nurse, her token shown again"
	}
	return "one nurse, her token shown once"
}

// loadKey takes the log's verifier key, which the clinic hands out on its first day.
func (s *story) loadKey(at ledger.Folder) error {
	text, err := os.ReadFile(at.VerifierKey())
	if err == nil {
		s.verifier, err = proof.ParseVerifierKey(text)
	}
	if err != nil {
		return fmt.Errorf("reading the log's verifier key: %w", err)
	}
	return nil
}

// serve starts the service on a ledger.
func (s *story) serve(ctx context.Context, at ledger.Folder) (err error) {
	if s.server, err = s.medledger.serve(ctx, at.Data, s.messages); err != nil {
		return err
	}
	s.done("the service, in a process of its own", s.server.url)
	return nil
}

// The external identifiers of the story's patients.
var (
	numberOfAna  = client.Identifier{System: "urn:example:clinic", Value: "A-0001"}
	policyOfAna  = client.Identifier{System: "urn:example:insurance", Value: "123-456-789"}
	numberOfTwin = client.Identifier{System: "urn:example:clinic", Value: "A-0002"}
	numberOfBen  = client.Identifier{System: "urn:example:clinic", Value: "B-0001"}
)

// arrive is the scene in which patients come in.
func (s *story) arrive(ctx context.Context) error {
	s.scene("Patients come in; the ledger knows them by random ids only")
	clerk := s.cast.clerk
	s.expect("the clerk registers a patient by two numbers", proved,
		s.made(&s.ana)(clerk.RegisterPatient(ctx, []client.Identifier{numberOfAna, policyOfAna})))
	s.expect("… and finds her by the number of her insurance", "the same patient", s.find(ctx, policyOfAna, s.ana))
	s.expect("a number that nobody has", "404: not found", s.find(ctx, numberOfTwin, s.ana))
	_, err := clerk.RegisterPatient(ctx, []client.Identifier{policyOfAna})
	s.expect("the insurance number, registered again", "409: conflict", outcome(err, "registered"))
	s.expect("the nurse, at night, registers her by another number", proved,
		s.made(&s.twin)(s.cast.nurse.RegisterPatient(ctx, []client.Identifier{numberOfTwin})))
	s.expect("the clerk sees that both are one, and merges them", proved, s.happened(clerk.MergePatients(ctx, s.twin, s.ana)))
	s.expect("the patient of the second number is", "the same patient", s.find(ctx, numberOfTwin, s.ana))
	s.expect("another patient", proved, s.made(&s.ben)(clerk.RegisterPatient(ctx, []client.Identifier{numberOfBen})))
	if s.ana.IsZero() || s.ben.IsZero() {
		return errors.New("the story cannot go on without its patients")
	}
	if err := s.accounts(ctx); err != nil {
		return err
	}
	s.done("the administrator gives her, and her daughter, an account", "2 tokens")
	var appointment, admission events.ID
	s.expect("the clerk appoints the daughter, to read, until tonight", proved,
		s.made(&appointment)(clerk.AppointProxy(ctx, s.ana, client.Appointment{
			Proxy: s.cast.daughter.id, Scope: []events.ProxyScope{events.ProxyRead}, Until: s.now().Add(8 * time.Hour),
		})))
	for _, patient := range []struct {
		who string
		id  events.ID
	}{{"admission: the ward cares for the patient", s.ana}, {"… and for the other one", s.ben}} {
		s.expect(patient.who, proved, s.made(&admission)(clerk.OpenCare(ctx, patient.id, client.Care{Department: s.ward})))
	}
	return nil
}

// find looks a patient up as the clerk.
func (s *story) find(ctx context.Context, by client.Identifier, want events.ID) string {
	found, err := s.cast.clerk.FindPatient(ctx, by, events.PurposeTreatment)
	if err == nil && found != want {
		return "another patient"
	}
	return outcome(err, "the same patient")
}

// accounts gives the patient and her daughter tokens of their own.
func (s *story) accounts(ctx context.Context) error {
	if _, err := s.register(ctx, client.Registration{Role: events.RolePatient, Patient: s.ana}, &s.cast.patient); err != nil {
		return err
	}
	_, err := s.register(ctx, client.Registration{Role: events.RoleProxy}, &s.cast.daughter)
	return err
}
