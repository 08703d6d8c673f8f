package decision

import (
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// The rules medledger-rules-2, which the files rules2_*.go spell out by what a request
// is about. Everything that no rule permits is refused. The first column is the name
// that an outcome, and the event it leads to, carries.
//
// Staff are of the organisation that keeps a record, or where a patient is
// registered, unless it says otherwise. Who treats a patient: a clinician or a
// nurse who has a care relationship with the patient, in person or through their
// department, or belongs to the department that originated the record; if the
// patient has not withdrawn consent to treatment (TREAT).
//
//	administrator      an administrator registers actors, issues and revokes tokens
//	own-token          anybody gives back a token of their own
//	auditor            an auditor reads the statements of the log, the history of
//	                   any record, and the accesses to any patient's records
//	staff-registers    a clinician, a nurse or a clerk registers a patient in their
//	                   own organisation
//	staff-finds        a clinician, a nurse or a clerk looks a patient up by an
//	                   external identifier
//	staff-merges       a clerk, or a clinician who has a care relationship with both,
//	                   says that two patients are one person
//	staff-refiles      a clerk, or a clinician who treats the patient, files a record
//	                   under another patient; not while the first has withdrawn
//	                   consent to treatment, which the other would not have
//	admission          a clerk opens and closes care relationships of clinicians,
//	                   nurses and departments
//	referral           so does a clinician who has one themselves
//	staff-appoints     a clerk appoints and dismisses a patient's proxies
//	own-proxy          so does the patient; and a proxy resigns
//	staff-originates   a clinician, a nurse or a device originates a record, which
//	                   their own organisation keeps
//	staff-amends       who treats the patient amends a record
//	treatment          who treats the patient reads a record, its history and the
//	                   list of records, for treatment (TREAT)
//	department         a clinician or a nurse lists the records that their own
//	                   department originated (TREAT)
//	front-desk         a clerk lists a patient's records, not their contents
//	own-record         a patient reads their own records, the histories, the list,
//	                   and the accesses to them (PATRQT)
//	proxy              so does a proxy whose scope says 'read' (FAMRQT, PATRQT)
//	own-consent        a patient, or a proxy whose scope says 'consents', grants and
//	                   withdraws consents
//	staff-consents     a clerk records that the patient agreed, a clinician or a clerk
//	                   that they do not: nobody lets themselves in again
//	staff-discloses    who treats the patient, or a clerk, discloses a record to a
//	                   recipient for treatment, payment, public health or the law
//	                   (TREAT, HPAYMT, PUBHLTH, HLEGAL); the first two only if
//	                   consent to them was not withdrawn
//	shared             a recipient receives what is shared with them until the share
//	                   ends, under the same condition, and acknowledges it
//	staff-ends         a clinician or a clerk ends a share
//	recipient-ends     so does its recipient
//	asks-destruction   a patient, a proxy whose scope says 'destruction', a clerk or
//	                   an administrator asks for the destruction of a record
//	two-persons        an administrator approves what somebody else asked for

// rule2 is who may ask for an action at all, and the rest of the rule. That the
// role is looked at first keeps from others whether something exists.
type rule2 struct {
	roles  []events.Role
	decide func(question) Outcome
}

var (
	clinicians = []events.Role{events.RoleClinician, events.RoleNurse}
	staff      = []events.Role{events.RoleClinician, events.RoleNurse, events.RoleClerk}
	office     = []events.Role{events.RoleClinician, events.RoleClerk}
	persons    = []events.Role{events.RolePatient, events.RoleProxy}
	everybody  = []events.Role{
		events.RoleClinician, events.RoleNurse, events.RoleClerk, events.RolePatient, events.RoleProxy,
		events.RoleRecipient, events.RoleAuditor, events.RoleAdmin, events.RoleDevice, events.RoleSystem,
	}
	readers  = slices.Concat(clinicians, persons)
	auditors = []events.Role{events.RoleAuditor}
	admins   = []events.Role{events.RoleAdmin}
)

var rules2 = map[events.Action]rule2{
	events.ActionRegister:    {admins, func(question) Outcome { return permit("administrator") }},
	events.ActionIssueToken:  {admins, question.issue},
	events.ActionRevokeToken: {everybody, question.revoke},
	events.ActionReadLog:     {auditors, func(question) Outcome { return permit("auditor") }},

	events.ActionRegisterPatient: {staff, func(question) Outcome { return permit("staff-registers") }},
	events.ActionLookUpPatient:   {staff, question.lookUp},
	events.ActionMergePatient:    {office, question.merge},
	events.ActionListRecords:     {append(slices.Clone(readers), events.RoleClerk), question.listRecords},
	events.ActionListAccesses:    {append(slices.Clone(persons), events.RoleAuditor), question.listAccesses},
	events.ActionOpenCare:        {office, question.openCare},
	events.ActionCloseCare:       {office, question.closeCare},
	events.ActionAppointProxy:    {[]events.Role{events.RoleClerk, events.RolePatient}, question.appoint},
	events.ActionDismissProxy:    {append(slices.Clone(persons), events.RoleClerk), question.dismiss},
	events.ActionGrantConsent:    {append(slices.Clone(persons), events.RoleClerk), question.consent},
	events.ActionWithdrawConsent: {slices.Concat(office, persons), question.withdraw},

	events.ActionOriginate:          {append(slices.Clone(clinicians), events.RoleDevice), question.originate},
	events.ActionAmend:              {clinicians, question.amend},
	events.ActionAccess:             {readers, question.access},
	events.ActionRefile:             {office, question.refile},
	events.ActionReadHistory:        {append(slices.Clone(readers), events.RoleAuditor), question.history},
	events.ActionDisclose:           {office, question.disclose},
	events.ActionReceive:            {[]events.Role{events.RoleRecipient}, question.receive},
	events.ActionAcknowledge:        {[]events.Role{events.RoleRecipient}, question.acknowledge},
	events.ActionEndShare:           {append(slices.Clone(office), events.RoleRecipient), question.endShare},
	events.ActionRequestDestruction: {append(slices.Clone(persons), events.RoleClerk, events.RoleAdmin), question.requestDestruction},
	events.ActionDestroy:            {admins, question.approve},
}

// Roles returns the roles of those who may ask for an action at all.
func Roles(a events.Action) []events.Role { return slices.Clone(rules2[a].roles) }

func decide2(s *life.State, r Request) Outcome {
	actor, ok := s.Actor(r.Actor)
	if !ok {
		return refuse(RefusedUnknownActor)
	}
	rule, ok := rules2[r.Action]
	if !ok {
		return refuse(RefusedUnknownAction)
	}
	if !oneOf(actor.Role, rule.roles...) {
		return refuse(RefusedRole)
	}
	return rule.decide(question{s, r, actor})
}

// question is a request whose actor is known.
type question struct {
	s     *life.State
	r     Request
	actor life.Actor
}

func (q question) is(roles ...events.Role) bool { return oneOf(q.actor.Role, roles...) }

func (q question) issue() Outcome {
	if _, ok := q.s.Actor(q.r.Whom); !ok {
		return refuse(RefusedUnknownMember)
	}
	if q.r.Until <= q.r.At {
		return refuse(RefusedUntil)
	}
	return permit("administrator")
}

func (q question) revoke() Outcome {
	rule := "administrator"
	if !q.is(events.RoleAdmin) {
		rule = "own-token"
		if q.r.Whom != q.r.Actor {
			return refuse(RefusedRole)
		}
	}
	whose, ok := q.s.Actor(q.r.Whom)
	if !ok {
		return refuse(RefusedUnknownMember)
	}
	if t, ok := whose.Token(q.r.Item); !ok || t.Revoked {
		return refuse(RefusedUnknownItem)
	}
	return permit(rule)
}
