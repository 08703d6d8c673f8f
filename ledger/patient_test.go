package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/statement"
)

// event is the event at an index of the log.
func (c *clinic) event(index uint64) events.Event {
	c.t.Helper()
	raw, err := c.Log().Leaf(c.t.Context(), index)
	if err != nil {
		c.t.Fatal(err)
	}
	s, err := statement.Parse(raw)
	if err != nil {
		c.t.Fatal(err)
	}
	return s.Event
}

func TestIdentifiers(t *testing.T) {
	c := newClinic(t)
	one := ledger.Identifier{System: "s", Value: "v"}
	many := make([]ledger.Identifier, ledger.MaxIdentifiers+1)
	for i := range many {
		many[i] = ledger.Identifier{System: "s", Value: fmt.Sprint(i)}
	}
	size := c.size()
	for name, ids := range map[string][]ledger.Identifier{
		"none":             nil,
		"too many":         many,
		"no system":        {{Value: "v"}},
		"no value":         {{System: "s"}},
		"twice":            {one, one},
		"too long":         {{System: "s", Value: strings.Repeat("v", ledger.MaxIdentifierBytes+1)}},
		"no UTF-8":         {{System: "s", Value: "\xff"}},
		"a good and a bad": {one, {System: "\xff", Value: "v"}},
	} {
		if _, err := c.RegisterPatient(t.Context(), c.clerk, ids); !errors.Is(err, ledger.ErrIdentifier) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "\xff") {
			t.Errorf("%s: the error tells the identifier: %v", name, err)
		}
	}
	if c.size() != size {
		t.Error("malformed identifiers are in the log")
	}
	c.must(c.RegisterPatient(t.Context(), c.clerk, many[:ledger.MaxIdentifiers]))
}

func TestLookUp(t *testing.T) {
	c := newClinic(t)
	ids := append(identifiers(), identifiers()...)
	patient := c.must(c.RegisterPatient(t.Context(), c.nurse, ids)).Event.Subject
	for _, id := range ids {
		found := c.must(c.LookUpPatient(t.Context(), c.clerk, id, events.PurposeOperations))
		if d, ok := found.Event.Data.(*events.PatientQueried); !ok || found.Event.Subject != patient || d.Query != events.QueryIdentifier {
			t.Errorf("looking up is %+v", found.Event)
		}
	}
	_, err := c.LookUpPatient(t.Context(), c.clerk, identifiers()[0], events.PurposeOperations)
	if refusal := c.refused(err, decision.RefusedUnknownPatient); refusal.Event.Subject != c.clerk.Actor {
		t.Error("the refusal is about somebody")
	}
	_, err = c.LookUpPatient(t.Context(), c.outsider, ids[0], events.PurposeOperations)
	if refusal := c.refused(err, decision.RefusedOrganisation); refusal.Event.Subject != patient {
		t.Error("the refusal is not about the patient")
	}
	_, err = c.LookUpPatient(t.Context(), c.recipient, ids[0], events.PurposeTreatment)
	c.refused(err, decision.RefusedRole)
	for _, id := range append(ids, identifiers()...) {
		if _, err := c.LookUpPatient(t.Context(), c.clerk, id, "CURIOSITY"); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("for a purpose that there is not: %v", err)
		}
	}
}

// TestTakenIdentifier: whoever tries to register a patient learns that there is one
// by that identifier, and the log knows that they did.
func TestTakenIdentifier(t *testing.T) {
	c := newClinic(t)
	ids := identifiers()
	patient := c.must(c.RegisterPatient(t.Context(), c.clerk, ids)).Event.Subject
	for _, who := range []ledger.Command{c.nurse, c.outsider} {
		size := c.size()
		if _, err := c.RegisterPatient(t.Context(), who, ids); !errors.Is(err, ledger.ErrIdentifierTaken) {
			t.Fatal(err)
		}
		if c.size() != size+1 {
			t.Fatalf("%d events", c.size()-size)
		}
		if e := c.event(size); e.Subject != patient || e.Actor() != who.Actor {
			t.Errorf("logged is %+v", e)
		}
	}
}

