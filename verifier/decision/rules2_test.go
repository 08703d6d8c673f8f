package decision_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

const admins = "admin, admin2, foreign admin"

// permitted says who may do what: what is not listed must be refused.
var permitted = map[events.Action]string{
	events.ActionRegister:           admins,
	events.ActionIssueToken:         admins,
	events.ActionRevokeToken:        admins + ", nurse",
	events.ActionReadLog:            "auditor, foreign auditor",
	events.ActionRegisterPatient:    "clinician, nurse, ward, lab, idle, idle nurse, late, clerk, foreign, foreign nurse, foreign clerk",
	events.ActionLookUpPatient:      "clinician, nurse, ward, lab, idle, idle nurse, late, clerk",
	events.ActionMergePatient:       "clinician, clerk",
	events.ActionListRecords:        "clinician, nurse, ward, lab, clerk, patient, proxy, reader, foreign",
	events.ActionListAccesses:       "patient, proxy, reader, auditor, foreign auditor",
	events.ActionOpenCare:           "clinician, clerk",
	events.ActionCloseCare:          "clinician, clerk",
	events.ActionAppointProxy:       "clerk, patient",
	events.ActionDismissProxy:       "clerk, patient, reader",
	events.ActionGrantConsent:       "clerk, patient, proxy, consenter",
	events.ActionWithdrawConsent:    "clinician, lab, idle, late, clerk, patient, proxy, consenter",
	events.ActionOriginate:          "clinician, nurse, ward, lab, idle, idle nurse, late, device, foreign, foreign nurse",
	events.ActionAmend:              "clinician, nurse, ward, lab",
	events.ActionAccess:             "clinician, nurse, ward, lab, patient, proxy, reader",
	events.ActionRefile:             "clinician, lab, clerk",
	events.ActionReadHistory:        "clinician, nurse, ward, lab, patient, proxy, reader, auditor, foreign auditor",
	events.ActionDisclose:           "clinician, lab, clerk",
	events.ActionReceive:            "recipient",
	events.ActionAcknowledge:        "recipient",
	events.ActionEndShare:           "clinician, lab, idle, late, clerk, recipient",
	events.ActionRequestDestruction: "patient, proxy, clerk, admin, admin2",
	events.ActionDestroy:            "admin, admin2",
}

// withoutConsent says who may still when consent to treatment was withdrawn.
var withoutConsent = map[events.Action]string{
	events.ActionListRecords: "clerk, patient, proxy, reader",
	events.ActionAmend:       "",
	events.ActionAccess:      "patient, proxy, reader",
	events.ActionRefile:      "",
	events.ActionReadHistory: "patient, proxy, reader, auditor, foreign auditor",
	events.ActionDisclose:    "",
	events.ActionReceive:     "",
}

func TestMatrix(t *testing.T) {
	later := maps.Clone(permitted)
	maps.Copy(later, withoutConsent)
	for name, c := range map[string]struct {
		state *life.State
		want  map[events.Action]string
	}{
		"consent implied":   {clinicWith(), permitted},
		"consent withdrawn": {clinicWith(events.PurposeTreatment), later},
	} {
		for _, action := range decision.Actions() {
			want, listed := c.want[action]
			if !listed {
				t.Errorf("nobody says who may %s", action)
			}
			for _, who := range everybody {
				o := decision.Decide(c.state, asks(who, action))
				may := slices.Contains(strings.Split(want, ", "), who)
				if o.Permit != may || o.Rule == "" {
					t.Errorf("%s: %s by %s is %s", name, action, who, o)
				}
				if o.Permit && !slices.Contains(decision.Roles(action), person(who).Role) {
					t.Errorf("%s: %s is permitted to a role that may not ask", name, action)
				}
			}
		}
	}
	if len(permitted) != len(decision.Actions()) {
		t.Errorf("%d of %d actions are listed", len(permitted), len(decision.Actions()))
	}
}

type outcome struct {
	name   string
	who    string
	action events.Action
	change func(*decision.Request)
	want   string // the rule, or the reason after a "!"
}

