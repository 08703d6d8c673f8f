// Package life knows which histories are possible: which event may follow
// which, for a ledger, its actors, its patients and its records.
//
// The ledger applies every event to a State before it commits it, and an
// auditor applies the same log to a State of their own. What Apply refuses can
// therefore only stand in a log if somebody wrote it past the ledger.
//
// These are the rules, for the event at index i. The first column is the name
// that IllegalError.Rule has.
//
//	index              events are applied in the order of the log, without gaps
//	opened-first       index 0, and no other, is the opening of the ledger
//	origin             every event's source is the origin of the ledger
//	time               times never run backwards
//	decision           a decision was made on a state no newer than i, by known rules
//	                   that are no older than those of the decision before
//	actor              whoever acts, approves or receives was registered before
//	registrar          the first actor is an administrator whom nobody registered;
//	                   every other was registered by an actor
//	subject            a new actor, patient or record has an id that nobody had
//	                   before; any other event is about one that exists, or, for a
//	                   refusal only, about the actor who was refused
//	patient            a record is filed under a patient who was registered and
//	                   neither erased nor merged into another; two patients are
//	                   merged once, and into one that stays; a patient is erased when
//	                   every record is destroyed
//	version            a record's versions are numbered from 1 without gaps, and an
//	                   event names only versions that exist
//	state              nothing but refusals, readings of the history and failed
//	                   deliveries follows the start of a record's destruction,
//	                   except its completion; nothing but those follows that
//	share              a share is new when it is made, is made for a recipient and
//	                   ends later than it begins; what is received under it is
//	                   received by its recipient, in its version, before its end; it
//	                   ends when its record is filed under another patient
//	rights             a relationship, an appointment or a consent is new when it
//	                   begins, and ends once
//	token              a token is new when it is issued, and is revoked once
//	destruction        a destruction is asked for once at a time, starts as it was
//	                   asked for and is approved by somebody else; once the record
//	                   is filed under another patient it has to be asked for again;
//	                   it names all of the record's versions, and its completion
//	                   names the destruction that was started and at least as many
//	                   keys as there were versions
//	key                a rotation of statement keys names the announcement it replaces
//	state-log          the state log is announced once
//	restored           a ledger is restored to the size that it then has
//
// Under the older rules medledger-rules-1 patients were not registered, and
// destructions not asked for: what names those rules is held to neither.
package life

import (
	"fmt"

	"github.com/medledger/medledger/events"
)

// Phase is where a record is in its life.
type Phase uint8

// The phases of a record.
const (
	Active Phase = iota
	Destroying
	Destroyed
)

func (p Phase) String() string {
	return [...]string{"active", "destroying", "destroyed"}[p]
}

// Actor is what the log says of an actor.
type Actor struct {
	Role         events.Role
	Organisation events.ID
	Department   events.ID // zero if in none
	Patient      events.ID // that a patient's account stands for; zero for others
	Tokens       []Token   // in the order in which they were issued
}

// Token is a bearer token of an actor.
type Token struct {
	ID      events.ID
	Digest  events.Digest // of the secret
	Expires events.Timestamp
	Revoked bool
}

// Token returns the token with the given id.
func (a Actor) Token(id events.ID) (Token, bool) {
	for _, t := range a.Tokens {
		if t.ID == id {
			return t, true
		}
	}
	return Token{}, false
}

// Share is a disclosure of one version of a record to a recipient.
type Share struct {
	ID        events.ID
	Recipient events.ID
	Actor     events.ID // who disclosed it
	Purpose   events.Purpose
	Version   uint32
	Until     events.Timestamp
	Received  bool
	Ended     bool
}

// Record is what the log says of a record.
type Record struct {
	Patient         events.ID // as it is filed now
	Organisation    events.ID
	Department      events.ID
	Destruction     events.ID // that was asked for last; zero if none was
	Requester       events.ID // who asked for it
	Ground          events.Ground
	Kind            events.Kind
	Confidentiality events.Confidentiality
	Phase           Phase
	Versions        uint32 // their number, and the number of the newest
	Originated      events.Timestamp
	Events          uint64 // how many events are about the record
	Shares          []Share
}

// Share returns the share with the given id.
func (r *Record) Share(id events.ID) (Share, bool) {
	for _, s := range r.Shares {
		if s.ID == id {
			return s, true
		}
	}
	return Share{}, false
}

