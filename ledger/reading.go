package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/projections/records"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Listing asks which records there are of a patient.
type Listing struct {
	Patient events.ID
	Purpose events.Purpose
	records.Filter
}

// ListRecords finds a patient's records. Finding is an access: it is an event,
// which is durable before the answer. What is listed depends on the rule that
// permitted it.
func (l *Ledger) ListRecords(ctx context.Context, c Command, q Listing) (*Result, records.Page, error) {
	request := decision.Request{Action: events.ActionListRecords, Actor: c.Actor, Patient: q.Patient, Purpose: q.Purpose}
	result, err := l.query(ctx, c, request, events.QueryRecords)
	if err != nil {
		return nil, records.Page{}, err
	}
	var page records.Page
	err = l.decideAgain(request, func(s *life.State, now decision.Request, rule string) {
		actor, _ := s.Actor(c.Actor)
		page = records.List(s, now.Patient, q.Filter, func(r *life.Record) bool {
			return decision.Listed(rule, actor, r)
		})
	})
	if err != nil {
		return nil, records.Page{}, err
	}
	return result, page, nil
}

// decideAgain calls f with the state as it is now, if the rules still permit a
// request whose event is in the log: since then the patient may have withdrawn
// consent, or be one with another. Else it is ErrRightEnded.
func (l *Ledger) decideAgain(request decision.Request, f func(s *life.State, now decision.Request, rule string)) (err error) {
	l.view(func(s *life.State) {
		now := resolve(s, request)
		now.At = max(events.At(l.config.Clock()), s.Head().Time)
		o := decision.Decide(s, now)
		if !o.Permit {
			err = ErrRightEnded
			return
		}
		f(s, now, o.Rule)
	})
	return err
}

// Rights are who stands in which relation to a patient, and what the patient agreed
// to, ended ones included: what there is to close, to dismiss and to withdraw.
type Rights struct {
	Care     []life.Care
	Proxies  []life.Appointment
	Consents []life.Consent
}

// Rights tells who stands in which relation to a patient, to those who may list the
// patient's records for more than a department's own. That it was asked is an event.
func (l *Ledger) Rights(ctx context.Context, c Command, patient events.ID, purpose events.Purpose) (*Result, Rights, error) {
	request := decision.Request{Action: events.ActionListRecords, Actor: c.Actor, Patient: patient, Purpose: purpose}
	result, err := l.query(ctx, c, request, events.QueryRights)
	if err != nil {
		return nil, Rights{}, err
	}
	var rights Rights
	err = l.decideAgain(request, func(s *life.State, now decision.Request, rule string) {
		if _, p := s.Person(now.Patient); rule != "department" {
			rights = Rights{slices.Clone(p.Care), slices.Clone(p.Proxies), slices.Clone(p.Consents)}
		}
	})
	return result, rights, err
}

// History returns the events about a record, oldest first, up to the newest that
// is in the log. That it was read is one of the last of them.
func (l *Ledger) History(ctx context.Context, c Command, record events.ID) ([]*Result, error) {
	list, _, err := l.HistoryAfter(ctx, c, record, 0, 0)
	return list, err
}

// HistoryAfter returns a page of the history: at most limit events, those after a log
// index, and whether there are more. Zero is no bound.
func (l *Ledger) HistoryAfter(ctx context.Context, c Command, record events.ID, after uint64, limit int) (list []*Result, more bool, err error) {
	p, err := l.readHistory(ctx, c, record)
	if err != nil {
		return nil, false, err
	}
	defer l.fence.leave(p)
	list, err = l.stream(ctx, events.RecordStream(record), page{after: after, limit: limit})
	if err == nil {
		err = l.goOn(p)
	}
	if err != nil {
		return nil, false, err
	}
	if limit > 0 && len(list) > limit {
		return list[:limit], true, nil
	}
	return list, false, nil
}

// readHistory lets an actor read the events about a record, until the passage leaves
// or is ended. An event says so.
func (l *Ledger) readHistory(ctx context.Context, c Command, record events.ID) (*passage, error) {
	request := decision.Request{Action: events.ActionReadHistory, Actor: c.Actor, Record: record}
	_, p, err := l.enterUnderRules(ctx, c, request, func(_ *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return record, &events.HistoryRead{Actor: c.Actor, Decision: d}, nil
	})
	return p, err
}

// page is the part of a stream that is asked for. Zeros are no bounds.
type page struct {
	after uint64 // log index
	limit int
	want  func(events.Event) bool
}

// stream returns the events of a page that are in the log, oldest first, and one
// more if there are more: a record that was read a million times has a long life, of
// which a page is kept in memory.
func (l *Ledger) stream(ctx context.Context, name string, p page) ([]*Result, error) {
	published := l.log.Published()
	var results []*Result
	known := false
	for r, err := range l.store.Read(ctx, name, 0) {
		if err != nil {
			return nil, fmt.Errorf("reading a history: %w", err)
		}
		if indexOf(r) >= published.Checkpoint.Size || p.limit > 0 && len(results) > p.limit {
			break
		}
		known = true
		if p.after > 0 && indexOf(r) <= p.after {
			continue
		}
		result, err := l.recall(r, published)
		if err != nil {
			return nil, err
		}
		if p.want == nil || p.want(result.Event) {
			results = append(results, result)
		}
	}
	if !known {
		return nil, store.ErrNotFound
	}
	return results, nil
}

