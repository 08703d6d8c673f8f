package life

import (
	"slices"

	"github.com/medledger/medledger/events"
)

// The events about the shares of a record.

func (s *State) disclose(index uint64, e events.Event, r *Record, d *events.RecordDisclosed) *violation {
	if v := firstOf(s.registered(d.Actor), s.registered(d.Recipient), s.decided(index, d.Decision), r.has(d.Version)); v != nil {
		return v
	}
	if s.actors[d.Recipient].Role != events.RoleRecipient {
		return broken("share", "it is made for an actor who is no recipient")
	}
	if _, taken := s.shares[d.Share]; taken {
		return broken("share", "there is such a share already")
	}
	if d.Until <= e.Time {
		return broken("share", "it ends before it begins")
	}
	r.Shares = append(r.Shares, Share{
		ID: d.Share, Recipient: d.Recipient, Actor: d.Actor, Purpose: d.Purpose, Version: d.Version, Until: d.Until,
	})
	s.shares[d.Share] = e.Subject
	return nil
}

func (s *State) receive(index uint64, e events.Event, r *Record, d *events.RecordReceived) *violation {
	i := slices.IndexFunc(r.Shares, func(s Share) bool { return s.ID == d.Share })
	if i < 0 {
		return broken("share", "there is no such share")
	}
	switch share := &r.Shares[i]; {
	case share.Recipient != d.Actor:
		return broken("share", "it was received by somebody else than its recipient")
	case share.Version != d.Version:
		return broken("share", "version %d was received, version %d is shared", d.Version, share.Version)
	case e.Time >= share.Until:
		return broken("share", "it ended at %s", share.Until)
	case share.Ended:
		return broken("share", "it was ended before")
	}
	if v := s.decided(index, d.Decision); v != nil {
		return v
	}
	r.Shares[i].Received = true
	return nil
}

func (s *State) acknowledge(index uint64, r *Record, d *events.ShareAcknowledged) *violation {
	share, ok := r.Share(d.Share)
	if !ok || share.Recipient != d.Actor || !share.Received {
		return broken("share", "it acknowledges what its actor has not received")
	}
	return s.decided(index, d.Decision)
}

func (s *State) endShare(index uint64, r *Record, d *events.ShareEnded) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	i := slices.IndexFunc(r.Shares, func(s Share) bool { return s.ID == d.Share && !s.Ended })
	if i < 0 {
		return broken("share", "there is no such share, or it was ended before")
	}
	r.Shares[i].Ended = true
	return nil
}
