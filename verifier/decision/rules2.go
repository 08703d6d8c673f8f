package decision

import (
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// The rules medledger-rules-2. Everything that no rule permits is refused. The
// first column is the name that an outcome, and the event it leads to, carries.
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
//	                   under another patient
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

// patient returns whom the request is about, or why it cannot be about them.
func (q question) patient() (*life.Patient, *Outcome) {
	_, p := q.s.Person(q.r.Patient)
	if p == nil {
		return nil, new(refuse(RefusedUnknownPatient))
	}
	if p.Erased {
		return nil, new(refuse(RefusedErased))
	}
	return p, nil
}

// own checks that a patient or a proxy may do something for a patient.
func (q question) own(patient events.ID, scope events.ProxyScope) *Outcome {
	if q.is(events.RoleProxy) {
		if _, p := q.s.Person(patient); p == nil || !p.ActsFor(q.r.Actor, scope, q.r.At) {
			return new(refuse(RefusedNotProxy))
		}
		return nil
	}
	if !q.s.SamePerson(q.actor.Patient, patient) {
		return new(refuse(RefusedNotOwn))
	}
	return nil
}

// reads is own for reading, with the purposes that a patient or a proxy may have.
func (q question) reads(patient events.ID) Outcome {
	if no := q.own(patient, events.ProxyRead); no != nil {
		return *no
	}
	switch {
	case q.is(events.RoleProxy) && oneOf(q.r.Purpose, events.PurposeFamily, events.PurposePatient):
		return permit("proxy")
	case q.is(events.RolePatient) && q.r.Purpose == events.PurposePatient:
		return permit("own-record")
	}
	return refuse(RefusedPurpose)
}

func (q question) lookUp() Outcome {
	p, no := q.patient()
	if no != nil {
		return *no
	}
	if p.Organisation != q.actor.Organisation {
		return refuse(RefusedOrganisation)
	}
	return permit("staff-finds")
}

func (q question) merge() Outcome {
	p, no := q.patient()
	if no != nil {
		return *no
	}
	switch {
	case p.Organisation != q.actor.Organisation:
		return refuse(RefusedOrganisation)
	case q.is(events.RoleClinician) && !q.cares(p):
		return refuse(RefusedNoRelationship)
	}
	other, no := q.other(p)
	switch {
	case no != nil:
		return *no
	case q.is(events.RoleClinician) && !q.cares(other):
		// Who merges a stranger into a patient of theirs would treat the stranger.
		return refuse(RefusedUnknownPatient)
	}
	return permit("staff-merges")
}

// other returns the other patient of the request. It is asked for last: a refusal
// does not tell who that is.
func (q question) other(p *life.Patient) (*life.Patient, *Outcome) {
	other, no := question{q.s, Request{Patient: q.r.Other}, q.actor}.patient()
	switch {
	case no != nil:
		return nil, no
	case other.Organisation != q.actor.Organisation:
		return nil, new(refuse(RefusedUnknownPatient))
	case p == other:
		return nil, new(refuse(RefusedSamePerson))
	}
	return other, nil
}

// cares reports whether the actor has a care relationship with a patient of their
// own organisation.
func (q question) cares(p *life.Patient) bool {
	return p.Organisation == q.actor.Organisation && p.CaredForBy(q.r.Actor, q.actor, q.r.At)
}

// originated reports whether the actor's department originated a record of the
// patient.
func (q question) originated(p *life.Patient) bool {
	return !q.actor.Department.IsZero() && slices.ContainsFunc(p.Records, func(id events.ID) bool {
		r := q.s.Record(id)
		return r != nil && r.Organisation == q.actor.Organisation && r.Department == q.actor.Department
	})
}

func (q question) listRecords() Outcome {
	if q.is(persons...) {
		return q.reads(q.r.Patient)
	}
	p, no := q.patient()
	if no != nil {
		return *no
	}
	cares := q.cares(p)
	concerned := cares || q.originated(p)
	switch {
	case q.is(events.RoleClerk) && p.Organisation == q.actor.Organisation:
		return permit("front-desk")
	case q.is(events.RoleClerk):
		return refuse(RefusedOrganisation)
	case !concerned && p.Organisation != q.actor.Organisation:
		// Others' patients are not even told of.
		return refuse(RefusedOrganisation)
	case q.r.Purpose != events.PurposeTreatment:
		return refuse(RefusedPurpose)
	case !concerned:
		return refuse(RefusedNoRelationship)
	case p.Refuses(events.PurposeTreatment):
		return refuse(RefusedConsent)
	case cares:
		return permit("treatment")
	}
	return permit("department")
}

// Listed reports whether a record is in the list that a rule permitted an actor.
func Listed(rule string, a life.Actor, r *life.Record) bool {
	switch rule {
	case "own-record", "proxy":
		return true
	case "treatment", "front-desk":
		return r.Organisation == a.Organisation
	case "department":
		return r.Organisation == a.Organisation && r.Department == a.Department
	}
	return false
}

func (q question) listAccesses() Outcome {
	if _, p := q.s.Person(q.r.Patient); p == nil {
		return refuse(RefusedUnknownPatient)
	}
	if q.is(events.RoleAuditor) {
		return permit("auditor")
	}
	return q.reads(q.r.Patient)
}

// desk checks what a clerk and a clinician need to open and close care.
func (q question) desk() (rule string, p *life.Patient, no *Outcome) {
	p, no = q.patient()
	switch {
	case no != nil:
		return "", nil, no
	case p.Organisation != q.actor.Organisation:
		return "", nil, new(refuse(RefusedOrganisation))
	case q.is(events.RoleClerk):
		return "admission", p, nil
	case q.cares(p):
		return "referral", p, nil
	}
	return "", nil, new(refuse(RefusedNoRelationship))
}

func (q question) openCare() Outcome {
	rule, _, no := q.desk()
	if no != nil {
		return *no
	}
	if !q.r.Whom.IsZero() {
		m, ok := q.s.Actor(q.r.Whom)
		if !ok || !oneOf(m.Role, clinicians...) || m.Organisation != q.actor.Organisation {
			return refuse(RefusedUnknownMember)
		}
	}
	if q.r.Until != 0 && q.r.Until <= q.r.At {
		return refuse(RefusedUntil)
	}
	return permit(rule)
}

func (q question) closeCare() Outcome {
	rule, p, no := q.desk()
	if no != nil {
		return *no
	}
	if !slices.ContainsFunc(p.Care, func(c life.Care) bool { return c.ID == q.r.Item && !c.Closed }) {
		return refuse(RefusedUnknownItem)
	}
	return permit(rule)
}

func (q question) appoint() Outcome {
	p, no := q.patient()
	if no != nil {
		return *no
	}
	rule := "staff-appoints"
	switch {
	case q.is(events.RolePatient):
		rule = "own-proxy"
		if no := q.own(q.r.Patient, ""); no != nil {
			return *no
		}
	case p.Organisation != q.actor.Organisation:
		return refuse(RefusedOrganisation)
	}
	if proxy, ok := q.s.Actor(q.r.Whom); !ok || proxy.Role != events.RoleProxy {
		return refuse(RefusedUnknownMember)
	}
	if q.r.Until != 0 && q.r.Until <= q.r.At {
		return refuse(RefusedUntil)
	}
	return permit(rule)
}

func (q question) dismiss() Outcome {
	p, no := q.patient()
	if no != nil {
		return *no
	}
	i := slices.IndexFunc(p.Proxies, func(a life.Appointment) bool { return a.ID == q.r.Item && !a.Dismissed })
	rule := "own-proxy"
	switch {
	case q.is(events.RolePatient):
		if no := q.own(q.r.Patient, ""); no != nil {
			return *no
		}
	case q.is(events.RoleProxy):
		if i < 0 || p.Proxies[i].Proxy != q.r.Actor {
			return refuse(RefusedNotProxy)
		}
	default:
		rule = "staff-appoints"
		if p.Organisation != q.actor.Organisation {
			return refuse(RefusedOrganisation)
		}
	}
	if i < 0 {
		return refuse(RefusedUnknownItem)
	}
	return permit(rule)
}

func (q question) consent() Outcome {
	p, no := q.patient()
	switch {
	case no != nil:
		return *no
	case q.is(persons...):
		if no := q.own(q.r.Patient, events.ProxyConsents); no != nil {
			return *no
		}
		return permit("own-consent")
	case p.Organisation != q.actor.Organisation:
		return refuse(RefusedOrganisation)
	}
	return permit("staff-consents")
}

func (q question) withdraw() Outcome {
	o := q.consent()
	if !o.Permit || q.r.Item.IsZero() {
		return o
	}
	p, _ := q.patient()
	if !slices.ContainsFunc(p.Consents, func(c life.Consent) bool {
		return c.ID == q.r.Item && c.Purpose == q.r.Purpose && !c.Withdrawn
	}) {
		return refuse(RefusedUnknownItem)
	}
	return o
}

func (q question) originate() Outcome {
	if _, no := q.patient(); no != nil {
		return *no
	}
	return permit("staff-originates")
}

// record returns the record that the request is about.
func (q question) record() (*life.Record, *Outcome) {
	if record := q.s.Record(q.r.Record); record != nil {
		return record, nil
	}
	return nil, new(refuse(RefusedUnknownRecord))
}

// kept returns the record if the actor's organisation keeps it.
func (q question) kept() (*life.Record, *Outcome) {
	record, no := q.record()
	if no == nil && record.Organisation != q.actor.Organisation {
		return nil, new(refuse(RefusedOrganisation))
	}
	return record, no
}

// treats returns the record if the actor treats the patient whom it is about.
func (q question) treats() (*life.Record, *Outcome) {
	record, no := q.kept()
	if no != nil {
		return nil, no
	}
	_, p := q.s.Person(record.Patient)
	if !p.CaredForBy(q.r.Actor, q.actor, q.r.At) &&
		(record.Department.IsZero() || record.Department != q.actor.Department) {
		return nil, new(refuse(RefusedNoRelationship))
	}
	if p.Refuses(events.PurposeTreatment) {
		return nil, new(refuse(RefusedConsent))
	}
	return record, nil
}

// living permits by a rule what can be done to a record that is not destroyed.
func (q question) living(record *life.Record, rule string) Outcome {
	if record.Phase != life.Active {
		return refuse(RefusedDestroyed)
	}
	if q.r.Version > record.Versions {
		return refuse(RefusedUnknownVersion)
	}
	return permit(rule)
}

func (q question) amend() Outcome {
	record, no := q.treats()
	if no != nil {
		return *no
	}
	return q.living(record, "staff-amends")
}

func (q question) access() Outcome {
	record, no := q.record()
	if no != nil {
		return *no
	}
	if q.is(persons...) {
		o := q.reads(record.Patient)
		if o.Permit {
			o = q.living(record, o.Rule)
		}
		return o
	}
	if record, no = q.treats(); no != nil {
		return *no
	}
	if q.r.Purpose != events.PurposeTreatment {
		return refuse(RefusedPurpose)
	}
	return q.living(record, "treatment")
}

func (q question) history() Outcome {
	record, no := q.record()
	switch {
	case no != nil:
		return *no
	case q.is(events.RoleAuditor):
		return permit("auditor")
	case q.is(persons...):
		if no := q.own(record.Patient, events.ProxyRead); no != nil {
			return *no
		}
		if q.is(events.RoleProxy) {
			return permit("proxy")
		}
		return permit("own-record")
	}
	if _, no := q.treats(); no != nil {
		return *no
	}
	return permit("treatment")
}

func (q question) refile() Outcome {
	record, no := q.office()
	if no != nil {
		return *no
	}
	o := q.living(record, "staff-refiles")
	if !o.Permit {
		return o
	}
	_, p := q.s.Person(record.Patient)
	if _, no := q.other(p); no != nil {
		return *no
	}
	return o
}

// office returns the record if the actor is a clerk of the organisation that keeps
// it, or treats the patient.
func (q question) office() (*life.Record, *Outcome) {
	if q.is(events.RoleClerk) {
		return q.kept()
	}
	return q.treats()
}

// agreed checks that the patient has not withdrawn consent to a purpose that
// needs it. What a law demands needs none.
func (q question) agreed(record *life.Record, purpose events.Purpose) bool {
	_, p := q.s.Person(record.Patient)
	return oneOf(purpose, events.PurposePublic, events.PurposeLegal) || !p.Refuses(purpose)
}

func (q question) disclose() Outcome {
	record, no := q.office()
	if no != nil {
		return *no
	}
	o := q.living(record, "staff-discloses")
	recipient, ok := q.s.Actor(q.r.Recipient)
	switch {
	case !oneOf(q.r.Purpose, events.PurposeTreatment, events.PurposePayment, events.PurposePublic, events.PurposeLegal):
		return refuse(RefusedPurpose)
	case !q.agreed(record, q.r.Purpose):
		return refuse(RefusedConsent)
	case !o.Permit:
		return o
	case !ok || recipient.Role != events.RoleRecipient:
		return refuse(RefusedUnknownRecipient)
	case q.r.Until <= q.r.At:
		return refuse(RefusedUntil)
	}
	return o
}

// shared returns the share that the request names, of the record that it names.
func (q question) shared() (*life.Record, life.Share, *Outcome) {
	record, no := q.record()
	if no != nil {
		return nil, life.Share{}, new(refuse(RefusedUnknownShare))
	}
	share, ok := record.Share(q.r.Share)
	if !ok {
		return nil, life.Share{}, new(refuse(RefusedUnknownShare))
	}
	return record, share, nil
}

func (q question) receive() Outcome {
	record, share, no := q.shared()
	switch {
	case no != nil:
		return *no
	case share.Recipient != q.r.Actor:
		return refuse(RefusedNotRecipient)
	case share.Ended || q.r.At >= share.Until:
		return refuse(RefusedShareEnded)
	case !q.agreed(record, share.Purpose):
		return refuse(RefusedConsent)
	}
	return q.living(record, "shared")
}

func (q question) acknowledge() Outcome {
	record, share, no := q.shared()
	switch {
	case no != nil:
		return *no
	case share.Recipient != q.r.Actor:
		return refuse(RefusedNotRecipient)
	case !share.Received:
		return refuse(RefusedNotReceived)
	}
	return q.living(record, "shared")
}

func (q question) endShare() Outcome {
	record, share, no := q.shared()
	rule := "staff-ends"
	switch {
	case no != nil:
		return *no
	case q.is(events.RoleRecipient):
		rule = "recipient-ends"
		if share.Recipient != q.r.Actor {
			return refuse(RefusedNotRecipient)
		}
	case record.Organisation != q.actor.Organisation:
		return refuse(RefusedOrganisation)
	}
	if share.Ended {
		return refuse(RefusedShareEnded)
	}
	return q.living(record, rule)
}

func (q question) requestDestruction() Outcome {
	record, no := q.record()
	if no != nil {
		return *no
	}
	if q.is(persons...) {
		if no := q.own(record.Patient, events.ProxyDestruction); no != nil {
			return *no
		}
	} else if record.Organisation != q.actor.Organisation {
		return refuse(RefusedOrganisation)
	}
	if record.Phase == life.Active && !record.Destruction.IsZero() {
		return refuse(RefusedRequested)
	}
	return q.living(record, "asks-destruction")
}

func (q question) approve() Outcome {
	record, no := q.kept()
	switch {
	case no != nil:
		return *no
	case record.Destruction.IsZero():
		return refuse(RefusedNotRequested)
	case record.Requester == q.r.Actor:
		return refuse(RefusedApprover)
	}
	return q.living(record, "two-persons")
}
