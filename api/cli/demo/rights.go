package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// own is the scene in which the patient and her daughter use their own rights.
func (s *story) own(ctx context.Context) error {
	s.scene("The patient, and her daughter in her name")
	patient, daughter := s.cast.patient, s.cast.daughter
	s.expect("the patient reads her record", released, s.access(ctx, patient, s.first, 2, events.PurposePatient))
	s.expect("the patient reads somebody else's", "404: not found", s.access(ctx, patient, s.visit, 1, events.PurposePatient))
	s.expect("the daughter reads her mother's", released, s.access(ctx, daughter, s.first, 2, events.PurposeFamily))
	s.expect("the daughter reads somebody else's", "404: not found", s.access(ctx, daughter, s.visit, 1, events.PurposeFamily))
	_, err := daughter.RequestDestruction(ctx, s.first.id, "")
	s.expect("the daughter asks for its end, which she may not", "404: not found", outcome(err, "done"))
	_, err = daughter.WithdrawImplied(ctx, s.ana, events.PurposeTreatment)
	s.expect("the daughter withdraws a consent", "404: not found", outcome(err, "done"))
	list, err := accesses(ctx, patient, s.ana, events.PurposePatient)
	s.expect("the patient asks who saw what", "6 released, 9 refused",
		outcome(err, count(list, client.OutcomeReleased, client.OutcomeRefused)))
	s.expect("… and reads that the curious doctor tried", "refused: no-care-relationship", attempt(list, s.cast.colleague.id))
	return nil
}

// attempt says what a list of accesses tells of somebody's last attempt.
func attempt(list []client.Entry, who events.ID) string {
	said := "nothing"
	for _, e := range list {
		if e.Actor == who {
			said = e.Outcome + ": " + e.Reason
		}
	}
	return said
}

// withdraw is the scene in which a consent is withdrawn while somebody reads.
func (s *story) withdraw(ctx context.Context) error {
	s.scene("A consent is withdrawn while the nurse reads")
	const treat = events.PurposeTreatment
	content, err := s.cast.nurse.Content(ctx, s.image.id, 1, treat)
	if err != nil {
		return fmt.Errorf("reading the image: %w", err)
	}
	if _, err := io.CopyN(io.Discard, content.Body, 64<<10); err != nil {
		return errors.Join(fmt.Errorf("reading the image: %w", err), content.Body.Close())
	}
	s.done("the nurse begins to read the image", fmt.Sprintf("of %s", bytesText(content.Size)))
	s.expect("the patient withdraws her consent to treatment", proved, s.happened(s.cast.patient.WithdrawImplied(ctx, s.ana, treat)))
	rest, err := io.Copy(io.Discard, content.Body)
	if err := content.Body.Close(); err != nil {
		return fmt.Errorf("closing what was read: %w", err)
	}
	what := fmt.Sprintf("the nurse reads on, for %s that was under way", bytesText(rest))
	s.expect(what, "cut off", cutOff(err))
	reason, err := s.undelivered(ctx, content.Event)
	s.expect("the log says of that reading", "not-delivered: right-ended", outcome(err, reason))
	s.expect("the nurse reads it again", "403: consent-withdrawn", s.access(ctx, s.cast.nurse, s.image, 1, treat))
	s.expect("the doctor reads the first record", "403: consent-withdrawn", s.access(ctx, s.cast.doctor, s.first, 2, treat))
	s.expect("the patient reads her own", released, s.access(ctx, s.cast.patient, s.first, 2, events.PurposePatient))
	var consent events.ID
	s.expect("the patient consents again", proved, s.made(&consent)(s.cast.patient.GrantConsent(ctx, s.ana, treat)))
	s.expect("the nurse reads the image", released, s.access(ctx, s.cast.nurse, s.image, 1, treat))
	return nil
}

func cutOff(err error) string {
	if err == nil {
		return "read to its end"
	}
	return "cut off"
}

// logWithin is how long the service may take to log that a reading was cut off.
const logWithin = 5 * time.Second

// undelivered waits until the patient's list says of a release that it did not
// arrive.
func (s *story) undelivered(ctx context.Context, release events.ID) (string, error) {
	for begun := s.now(); ; {
		list, err := accesses(ctx, s.cast.patient, s.ana, events.PurposePatient)
		if err != nil {
			return "", err
		}
		for _, e := range list {
			if e.Release == release {
				return e.Outcome + ": " + e.Reason, nil
			}
		}
		if s.now().Sub(begun) > logWithin {
			return "nothing", nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// wait waits for a time or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
