package audit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// after is a lie told behind a story, signed with the ledger's real keys: the
// first event after the story has the index 25.
func after(name string, tell func(h *audittest.History), want ...string) lie {
	return lie{name: name, want: want, tell: func(_ *testing.T, h *audittest.History) audit.Source {
		tell(h)
		return h.Serve()
	}}
}

// living is the story's record that is alive at its end.
func living(h *audittest.History) events.ID { return h.Events[9].Subject }

// merge registers another patient, at 25, and merges the story's into it, at 26.
func merge(h *audittest.History) events.ID {
	other := h.ID()
	h.Register(other)
	h.Add(h.Person, &events.PatientMerged{Actor: h.Clerk, Decision: h.Decision("staff-merges"), Into: other})
	return other
}

func token(h *audittest.History, by events.ID, rule string) *events.TokenIssued {
	return &events.TokenIssued{By: by, Decision: h.Decision(rule), Digest: events.Digest{1}, Expires: h.Events[24].Time.Add(time.Hour), Token: h.ID()}
}

func started(h *audittest.History, destruction, approver events.ID) *events.DestructionStarted {
	return &events.DestructionStarted{
		Actor: h.Clerk, Approver: approver, Decision: h.Decision("two-persons"), Destruction: destruction,
		Ground: events.GroundPatientRequest, Versions: 2,
	}
}

var rightsLies = []lie{
	after("a token that a clerk issued to themselves", func(h *audittest.History) {
		h.Add(h.Clerk, token(h, h.Clerk, "administrator"))
	}, "decision-wrong 25"),
	after("a token for a clerk, as if it had been issued on the machine", func(h *audittest.History) {
		h.Add(h.Clerk, token(h, events.ID{}, decision.OnTheMachine))
	}, "event-illegal 25"),
	after("the digest of somebody's token given to another", func(h *audittest.History) {
		h.Token(h.Clerk)
		d := token(h, h.Admin, "administrator")
		d.Digest = h.Events[25].Data.(*events.TokenIssued).Digest
		h.Add(h.Recipient, d)
	}, "event-illegal 26"),
	after("a reading without a care relationship", func(h *audittest.History) {
		h.Discharge()
		h.Access(living(h))
	}, "decision-wrong 26"),
	after("a care relationship that a clinician opened for themselves", func(h *audittest.History) {
		h.Discharge()
		h.Add(h.Person, &events.CareOpened{Actor: h.Clinician, Decision: h.Decision("referral"), Member: h.Clinician, Relationship: h.ID()})
	}, "decision-wrong 26"),
	after("a reading after consent was withdrawn", func(h *audittest.History) {
		h.Withdraw(events.PurposeTreatment)
		h.Access(living(h))
	}, "decision-wrong 26"),
	after("a disclosure and its reception after consent was withdrawn", func(h *audittest.History) {
		h.Withdraw(events.PurposeTreatment)
		h.Share(living(h))
	}, "decision-wrong 26", "decision-wrong 27"),
	after("a merge undone", func(h *audittest.History) {
		other := merge(h)
		h.Add(other, &events.PatientMerged{Actor: h.Clerk, Decision: h.Decision("staff-merges"), Into: h.Person})
	}, "event-illegal 27"),
	after("a record filed as if there had been no merge", func(h *audittest.History) {
		merge(h)
		h.Originate()
	}, "event-illegal 27"),
	after("an account that reads on after its merge, which is no lie, and one that reads a stranger's", func(h *audittest.History) {
		merge(h)
		own := func(record events.ID) {
			h.Add(record, &events.RecordAccessed{Actor: h.Patient, Decision: h.Decision("own-record"), Purpose: events.PurposePatient, Version: 1})
		}
		own(living(h))
		stranger := h.ID()
		h.Register(stranger)
		h.Add(living(h), &events.RecordRefiled{Actor: h.Clerk, Decision: h.Decision("staff-refiles"), From: h.Person, Patient: stranger})
		own(living(h))
	}, "decision-wrong 30"),
	after("a destruction that nobody asked for", func(h *audittest.History) {
		destruction := h.ID()
		h.Add(living(h), started(h, destruction, h.Admin))
		h.Add(living(h), &events.RecordDestroyed{
			Custody: events.CustodyFile, Destruction: destruction, Keys: 2, Method: events.MethodCryptographicErase,
		})
	}, "event-illegal 25", "event-illegal 26"),
	after("a destruction that no administrator approved", func(h *audittest.History) {
		h.Request(living(h))
		h.Add(living(h), started(h, h.Events[25].Data.(*events.DestructionRequested).Destruction, h.Clinician))
	}, "decision-wrong 26"),
	after("a patient erased who has a record", func(h *audittest.History) {
		h.Add(h.Person, &events.PatientErased{Custody: events.CustodyFile, Method: events.MethodCryptographicErase})
	}, "event-illegal 25"),
	after("a reading by the rules before", func(h *audittest.History) {
		d := h.Decision("treatment")
		d.Rules = life.Rules1
		h.Add(living(h), &events.RecordAccessed{Actor: h.Clinician, Decision: d, Purpose: events.PurposeTreatment, Version: 1})
	}, "event-illegal 25"),
	after("a refusal for what it does not tell, though it tells enough", func(h *audittest.History) {
		h.Add(living(h), &events.AccessRefused{
			Action: events.ActionAccess, Actor: h.Clerk, Decision: h.Decision(decision.RefusedUnknownVersion), Purpose: events.PurposeTreatment,
		})
	}, "decision-wrong 25"),
	after("a backup of another size", func(h *audittest.History) {
		h.Add(h.Ledger, &events.LedgerRestored{Size: 3})
	}, "event-illegal 25"),
}

// TestRestored reports where a ledger was put back.
func TestRestored(t *testing.T) {
	h := story()
	h.Restore()
	h.Fill(40)
	h.Restore()
	r, err := audit.Log(t.Context(), h.Serve(), audit.Options{Verifier: h.Verifier})
	if err != nil || !r.OK() || !slices.Equal(r.Restored, []uint64{25, 40}) {
		t.Errorf("error %v, findings %v, restored at %v", err, r.Findings, r.Restored)
	}
}
