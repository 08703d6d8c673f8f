package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/commitment"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Command says who acts.
type Command struct {
	// Actor is who gives the command.
	Actor events.ID
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

var (
	// ErrRefused is wrapped by every RefusedError.
	ErrRefused = errors.New("refused")
	// ErrUnknownActor says that no such actor is registered. Nothing is logged:
	// the name of an unknown actor has no place in the log.
	ErrUnknownActor = errors.New("no such actor")
	// ErrConflict says that somebody else changed the record meanwhile.
	ErrConflict = errors.New("the record was changed meanwhile; read it again")
	// ErrKeyReused says that an idempotency key was used for another command.
	ErrKeyReused = errors.New("the idempotency key was used for another command; choose a new one")
	// ErrBadKey says that an idempotency key is too long.
	ErrBadKey = fmt.Errorf("an idempotency key has at most %d bytes", MaxIdempotencyKey)
)

// RefusedError says that a command was not allowed. The refusal is an event.
type RefusedError struct {
	// Reason is one of the reasons of verifier/decision.
	Reason string
	// Result is the refusal's event.
	Result *Result
}

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// Unwrap makes errors.Is(err, ErrRefused) true.
func (e *RefusedError) Unwrap() error { return ErrRefused }

// Result is what a command led to: an event that is durable and in the log.
type Result struct {
	Event     events.Event
	Index     uint64
	Statement []byte // the signed bytes; not to be modified

	logged logged
	ledger *Ledger
}

func (l *Ledger) result(g logged) *Result {
	return &Result{Event: g.event, Index: g.index, Statement: g.statement, logged: g, ledger: l}
}

// perform runs a command through a turn and tells a refusal from a success.
func (l *Ledger) perform(ctx context.Context, c Command, p *proposal) (*Result, error) {
	if p.id.IsZero() {
		id, err := l.commandID(c)
		if err != nil {
			return nil, err
		}
		p.id = id
	}
	p.correlation = c.Correlation
	g, err := l.submit(ctx, p)
	if err != nil {
		return nil, err
	}
	return l.judge(g)
}

// judge makes a RefusedError of a refusal.
func (l *Ledger) judge(g logged) (*Result, error) {
	r := l.result(g)
	if refusal, ok := g.event.Data.(*events.AccessRefused); ok {
		return nil, &RefusedError{Reason: refusal.Decision.Rule, Result: r}
	}
	return r, nil
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

// decided wraps the making of an event's data with the decision that comes
// before it: what is refused becomes a refusal, about the record if there is
// one and else about the actor.
func decided(r decision.Request, permitted func(*life.State, moment, events.Decision) (events.ID, events.Data, error)) func(*life.State, moment) (events.ID, events.Data, error) {
	return func(s *life.State, now moment) (events.ID, events.Data, error) {
		r.At = now.time
		o := decision.Decide(s, r)
		trace := events.Decision{Position: now.index, Rule: o.Rule, Rules: decision.Version}
		switch {
		case o.Rule == decision.RefusedUnknownActor:
			return events.ID{}, nil, ErrUnknownActor
		case o.Permit:
			return permitted(s, now, trace)
		}
		subject := r.Record
		if s.Record(subject) == nil {
			subject = r.Actor
		}
		purpose := r.Purpose
		if !purpose.Valid() {
			purpose = ""
		}
		return subject, &events.AccessRefused{
			Action: r.Action, Actor: r.Actor, Decision: trace, Purpose: purpose, Share: knownShare(s, r),
		}, nil
	}
}

// knownShare is the share of a request if the ledger issued it: what somebody
// made up does not enter the log.
func knownShare(s *life.State, r decision.Request) events.ID {
	if record := s.Record(r.Record); record != nil {
		if share, ok := record.Share(r.Share); ok {
			return share.ID
		}
	}
	return events.ID{}
}

// Registration is a new actor.
type Registration struct {
	Role         events.Role
	Organisation events.ID
	Department   events.ID // zero if in none
	Patient      events.ID // for a patient's account only
}

// Register registers an actor, whose id is the subject of the result's event.
func (l *Ledger) Register(ctx context.Context, c Command, r Registration) (*Result, error) {
	id, err := events.NewID(l.config.Random)
	if err != nil {
		return nil, err
	}
	request := decision.Request{Action: events.ActionRegister, Actor: c.Actor}
	result, err := l.perform(ctx, c, &proposal{
		decide: decided(request, func(_ *life.State, _ moment, d events.Decision) (events.ID, events.Data, error) {
			return id, &events.ActorRegistered{
				By: c.Actor, Decision: d, Department: r.Department, Organisation: r.Organisation,
				Patient: r.Patient, Role: r.Role,
			}, nil
		}),
	})
	if err != nil {
		return nil, err
	}
	if d, ok := result.Event.Data.(*events.ActorRegistered); !ok ||
		(Registration{d.Role, d.Organisation, d.Department, d.Patient}) != r {
		return nil, ErrKeyReused
	}
	return result, nil
}

// Origination is a new record.
type Origination struct {
	Patient         events.ID
	Kind            events.Kind
	Confidentiality events.Confidentiality
	ContentType     string // kept in the vault
}

// Originate creates a record, whose id is the subject of the result's event.
// The content is read to its end, encrypted, and durable before the event is.
func (l *Ledger) Originate(ctx context.Context, c Command, o Origination, content io.Reader) (*Result, error) {
	if found, err := l.repeated(ctx, c); found != nil || err != nil {
		return l.repeatedContent(ctx, found, err, content, func(d events.Data) bool {
			e, ok := d.(*events.RecordOriginated)
			return ok && e.Patient == o.Patient && e.Kind == o.Kind && e.Confidentiality == o.Confidentiality
		})
	}
	// Ordered by time, because random keys touch a random page of every index;
	// the event that carries it has the time as well.
	record, err := events.NewOrderedID(l.config.Clock(), l.config.Random)
	if err != nil {
		return nil, err
	}
	stored, err := l.vault.Put(ctx, record, 1, vault.Meta{ContentType: o.ContentType}, content)
	if err != nil {
		return nil, fmt.Errorf("keeping the content: %w", err)
	}
	request := decision.Request{Action: events.ActionOriginate, Actor: c.Actor}
	result, err := l.perform(ctx, c, &proposal{
		decide: decided(request, func(s *life.State, _ moment, d events.Decision) (events.ID, events.Data, error) {
			actor, _ := s.Actor(c.Actor)
			return record, &events.RecordOriginated{
				Actor: c.Actor, Commitment: events.Digest(stored.Commitment), Confidentiality: o.Confidentiality,
				Decision: d, Department: actor.Department, Kind: o.Kind, Organisation: actor.Organisation,
				Patient: o.Patient, Size: stored.Size,
			}, nil
		}),
	})
	return l.settle(ctx, record, 1, stored, result, err)
}

// Amendment is a new version of a record.
type Amendment struct {
	Record      events.ID
	ContentType string // kept in the vault
}

// Amend adds a version to a record; the earlier ones stay. It answers
// ErrConflict if somebody else amended the record meanwhile.
func (l *Ledger) Amend(ctx context.Context, c Command, a Amendment, content io.Reader) (*Result, error) {
	if found, err := l.repeated(ctx, c); found != nil || err != nil {
		return l.repeatedContent(ctx, found, err, content, func(d events.Data) bool {
			_, ok := d.(*events.RecordAmended)
			return ok && found.event.Subject == a.Record
		})
	}
	var version uint32
	l.view(func(s *life.State) {
		if r := s.Record(a.Record); r != nil && r.Phase == life.Active {
			version = r.Versions + 1
		}
	})
	request := decision.Request{Action: events.ActionAmend, Actor: c.Actor, Record: a.Record}
	if version == 0 { // the record does not exist or is destroyed: only to be refused
		return l.perform(ctx, c, &proposal{decide: decided(request, conflict)})
	}
	stored, err := l.vault.Put(ctx, a.Record, version, vault.Meta{ContentType: a.ContentType}, content)
	if errors.Is(err, vault.ErrExists) {
		return nil, ErrConflict
	}
	if err != nil {
		return nil, fmt.Errorf("keeping the content: %w", err)
	}
	result, err := l.perform(ctx, c, &proposal{
		decide: decided(request, func(s *life.State, _ moment, d events.Decision) (events.ID, events.Data, error) {
			if s.Record(a.Record).Versions+1 != version {
				return events.ID{}, nil, ErrConflict
			}
			return a.Record, &events.RecordAmended{
				Actor: c.Actor, Commitment: events.Digest(stored.Commitment), Decision: d,
				Size: stored.Size, Version: version,
			}, nil
		}),
	})
	return l.settle(ctx, a.Record, version, stored, result, err)
}

func conflict(*life.State, moment, events.Decision) (events.ID, events.Data, error) {
	return events.ID{}, nil, ErrConflict
}

// settle removes the content again if the event that was to announce it did not
// happen. If that is unknown the content stays: the next Open finds out.
func (l *Ledger) settle(ctx context.Context, record events.ID, version uint32, stored vault.Stored, result *Result, err error) (*Result, error) {
	if err == nil && commits(result.Event.Data, stored.Commitment) {
		return result, nil
	}
	if errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrStopped) {
		return nil, err
	}
	// The cleaning up must not depend on a caller who has gone away.
	discarded := l.vault.Discard(context.WithoutCancel(ctx), record, version)
	if discarded != nil && !errors.Is(discarded, vault.ErrDestroyed) && !errors.Is(discarded, vault.ErrNotFound) {
		return nil, fmt.Errorf("discarding a content that was not to be kept: %w", discarded)
	}
	if err == nil { // a concurrent repetition of the same command came first
		return result, nil
	}
	return nil, err
}

func commits(d events.Data, c [commitment.Size]byte) bool {
	switch d := d.(type) {
	case *events.RecordOriginated:
		return d.Commitment == events.Digest(c)
	case *events.RecordAmended:
		return d.Commitment == events.Digest(c)
	}
	return false
}

// repeated looks for the event of a command that was given before.
func (l *Ledger) repeated(ctx context.Context, c Command) (*logged, error) {
	id, err := l.commandID(c)
	if err != nil || id.IsZero() {
		return nil, err
	}
	record, err := l.store.Lookup(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a repeated command: %w", err)
	}
	// The event may be durable and not yet logged: an empty proposal of the same
	// id waits for the turn that it is in.
	g, err := l.submit(ctx, &proposal{id: record.ID, decide: func(*life.State, moment) (events.ID, events.Data, error) {
		return events.ID{}, nil, ErrConflict
	}})
	return &g, err
}

// repeatedContent answers a repeated command whose content must be the same as
// the first time: the commitment in the event is opened with it.
func (l *Ledger) repeatedContent(ctx context.Context, found *logged, err error, content io.Reader, same func(events.Data) bool) (*Result, error) {
	if err != nil {
		return nil, err
	}
	result, err := l.judge(*found)
	if err != nil {
		return nil, err
	}
	if !same(result.Event.Data) {
		return nil, ErrKeyReused
	}
	version := uint32(1)
	if amended, ok := result.Event.Data.(*events.RecordAmended); ok {
		version = amended.Version
	}
	salt, err := l.vault.Opening(ctx, result.Event.Subject, version)
	if errors.Is(err, vault.ErrDestroyed) {
		return result, nil // nobody can tell any more
	}
	if err != nil {
		return nil, fmt.Errorf("comparing a repeated content: %w", err)
	}
	hash := commitment.New(salt)
	if _, err := io.Copy(hash, content); err != nil {
		return nil, fmt.Errorf("reading a repeated content: %w", err)
	}
	if !commits(result.Event.Data, hash.Sum()) {
		return nil, ErrKeyReused
	}
	return result, nil
}
