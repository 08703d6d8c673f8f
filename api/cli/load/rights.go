package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// What the mixed load does to patients, and to rights.

// do gives a command that has no content, and writes down how it was answered.
func (l *mixed) do(actor events.ID, f func(ledger.Command) (*ledger.Result, error)) (*ledger.Result, error) {
	c := l.command(actor)
	r, err := f(c)
	return l.settle(c, r, err, Ack{})
}

// register registers a patient twice at the same time with the same key, and then
// once more under the identifier that is taken.
func (l *mixed) register(ctx context.Context, w *Worker) error {
	patient, err := l.newPatient(ctx)
	if err != nil {
		return err
	}
	l.Replace(l.PickPatient(w), patient)
	return nil
}

func (l *mixed) newPatient(ctx context.Context) (events.ID, error) {
	key := l.key()
	ids := identifiers(key)
	var patient events.ID
	register := func() (*ledger.Result, error) {
		c := l.command(l.Clerk)
		c.IdempotencyKey = key
		r, err := l.RegisterPatient(ctx, c, ids)
		return l.settle(c, r, err, Ack{Identifier: key})
	}
	err := together(func() error {
		_, err := register()
		return err
	})
	if err != nil {
		return patient, err
	}
	r, err := register()
	if err != nil || r == nil {
		return patient, errors.Join(err, errors.New("a patient who was registered cannot be registered again"))
	}
	patient = r.Event.Subject
	if _, err := l.RegisterPatient(ctx, l.command(l.Clinician), ids); !errors.Is(err, ledger.ErrIdentifierTaken) {
		return patient, fmt.Errorf("a second patient under the same identifier: %w", err)
	}
	return patient, nil
}

// anotherFor registers somebody in place of a patient.
func (l *mixed) anotherFor(ctx context.Context, old events.ID) error {
	patient, err := l.newPatient(ctx)
	if err != nil {
		return err
	}
	l.Replace(old, patient)
	return nil
}

// care has the visitor read a record before, during and after a care relationship
// with its patient.
func (l *mixed) care(ctx context.Context, w *Worker) error {
	patient := l.PickPatient(w)
	r, err := l.createFor(ctx, w, patient)
	if err != nil || r == nil {
		return err
	}
	read := func() error { return l.accessBy(ctx, l.command(l.Visitor), r.Event.Subject) }
	opened, err := l.do(l.Clerk, func(c ledger.Command) (*ledger.Result, error) {
		return l.OpenCare(ctx, c, ledger.Care{Patient: patient, Member: l.Visitor})
	})
	if err := errors.Join(err, read()); err != nil || opened == nil {
		return err
	}
	_, err = l.do(l.Clerk, func(c ledger.Command) (*ledger.Result, error) {
		return l.CloseCare(ctx, c, patient, opened.Event.Data.(*events.CareOpened).Relationship)
	})
	return errors.Join(err, read())
}

// consent withdraws a patient's consent to treatment, while others read, and gives
// it again or gives the patient's place to another.
func (l *mixed) consent(ctx context.Context, w *Worker) error {
	patient := l.PickPatient(w)
	r, err := l.createFor(ctx, w, patient)
	if err != nil || r == nil {
		return err
	}
	_, err = l.do(l.Clerk, func(c ledger.Command) (*ledger.Result, error) {
		return l.WithdrawConsent(ctx, c, patient, events.ID{}, events.PurposeTreatment)
	})
	if err := errors.Join(err, l.accessBy(ctx, l.command(l.Clinician), r.Event.Subject)); err != nil {
		return err
	}
	if w.IntN(2) == 0 {
		return l.anotherFor(ctx, patient)
	}
	_, err = l.do(l.Clerk, func(c ledger.Command) (*ledger.Result, error) {
		return l.GrantConsent(ctx, c, patient, events.PurposeTreatment)
	})
	return errors.Join(err, l.accessBy(ctx, l.command(l.Clinician), r.Event.Subject))
}