// outcomes has rows for every sentence of the rules.
func outcomes() []outcome {
	type r = decision.Request
	purpose := func(p events.Purpose) func(*r) { return func(q *r) { q.Purpose = p } }
	about := func(p events.ID) func(*r) { return func(q *r) { q.Patient = p } }
	of := func(id events.ID) func(*r) { return func(q *r) { q.Record = id } }
	under := func(id events.ID) func(*r) { return func(q *r) { q.Share = id } }
	item := func(id events.ID) func(*r) { return func(q *r) { q.Item = id } }
	whom := func(name string) func(*r) { return func(q *r) { q.Whom = actor(name) } }
	other := func(id events.ID) func(*r) { return func(q *r) { q.Other = id } }
	until := func(at events.Timestamp) func(*r) { return func(q *r) { q.Until = at } }
	version := func(v uint32) func(*r) { return func(q *r) { q.Version = v } }
	return []outcome{
		{"nobody", "nobody", events.ActionAccess, nil, "!unknown-actor"},
		{"what nobody knows", "clinician", "sell", nil, "!unknown-action"},

		{"registers", "admin", events.ActionRegister, nil, "administrator"},
		{"a token", "admin", events.ActionIssueToken, nil, "administrator"},
		{"a token for nobody", "admin", events.ActionIssueToken, whom("nobody"), "!unknown-member"},
		{"a token until now", "admin", events.ActionIssueToken, until(now), "!ends-before-it-begins"},
		{"a token taken away", "admin", events.ActionRevokeToken, nil, "administrator"},
		{"a token given back", "nurse", events.ActionRevokeToken, nil, "own-token"},
		{"a token of another given back", "clinician", events.ActionRevokeToken, nil, "!role-not-allowed"},
		{"a token that is not there", "nurse", events.ActionRevokeToken, item(id(99)), "!unknown-or-ended"},
		{"a token of nobody", "admin", events.ActionRevokeToken, whom("nobody"), "!unknown-member"},
		{"the log", "auditor", events.ActionReadLog, nil, "auditor"},
		{"any history", "auditor", events.ActionReadHistory, of(remote), "auditor"},
		{"the history of the destroyed", "auditor", events.ActionReadHistory, of(dead), "auditor"},
		{"any accesses", "auditor", events.ActionListAccesses, about(away), "auditor"},
		{"accesses to the erased", "auditor", events.ActionListAccesses, about(erased), "auditor"},
		{"accesses to nobody", "auditor", events.ActionListAccesses, about(id(99)), "!unknown-patient"},

		{"registers a patient", "nurse", events.ActionRegisterPatient, nil, "staff-registers"},
		{"finds", "clerk", events.ActionLookUpPatient, nil, "staff-finds"},
		{"finds by an old id", "clerk", events.ActionLookUpPatient, about(merged), "staff-finds"},
		{"finds nobody", "clerk", events.ActionLookUpPatient, about(id(99)), "!unknown-patient"},
		{"finds the erased", "clerk", events.ActionLookUpPatient, about(erased), "!patient-erased"},
		{"finds elsewhere", "clerk", events.ActionLookUpPatient, about(away), "!other-organisation"},
		{"merges", "clerk", events.ActionMergePatient, nil, "staff-merges"},
		{"merges own", "clinician", events.ActionMergePatient, nil, "staff-merges"},
		{"merges one person", "clerk", events.ActionMergePatient, other(merged), "!same-person"},
		{"merges with nobody", "clerk", events.ActionMergePatient, other(id(99)), "!unknown-patient"},
		{"merges with the erased", "clerk", events.ActionMergePatient, other(erased), "!patient-erased"},
		{"merges with one elsewhere", "clerk", events.ActionMergePatient, other(away), "!unknown-patient"},
		{"merges one elsewhere", "clerk", events.ActionMergePatient, about(away), "!other-organisation"},
		{"refiles", "clerk", events.ActionRefile, nil, "staff-refiles"},
		{"refiles as one who treats", "lab", events.ActionRefile, nil, "staff-refiles"},
		{"refiles to the same", "clerk", events.ActionRefile, other(patient), "!same-person"},
		{"refiles to one elsewhere", "clerk", events.ActionRefile, other(away), "!unknown-patient"},
		{"refiles to the erased", "clerk", events.ActionRefile, other(erased), "!patient-erased"},
		{"refiles the destroyed", "clerk", events.ActionRefile, of(dead), "!record-destroyed"},
		{"refiles what is kept elsewhere", "clerk", events.ActionRefile, of(remote), "!other-organisation"},

		{"admits", "clerk", events.ActionOpenCare, nil, "admission"},
		{"admits to a department", "clerk", events.ActionOpenCare, func(q *r) { q.Whom = events.ID{} }, "admission"},
		{"admits without end", "clerk", events.ActionOpenCare, until(0), "admission"},
		{"admits until now", "clerk", events.ActionOpenCare, until(now), "!ends-before-it-begins"},
		{"admits to a clerk", "clerk", events.ActionOpenCare, whom("clerk"), "!unknown-member"},
		{"admits to one elsewhere", "clerk", events.ActionOpenCare, whom("foreign"), "!unknown-member"},
		{"admits one elsewhere", "clerk", events.ActionOpenCare, about(away), "!other-organisation"},
		{"refers", "clinician", events.ActionOpenCare, nil, "referral"},
		{"refers one elsewhere", "clinician", events.ActionOpenCare, about(away), "!other-organisation"},
		{"discharges", "clerk", events.ActionCloseCare, nil, "admission"},
		{"ends a referral", "clinician", events.ActionCloseCare, nil, "referral"},
		{"discharges twice", "clerk", events.ActionCloseCare, item(since), "!unknown-or-ended"},

		{"appoints", "clerk", events.ActionAppointProxy, nil, "staff-appoints"},
		{"appoints one's own", "patient", events.ActionAppointProxy, nil, "own-proxy"},
		{"appoints a stranger's", "stranger", events.ActionAppointProxy, nil, "!not-own-record"},
		{"appoints a nurse", "clerk", events.ActionAppointProxy, whom("nurse"), "!unknown-member"},
		{"appoints until now", "clerk", events.ActionAppointProxy, until(now), "!ends-before-it-begins"},
		{"appoints for the erased", "clerk", events.ActionAppointProxy, about(erased), "!patient-erased"},
		{"dismisses", "clerk", events.ActionDismissProxy, nil, "staff-appoints"},
		{"dismisses one's own", "patient", events.ActionDismissProxy, nil, "own-proxy"},
		{"resigns", "reader", events.ActionDismissProxy, nil, "own-proxy"},
		{"resigns for another", "proxy", events.ActionDismissProxy, nil, "!not-the-proxy"},
		{"dismisses twice", "clerk", events.ActionDismissProxy, item(id(36)), "!unknown-or-ended"},
		{"dismisses elsewhere", "foreign clerk", events.ActionDismissProxy, nil, "!other-organisation"},

		{"originates", "device", events.ActionOriginate, nil, "staff-originates"},
		{"originates for the erased", "clinician", events.ActionOriginate, about(erased), "!patient-erased"},
		{"originates for nobody", "clinician", events.ActionOriginate, about(id(99)), "!unknown-patient"},
		{"amends", "ward", events.ActionAmend, nil, "staff-amends"},
		{"amends the destroyed", "clinician", events.ActionAmend, of(dead), "!record-destroyed"},
		{"amends without a relationship", "idle", events.ActionAmend, nil, "!no-care-relationship"},

		{"reads", "nurse", events.ActionAccess, nil, "treatment"},
		{"reads an old version", "nurse", events.ActionAccess, version(1), "treatment"},
		{"reads a version to come", "nurse", events.ActionAccess, version(3), "!unknown-version"},
		{"reads through the ward", "ward", events.ActionAccess, nil, "treatment"},
		{"reads what the lab originated", "lab", events.ActionAccess, nil, "treatment"},
		{"reads what another originated", "lab", events.ActionAccess, of(doomed), "!no-care-relationship"},
		{"reads for research", "nurse", events.ActionAccess, purpose(events.PurposeResearch), "!purpose-not-allowed"},
		{"reads in an emergency", "nurse", events.ActionAccess, purpose(events.PurposeEmergency), "!purpose-not-allowed"},
		{"reads nothing", "nurse", events.ActionAccess, of(id(99)), "!unknown-record"},
		{"reads the destroyed", "nurse", events.ActionAccess, of(dead), "!record-destroyed"},
		{"reads a history", "ward", events.ActionReadHistory, nil, "treatment"},
		{"reads the history of the destroyed", "nurse", events.ActionReadHistory, of(dead), "treatment"},
		{"lists", "nurse", events.ActionListRecords, nil, "treatment"},
		{"lists by an old id", "nurse", events.ActionListRecords, about(merged), "treatment"},
		{"lists for research", "nurse", events.ActionListRecords, purpose(events.PurposeResearch), "!purpose-not-allowed"},
		{"lists the department's", "lab", events.ActionListRecords, nil, "department"},
		{"lists the department's, of whom it has none", "lab", events.ActionListRecords, about(second), "!no-care-relationship"},
		{"lists what is kept elsewhere by a department of this name", "foreign", events.ActionListRecords, nil, "department"},
		{"lists at the front desk", "clerk", events.ActionListRecords, nil, "front-desk"},
		{"lists at another front desk", "foreign clerk", events.ActionListRecords, nil, "!other-organisation"},
		{"lists the erased", "clinician", events.ActionListRecords, about(erased), "!patient-erased"},

		{"reads one's own", "patient", events.ActionAccess, nil, "own-record"},
		{"reads one's own for treatment", "patient", events.ActionAccess, purpose(events.PurposeTreatment), "!purpose-not-allowed"},
		{"reads one's own history", "patient", events.ActionReadHistory, nil, "own-record"},
		{"lists one's own", "patient", events.ActionListRecords, nil, "own-record"},
		{"lists who saw one's own", "patient", events.ActionListAccesses, nil, "own-record"},
		{"reads a stranger's", "stranger", events.ActionAccess, nil, "!not-own-record"},
		{"reads for a family", "proxy", events.ActionAccess, purpose(events.PurposeFamily), "proxy"},
		{"reads for a patient", "reader", events.ActionAccess, nil, "proxy"},
		{"reads for treatment as a proxy", "reader", events.ActionAccess, purpose(events.PurposeTreatment), "!purpose-not-allowed"},
		{"reads a history as a proxy", "reader", events.ActionReadHistory, nil, "proxy"},
		{"lists who saw it as a proxy", "reader", events.ActionListAccesses, nil, "proxy"},

		{"agrees", "patient", events.ActionGrantConsent, nil, "own-consent"},
		{"agrees for another", "consenter", events.ActionGrantConsent, nil, "own-consent"},
		{"records that somebody agreed", "clerk", events.ActionGrantConsent, nil, "staff-consents"},
		{"withdraws", "patient", events.ActionWithdrawConsent, func(q *r) { q.Item, q.Purpose = agreed, events.PurposeResearch }, "own-consent"},
		{"withdraws for another purpose", "patient", events.ActionWithdrawConsent, item(agreed), "!unknown-or-ended"},
		{"withdraws twice", "patient", events.ActionWithdrawConsent, func(q *r) { q.Item, q.Purpose = revoked, events.PurposeOperations }, "!unknown-or-ended"},
		{"lets themselves in again", "clinician", events.ActionGrantConsent, nil, "!role-not-allowed"},
		{"agrees elsewhere", "foreign clerk", events.ActionGrantConsent, nil, "!other-organisation"},
		{"agrees for the erased", "clerk", events.ActionGrantConsent, about(erased), "!patient-erased"},

		{"discloses", "clinician", events.ActionDisclose, nil, "staff-discloses"},
		{"discloses for public health", "clerk", events.ActionDisclose, purpose(events.PurposePublic), "staff-discloses"},
		{"discloses for payment", "clerk", events.ActionDisclose, purpose(events.PurposePayment), "staff-discloses"},
		{"discloses for research", "clerk", events.ActionDisclose, purpose(events.PurposeResearch), "!purpose-not-allowed"},
		{"discloses to a nurse", "clerk", events.ActionDisclose, func(q *r) { q.Recipient = actor("nurse") }, "!unknown-recipient"},
		{"discloses until now", "clerk", events.ActionDisclose, until(now), "!ends-before-it-begins"},
		{"discloses for ever", "clerk", events.ActionDisclose, until(0), "!ends-before-it-begins"},
		{"discloses a version to come", "clerk", events.ActionDisclose, version(3), "!unknown-version"},
		{"discloses the destroyed", "clerk", events.ActionDisclose, of(dead), "!record-destroyed"},
		{"discloses without a relationship", "idle", events.ActionDisclose, nil, "!no-care-relationship"},
		{"receives", "recipient", events.ActionReceive, nil, "shared"},
		{"receives again", "recipient", events.ActionReceive, under(treating), "shared"},
		{"receives nothing", "recipient", events.ActionReceive, under(id(99)), "!unknown-share"},
		{"acknowledges", "recipient", events.ActionAcknowledge, nil, "shared"},
		{"acknowledges what was not received", "recipient", events.ActionAcknowledge, under(open), "!not-received"},
		{"acknowledges for another", "other", events.ActionAcknowledge, nil, "!not-the-recipient"},
		{"ends a share", "clerk", events.ActionEndShare, nil, "staff-ends"},
		{"gives a share back", "recipient", events.ActionEndShare, nil, "recipient-ends"},
		{"ends a share twice", "clerk", events.ActionEndShare, under(ended), "!share-ended"},
		{"ends another's share", "other", events.ActionEndShare, nil, "!not-the-recipient"},
		{"ends a share elsewhere", "foreign clerk", events.ActionEndShare, nil, "!other-organisation"},

		{"asks for a destruction", "patient", events.ActionRequestDestruction, nil, "asks-destruction"},
		{"asks for it as a proxy", "proxy", events.ActionRequestDestruction, nil, "asks-destruction"},
		{"asks for it in the office", "admin", events.ActionRequestDestruction, nil, "asks-destruction"},
		{"asks for it twice", "clerk", events.ActionRequestDestruction, of(doomed), "!destruction-requested"},
		{"asks for it when it is done", "clerk", events.ActionRequestDestruction, of(dead), "!record-destroyed"},
		{"asks for it elsewhere", "clerk", events.ActionRequestDestruction, of(remote), "!other-organisation"},
		{"approves", "admin", events.ActionDestroy, nil, "two-persons"},
		{"approves what nobody asked for", "admin", events.ActionDestroy, of(record), "!destruction-not-requested"},
		{"approves what is done", "admin", events.ActionDestroy, of(dead), "!record-destroyed"},
	}
}

