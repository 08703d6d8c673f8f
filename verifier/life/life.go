// Package life knows which histories are possible: which event may follow
// which, for a ledger, its actors and its records.
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
//	actor              whoever acts, approves or receives was registered before
//	registrar          the first actor is an administrator whom nobody registered;
//	                   every other was registered by an actor
//	subject            a new actor or record has an id that nobody had before; any
//	                   other event is about a record that exists, or, for a refusal
//	                   only, about the actor who was refused
//	version            a record's versions are numbered from 1 without gaps, and an
//	                   event names only versions that exist
//	state              nothing but refusals follows the start of a record's
//	                   destruction, except its completion; nothing but refusals
//	                   follows that
//	share              a share is new when it is made, is made for a recipient and
//	                   ends later than it begins; what is received under it is
//	                   received by its recipient, in its version, before its end
//	destruction        a destruction names all of the record's versions, and its
//	                   completion names the destruction that was started and at
//	                   least as many keys as there were versions
//	key                a rotation of statement keys names the announcement it replaces
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
	Department   events.ID
	Patient      events.ID
}

// Share is a disclosure of one version of a record to a recipient.
type Share struct {
	ID        events.ID
	Recipient events.ID
	Purpose   events.Purpose
	Version   uint32
	Until     events.Timestamp
}

// Record is what the log says of a record.
type Record struct {
	Patient         events.ID
	Organisation    events.ID
	Department      events.ID
	Destruction     events.ID // zero while Active
	Kind            events.Kind
	Confidentiality events.Confidentiality
	Phase           Phase
	Versions        uint32 // their number, and the number of the newest
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
	head    Head
	actors  map[events.ID]Actor
	records map[events.ID]*Record
}

// Head is the part of a State that belongs to no actor and no record.
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
}

// NewState returns the state of an empty log.
func NewState() *State {
	return &State{actors: make(map[events.ID]Actor), records: make(map[events.ID]*Record)}
}

// Head returns what belongs to no actor and no record. The caller must not
// change the slice in it.
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

// Restore puts back the head of a state that was saved; RestoreActor and
// RestoreRecord put back the rest of it.
func (s *State) Restore(h Head) { s.head = h }

// RestoreActor puts back an actor.
func (s *State) RestoreActor(id events.ID, a Actor) { s.actors[id] = a }

// RestoreRecord puts back a record.
func (s *State) RestoreRecord(id events.ID, r Record) { s.records[id] = &r }

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