// TestMergedPatients merges a duplicate: whatever was true of either is true of the
// one who stays, under both ids.
func TestMergedPatients(t *testing.T) {
	c := newClinic(t)
	ids := identifiers()
	old := c.must(c.RegisterPatient(t.Context(), c.clerk, ids)).Event.Subject
	mine, olds := c.record("mine"), c.recordOf(old, "the duplicate's")
	c.must(c.WithdrawConsent(t.Context(), c.clerk, old, events.ID{}, events.PurposePayment))
	c.must(c.WithdrawConsent(t.Context(), c.clerk, c.subject, events.ID{}, events.PurposeResearch))
	care := relationship(c.must(c.OpenCare(t.Context(), c.clerk, ledger.Care{Patient: old, Department: c.ward})))
	c.read(c.doctor, olds, 0, events.PurposeTreatment)
	_, err := c.Access(t.Context(), c.patient, ledger.Reading{Record: olds, Purpose: events.PurposePatient})
	c.refused(err, decision.RefusedNotOwn)

	c.must(c.MergePatients(t.Context(), c.clerk, old, c.subject))

	for name, err := range map[string]error{
		"again":           second(c.MergePatients(t.Context(), c.clerk, old, c.subject)),
		"back":            second(c.MergePatients(t.Context(), c.clerk, c.subject, old)),
		"with themselves": second(c.MergePatients(t.Context(), c.clerk, old, old)),
	} {
		t.Log(name)
		c.refused(err, decision.RefusedSamePerson)
	}
	if got := c.read(c.patient, olds, 0, events.PurposePatient); got != "the duplicate's" {
		t.Errorf("the patient reads %q", got)
	}
	c.read(c.nurse, olds, 0, events.PurposeTreatment)
	for _, purpose := range []events.Purpose{events.PurposePayment, events.PurposeTreatment} {
		for _, record := range []events.ID{mine, olds} {
			d := c.disclosure(record)
			d.Purpose = purpose
			_, err := c.Disclose(t.Context(), c.clerk, d)
			if purpose == events.PurposePayment {
				c.refused(err, decision.RefusedConsent)
			} else if err != nil {
				t.Error(err)
			}
		}
	}
	for _, patient := range []events.ID{old, c.subject} {
		c.sameUnder(patient, mine, olds)
	}
	if found := c.must(c.LookUpPatient(t.Context(), c.clerk, ids[0], events.PurposeOperations)); found.Event.Subject != c.subject {
		t.Error("the old identifier finds somebody else")
	}
	c.must(c.CloseCare(t.Context(), c.clerk, c.subject, care))

	// The old id is merged with the person that it stands for, not alone.
	third := c.newPatient()
	if merged := c.must(c.MergePatients(t.Context(), c.clerk, old, third)); merged.Event.Subject != c.subject {
		t.Error("a merged patient was merged again")
	}
	c.restart()
	c.sameUnder(old, mine, olds)
}

func second[A any](_ A, err error) error { return err }