// Accesses asks who saw or received what of a patient.
type Accesses struct {
	Patient events.ID
	Purpose events.Purpose
	After   uint64 // log index; only later events are listed
	Limit   int
}

// ListAccesses returns who saw, received or found something of a patient, or was
// refused it, in the order of the log, and whether there is more. That this was
// asked is an event too.
func (l *Ledger) ListAccesses(ctx context.Context, c Command, q Accesses) (accesses []*Result, more bool, err error) {
	request := decision.Request{Action: events.ActionListAccesses, Actor: c.Actor, Patient: q.Patient, Purpose: q.Purpose}
	result, err := l.query(ctx, c, request, events.QueryAccesses)
	if err != nil {
		return nil, false, err
	}
	for _, stream := range l.streamsAbout(result.Event.Subject) {
		list, err := l.stream(ctx, stream, page{after: q.After, limit: q.Limit, want: isAccess})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, false, err
		}
		accesses = append(accesses, list...)
	}
	// Reading them all may have taken long.
	if err := l.goOn(&passage{request: request, token: c.Token}); err != nil {
		return nil, false, err
	}
	slices.SortFunc(accesses, func(a, b *Result) int { return cmp.Compare(a.Index, b.Index) })
	if q.Limit > 0 && len(accesses) > q.Limit {
		return accesses[:q.Limit], true, nil
	}
	return accesses, false, nil
}

// streamsAbout names the streams of a person: of every patient's id that stands for
// them, and of their records.
func (l *Ledger) streamsAbout(person events.ID) (streams []string) {
	l.view(func(s *life.State) {
		_, p := s.Person(person)
		for _, record := range p.Records {
			streams = append(streams, events.RecordStream(record))
		}
		for _, id := range append(slices.Clone(p.Merged), person) {
			streams = append(streams, events.PatientStream(id))
		}
	})
	return streams
}

// isAccess reports whether an event belongs into the account of who saw what.
func isAccess(e events.Event) bool {
	switch e.Data.(type) {
	case *events.RecordAccessed, *events.RecordDisclosed, *events.RecordReceived, *events.DeliveryFailed,
		*events.HistoryRead, *events.PatientQueried, *events.AccessRefused:
		return true
	}
	return false
}

// logReaders remembers who read the log lately.
type logReaders struct {
	mu   sync.Mutex
	last map[events.ID]time.Time
}

// readingLasts is for how long an auditor's reading of the log is one event.
const readingLasts = time.Hour

// ReadLog lets an actor read the statements of the log. An event says so, one an
// hour for each actor: a log that grew with every bundle that is read of it could
// never be read to its end.
func (l *Ledger) ReadLog(ctx context.Context, c Command) error {
	now := l.config.Clock()
	l.readers.mu.Lock()
	last, known := l.readers.last[c.Actor]
	l.readers.mu.Unlock()
	if known && now.Before(last.Add(readingLasts)) && !now.Before(last) {
		return l.stillLoggedIn(c)
	}
	c.IdempotencyKey = ""
	request := decision.Request{Action: events.ActionReadLog, Actor: c.Actor}
	_, err := l.perform(ctx, c, underRules(request, func(s *life.State, _ decision.Request, d events.Decision) (events.ID, events.Data, error) {
		return s.Head().Ledger, &events.LogRead{Actor: c.Actor, Decision: d}, nil
	}))
	if err != nil {
		return err
	}
	l.readers.mu.Lock()
	defer l.readers.mu.Unlock()
	if l.readers.last == nil {
		l.readers.last = make(map[events.ID]time.Time)
	}
	l.readers.last[c.Actor] = now
	return nil
}

// stillLoggedIn answers ErrUnauthenticated if a command's token is worth nothing
// any more, for what needs no turn.
func (l *Ledger) stillLoggedIn(c Command) (err error) {
	l.view(func(s *life.State) {
		if at := max(events.At(l.config.Clock()), s.Head().Time); !c.Token.IsZero() && !alive(s, c.Actor, c.Token, at) {
			err = ErrUnauthenticated
		}
	})
	return err
}

// Find returns a stored event to somebody who may see it: who did it, or may read
// the history of the record that it is about, or the accesses to the patient that
// it is about, or the log. Unless they did it themselves, an event says that they
// read it. The error wraps store.ErrNotFound if there is no such event.
func (l *Ledger) Find(ctx context.Context, c Command, event events.ID) (*Result, error) {
	record, err := l.store.Lookup(ctx, event)
	if err != nil {
		return nil, err
	}
	found, err := l.recall(record, l.log.Published())
	if err != nil {
		return nil, err
	}
	if !c.Actor.IsZero() && found.Event.Actor() == c.Actor {
		return found, l.stillLoggedIn(c)
	}
	c.IdempotencyKey = ""
	switch about := found.Event.Stream(); about {
	case events.RecordStream(found.Event.Subject):
		var p *passage
		if p, err = l.readHistory(ctx, c, found.Event.Subject); err == nil {
			l.fence.leave(p)
		}
	case events.PatientStream(found.Event.Subject):
		request := decision.Request{
			Action: events.ActionListAccesses, Actor: c.Actor, Patient: found.Event.Subject, Purpose: events.PurposePatient,
		}
		_, err = l.query(ctx, c, request, events.QueryAccesses)
	default:
		err = l.ReadLog(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}