// State is what a log says, up to an index. It is not safe for concurrent use.
type State struct {
	head     Head
	actors   map[events.ID]Actor
	patients map[events.ID]*Patient
	records  map[events.ID]*Record

	// What follows from the rest.
	tokens       map[events.Digest]holder
	shares       map[events.ID]events.ID // share -> record
	destructions map[events.ID]events.ID // destruction -> record
}

// holder is whose token it is.
type holder struct{ actor, token events.ID }

// Head is the part of a State that belongs to no actor, no patient and no record.
type Head struct {
	// Size is how many events were applied: the next one's index.
	Size uint64
	// Origin is the log's name.
	Origin string
	// Ledger is the ledger's own id, the subject of its events.
	Ledger events.ID
	// Time is the last event's time.
	Time events.Timestamp
	// Announcements are the indices of the events that announced statement
	// keys, oldest first.
	Announcements []uint64
	// StateLog is the index of the event that announced the state log; 0 if none
	// did.
	StateLog uint64
	// Rules is the newest version of the access rules that a decision named.
	Rules string
}

// NewState returns the state of an empty log.
func NewState() *State {
	return &State{
		actors: make(map[events.ID]Actor), patients: make(map[events.ID]*Patient), records: make(map[events.ID]*Record),
		tokens: make(map[events.Digest]holder), shares: make(map[events.ID]events.ID), destructions: make(map[events.ID]events.ID),
	}
}

// Head returns what belongs to no actor, no patient and no record. The caller must
// not change the slice in it.
func (s *State) Head() Head { return s.head }

// Actor returns an actor.
func (s *State) Actor(id events.ID) (Actor, bool) {
	a, ok := s.actors[id]
	return a, ok
}

// Record returns a record, or nil. The caller must not change it.
func (s *State) Record(id events.ID) *Record { return s.records[id] }

// Counts returns how many actors and records there are.
func (s *State) Counts() (actors, records int) { return len(s.actors), len(s.records) }

// Records calls yield for every record in no particular order, until it
// returns false.
func (s *State) Records(yield func(events.ID, *Record) bool) {
	for id, r := range s.records {
		if !yield(id, r) {
			return
		}
	}
}

// Holder returns whose token has the given digest.
func (s *State) Holder(digest events.Digest) (actor, token events.ID, ok bool) {
	h, ok := s.tokens[digest]
	return h.actor, h.token, ok
}

// Shared returns the record that a share is of; zero if there is no such share.
func (s *State) Shared(share events.ID) events.ID { return s.shares[share] }

// Doomed returns the record that a destruction is of; zero if there is no such
// destruction.
func (s *State) Doomed(destruction events.ID) events.ID { return s.destructions[destruction] }

// Destructions calls yield for every destruction that was asked for and the record
// that it is of, in no particular order, until it returns false.
func (s *State) Destructions(yield func(destruction, record events.ID) bool) {
	for destruction, record := range s.destructions {
		if !yield(destruction, record) {
			return
		}
	}
}

// Restore puts back the head of a state that was saved; RestoreActor,
// RestorePatient and RestoreRecord, in this order, put back the rest of it.
func (s *State) Restore(h Head) { s.head = h }

// RestoreActor puts back an actor.
func (s *State) RestoreActor(id events.ID, a Actor) {
	s.actors[id] = a
	for _, t := range a.Tokens {
		s.tokens[t.Digest] = holder{id, t.ID}
	}
}

// RestorePatient puts back a patient.
func (s *State) RestorePatient(id events.ID, p Patient) { s.patients[id] = &p }

// RestoreRecord puts back a record, after all patients.
func (s *State) RestoreRecord(id events.ID, r Record) {
	r.Kind, r.Confidentiality = r.Kind.Own(), r.Confidentiality.Own()
	s.records[id] = &r
	for _, share := range r.Shares {
		s.shares[share.ID] = id
	}
	if !r.Destruction.IsZero() {
		s.destructions[r.Destruction] = id
	}
	s.file(id, &r)
}

// IllegalError says that an event cannot follow the log before it.
type IllegalError struct {
	Index uint64
	Event events.ID
	Type  events.Type
	Rule  string // a name from the package comment
	Why   string
}

func (e *IllegalError) Error() string {
	return fmt.Sprintf("event %d (%s, %s) breaks the rule %q: %s", e.Index, e.Type, e.Event, e.Rule, e.Why)
}