// sameUnder gives every command about a patient under one of their ids.
func (c *clinic) sameUnder(patient events.ID, records ...events.ID) {
	c.t.Helper()
	ctx := c.t.Context()
	_, page, err := c.ListRecords(ctx, c.patient, ledger.Listing{Patient: patient, Purpose: events.PurposePatient})
	if err != nil || len(page.Entries) < len(records) {
		c.t.Fatalf("%d records are listed, %v", len(page.Entries), err)
	}
	accesses, _, err := c.ListAccesses(ctx, c.patient, ledger.Accesses{Patient: patient, Purpose: events.PurposePatient})
	if err != nil {
		c.t.Fatal(err)
	}
	of := make(map[events.ID]int)
	for _, a := range accesses {
		c.verify(a)
		of[a.Event.Subject]++
	}
	for _, record := range records {
		if of[record] == 0 {
			c.t.Errorf("no access to record %v is listed", record)
		}
	}
	care := relationship(c.must(c.OpenCare(ctx, c.clerk, ledger.Care{Patient: patient, Member: c.nurse.Actor})))
	c.must(c.CloseCare(ctx, c.clerk, patient, care))
	a := appointment(c.must(c.AppointProxy(ctx, c.patient, c.fullProxy(patient))))
	c.must(c.DismissProxy(ctx, c.proxy, patient, a))
	granted := consent(c.must(c.GrantConsent(ctx, c.patient, patient, events.PurposeResearch)))
	c.must(c.WithdrawConsent(ctx, c.patient, patient, granted, ""))
	added := c.recordOf(patient, "x")
	other := c.recordOf(c.newPatient(), "y")
	c.must(c.Refile(ctx, c.clerk, other, patient))
	if got := c.read(c.patient, other, 0, events.PurposePatient); got != "y" {
		c.t.Errorf("refiled is %q", got)
	}
	c.read(c.patient, added, 0, events.PurposePatient)
}

// TestErasure destroys a patient's records: with the last one the patient is erased
// too, in the same turn.
func TestErasure(t *testing.T) {
	c := newClinic(t)
	first, last := c.record("a"), c.record("b")
	if destroyed, err := c.destroy(first); err != nil || c.size() != destroyed.Index+1 {
		t.Fatalf("a patient with a record left: %d events after %v, %v", c.size(), destroyed, err)
	}
	old := c.newPatient()
	c.must(c.MergePatients(t.Context(), c.clerk, old, c.subject))
	destroyed, err := c.destroy(last)
	c.must(destroyed, err)
	erased := c.event(destroyed.Index + 1)
	if _, ok := erased.Data.(*events.PatientErased); !ok || erased.Subject != c.subject || erased.Causation != destroyed.Event.ID {
		t.Errorf("after the last destruction follows %+v", erased)
	}
	c.restart()
	for _, patient := range []events.ID{c.subject, old} {
		_, err := c.GrantConsent(t.Context(), c.clerk, patient, events.PurposeResearch)
		c.refused(err, decision.RefusedErased)
		o := c.origination()
		o.Patient = patient
		_, err = c.Originate(t.Context(), c.doctor, o, strings.NewReader("x"))
		c.refused(err, decision.RefusedErased)
		_, err = c.MergePatients(t.Context(), c.clerk, c.newPatient(), patient)
		c.refused(err, decision.RefusedErased)
		if _, _, err := c.ListAccesses(t.Context(), c.auditor, ledger.Accesses{Patient: patient, Purpose: events.PurposeOperations}); err != nil {
			t.Errorf("who saw what of an erased patient: %v", err)
		}
	}
}

// TestTwoPersons: nobody approves what they asked for, nor what nobody asked for.
func TestTwoPersons(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	_, err := c.ApproveDestruction(t.Context(), c.admin, events.MustNewID())
	if refusal := c.refused(err, decision.RefusedUnknownRecord); refusal.Event.Subject != c.admin.Actor {
		t.Error("the refusal is about something")
	}
	requested := doom(c.must(c.RequestDestruction(t.Context(), c.admin, record, events.GroundRetentionEnded)))
	_, err = c.RequestDestruction(t.Context(), c.patient, record, events.GroundPatientRequest)
	c.refused(err, decision.RefusedRequested)
	_, err = c.ApproveDestruction(t.Context(), c.admin, requested)
	c.refused(err, decision.RefusedApprover)
	c.must(c.ApproveDestruction(t.Context(), c.approver, requested))
	_, err = c.ApproveDestruction(t.Context(), c.approver, requested)
	c.refused(err, decision.RefusedDestroyed)
}

// TestApproverGoesAway: a destruction that has started is completed, whoever waits
// for it.
func TestApproverGoesAway(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	requested := doom(c.must(c.RequestDestruction(t.Context(), c.patient, record, events.GroundPatientRequest)))
	ctx, cancel := context.WithCancel(t.Context())
	c.whileDecided(func() {
		c.must(c.ApproveDestruction(ctx, c.admin, requested))
	}, cancel)
	history := c.history(record)
	if last := history[len(history)-1].Event; last.Type != events.TypeRecordDestroyed {
		t.Errorf("the history ends with a %s", last.Type)
	}
}

