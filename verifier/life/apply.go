package life

import (
	"fmt"

	"github.com/medledger/medledger/events"
)

// Rules is the version of the access rules that every decision must name. It
// stands here and not in verifier/decision because that package imports this one.
const Rules = "medledger-rules-1"

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
	if r := s.records[e.Subject]; r != nil {
		r.Events++
	}
	return nil
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
	case *events.KeyRotated:
		return s.rotate(index, e, d)
	case *events.ActorRegistered:
		return s.register(index, e, d)
	case *events.RecordOriginated:
		return s.originate(index, e, d)
	case *events.AccessRefused:
		return s.refuse(index, e, d)
	}
	return s.live(index, e)
}

func (s *State) rotate(index uint64, e events.Event, d *events.KeyRotated) *violation {
	if e.Subject != s.head.Ledger {
		return broken("subject", "a rotation of keys is about the ledger itself")
	}
	if last := s.head.Announcements[len(s.head.Announcements)-1]; d.Previous != last {
		return broken("key", "it replaces the announcement at %d, the last one is at %d", d.Previous, last)
	}
	// A fresh slice: heads that were handed out share the old one.
	s.head.Announcements = append(s.head.Announcements[:len(s.head.Announcements):len(s.head.Announcements)], index)
	return nil
}

func (s *State) register(index uint64, e events.Event, d *events.ActorRegistered) *violation {
	if v := s.fresh(e.Subject); v != nil {
		return v
	}
	if v := decided(index, d.Decision); v != nil {
		return v
	}
	if len(s.actors) == 0 {
		if !d.By.IsZero() || d.Role != events.RoleAdmin {
			return broken("registrar", "the first actor is an administrator whom nobody registered")
		}
	} else if v := s.registered(d.By); v != nil {
		return broken("registrar", "%s", v.why)
	}
	s.actors[e.Subject] = Actor{Role: d.Role, Organisation: d.Organisation, Department: d.Department, Patient: d.Patient}
	return nil
}

func (s *State) originate(index uint64, e events.Event, d *events.RecordOriginated) *violation {
	if v := firstOf(s.fresh(e.Subject), s.registered(d.Actor), decided(index, d.Decision)); v != nil {
		return v
	}
	s.records[e.Subject] = &Record{
		Patient: d.Patient, Organisation: d.Organisation, Department: d.Department,
		Kind: d.Kind, Confidentiality: d.Confidentiality, Versions: 1,
	}
	return nil
}

func (s *State) refuse(index uint64, e events.Event, d *events.AccessRefused) *violation {
	if s.records[e.Subject] == nil && e.Subject != d.Actor {
		return broken("subject", "a refusal is about a record that exists or about the actor who was refused")
	}
	return firstOf(s.registered(d.Actor), decided(index, d.Decision))
}

// live handles the events about an existing record. All of them need it Active,
// except RecordDestroyed, which needs it Destroying.
func (s *State) live(index uint64, e events.Event) *violation {
	r := s.records[e.Subject]
	if r == nil {
		return broken("subject", "there is no such record")
	}
	want := Active
	if _, completes := e.Data.(*events.RecordDestroyed); completes {
		want = Destroying
	}
	if r.Phase != want {
		return broken("state", "the record is %s", r.Phase)
	}
	switch d := e.Data.(type) {
	case *events.RecordAmended:
		return s.amend(index, r, d)
	case *events.RecordAccessed:
		return firstOf(s.registered(d.Actor), decided(index, d.Decision), r.has(d.Version))
	case *events.RecordDisclosed:
		return s.disclose(index, e, r, d)
	case *events.RecordReceived:
		return s.receive(index, e, r, d)
	case *events.DestructionStarted:
		return s.startDestruction(index, r, d)
	case *events.RecordDestroyed:
		if d.Destruction != r.Destruction {
			return broken("destruction", "it completes a destruction that was not started")
		}
		if d.Keys < r.Versions {
			return broken("destruction", "it destroyed %d keys of a record with %d versions", d.Keys, r.Versions)
		}
		r.Phase = Destroyed
		return nil
	}
	return broken("subject", "no rule knows events of this type")
}

func (s *State) amend(index uint64, r *Record, d *events.RecordAmended) *violation {
	if v := firstOf(s.registered(d.Actor), decided(index, d.Decision)); v != nil {
		return v
	}
	if d.Version != r.Versions+1 {
		return broken("version", "it makes version %d of a record with %d", d.Version, r.Versions)
	}
	r.Versions++
	return nil
}

func (s *State) disclose(index uint64, e events.Event, r *Record, d *events.RecordDisclosed) *violation {
	if v := firstOf(s.registered(d.Actor), s.registered(d.Recipient), decided(index, d.Decision), r.has(d.Version)); v != nil {
		return v
	}
	if s.actors[d.Recipient].Role != events.RoleRecipient {
		return broken("share", "it is made for an actor who is no recipient")
	}
	if _, taken := r.Share(d.Share); taken {
		return broken("share", "there is such a share already")
	}
	if d.Until <= e.Time {
		return broken("share", "it ends before it begins")
	}
	r.Shares = append(r.Shares, Share{ID: d.Share, Recipient: d.Recipient, Purpose: d.Purpose, Version: d.Version, Until: d.Until})
	return nil
}

func (s *State) receive(index uint64, e events.Event, r *Record, d *events.RecordReceived) *violation {
	share, ok := r.Share(d.Share)
	switch {
	case !ok:
		return broken("share", "there is no such share")
	case share.Recipient != d.Actor:
		return broken("share", "it was received by somebody else than its recipient")
	case share.Version != d.Version:
		return broken("share", "version %d was received, version %d is shared", d.Version, share.Version)
	case e.Time >= share.Until:
		return broken("share", "it ended at %s", share.Until)
	}
	return decided(index, d.Decision)
}

func (s *State) startDestruction(index uint64, r *Record, d *events.DestructionStarted) *violation {
	if v := firstOf(s.registered(d.Actor), s.registered(d.Approver), decided(index, d.Decision)); v != nil {
		return v
	}
	if d.Versions != r.Versions {
		return broken("destruction", "it names %d versions of a record with %d", d.Versions, r.Versions)
	}
	r.Phase, r.Destruction = Destroying, d.Destruction
	return nil
}

func (r *Record) has(version uint32) *violation {
	if version == 0 || version > r.Versions {
		return broken("version", "it names version %d of a record with %d", version, r.Versions)
	}
	return nil
}

func (s *State) fresh(id events.ID) *violation {
	_, actor := s.actors[id]
	if actor || s.records[id] != nil || id == s.head.Ledger {
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

func decided(index uint64, d events.Decision) *violation {
	if d.Position > index {
		return broken("decision", "it was decided on the state at %d, which did not exist yet", d.Position)
	}
	if d.Rules != Rules {
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
