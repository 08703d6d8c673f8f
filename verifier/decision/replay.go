package decision

import (
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// WrongError says that an event claims a decision that the rules do not make.
type WrongError struct {
	Claimed Outcome
	Right   Outcome
	Why     string
}

func (e *WrongError) Error() string { return e.Why }

// Replay makes the decision of an event again, on the state before it, and
// returns a *WrongError if it comes out otherwise. index is the event's place in
// the log. Events that nobody decided pass: the opening of a ledger, a rotation of
// keys, the completion of a destruction.
//
// A refusal does not say all of what was asked for: a version, a share, a
// recipient or an end that made no sense, an approver. A refusal for one of those
// reasons is taken at its word; it harms nobody but the one who was refused.
func Replay(s *life.State, index uint64, e events.Event) error {
	claim, ok := claimOf(s, e)
	if !ok {
		return nil
	}
	if claim.trace.Position != index {
		return &WrongError{Claimed: claim.outcome, Why: fmt.Sprintf(
			"the decision was made on the state at %d, and not on the one before the event", claim.trace.Position)}
	}
	if !claim.outcome.Permit && untold[claim.outcome.Rule] {
		return nil
	}
	claim.request.At = e.Time
	right := claim.founding(s)
	if right.Rule == "" {
		right = Decide(s, claim.request)
	}
	if right != claim.outcome {
		return &WrongError{Claimed: claim.outcome, Right: right, Why: fmt.Sprintf("it was %s, the rules say it is %s", claim.outcome, right)}
	}
	if claim.elsewhere {
		return &WrongError{Claimed: claim.outcome, Right: right, Why: "the record is kept by another organisation or department than the actor's"}
	}
	return nil
}

func (o Outcome) String() string {
	if o.Permit {
		return fmt.Sprintf("permitted (%.40s)", o.Rule)
	}
	return fmt.Sprintf("refused (%.40s)", o.Rule)
}

// untold are the reasons for a refusal that rest on what a refusal does not say.
var untold = map[string]bool{
	RefusedUnknownRecord: true, RefusedUnknownVersion: true, RefusedUnknownShare: true,
	RefusedUnknownRecipient: true, RefusedUntil: true, RefusedApprover: true,
}

// claim is what an event says of its decision.
type claim struct {
	request   Request
	outcome   Outcome
	trace     events.Decision
	founder   bool // it registers the first administrator
	elsewhere bool // it originates a record that is not the actor's to keep
}

// founding is the outcome for the first administrator, whom nobody decides on.
func (c claim) founding(s *life.State) Outcome {
	if actors, _ := s.Counts(); c.founder && actors == 0 {
		return permit(Founding)
	}
	return Outcome{}
}

func claimOf(s *life.State, e events.Event) (claim, bool) {
	permitted := func(r Request, d events.Decision) (claim, bool) {
		return claim{request: r, outcome: permit(d.Rule), trace: d}, true
	}
	switch d := e.Data.(type) {
	case *events.ActorRegistered:
		c, _ := permitted(Request{Action: events.ActionRegister, Actor: d.By}, d.Decision)
		c.founder = d.By.IsZero()
		return c, true
	case *events.RecordOriginated:
		c, _ := permitted(Request{Action: events.ActionOriginate, Actor: d.Actor}, d.Decision)
		actor, _ := s.Actor(d.Actor)
		c.elsewhere = actor.Organisation != d.Organisation || actor.Department != d.Department
		return c, true
	case *events.RecordAmended:
		return permitted(Request{Action: events.ActionAmend, Actor: d.Actor, Record: e.Subject}, d.Decision)
	case *events.RecordAccessed:
		return permitted(Request{
			Action: events.ActionAccess, Actor: d.Actor, Purpose: d.Purpose, Record: e.Subject, Version: d.Version,
		}, d.Decision)
	case *events.RecordDisclosed:
		return permitted(Request{
			Action: events.ActionDisclose, Actor: d.Actor, Purpose: d.Purpose, Record: e.Subject, Version: d.Version,
			Recipient: d.Recipient, Until: d.Until,
		}, d.Decision)
	case *events.RecordReceived:
		return permitted(Request{Action: events.ActionReceive, Actor: d.Actor, Record: e.Subject, Share: d.Share}, d.Decision)
	case *events.DestructionStarted:
		return permitted(Request{Action: events.ActionDestroy, Actor: d.Actor, Record: e.Subject, Approver: d.Approver}, d.Decision)
	case *events.AccessRefused:
		return claim{
			request: Request{Action: d.Action, Actor: d.Actor, Purpose: d.Purpose, Record: refusedRecord(e, d), Share: d.Share},
			outcome: refuse(d.Decision.Rule), trace: d.Decision,
		}, true
	}
	return claim{}, false
}

// refusedRecord is the record that a refusal is about, if there is one.
func refusedRecord(e events.Event, d *events.AccessRefused) events.ID {
	if e.Subject == d.Actor {
		return events.ID{}
	}
	return e.Subject
}