// TestOrphanDocuments: what a crash left in the vault between a registration or a
// disclosure and its event is removed at the next start, and blocks nothing.
func TestOrphanDocuments(t *testing.T) {
	c := newClinic(t)
	id := identifiers()
	c.close()
	v, err := vault.Open(t.Context(), c.vaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	orphan := events.MustNewID()
	identity := vault.Place{Space: vault.Identity, Owner: orphan, ID: orphan}
	account := vault.Place{Space: vault.Accounting, Owner: c.subject, ID: events.MustNewID()}
	_, err1 := v.PutDocument(t.Context(), identity, []byte("[]"), vault.Term(id[0]))
	_, err2 := v.PutDocument(t.Context(), account, []byte("{}"))
	if err := errors.Join(err1, err2, v.Close()); err != nil {
		t.Fatal(err)
	}
	c.reopen()
	if _, err := c.RegisterPatient(t.Context(), c.clerk, id); err != nil {
		t.Errorf("an identifier of a registration that never happened: %v", err)
	}
	c.close()
	if v, err = vault.Open(t.Context(), c.vaultConfig()); err != nil {
		t.Fatal(err)
	}
	for _, p := range []vault.Place{identity, account} {
		if _, err := v.Document(t.Context(), p); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("the document of what never happened: %v", err)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	c.reopen()
}

// TestErasedForGood: the identifiers of an erased patient, and of who was merged
// into them, are gone from the vault, and free.
func TestErasedForGood(t *testing.T) {
	c := newClinic(t)
	id, other := identifiers(), identifiers()
	one := c.must(c.RegisterPatient(t.Context(), c.clerk, id)).Event.Subject
	two := c.must(c.RegisterPatient(t.Context(), c.clerk, other)).Event.Subject
	c.must(c.MergePatients(t.Context(), c.clerk, two, one))
	record := c.recordOf(two, "the only record")
	requested := c.must(c.RequestDestruction(t.Context(), c.clerk, record, events.GroundRetentionEnded))
	c.must(c.ApproveDestruction(t.Context(), c.admin, doom(requested)))
	for _, restart := range []bool{false, true} {
		if restart {
			c.restart()
		}
		for _, gone := range []ledger.Identifier{id[0], other[0]} {
			_, err := c.LookUpPatient(t.Context(), c.clerk, gone, events.PurposeTreatment)
			refused := new(ledger.RefusedError)
			if !errors.As(err, &refused) || refused.Reason != decision.RefusedUnknownPatient {
				t.Errorf("restarted %v: an identifier of an erased patient leads to %v", restart, err)
			}
		}
	}
	again := c.must(c.RegisterPatient(t.Context(), c.clerk, id)).Event.Subject
	if again == one {
		t.Error("an erased patient came back under the same id")
	}
}

// TestRecipientName: whom a record went to can be told by name, also after the
// record is destroyed and the patients are merged.
func TestRecipientName(t *testing.T) {
	c := newClinic(t)
	patient := c.newPatient()
	record := c.recordOf(patient, "shared")
	share := c.share(record)
	c.must(c.MergePatients(t.Context(), c.clerk, patient, c.subject))
	if _, err := c.destroy(record); err != nil {
		t.Fatal(err)
	}
	for _, restart := range []bool{false, true} {
		if restart {
			c.restart()
		}
		if name, err := c.RecipientName(t.Context(), share); err != nil || name != "Hospital" {
			t.Errorf("restarted %v: the recipient is %q, %v", restart, name, err)
		}
	}
	if name, err := c.RecipientName(t.Context(), events.MustNewID()); err != nil || name != "" {
		t.Errorf("a share that there is not: %q, %v", name, err)
	}
}
