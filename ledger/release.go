package ledger

import (
	"context"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Release is a content that was released, with the event that says so. The
// caller closes the content.
type Release struct {
	*Result
	Content *vault.Content
	// Version is which version it is.
	Version uint32
}

// Reading asks for the content of a record.
type Reading struct {
	Record  events.ID
	Version uint32 // zero for the newest
	Purpose events.Purpose
}

// Access releases the content of a record to somebody inside. Every access is
// an event of its own: idempotency keys do not apply.
func (l *Ledger) Access(ctx context.Context, c Command, r Reading) (*Release, error) {
	request := decision.Request{
		Action: events.ActionAccess, Actor: c.Actor, Purpose: r.Purpose, Record: r.Record, Version: r.Version,
	}
	c.IdempotencyKey = ""
	result, err := l.perform(ctx, c, underRules(request, func(s *life.State, _ moment, d events.Decision) (events.ID, events.Data, error) {
		version := newest(s, r.Record, r.Version)
		return r.Record, &events.RecordAccessed{Actor: c.Actor, Decision: d, Purpose: r.Purpose, Version: version}, nil
	}))
	if err != nil {
		return nil, err
	}
	return l.release(ctx, result, result.Event.Data.(*events.RecordAccessed).Version)
}

// newest is the version that is asked for, or the newest one if that is zero.
func newest(s *life.State, record events.ID, version uint32) uint32 {
	if version == 0 {
		return s.Record(record).Versions
	}
	return version
}

// release opens a content whose release is durable and logged. A destruction
// that started in between wins: it is then vault.ErrDestroyed.
func (l *Ledger) release(ctx context.Context, result *Result, version uint32) (*Release, error) {
	content, err := l.vault.Get(ctx, result.Event.Subject, version)
	if err != nil {
		return nil, fmt.Errorf("opening the content: %w", err)
	}
	return &Release{Result: result, Content: content, Version: version}, nil
}

// Disclosure shares a version of a record with an outside recipient.
type Disclosure struct {
	Record    events.ID
	Version   uint32 // zero for the newest
	Recipient events.ID
	Purpose   events.Purpose
	Until     events.Timestamp
}

// Disclose shares a record; the share's id is in the result's event.
func (l *Ledger) Disclose(ctx context.Context, c Command, d Disclosure) (*Result, error) {
	share, err := events.NewID(l.config.Random)
	if err != nil {
		return nil, err
	}
	request := decision.Request{
		Action: events.ActionDisclose, Actor: c.Actor, Purpose: d.Purpose, Record: d.Record, Version: d.Version,
		Recipient: d.Recipient, Until: d.Until,
	}
	result, err := l.perform(ctx, c, underRules(request, func(s *life.State, _ moment, trace events.Decision) (events.ID, events.Data, error) {
		version := newest(s, d.Record, d.Version)
		return d.Record, &events.RecordDisclosed{
			Actor: c.Actor, Decision: trace, Purpose: d.Purpose, Recipient: d.Recipient,
			Share: share, Until: d.Until, Version: version,
		}, nil
	}))
	if err != nil {
		return nil, err
	}
	e, ok := result.Event.Data.(*events.RecordDisclosed)
	if !ok || result.Event.Subject != d.Record || e.Recipient != d.Recipient || e.Purpose != d.Purpose || e.Until != d.Until ||
		d.Version != 0 && e.Version != d.Version {
		return nil, ErrKeyReused
	}
	return result, nil
}

// Receive releases what is shared to its recipient. Like an access, every one
// is an event of its own.
func (l *Ledger) Receive(ctx context.Context, c Command, record, share events.ID) (*Release, error) {
	request := decision.Request{Action: events.ActionReceive, Actor: c.Actor, Record: record, Share: share}
	c.IdempotencyKey = ""
	result, err := l.perform(ctx, c, underRules(request, func(s *life.State, _ moment, d events.Decision) (events.ID, events.Data, error) {
		shared, _ := s.Record(record).Share(share)
		return record, &events.RecordReceived{Actor: c.Actor, Decision: d, Share: share, Version: shared.Version}, nil
	}))
	if err != nil {
		return nil, err
	}
	return l.release(ctx, result, result.Event.Data.(*events.RecordReceived).Version)
}
