package life

import (
	"github.com/medledger/medledger/events"
)

// The events about the destruction of a record.

func (s *State) requestDestruction(index uint64, id events.ID, r *Record, d *events.DestructionRequested) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if _, taken := s.destructions[d.Destruction]; taken || !r.Destruction.IsZero() {
		return broken("destruction", "it is asked for already")
	}
	r.Destruction, r.Requester, r.Ground = d.Destruction, d.Actor, d.Ground
	s.destructions[d.Destruction] = id
	return nil
}

func (s *State) startDestruction(index uint64, id events.ID, r *Record, d *events.DestructionStarted) *violation {
	if v := firstOf(s.registered(d.Actor), s.registered(d.Approver), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if d.Decision.Rules != Rules1 &&
		(d.Destruction != r.Destruction || d.Actor != r.Requester || d.Ground != r.Ground) {
		return broken("destruction", "it starts a destruction that was not asked for in this way")
	}
	if d.Versions != r.Versions {
		return broken("destruction", "it names %d versions of a record with %d", d.Versions, r.Versions)
	}
	r.Phase, r.Destruction, r.Requester, r.Ground = Destroying, d.Destruction, d.Actor, d.Ground
	s.destructions[d.Destruction] = id
	return nil
}

func (s *State) destroyed(r *Record, d *events.RecordDestroyed) *violation {
	if d.Destruction != r.Destruction {
		return broken("destruction", "it completes a destruction that was not started")
	}
	if d.Keys < r.Versions {
		return broken("destruction", "it destroyed %d keys of a record with %d versions", d.Keys, r.Versions)
	}
	r.Phase = Destroyed
	if _, p := s.Person(r.Patient); p != nil {
		p.Living--
	}
	return nil
}
