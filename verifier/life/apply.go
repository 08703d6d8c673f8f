package life

import (
	"fmt"

	"github.com/medledger/medledger/events"
)

// Rules is the version of the access rules that new decisions name, Rules1 the
// one before. They stand here and not in verifier/decision because that package
// imports this one.
const (
	Rules  = "medledger-rules-2"
	Rules1 = "medledger-rules-1"
)

// violation is a broken rule, before it is known of which event.
type violation struct{ rule, why string }

func broken(rule, format string, args ...any) *violation {
	return &violation{rule, fmt.Sprintf(format, args...)}
}

// Apply adds the event with the given log index to the state. If the event may
// not stand there, the error is an *IllegalError and the state is unchanged.
// The event's data must be in its newest version (events.Upcast), and must have
// passed its Check.
func (s *State) Apply(index uint64, e events.Event) error {
	v := s.general(index, e)
	if v == nil {
		v = s.particular(index, e)
	}
	if v != nil {
		return &IllegalError{Index: index, Event: e.ID, Type: e.Type, Rule: v.rule, Why: v.why}
	}
	s.head.Size = index + 1
	s.head.Time = e.Time
	if d, ok := e.Decision(); ok {
		s.head.Rules = d.Rules
	}
	if r := s.records[e.Subject]; r != nil {
		r.Events++
	} else if p := s.patients[e.Subject]; p != nil {
		p.Events++
	}
	return nil
}

// Touched returns the actors, patients and records that an event, once it is
// applied, may have changed.
func Touched(e events.Event) []events.ID {
	switch d := e.Data.(type) {
	case *events.PatientMerged:
		return []events.ID{e.Subject, d.Into}
	case *events.RecordOriginated:
		return []events.ID{e.Subject, d.Patient} // who may begin with it
	}
	return []events.ID{e.Subject}
}

// general checks what holds for every event.
func (s *State) general(index uint64, e events.Event) *violation {
	_, opens := e.Data.(*events.LedgerOpened)
	switch {
	case index != s.head.Size:
		return broken("index", "the next event is %d", s.head.Size)
	case opens != (index == 0):
		return broken("opened-first", "the ledger is opened by event 0 and by no other")
	case index > 0 && e.Source != s.head.Origin:
		return broken("origin", "its source is %q, the ledger's origin %q", e.Source, s.head.Origin)
	case e.Time < s.head.Time:
		return broken("time", "it is dated %s, after one dated %s", e.Time, s.head.Time)
	}
	return nil
}

// particular checks what holds for the event's type, and applies the event if
// all of it does.
func (s *State) particular(index uint64, e events.Event) *violation {
	switch d := e.Data.(type) {
	case *events.LedgerOpened:
		s.head.Origin, s.head.Ledger = e.Source, e.Subject
		s.head.Announcements = append(s.head.Announcements, index)
		return nil
	case *events.KeyRotated, *events.LedgerRestored, *events.StateLogOpened, *events.LogRead:
		return s.aboutLedger(index, e)
	case *events.ActorRegistered:
		return s.register(index, e, d)
	case *events.TokenIssued:
		return s.issue(index, e, d)
	case *events.TokenRevoked:
		return s.revoke(index, e, d)
	case *events.PatientRegistered, *events.PatientMerged, *events.PatientErased, *events.PatientQueried,
		*events.CareOpened, *events.CareClosed, *events.ProxyAppointed, *events.ProxyDismissed,
		*events.ConsentGranted, *events.ConsentWithdrawn:
		return s.aboutPatient(index, e)
	case *events.RecordOriginated:
		return s.originate(index, e, d)
	case *events.AccessRefused:
		return s.refuse(index, e, d)
	case *events.HistoryRead, *events.DeliveryFailed:
		return s.lookedAt(index, e)
	}
	return s.live(index, e)
}

func (s *State) aboutLedger(index uint64, e events.Event) *violation {
	if e.Subject != s.head.Ledger {
		return broken("subject", "it is not about the ledger itself")
	}
	switch d := e.Data.(type) {
	case *events.KeyRotated:
		return s.rotate(index, d)
	case *events.LogRead:
		return firstOf(s.registered(d.Actor), s.decided(index, d.Decision))
	case *events.StateLogOpened:
		if s.head.StateLog != 0 {
			return broken("state-log", "its state log was announced at %d", s.head.StateLog)
		}
		s.head.StateLog = index
	case *events.LedgerRestored:
		if d.Size != index {
			return broken("restored", "it names a backup of %d events", d.Size)
		}
	}
	return nil
}

func (s *State) rotate(index uint64, d *events.KeyRotated) *violation {
	if last := s.head.Announcements[len(s.head.Announcements)-1]; d.Previous != last {
		return broken("key", "it replaces the announcement at %d, the last one is at %d", d.Previous, last)
	}
	// A fresh slice: heads that were handed out share the old one.
	s.head.Announcements = append(s.head.Announcements[:len(s.head.Announcements):len(s.head.Announcements)], index)
	return nil
}

func (s *State) refuse(index uint64, e events.Event, d *events.AccessRefused) *violation {
	known := s.records[e.Subject] != nil
	if d.Action.OnPatient() {
		known = s.patients[e.Subject] != nil
	}
	if !known && e.Subject != d.Actor {
		return broken("subject", "a refusal is about what exists or about the actor who was refused")
	}
	return firstOf(s.registered(d.Actor), s.decided(index, d.Decision))
}

func (s *State) fresh(id events.ID) *violation {
	_, actor := s.actors[id]
	if actor || s.records[id] != nil || s.patients[id] != nil || id == s.head.Ledger {
		return broken("subject", "its id is taken")
	}
	return nil
}

func (s *State) registered(id events.ID) *violation {
	if _, ok := s.actors[id]; !ok {
		return broken("actor", "it names an actor who was never registered")
	}
	return nil
}

// decided checks what a decision says of itself.
func (s *State) decided(index uint64, d events.Decision) *violation {
	if d.Position > index {
		return broken("decision", "it was decided on the state at %d, which did not exist yet", d.Position)
	}
	switch d.Rules {
	case Rules:
	case Rules1:
		if s.head.Rules == Rules {
			return broken("decision", "it was decided by rules that had been replaced")
		}
	default:
		return broken("decision", "it was decided by unknown rules %q", d.Rules)
	}
	return nil
}

func firstOf(vs ...*violation) *violation {
	for _, v := range vs {
		if v != nil {
			return v
		}
	}
	return nil
}