func (c outcome) check(t *testing.T, s *life.State) {
	t.Helper()
	r := asks(c.who, c.action)
	if c.change != nil {
		c.change(&r)
	}
	want := decision.Outcome{Permit: true, Rule: c.want}
	if reason, no := strings.CutPrefix(c.want, "!"); no {
		want = decision.Outcome{Rule: reason}
	}
	if o := decision.Decide(s, r); o != want {
		t.Errorf("%s %s: %s, want %s", c.who, c.name, o, want)
	}
}

func TestOutcomes(t *testing.T) {
	s := clinicWith()
	for _, c := range outcomes() {
		c.check(t, s)
	}
}

// TestAttacks has what somebody would try who is not content with their rights.
func TestAttacks(t *testing.T) {
	type r = decision.Request
	s := clinicWith()
	own := func(name string) func(*r) { return func(q *r) { q.Whom = actor(name) } }
	for _, c := range []outcome{
		{"opens care for themselves", "idle", events.ActionOpenCare, own("idle"), "!no-care-relationship"},
		{"opens care for themselves", "nurse", events.ActionOpenCare, own("nurse"), "!role-not-allowed"},
		{"opens care for themselves", "idle nurse", events.ActionOpenCare, own("idle nurse"), "!role-not-allowed"},
		{"goes on caring", "late", events.ActionOpenCare, own("late"), "!no-care-relationship"},
		{"opens care through a department of the same name", "foreign", events.ActionOpenCare, own("foreign"), "!other-organisation"},
		{"opens care for themselves", "admin", events.ActionOpenCare, own("admin"), "!role-not-allowed"},
		{"merges a stranger into a patient of theirs", "clinician", events.ActionMergePatient, func(q *r) { q.Patient, q.Other = away, patient }, "!other-organisation"},
		{"merges a patient into another", "idle", events.ActionMergePatient, nil, "!no-care-relationship"},
		{"merges whom they treat with whom they do not", "lab", events.ActionMergePatient, nil, "!no-care-relationship"},
		{"refiles a record to read it", "idle", events.ActionRefile, nil, "!no-care-relationship"},
		{"merges themselves with another", "patient", events.ActionMergePatient, nil, "!role-not-allowed"},

		{"reads a content", "clerk", events.ActionAccess, nil, "!role-not-allowed"},
		{"reads a content", "admin", events.ActionAccess, nil, "!role-not-allowed"},
		{"reads a content", "auditor", events.ActionAccess, nil, "!role-not-allowed"},
		{"reads a content", "device", events.ActionAccess, nil, "!role-not-allowed"},
		{"reads a content", "system", events.ActionAccess, nil, "!role-not-allowed"},
		{"reads a content without a share", "recipient", events.ActionAccess, nil, "!role-not-allowed"},
		{"reads without a relationship", "idle", events.ActionAccess, nil, "!no-care-relationship"},
		{"reads without a relationship", "idle nurse", events.ActionAccess, nil, "!no-care-relationship"},
		{"reads after the relationship", "late", events.ActionAccess, nil, "!no-care-relationship"},
		{"reads what another organisation keeps", "clinician", events.ActionAccess, func(q *r) { q.Record = remote }, "!other-organisation"},
		{"reads the clinic's", "foreign", events.ActionAccess, nil, "!other-organisation"},
		{"reads the clinic's as the lab", "foreign nurse", events.ActionAccess, nil, "!other-organisation"},
		{"lists the clinic's as the lab", "foreign nurse", events.ActionListRecords, nil, "!other-organisation"},
		{"lists the clinic's as the lab, for research", "foreign nurse", events.ActionListRecords, func(q *r) { q.Purpose = events.PurposeResearch }, "!other-organisation"},
		{"reads the clinic's history", "foreign", events.ActionReadHistory, nil, "!other-organisation"},

		{"reads after the end", "late proxy", events.ActionAccess, nil, "!not-the-proxy"},
		{"reads after the dismissal", "ex-proxy", events.ActionAccess, nil, "!not-the-proxy"},
		{"reads outside the scope", "consenter", events.ActionAccess, nil, "!not-the-proxy"},
		{"lists outside the scope", "consenter", events.ActionListRecords, nil, "!not-the-proxy"},
		{"reads the history outside the scope", "consenter", events.ActionReadHistory, nil, "!not-the-proxy"},
		{"agrees outside the scope", "reader", events.ActionGrantConsent, nil, "!not-the-proxy"},
		{"agrees after the end", "late proxy", events.ActionGrantConsent, nil, "!not-the-proxy"},
		{"asks for a destruction outside the scope", "reader", events.ActionRequestDestruction, nil, "!not-the-proxy"},
		{"asks for a destruction after the dismissal", "ex-proxy", events.ActionRequestDestruction, nil, "!not-the-proxy"},
		{"appoints another", "proxy", events.ActionAppointProxy, nil, "!role-not-allowed"},
		{"acts for another patient", "proxy", events.ActionListRecords, func(q *r) { q.Patient = second }, "!not-the-proxy"},

		{"receives after the end", "recipient", events.ActionReceive, func(q *r) { q.Share = overShare }, "!share-ended"},
		{"receives what was ended", "recipient", events.ActionReceive, func(q *r) { q.Share = ended }, "!share-ended"},
		{"receives another's", "other", events.ActionReceive, nil, "!not-the-recipient"},
		{"receives another record under a share", "recipient", events.ActionReceive, func(q *r) { q.Record = doomed }, "!unknown-share"},

		{"approves what they asked for", "clerk", events.ActionDestroy, nil, "!role-not-allowed"},
		{"approves elsewhere", "foreign admin", events.ActionDestroy, nil, "!other-organisation"},
		{"asks for a stranger's destruction", "stranger", events.ActionRequestDestruction, nil, "!not-own-record"},
		{"asks for a destruction", "nurse", events.ActionRequestDestruction, nil, "!role-not-allowed"},
		{"asks for a destruction elsewhere", "foreign clerk", events.ActionRequestDestruction, nil, "!other-organisation"},
		{"issues a token for themselves", "clerk", events.ActionIssueToken, own("clerk"), "!role-not-allowed"},
		{"registers", "clerk", events.ActionRegister, nil, "!role-not-allowed"},
	} {
		c.check(t, s)
	}

	// A clinician who cares for one of two only.
	t.Run("merge", func(t *testing.T) {
		s := clinicWith()
		s.RestorePatient(second, life.Patient{Organisation: clinic})
		outcome{"merges a stranger with a patient of theirs", "clinician", events.ActionMergePatient, nil, "!unknown-patient"}.check(t, s)
	})
	t.Run("approved by oneself", func(t *testing.T) {
		s := clinicWith()
		s.RestoreRecord(doomed, life.Record{Patient: patient, Organisation: clinic, Versions: 1, Destruction: id(40), Requester: actor("admin")})
		outcome{"approves what they asked for", "admin", events.ActionDestroy, nil, "!approver-not-allowed"}.check(t, s)
		outcome{"approves it", "admin2", events.ActionDestroy, nil, "two-persons"}.check(t, s)
	})
}