// merge merges two patients while others file records under both.
func (l *mixed) merge(ctx context.Context, w *Worker) error {
	patient, into := l.PickPatient(w), l.PickPatient(w)
	if err := l.anotherFor(ctx, patient); err != nil {
		return err
	}
	_, err := l.do(l.Clerk, func(c ledger.Command) (*ledger.Result, error) {
		return l.MergePatients(ctx, c, patient, into)
	})
	return err
}

func (l *mixed) refile(ctx context.Context, w *Worker) error {
	_, err := l.do(l.Clerk, func(c ledger.Command) (*ledger.Result, error) {
		return l.Refile(ctx, c, l.Pick(w), l.PickPatient(w))
	})
	return err
}

// token logs the clinician in with a token, half the time until it is revoked.
func (l *mixed) token(ctx context.Context, w *Worker) error {
	c := l.command(l.Administrator)
	r, secret, err := l.IssueToken(ctx, c, l.Clinician, events.At(time.Now().Add(time.Hour)))
	if err != nil {
		return err
	}
	token := r.Event.Data.(*events.TokenIssued).Token
	if _, err := l.settle(c, r, nil, Ack{Secret: secret, Token: token}); err != nil {
		return err
	}
	who, err := l.Authenticate(secret)
	if err != nil || who.ActorID != l.Clinician {
		return fmt.Errorf("a new token is that of %v: %w", who.ActorID, err)
	}
	c = l.command(l.Clinician)
	c.Token = token
	if err := l.accessBy(ctx, c, l.Pick(w)); err != nil || w.IntN(2) == 0 {
		return err
	}
	_, err = l.do(l.Administrator, func(c ledger.Command) (*ledger.Result, error) {
		return l.RevokeToken(ctx, c, l.Clinician, token)
	})
	if err != nil {
		return err
	}
	if _, err := l.Authenticate(secret); !errors.Is(err, ledger.ErrUnauthenticated) {
		return fmt.Errorf("logging in with a revoked token: %w", err)
	}
	c.Correlation = events.MustNewID()
	return l.accessBy(ctx, c, l.Pick(w))
}

// share discloses a record and has the recipient receive and acknowledge it, and
// half the time tries again when the share has ended.
func (l *mixed) share(ctx context.Context, w *Worker) error {
	record := l.Pick(w)
	r, err := l.do(l.Clinician, func(c ledger.Command) (*ledger.Result, error) {
		return l.Disclose(ctx, c, ledger.Disclosure{
			Record: record, Recipient: l.Recipient, Purpose: events.PurposeTreatment,
			Until: events.At(time.Now().Add(time.Hour)),
		})
	})
	if err != nil || r == nil {
		return err
	}
	share := r.Event.Data.(*events.RecordDisclosed).Share
	receive := func() error {
		c := l.command(l.Recipient)
		received, err := l.Receive(ctx, c, share)
		return l.released(ctx, c, received, err)
	}
	if err := receive(); err != nil {
		return err
	}
	_, err = l.do(l.Recipient, func(c ledger.Command) (*ledger.Result, error) { return l.AcknowledgeShare(ctx, c, share) })
	if err != nil || w.IntN(2) == 0 {
		return err
	}
	_, err = l.do(l.Clerk, func(c ledger.Command) (*ledger.Result, error) { return l.EndShare(ctx, c, share) })
	return errors.Join(err, receive())
}

// destroy destroys a record that others may be at work on: the clerk asks twice at
// the same time, and the administrator approves twice.
func (l *mixed) destroy(ctx context.Context, w *Worker) error {
	record := l.Take(w)
	requests := make(chan events.ID, 2)
	err := together(func() error {
		r, err := l.do(l.Clerk, func(c ledger.Command) (*ledger.Result, error) {
			return l.RequestDestruction(ctx, c, record, events.GroundRetentionEnded)
		})
		if r != nil {
			requests <- r.Event.Data.(*events.DestructionRequested).Destruction
		}
		return err
	})
	close(requests)
	request, ok := <-requests
	if err != nil || !ok {
		return err
	}
	return together(func() error {
		_, err := l.do(l.Administrator, func(c ledger.Command) (*ledger.Result, error) {
			return l.ApproveDestruction(ctx, c, request)
		})
		return err
	})
}
