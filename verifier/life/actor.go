package life

import (
	"slices"

	"github.com/medledger/medledger/events"
)

// The events about actors and their tokens.

func (s *State) register(index uint64, e events.Event, d *events.ActorRegistered) *violation {
	if v := s.fresh(e.Subject); v != nil {
		return v
	}
	if v := s.decided(index, d.Decision); v != nil {
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

func (s *State) issue(index uint64, e events.Event, d *events.TokenIssued) *violation {
	if v := firstOf(s.registered(e.Subject), s.decided(index, d.Decision)); v != nil {
		return v
	}
	actor := s.actors[e.Subject]
	if d.By.IsZero() && actor.Role != events.RoleAdmin {
		return broken("token", "nobody issued it, and it is not for an administrator")
	}
	if !d.By.IsZero() {
		if v := s.registered(d.By); v != nil {
			return v
		}
	}
	if _, taken := actor.Token(d.Token); taken {
		return broken("token", "there is such a token already")
	}
	if _, taken := s.tokens[d.Digest]; taken {
		return broken("token", "somebody has this token already")
	}
	// A fresh slice: actors that were handed out share the old one.
	actor.Tokens = append(actor.Tokens[:len(actor.Tokens):len(actor.Tokens)], Token{ID: d.Token, Digest: d.Digest, Expires: d.Expires})
	s.actors[e.Subject] = actor
	s.tokens[d.Digest] = holder{e.Subject, d.Token}
	return nil
}

func (s *State) revoke(index uint64, e events.Event, d *events.TokenRevoked) *violation {
	if v := firstOf(s.registered(e.Subject), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if !d.By.IsZero() {
		if v := s.registered(d.By); v != nil {
			return v
		}
	}
	actor := s.actors[e.Subject]
	tokens := slices.Clone(actor.Tokens)
	for i := range tokens {
		if tokens[i].ID == d.Token && !tokens[i].Revoked {
			tokens[i].Revoked = true
			actor.Tokens = tokens
			s.actors[e.Subject] = actor
			return nil
		}
	}
	return broken("token", "there is no such token, or it was revoked before")
}
