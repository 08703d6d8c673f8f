package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/commitment"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

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
	found, err := l.repeated(ctx, c)
	if err != nil {
		return nil, err
	}
	if found != nil {
		e, ok := found.Event.Data.(*events.RecordOriginated)
		same := ok && e.Patient == o.Patient && e.Kind == o.Kind && e.Confidentiality == o.Confidentiality
		return l.repeatedContent(ctx, found, same, 1, content)
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
		decide: underRules(request, func(s *life.State, _ moment, d events.Decision) (events.ID, events.Data, error) {
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
	found, err := l.repeated(ctx, c)
	if err != nil {
		return nil, err
	}
	if found != nil {
		e, ok := found.Event.Data.(*events.RecordAmended)
		if !ok {
			e = new(events.RecordAmended)
		}
		return l.repeatedContent(ctx, found, ok && found.Event.Subject == a.Record, e.Version, content)
	}
	var version uint32
	l.view(func(s *life.State) {
		if r := s.Record(a.Record); r != nil && r.Phase == life.Active {
			version = r.Versions + 1
		}
	})
	request := decision.Request{Action: events.ActionAmend, Actor: c.Actor, Record: a.Record}
	if version == 0 { // the record does not exist or is destroyed: only to be refused
		return l.perform(ctx, c, &proposal{decide: underRules(request, conflict)})
	}
	stored, err := l.vault.Put(ctx, a.Record, version, vault.Meta{ContentType: a.ContentType}, content)
	if errors.Is(err, vault.ErrExists) {
		return nil, ErrConflict
	}
	if err != nil {
		return nil, fmt.Errorf("keeping the content: %w", err)
	}
	result, err := l.perform(ctx, c, &proposal{
		decide: underRules(request, func(s *life.State, _ moment, d events.Decision) (events.ID, events.Data, error) {
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

// settle removes a content again if the event that was to announce it did not
// happen. If that is unknown the content stays: the next Open finds out.
func (l *Ledger) settle(ctx context.Context, record events.ID, version uint32, stored vault.Stored, result *Result, err error) (*Result, error) {
	if err == nil && commits(result.Event.Data, stored.Commitment) {
		return result, nil
	}
	if errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrStopped) {
		return nil, err
	}
	// The cleaning up must not depend on a caller who has gone away.
	discardErr := l.vault.Discard(context.WithoutCancel(ctx), record, version)
	if errors.Is(discardErr, vault.ErrDestroyed) || errors.Is(discardErr, vault.ErrNotFound) {
		discardErr = nil // a destruction of the record took it along
	}
	if err = errors.Join(err, discardErr); err != nil {
		return nil, err
	}
	return result, nil // of a concurrent repetition of the same command, which came first
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
