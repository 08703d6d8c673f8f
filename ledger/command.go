package ledger

import (
	"context"
	"errors"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Command is what every command has in common: who gives it, and how a
// repetition is told from a new one.
type Command struct {
	// Actor is who gives the command.
	Actor events.ID
	// Token is the token that the actor logged in with; zero if they logged in in
	// another way. A token that is revoked or expires before the command's turn
	// ends the command with ErrUnauthenticated.
	Token events.ID
	// IdempotencyKey tells the actor's commands apart: giving a command again
	// with the same key answers what it was answered the first time, also after
	// a crash. Empty means that every command is a new one. It is at most
	// MaxIdempotencyKey bytes and never stored.
	IdempotencyKey string
	// Correlation joins the events of one request; zero if there is only one.
	Correlation events.ID
}

// MaxIdempotencyKey is the longest idempotency key in bytes.
const MaxIdempotencyKey = 255

// Result is what a command led to: an event that is durable and in the log.
// Receipt proves it.
type Result struct {
	Event     events.Event
	Index     uint64 // in the log
	Statement []byte // the signed bytes; not to be modified

	published *tlog.Published // covers the event
	ledger    *Ledger
}

// perform runs a command through a turn. Its errors are a *RefusedError,
// ErrUnknownActor, ErrUnauthenticated, ErrBadKey, ErrUnknownOutcome, ErrStopped,
// ctx's, or what the proposal's decide returns.
func (l *Ledger) perform(ctx context.Context, c Command, p *proposal) (*Result, error) {
	if p.id.IsZero() {
		id, err := l.commandID(c)
		if err != nil {
			return nil, err
		}
		p.id = id
	}
	p.actor, p.token, p.correlation = c.Actor, c.Token, c.Correlation
	r, err := l.submit(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := l.refusal(r, p.request); err != nil {
		return nil, err
	}
	return r, nil
}

// act runs a command that makes an event of type D, and compares what it is
// answered with what was asked for: if the event is one of an earlier command with
// the same idempotency key, it must be the same command.
func act[D events.Data](ctx context.Context, l *Ledger, c Command, r decision.Request, event permitted, same func(subject events.ID, d D) bool) (*Result, error) {
	result, err := l.perform(ctx, c, underRules(r, event))
	if err != nil {
		return nil, err
	}
	d, ok := result.Event.Data.(D)
	if !ok || !same(result.Event.Subject, d) {
		return nil, ErrKeyReused
	}
	return result, nil
}

// refusal returns a RefusedError if the result is one. It is ErrKeyReused if
// something else was refused than what is asked for now.
func (l *Ledger) refusal(r *Result, asked decision.Request) error {
	refused, ok := r.Event.Data.(*events.AccessRefused)
	if !ok {
		return nil
	}
	about := r.Event.Subject
	same := about == asked.Actor || about == asked.Record
	if asked.Action.OnPatient() {
		same = about == asked.Actor || l.samePerson(about, asked.Patient)
	}
	if refused.Action != asked.Action || !same {
		return ErrKeyReused
	}
	return &RefusedError{Reason: refused.Decision.Rule, Result: r}
}

func (l *Ledger) commandID(c Command) (events.ID, error) {
	if len(c.IdempotencyKey) > MaxIdempotencyKey {
		return events.ID{}, ErrBadKey
	}
	if c.IdempotencyKey == "" {
		return events.ID{}, nil
	}
	return l.keys.commandID(c.Actor, c.IdempotencyKey), nil
}

// permitted makes an event of what the rules permit: its subject and its data. In
// the request that it gets, patients are whom they stand for after all merges, and
// At is the event's time.
type permitted func(s *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error)

// underRules proposes what the rules are asked about first. What they refuse
// becomes a refusal: about the record or the patient if there is one, else about
// the actor.
func underRules(request decision.Request, event permitted) *proposal {
	return &proposal{request: request, decide: func(s *life.State, now moment) (events.ID, events.Data, error) {
		r := resolve(s, request)
		r.At = now.time
		o := decision.Decide(s, r)
		trace := events.Decision{Position: now.index, Rule: o.Rule, Rules: decision.Version}
		switch {
		case o.Rule == decision.RefusedUnknownActor:
			return events.ID{}, nil, ErrUnknownActor
		case o.Permit:
			return event(s, r, trace)
		}
		purpose := r.Purpose
		if !purpose.Valid() {
			purpose = ""
		}
		return about(s, r), &events.AccessRefused{
			Action: r.Action, Actor: r.Actor, Decision: trace, Purpose: purpose, Share: knownShare(s, r),
		}, nil
	}}
}

// errPermitted ends a proposal that only asks.
var errPermitted = errors.New("permitted")

// ask asks the rules whether an actor may do something. What they refuse is an
// event; what they permit is none yet.
func (l *Ledger) ask(ctx context.Context, c Command, r decision.Request) error {
	c.IdempotencyKey = ""
	_, err := l.perform(ctx, c, underRules(r, func(*life.State, decision.Request, events.Decision) (events.ID, events.Data, error) {
		return events.ID{}, nil, errPermitted
	}))
	if errors.Is(err, errPermitted) {
		return nil
	}
	return err
}

// resolve replaces patients by whom they stand for after all merges.
func resolve(s *life.State, r decision.Request) decision.Request {
	for _, id := range []*events.ID{&r.Patient, &r.Other} {
		if person, p := s.Person(*id); p != nil {
			*id = person
		}
	}
	return r
}

// about is the subject of a refusal: what somebody made up does not enter the log.
func about(s *life.State, r decision.Request) events.ID {
	switch {
	case r.Action.OnPatient() && s.Patient(r.Patient) != nil:
		return r.Patient
	case !r.Action.OnPatient() && s.Record(r.Record) != nil:
		return r.Record
	}
	return r.Actor
}

// knownShare is the share of a request if the ledger issued it.
func knownShare(s *life.State, r decision.Request) events.ID {
	if record := s.Record(r.Record); record != nil {
		if share, ok := record.Share(r.Share); ok {
			return share.ID
		}
	}
	return events.ID{}
}

// newID returns a random id.
func (l *Ledger) newID() (events.ID, error) { return events.NewID(l.config.Random) }
