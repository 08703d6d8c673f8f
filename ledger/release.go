package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Release is a content that was released, with the event that says so. The
// caller reads it to its end, or says with Undelivered that it did not arrive, and
// closes it. It is for one goroutine.
type Release struct {
	*Result
	// Record and Version are what is released.
	Record  events.ID
	Version uint32
	// Size is the content's length in bytes, ContentType as it was given.
	Size        int64
	ContentType string

	content io.ReadCloser
	passage *passage
}

// Read implements io.Reader. It fails with ErrRightEnded once the right to read it
// has ended, with vault.ErrDestroyed once the record is being destroyed, and as
// vault.Content does.
func (r *Release) Read(p []byte) (int, error) {
	if err := r.ledger.goOn(r.passage); err != nil {
		return 0, err
	}
	n, err := r.content.Read(p)
	if err != nil && err != io.EOF {
		if reason := r.passage.reason(); reason != nil {
			err = reason
		}
	}
	return n, err
}

// Close implements io.Closer.
func (r *Release) Close() error {
	r.passage.fence.leave(r.passage)
	return r.content.Close()
}

// Undelivered logs that a release did not arrive, or not all of it. Cause is what
// the release or the network failed with.
func (r *Release) Undelivered(ctx context.Context, cause error) error {
	return r.ledger.undelivered(ctx, r.Result, cause)
}

func (l *Ledger) undelivered(ctx context.Context, released *Result, cause error) error {
	failed := &events.DeliveryFailed{Release: released.Event.ID, Reason: events.FailureDisconnected}
	switch d := released.Event.Data.(type) {
	case *events.RecordAccessed:
		failed.Actor = d.Actor
	case *events.RecordReceived:
		failed.Actor = d.Actor
	}
	corrupt := new(vault.CorruptError)
	switch {
	case errors.Is(cause, ErrRightEnded), errors.Is(cause, vault.ErrDestroyed):
		failed.Reason = events.FailureRightEnded
	case errors.As(cause, &corrupt), errors.Is(cause, vault.ErrNotFound), errors.Is(cause, vault.ErrClosed):
		failed.Reason = events.FailureUnavailable
	}
	_, err := l.submit(context.WithoutCancel(ctx), &proposal{
		id: l.keys.deliveryID(released.Event.ID), causation: released.Event.ID, correlation: released.Event.Correlation,
		decide: func(*life.State, moment) (events.ID, events.Data, error) { return released.Event.Subject, failed, nil },
	})
	if err != nil {
		return fmt.Errorf("logging that a release did not arrive: %w", err)
	}
	return nil
}

// Reading asks for the content of a record.
type Reading struct {
	Record  events.ID
	Version uint32 // zero for the newest
	Purpose events.Purpose
}

// Access releases the content of a record to somebody inside, to the patient or to
// a proxy. Every access is an event of its own: idempotency keys do not apply.
func (l *Ledger) Access(ctx context.Context, c Command, r Reading) (*Release, error) {
	request := decision.Request{
		Action: events.ActionAccess, Actor: c.Actor, Purpose: r.Purpose, Record: r.Record, Version: r.Version,
	}
	return l.release(ctx, c, request, func(s *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		version := newest(s, r.Record, r.Version)
		return r.Record, &events.RecordAccessed{Actor: c.Actor, Decision: d, Purpose: r.Purpose, Version: version}, nil
	})
}

// newest is the version that is asked for, or the newest one if that is zero.
func newest(s *life.State, record events.ID, version uint32) uint32 {
	if version == 0 {
		return s.Record(record).Versions
	}
	return version
}

// release decides on a release and opens the content once its event is durable and
// logged. A caller who goes away after the decision gets nothing, and the log says
// so.
func (l *Ledger) release(ctx context.Context, c Command, request decision.Request, event permitted) (*Release, error) {
	result, p, err := l.enterUnderRules(ctx, c, request, event)
	if err != nil {
		return nil, err
	}
	released, err := l.open(ctx, result, p)
	if err != nil {
		l.fence.leave(p)
		return nil, errors.Join(err, l.undelivered(ctx, result, err))
	}
	return released, nil
}

// open opens what a result releases.
func (l *Ledger) open(ctx context.Context, result *Result, p *passage) (*Release, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &Release{Result: result, Record: result.Event.Subject, passage: p}
	switch d := result.Event.Data.(type) {
	case *events.RecordAccessed:
		r.Version = d.Version
	case *events.RecordReceived:
		r.Version = d.Version
	}
	content, err := l.vault.Get(ctx, r.Record, r.Version)
	if err != nil {
		return nil, fmt.Errorf("opening the content: %w", err)
	}
	r.Size, r.ContentType, r.content = content.Size, content.ContentType, content.Reader
	// A reader is closed by whoever reads; closing it here too makes its reads fail.
	if err := p.begin(func() { _ = content.Reader.Close() }); err != nil {
		return nil, errors.Join(err, content.Reader.Close())
	}
	return r, nil
}
