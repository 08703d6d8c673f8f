package demo

import (
	"context"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// cast are the people of the story, each somebody whom the ledger registered
// under a random id.
type cast struct {
	administrator, doctor, nurse, clerk events.ID // of the clinic
	patient                             events.ID // the account of the first record's patient
	insurer                             events.ID // outside
	stranger                            events.ID // a doctor of another clinic
	patientID                           events.ID // whom the first record is about
}

// register registers the cast.
func (s *story) register(ctx context.Context, founding *ledger.Founding) error {
	s.cast = cast{administrator: founding.Administrator, patientID: events.MustNewID()}
	clinic, elsewhere, insurance := founding.Organisation, events.MustNewID(), events.MustNewID()
	for _, r := range []struct {
		as *events.ID
		ledger.Registration
	}{
		{&s.cast.doctor, ledger.Registration{Role: events.RoleClinician, Organisation: clinic}},
		{&s.cast.nurse, ledger.Registration{Role: events.RoleNurse, Organisation: clinic}},
		{&s.cast.clerk, ledger.Registration{Role: events.RoleClerk, Organisation: clinic}},
		{&s.cast.patient, ledger.Registration{Role: events.RolePatient, Organisation: clinic, Patient: s.cast.patientID}},
		{&s.cast.insurer, ledger.Registration{Role: events.RoleRecipient, Organisation: insurance}},
		{&s.cast.stranger, ledger.Registration{Role: events.RoleClinician, Organisation: elsewhere}},
	} {
		result, err := s.ledger.Register(ctx, by(s.cast.administrator), r.Registration)
		if err != nil {
			return fmt.Errorf("registering a %s: %w", r.Role, err)
		}
		*r.as = result.Event.Subject
	}
	return nil
}

// by is a command of an actor.
func by(actor events.ID) ledger.Command { return ledger.Command{Actor: actor} }
