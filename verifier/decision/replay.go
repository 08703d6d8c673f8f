package decision

import (
	"fmt"
	"slices"

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
// A refusal does not say all of what was asked for: a version, a recipient,
// another patient, an end that made no sense. A refusal for one of those reasons is
// taken at its word, unless what it does say is reason enough for another; it harms
// nobody but the one who was refused.
func Replay(s *life.State, index uint64, e events.Event) error {
	claim, ok := claimOf(s, e)
	if !ok {
		return nil
	}
	if claim.trace.Position != index {
		return &WrongError{Claimed: claim.outcome, Why: fmt.Sprintf(
			"the decision was made on the state at %d, and not on the one before the event", claim.trace.Position)}
	}
	claim.request.At = e.Time
	right := claim.undecided(s)
	if right.Rule == "" {
		right = decideBy(claim.trace.Rules, s, claim.request)
	}
	// Under the older rules what is untold was not asked for last.
	if claim.untold(claim.outcome) && (right.Permit || claim.untold(right) || claim.trace.Rules == life.Rules1) {
		return nil
	}
	if right != claim.outcome {
		return &WrongError{Claimed: claim.outcome, Right: right, Why: fmt.Sprintf("it was %s, the rules say it is %s", claim.outcome, right)}
	}
	if claim.elsewhere {
		return &WrongError{Claimed: claim.outcome, Right: right, Why: "it is kept by another organisation or department than the actor's"}
	}
	return nil
}

func (o Outcome) String() string {
	if o.Permit {
		return fmt.Sprintf("permitted (%.40s)", o.Rule)
	}
	return fmt.Sprintf("refused (%.40s)", o.Rule)
}

// untold1 and untold2 are the reasons for a refusal that rest on what a refusal
// does not say, under medledger-rules-1 whatever the action, and since then by it.
// The newer rules ask for what is untold last: else a right refusal could not be
// told from a false one.
var (
	untold1 = []string{
		RefusedUnknownRecord, RefusedUnknownVersion, RefusedUnknownShare, RefusedUnknownRecipient,
		RefusedUntil, RefusedApprover,
	}
	untold2 = map[events.Action][]string{
		events.ActionIssueToken:      {RefusedUnknownMember, RefusedUntil},
		events.ActionRevokeToken:     {RefusedRole, RefusedUnknownMember, RefusedUnknownItem},
		events.ActionOriginate:       {RefusedUnknownPatient, RefusedErased},
		events.ActionMergePatient:    {RefusedUnknownPatient, RefusedErased, RefusedSamePerson},
		events.ActionRefile:          {RefusedUnknownPatient, RefusedErased, RefusedSamePerson},
		events.ActionOpenCare:        {RefusedUnknownMember, RefusedUntil},
		events.ActionCloseCare:       {RefusedUnknownItem},
		events.ActionAppointProxy:    {RefusedUnknownMember, RefusedUntil},
		events.ActionDismissProxy:    {RefusedNotProxy, RefusedUnknownItem},
		events.ActionWithdrawConsent: {RefusedUnknownItem},
		events.ActionAccess:          {RefusedUnknownVersion},
		events.ActionDisclose:        {RefusedUnknownVersion, RefusedUnknownRecipient, RefusedUntil},
	}
)

// untold reports whether an outcome of the request is a refusal that rests on what
// a refusal does not say.
func (c claim) untold(o Outcome) bool {
	switch {
	case o.Permit || c.outcome.Permit:
		return false
	case c.trace.Rules == life.Rules1:
		return slices.Contains(untold1, o.Rule)
	}
	return slices.Contains(untold2[c.request.Action], o.Rule)
}

// claim is what an event says of its decision.
type claim struct {
	request   Request
	outcome   Outcome
	trace     events.Decision
	founder   bool // it registers the first administrator
	machine   bool // it was done on the ledger's own machine
	elsewhere bool // it makes a record or a patient that is not the actor's to keep
}

// undecided is the outcome of what nobody decides.
func (c claim) undecided(s *life.State) Outcome {
	if actors, _ := s.Counts(); c.founder && actors == 0 {
		return permit(Founding)
	}
	if c.machine {
		return permit(OnTheMachine)
	}
	return Outcome{}
}

// claimOf returns the claim of an event, and false if nobody decided it.
func claimOf(s *life.State, e events.Event) (claim, bool) {
	trace, ok := e.Decision()
	if !ok {
		return claim{}, false
	}
	c := claim{outcome: permit(trace.Rule), trace: trace}
	if d, refused := e.Data.(*events.AccessRefused); refused {
		c.outcome = refuse(trace.Rule)
		c.request = refusedRequest(e, d)
		return c, true
	}
	switch d := e.Data.(type) {
	case *events.ActorRegistered:
		c.founder = d.By.IsZero()
	case *events.TokenIssued:
		c.machine = d.By.IsZero()
	case *events.TokenRevoked:
		c.machine = d.By.IsZero()
	case *events.PatientRegistered:
		actor, _ := s.Actor(d.Actor)
		c.elsewhere = actor.Organisation != d.Organisation
	case *events.RecordOriginated:
		actor, _ := s.Actor(d.Actor)
		c.elsewhere = actor.Organisation != d.Organisation || actor.Department != d.Department
	}
	c.request = permittedRequest(trace.Rules, e)
	return c, true
}

// permittedRequest is what was asked for, as the event that came of it tells.
func permittedRequest(rules string, e events.Event) Request {
	switch d := e.Data.(type) {
	case *events.ActorRegistered:
		return Request{Action: events.ActionRegister, Actor: d.By}
	case *events.TokenIssued:
		return Request{Action: events.ActionIssueToken, Actor: d.By, Whom: e.Subject, Until: d.Expires}
	case *events.TokenRevoked:
		return Request{Action: events.ActionRevokeToken, Actor: d.By, Whom: e.Subject, Item: d.Token}
	case *events.LogRead:
		return Request{Action: events.ActionReadLog, Actor: d.Actor}
	case *events.RecordOriginated:
		return Request{Action: events.ActionOriginate, Actor: d.Actor, Patient: d.Patient}
	case *events.RecordAmended:
		return Request{Action: events.ActionAmend, Actor: d.Actor, Record: e.Subject}
	case *events.RecordAccessed:
		return Request{Action: events.ActionAccess, Actor: d.Actor, Purpose: d.Purpose, Record: e.Subject, Version: d.Version}
	case *events.RecordRefiled:
		return Request{Action: events.ActionRefile, Actor: d.Actor, Record: e.Subject, Other: d.Patient}
	case *events.HistoryRead:
		return Request{Action: events.ActionReadHistory, Actor: d.Actor, Record: e.Subject}
	case *events.RecordDisclosed:
		return Request{
			Action: events.ActionDisclose, Actor: d.Actor, Purpose: d.Purpose, Record: e.Subject, Version: d.Version,
			Recipient: d.Recipient, Until: d.Until,
		}
	case *events.RecordReceived:
		return Request{Action: events.ActionReceive, Actor: d.Actor, Record: e.Subject, Share: d.Share}
	case *events.ShareAcknowledged:
		return Request{Action: events.ActionAcknowledge, Actor: d.Actor, Record: e.Subject, Share: d.Share}
	case *events.ShareEnded:
		return Request{Action: events.ActionEndShare, Actor: d.Actor, Record: e.Subject, Share: d.Share}
	case *events.DestructionRequested:
		return Request{Action: events.ActionRequestDestruction, Actor: d.Actor, Record: e.Subject}
	case *events.DestructionStarted:
		if rules == life.Rules1 {
			return Request{Action: events.ActionDestroy, Actor: d.Actor, Record: e.Subject, Approver: d.Approver}
		}
		return Request{Action: events.ActionDestroy, Actor: d.Approver, Record: e.Subject}
	}
	return patientRequest(e)
}

// patientRequest is permittedRequest for what is done to a patient.
func patientRequest(e events.Event) Request {
	switch d := e.Data.(type) {
	case *events.PatientRegistered:
		return Request{Action: events.ActionRegisterPatient, Actor: d.Actor}
	case *events.PatientMerged:
		return Request{Action: events.ActionMergePatient, Actor: d.Actor, Patient: e.Subject, Other: d.Into}
	case *events.PatientQueried:
		return Request{Action: queryActions[d.Query], Actor: d.Actor, Patient: e.Subject, Purpose: d.Purpose}
	case *events.CareOpened:
		return Request{Action: events.ActionOpenCare, Actor: d.Actor, Patient: e.Subject, Whom: d.Member, Until: d.Until}
	case *events.CareClosed:
		return Request{Action: events.ActionCloseCare, Actor: d.Actor, Patient: e.Subject, Item: d.Relationship}
	case *events.ProxyAppointed:
		return Request{Action: events.ActionAppointProxy, Actor: d.Actor, Patient: e.Subject, Whom: d.Proxy, Until: d.Until}
	case *events.ProxyDismissed:
		return Request{Action: events.ActionDismissProxy, Actor: d.Actor, Patient: e.Subject, Item: d.Appointment}
	case *events.ConsentGranted:
		return Request{Action: events.ActionGrantConsent, Actor: d.Actor, Patient: e.Subject, Purpose: d.Purpose}
	case *events.ConsentWithdrawn:
		return Request{Action: events.ActionWithdrawConsent, Actor: d.Actor, Patient: e.Subject, Purpose: d.Purpose, Item: d.Consent}
	}
	return Request{}
}

var queryActions = map[events.Query]events.Action{
	events.QueryIdentifier: events.ActionLookUpPatient,
	events.QueryRecords:    events.ActionListRecords,
	events.QueryAccesses:   events.ActionListAccesses,
	events.QueryRights:     events.ActionListRecords, // the same may ask for both
}

// refusedRequest is what was asked for, as far as a refusal tells.
func refusedRequest(e events.Event, d *events.AccessRefused) Request {
	r := Request{Action: d.Action, Actor: d.Actor, Purpose: d.Purpose, Share: d.Share}
	switch {
	case e.Subject == d.Actor: // it was about nothing that exists
	case d.Action.OnPatient():
		r.Patient = e.Subject
	default:
		r.Record = e.Subject
	}
	return r
}
