package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Disclosure shares a version of a record with an outside recipient.
type Disclosure struct {
	Record    events.ID
	Version   uint32 // zero for the newest
	Recipient events.ID
	Purpose   events.Purpose
	Until     events.Timestamp
}

// accounting is what the vault keeps of a disclosure under the patient's
// accounting key: whom it went to, in words, for as long as the law wants an
// account of it (45 CFR 164.528), also after the record is destroyed.
type accounting struct {
	Recipient    events.ID `json:"recipient"`
	Organisation string    `json:"organisation"`
}

// Disclose shares a record; the share's id is in the result's event.
func (l *Ledger) Disclose(ctx context.Context, c Command, d Disclosure) (*Result, error) {
	share, err := l.newID()
	if err != nil {
		return nil, err
	}
	request := decision.Request{
		Action: events.ActionDisclose, Actor: c.Actor, Purpose: d.Purpose, Record: d.Record, Version: d.Version,
		Recipient: d.Recipient, Until: d.Until,
	}
	place, err := l.account(ctx, request, share)
	if err != nil {
		return nil, err
	}
	// The caller's going away does not end it: see announce.
	ctx = context.WithoutCancel(ctx)
	result, err := act(ctx, l, c, request, func(s *life.State, _ decision.Request, trace events.Decision) (events.ID, events.Data, error) {
		return d.Record, &events.RecordDisclosed{
			Actor: c.Actor, Decision: trace, Purpose: d.Purpose, Recipient: d.Recipient,
			Share: share, Until: d.Until, Version: newest(s, d.Record, d.Version),
		}, nil
	}, func(subject events.ID, e *events.RecordDisclosed) bool {
		return subject == d.Record && e.Recipient == d.Recipient && e.Purpose == d.Purpose && e.Until == d.Until &&
			(d.Version == 0 || e.Version == d.Version)
	})
	happened := err == nil && result.Event.Data.(*events.RecordDisclosed).Share == share
	return result, l.settle(ctx, place, happened, err)
}

// account keeps the account of a disclosure that the rules would permit, before
// its event. The place is zero if they would not.
func (l *Ledger) account(ctx context.Context, r decision.Request, share events.ID) (vault.Place, error) {
	if !l.wouldPermit(r) {
		return vault.Place{}, nil
	}
	a := accounting{Recipient: r.Recipient}
	var patient events.ID
	l.view(func(s *life.State) {
		patient, _ = s.Person(s.Record(r.Record).Patient)
		recipient, _ := s.Actor(r.Recipient)
		a.Organisation = recipient.Organisation.String()
	})
	if id, err := events.ParseID(a.Organisation); err == nil {
		if name, err := l.NameOf(ctx, id); err == nil && name != "" {
			a.Organisation = name
		}
	}
	doc, err := json.Marshal(a)
	if err != nil {
		return vault.Place{}, err
	}
	place := vault.Place{Space: vault.Accounting, Owner: patient, ID: share}
	if _, err := l.vault.PutDocument(ctx, place, doc); err != nil {
		return vault.Place{}, l.notKept("keeping the account of a disclosure", err)
	}
	return place, nil
}

// RecipientName returns the name of the organisation that a share was disclosed to,
// as it was then: from the account of the disclosure, which outlives the record. It
// is "" if there is no such account any more.
func (l *Ledger) RecipientName(ctx context.Context, share events.ID) (string, error) {
	// The account lies with the patient as they were known when it was made.
	var owners []events.ID
	l.view(func(s *life.State) {
		if record := s.Record(s.Shared(share)); record != nil {
			for id, p := record.Patient, s.Patient(record.Patient); p != nil; id, p = p.Into, s.Patient(p.Into) {
				owners = append(owners, id)
			}
		}
	})
	for _, owner := range owners {
		doc, err := l.vault.Document(ctx, vault.Place{Space: vault.Accounting, Owner: owner, ID: share})
		if errors.Is(err, vault.ErrNotFound) || errors.Is(err, vault.ErrDestroyed) {
			continue
		}
		var a accounting
		if err == nil {
			err = json.Unmarshal(doc, &a)
		}
		if err != nil {
			return "", fmt.Errorf("reading the account of a disclosure: %w", err)
		}
		return a.Organisation, nil
	}
	return "", nil
}

// Receive releases what is shared to its recipient. Like an access, every one
// is an event of its own.
func (l *Ledger) Receive(ctx context.Context, c Command, share events.ID) (*Release, error) {
	record := l.shared(share)
	request := decision.Request{Action: events.ActionReceive, Actor: c.Actor, Record: record, Share: share}
	return l.release(ctx, c, request, func(s *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		shared, _ := s.Record(record).Share(share)
		return record, &events.RecordReceived{Actor: c.Actor, Decision: d, Share: share, Version: shared.Version}, nil
	})
}

// shared is the record that a share is of; zero if there is no such share.
func (l *Ledger) shared(share events.ID) (record events.ID) {
	l.view(func(s *life.State) { record = s.Shared(share) })
	return record
}

// AcknowledgeShare says that a recipient has what was shared.
func (l *Ledger) AcknowledgeShare(ctx context.Context, c Command, share events.ID) (*Result, error) {
	record := l.shared(share)
	request := decision.Request{Action: events.ActionAcknowledge, Actor: c.Actor, Record: record, Share: share}
	return act(ctx, l, c, request, func(_ *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return record, &events.ShareAcknowledged{Actor: c.Actor, Decision: d, Share: share}, nil
	}, func(_ events.ID, d *events.ShareAcknowledged) bool { return d.Share == share })
}

// EndShare ends a share before its time: when it returns, whatever was being
// released under it has ended.
func (l *Ledger) EndShare(ctx context.Context, c Command, share events.ID) (*Result, error) {
	record := l.shared(share)
	request := decision.Request{Action: events.ActionEndShare, Actor: c.Actor, Record: record, Share: share}
	return act(ctx, l, c, request, func(_ *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return record, &events.ShareEnded{Actor: c.Actor, Decision: d, Share: share}, nil
	}, func(_ events.ID, d *events.ShareEnded) bool { return d.Share == share })
}