// TestWithdrawnConsent has what a withdrawal ends, and what a law demands all the
// same.
func TestWithdrawnConsent(t *testing.T) {
	type r = decision.Request
	s := clinicWith(events.PurposeTreatment, events.PurposeLegal, events.PurposePublic)
	purpose := func(p events.Purpose) func(*r) { return func(q *r) { q.Purpose = p } }
	for _, c := range []outcome{
		{"reads", "clinician", events.ActionAccess, nil, "!consent-withdrawn"},
		{"reads the lab's own", "lab", events.ActionAccess, nil, "!consent-withdrawn"},
		{"reads a history", "nurse", events.ActionReadHistory, nil, "!consent-withdrawn"},
		{"lists", "nurse", events.ActionListRecords, nil, "!consent-withdrawn"},
		{"lists the lab's own", "lab", events.ActionListRecords, nil, "!consent-withdrawn"},
		{"is not told who has nothing to do with it", "idle", events.ActionListRecords, nil, "!no-care-relationship"},
		{"amends", "ward", events.ActionAmend, nil, "!consent-withdrawn"},
		{"discloses", "clerk", events.ActionDisclose, nil, "!consent-withdrawn"},
		{"discloses for payment", "clerk", events.ActionDisclose, purpose(events.PurposePayment), "staff-discloses"},
		{"discloses for the law", "clerk", events.ActionDisclose, purpose(events.PurposeLegal), "staff-discloses"},
		{"discloses for public health", "clerk", events.ActionDisclose, purpose(events.PurposePublic), "staff-discloses"},
		{"receives", "recipient", events.ActionReceive, nil, "!consent-withdrawn"},
		{"receives for the law", "recipient", events.ActionReceive, func(q *r) { q.Share = lawful }, "shared"},
		{"reads their own", "patient", events.ActionAccess, nil, "own-record"},
		{"reads as a proxy", "reader", events.ActionAccess, nil, "proxy"},
		{"originates", "clinician", events.ActionOriginate, nil, "staff-originates"},
	} {
		c.check(t, s)
	}
}

func BenchmarkDecide(b *testing.B) {
	s := clinicWith()
	r := asks("nurse", events.ActionAccess)
	for b.Loop() {
		decision.Decide(s, r)
	}
}
