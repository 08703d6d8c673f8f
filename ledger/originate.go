package ledger

import (
	"context"
	"errors"
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
	request := decision.Request{Action: events.ActionOriginate, Actor: c.Actor, Patient: o.Patient}
	done, err := l.oneAtATime(ctx, c)
	if err != nil {
		return nil, err
	}
	defer done()
	found, err := l.repeated(ctx, c)
	if err != nil {
		return nil, err
	}
	if found != nil {
		e, ok := found.Event.Data.(*events.RecordOriginated)
		same := ok && l.samePerson(e.Patient, o.Patient) && e.Kind == o.Kind && e.Confidentiality == o.Confidentiality
		return l.repeatedContent(ctx, found, request, repetition{same, 1, o.ContentType}, content)
	}
	if !l.wouldPermit(request) {
		return l.perform(ctx, c, underRules(request, conflict))
	}
	// Ordered by time, because random keys touch a random page of every index;
	// the event that carries it has the time as well.
	record, err := events.NewOrderedID(l.config.Clock(), l.config.Random)
	if err != nil {
		return nil, err
	}
	stored, err := l.vault.Put(ctx, record, 1, vault.Meta{ContentType: o.ContentType}, content)
	if err != nil {
		return nil, l.notKept("keeping the content", err)
	}
	return l.announce(ctx, c, record, 1, stored, underRules(request, func(s *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		actor, _ := s.Actor(c.Actor)
		return record, &events.RecordOriginated{
			Actor: c.Actor, Commitment: events.Digest(stored.Commitment), Confidentiality: o.Confidentiality,
			Decision: d, Department: actor.Department, Kind: o.Kind, Organisation: actor.Organisation,
			Patient: r.Patient, Size: stored.Size,
		}, nil
	}))
}

// Amendment is a new version of a record.
type Amendment struct {
	Record      events.ID
	ContentType string // kept in the vault
	// Replaces is the version that must be the newest; zero for whichever is.
	Replaces uint32
}

// Amend adds a version to a record; the earlier ones stay. It answers
// ErrVersion if another version than the given one is the newest, ErrConflict if
// somebody else amended the record meanwhile.
func (l *Ledger) Amend(ctx context.Context, c Command, a Amendment, content io.Reader) (*Result, error) {
	request := decision.Request{Action: events.ActionAmend, Actor: c.Actor, Record: a.Record}
	done, err := l.oneAtATime(ctx, c)
	if err != nil {
		return nil, err
	}
	defer done()
	found, err := l.repeated(ctx, c)
	if err != nil {
		return nil, err
	}
	if found != nil {
		e, ok := found.Event.Data.(*events.RecordAmended)
		if !ok {
			e = new(events.RecordAmended)
		}
		same := ok && found.Event.Subject == a.Record
		return l.repeatedContent(ctx, found, request, repetition{same, e.Version, a.ContentType}, content)
	}
	if !l.wouldPermit(request) {
		return l.perform(ctx, c, underRules(request, conflict))
	}
	var version uint32
	l.view(func(s *life.State) { version = s.Record(a.Record).Versions + 1 })
	if a.Replaces != 0 && a.Replaces+1 != version {
		return nil, ErrVersion
	}
	stored, err := l.vault.Put(ctx, a.Record, version, vault.Meta{ContentType: a.ContentType}, content)
	if errors.Is(err, vault.ErrExists) {
		return nil, ErrConflict
	}
	if err != nil {
		return nil, l.notKept("keeping the content", err)
	}
	return l.announce(ctx, c, a.Record, version, stored, underRules(request, func(s *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		if s.Record(a.Record).Versions+1 != version {
			return events.ID{}, nil, ErrConflict
		}
		return a.Record, &events.RecordAmended{
			Actor: c.Actor, Commitment: events.Digest(stored.Commitment), Decision: d,
			Size: stored.Size, Version: version,
		}, nil
	}))
}

// wouldPermit asks the rules before a content is read and kept for nothing. What
// counts is what they say in the command's turn.
func (l *Ledger) wouldPermit(r decision.Request) (permit bool) {
	r.At = events.At(l.config.Clock())
	l.view(func(s *life.State) { permit = decision.Decide(s, resolve(s, r)).Permit })
	return permit
}

// conflict is the event of a command that the rules would have refused a moment
// ago: it has no content.
func conflict(*life.State, decision.Request, events.Decision) (events.ID, events.Data, error) {
	return events.ID{}, nil, ErrConflict
}

// announce proposes the event of a content that is in the vault, and removes the
// content again if the event does not happen. It takes no longer than a turn, and
// the caller's going away does not end it: else the content would be in the way of
// the next one, with nobody to remove it.
func (l *Ledger) announce(ctx context.Context, c Command, record events.ID, version uint32, stored vault.Stored, p *proposal) (*Result, error) {
	ctx = context.WithoutCancel(ctx)
	result, err := l.perform(ctx, c, p)
	if err == nil && commits(result.Event.Data, stored.Commitment) {
		return result, nil
	}
	if errors.Is(err, ErrStopped) {
		return nil, err // whether it happened the next Open finds out
	}
	if err == nil {
		err = ErrKeyReused // for a command of another sort, at the same moment
	}
	discardErr := l.vault.Discard(ctx, record, version)
	if errors.Is(discardErr, vault.ErrDestroyed) || errors.Is(discardErr, vault.ErrNotFound) {
		discardErr = nil // a destruction of the record took it along
	}
	return nil, errors.Join(err, discardErr)
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
