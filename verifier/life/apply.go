package life

import (
	"fmt"
	"slices"

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
	case *events.KeyRotated, *events.LedgerRestored, *events.LogRead:
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

func (s *State) originate(index uint64, e events.Event, d *events.RecordOriginated) *violation {
	if v := firstOf(s.fresh(e.Subject), s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if d.Decision.Rules != Rules1 {
		if v := s.filed(d.Patient); v != nil {
			return v
		}
	}
	r := &Record{
		Patient: d.Patient, Organisation: d.Organisation, Department: d.Department,
		Kind: d.Kind.Own(), Confidentiality: d.Confidentiality.Own(), Versions: 1, Originated: e.Time,
	}
	s.records[e.Subject] = r
	s.file(e.Subject, r)
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

// lookedAt handles what may be said of a record whatever its state.
func (s *State) lookedAt(index uint64, e events.Event) *violation {
	if s.records[e.Subject] == nil {
		return broken("subject", "there is no such record")
	}
	switch d := e.Data.(type) {
	case *events.HistoryRead:
		return firstOf(s.registered(d.Actor), s.decided(index, d.Decision))
	case *events.DeliveryFailed:
		return s.registered(d.Actor)
	}
	return nil
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
		return firstOf(s.registered(d.Actor), s.decided(index, d.Decision), r.has(d.Version))
	case *events.RecordRefiled:
		return s.refile(index, e.Subject, r, d)
	case *events.RecordDisclosed:
		return s.disclose(index, e, r, d)
	case *events.RecordReceived:
		return s.receive(index, e, r, d)
	case *events.ShareAcknowledged:
		return s.acknowledge(index, r, d)
	case *events.ShareEnded:
		return s.endShare(index, r, d)
	case *events.DestructionRequested:
		return s.requestDestruction(index, e.Subject, r, d)
	case *events.DestructionStarted:
		return s.startDestruction(index, e.Subject, r, d)
	case *events.RecordDestroyed:
		return s.destroyed(r, d)
	}
	return broken("subject", "no rule knows events of this type")
}

func (s *State) amend(index uint64, r *Record, d *events.RecordAmended) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if d.Version != r.Versions+1 {
		return broken("version", "it makes version %d of a record with %d", d.Version, r.Versions)
	}
	r.Versions++
	return nil
}

func (s *State) refile(index uint64, id events.ID, r *Record, d *events.RecordRefiled) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision), s.filed(d.Patient)); v != nil {
		return v
	}
	if d.From != r.Patient || s.SamePerson(d.From, d.Patient) {
		return broken("patient", "it moves a record from a patient who does not have it, or to the same person")
	}
	s.unfile(id, r)
	r.Patient = d.Patient
	s.file(id, r)
	// Whoever asked for its destruction asked for that of another's record.
	delete(s.destructions, r.Destruction)
	r.Destruction, r.Requester, r.Ground = events.ID{}, events.ID{}, ""
	return nil
}

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

func (r *Record) has(version uint32) *violation {
	if version == 0 || version > r.Versions {
		return broken("version", "it names version %d of a record with %d", version, r.Versions)
	}
	return nil
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
