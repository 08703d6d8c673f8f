package ledger_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/projections/records"
	"github.com/medledger/medledger/verifier/decision"
)

// list lists the subject's records as somebody and returns their ids.
func (c *clinic) list(who ledger.Command, purpose events.Purpose, f records.Filter) (ids []events.ID, more bool) {
	c.t.Helper()
	size := c.size()
	result, page, err := c.ListRecords(c.t.Context(), who, ledger.Listing{Patient: c.subject, Purpose: purpose, Filter: f})
	c.must(result, err)
	if d, ok := result.Event.Data.(*events.PatientQueried); !ok || d.Query != events.QueryRecords || result.Index != size {
		c.t.Errorf("finding is %+v", result.Event)
	}
	for _, e := range page.Entries {
		ids = append(ids, e.ID)
	}
	return ids, page.More
}

// TestListsByRule: what is listed depends on why it may be.
func TestListsByRule(t *testing.T) {
	c := newClinic(t)
	colleague := c.register(ledger.Registration{Role: events.RoleClinician, Department: events.MustNewID()})
	ofWard := c.record("ward")
	originate := func(who ledger.Command) events.ID {
		c.wait(time.Second)
		return c.must(c.Originate(t.Context(), who, c.origination(), strings.NewReader("x"))).Event.Subject
	}
	c.wait(time.Second)
	ofColleague := originate(colleague)
	elsewhere := originate(c.foreign)
	for name, test := range map[string]struct {
		who     ledger.Command
		purpose events.Purpose
		want    []events.ID
	}{
		"treatment":           {c.nurse, events.PurposeTreatment, []events.ID{ofWard, ofColleague}},
		"department":          {c.doctor, events.PurposeTreatment, []events.ID{ofWard}},
		"another department":  {colleague, events.PurposeTreatment, []events.ID{ofColleague}},
		"front desk":          {c.clerk, events.PurposeOperations, []events.ID{ofWard, ofColleague}},
		"the patient's own":   {c.patient, events.PurposePatient, []events.ID{ofWard, ofColleague, elsewhere}},
		"a proxy's principal": {c.proxy, events.PurposeFamily, []events.ID{ofWard, ofColleague, elsewhere}},
	} {
		if got, more := c.list(test.who, test.purpose, records.Filter{}); more || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	for name, test := range map[string]struct {
		who     ledger.Command
		purpose events.Purpose
		reason  string
	}{
		"a clinician of another":     {c.foreign, events.PurposeTreatment, decision.RefusedOrganisation},
		"for research":               {c.nurse, events.PurposeResearch, decision.RefusedPurpose},
		"a clerk of another":         {c.outsider, events.PurposeOperations, decision.RefusedOrganisation},
		"an auditor":                 {c.auditor, events.PurposeOperations, decision.RefusedRole},
		"an administrator":           {c.admin, events.PurposeOperations, decision.RefusedRole},
		"a patient for the family's": {c.patient, events.PurposeFamily, decision.RefusedPurpose},
	} {
		t.Log(name)
		_, page, err := c.ListRecords(t.Context(), test.who, ledger.Listing{Patient: c.subject, Purpose: test.purpose})
		if refusal := c.refused(err, test.reason); refusal.Event.Subject != c.subject || len(page.Entries) > 0 {
			t.Errorf("%s: %d records, refused about %v", name, len(page.Entries), refusal.Event.Subject)
		}
	}
}

func TestPagesOfRecords(t *testing.T) {
	c := newClinic(t)
	var all []events.ID
	var times []events.Timestamp
	for i := range 7 {
		c.wait(time.Minute)
		o := c.origination()
		if i%2 == 1 {
			o.Kind = events.KindLaboratory
		}
		r := c.must(c.Originate(t.Context(), c.doctor, o, strings.NewReader("x")))
		all, times = append(all, r.Event.Subject), append(times, r.Event.Time)
	}
	var got []events.ID
	f := records.Filter{Limit: 3}
	for more := true; more; {
		var page []events.ID
		page, more = c.list(c.nurse, events.PurposeTreatment, f)
		if len(page) == 0 || len(page) > 3 {
			t.Fatalf("a page of %d", len(page))
		}
		got = append(got, page...)
		f.After = page[len(page)-1]
	}
	if !slices.Equal(got, all) {
		t.Errorf("page by page %v, want %v", got, all)
	}
	if got, _ := c.list(c.nurse, events.PurposeTreatment, records.Filter{Kind: events.KindLaboratory}); !slices.Equal(got, []events.ID{all[1], all[3], all[5]}) {
		t.Errorf("of one kind: %v", got)
	}
	if got, _ := c.list(c.nurse, events.PurposeTreatment, records.Filter{From: times[2], To: times[5]}); !slices.Equal(got, all[2:5]) {
		t.Errorf("of a time: %v", got)
	}
}

// TestListAfterAWithdrawal: a list that was permitted is not made after the right
// to it has ended.
func TestListAfterAWithdrawal(t *testing.T) {
	// On a busy machine the withdrawal may be queued before the list, which is then
	// refused and shows nothing: that try does not count.
	for range 10 {
		c := newClinic(t)
		c.record("x")
		var page records.Page
		var err error
		c.inOneTurn(func() {
			_, page, err = c.ListRecords(t.Context(), c.doctor, ledger.Listing{Patient: c.subject, Purpose: events.PurposeTreatment})
		}, func() {
			c.must(c.WithdrawConsent(t.Context(), c.patient, c.subject, events.ID{}, events.PurposeTreatment))
		})
		if errors.Is(err, ledger.ErrRefused) {
			continue
		}
		if len(page.Entries) > 0 || !errors.Is(err, ledger.ErrRightEnded) {
			t.Errorf("%d records, %v", len(page.Entries), err)
		}
		return
	}
	t.Error("the list was never decided before the withdrawal")
}

// TestAccesses reads who saw what, page by page.
func TestAccesses(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	var want []uint64
	add := func(r *ledger.Result) { want = append(want, r.Index) }
	add(c.opened(c.Access(t.Context(), c.nurse, treating(record))).Result)
	_, err := c.Access(t.Context(), c.foreign, treating(record))
	add(c.refused(err, decision.RefusedOrganisation))
	disclosed := c.must(c.Disclose(t.Context(), c.doctor, c.disclosure(record)))
	add(disclosed)
	received := c.opened(c.Receive(t.Context(), c.recipient, shareOf(disclosed)))
	add(received.Result)
	c.must(c.AcknowledgeShare(t.Context(), c.recipient, shareOf(disclosed))) // no access
	if err := received.Undelivered(t.Context(), errors.New("gone")); err != nil {
		t.Fatal(err)
	}
	want = append(want, c.size()-1)
	if _, err := c.History(t.Context(), c.auditor, record); err != nil {
		t.Fatal(err)
	}
	want = append(want, c.size()-1)
	result, _, err := c.ListRecords(t.Context(), c.clerk, ledger.Listing{Patient: c.subject, Purpose: events.PurposeOperations})
	add(c.must(result, err))
	_, err = c.OpenCare(t.Context(), c.foreign, ledger.Care{Patient: c.subject, Member: c.foreign.Actor})
	add(c.refused(err, decision.RefusedOrganisation))

	asked := ledger.Accesses{Patient: c.subject, Purpose: events.PurposePatient, Limit: 3}
	var got []uint64
	for more := true; more; {
		var page []*ledger.Result
		if page, more, err = c.ListAccesses(t.Context(), c.patient, asked); err != nil || len(page) > 3 {
			t.Fatalf("a page of %d, %v", len(page), err)
		}
		for _, a := range page {
			c.verify(a)
			// Every page is an access of its own, and is not what is tested here.
			if d, ok := a.Event.Data.(*events.PatientQueried); !ok || d.Query != events.QueryAccesses {
				got = append(got, a.Index)
			}
		}
		asked.After = page[len(page)-1].Index
		if len(page) < 3 {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the accesses are %v, want %v", got, want)
	}
	asked = ledger.Accesses{Patient: c.subject, Purpose: events.PurposeFamily}
	if list, _, err := c.ListAccesses(t.Context(), c.proxy, asked); err != nil || len(list) < len(want) {
		t.Errorf("a proxy gets %d, %v", len(list), err)
	}
	for _, who := range []ledger.Command{c.doctor, c.clerk, c.admin} {
		_, _, err := c.ListAccesses(t.Context(), who, asked)
		c.refused(err, decision.RefusedRole)
	}
}

func TestHistory(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	for name, who := range map[string]ledger.Command{"auditor": c.auditor, "patient": c.patient, "proxy": c.proxy, "nurse": c.nurse} {
		history, err := c.History(t.Context(), who, record)
		if err != nil || history[len(history)-1].Event.Actor() != who.Actor || history[0].Event.Type != events.TypeRecordOriginated {
			t.Fatalf("%s: %d events, %v", name, len(history), err)
		}
		for _, r := range history {
			c.verify(r)
		}
	}
	for who, reason := range map[ledger.Command]string{
		c.foreign: decision.RefusedOrganisation, c.clerk: decision.RefusedRole, c.admin: decision.RefusedRole,
	} {
		history, err := c.History(t.Context(), who, record)
		if c.refused(err, reason); history != nil {
			t.Error("refused, and told")
		}
	}
	_, err := c.History(t.Context(), c.auditor, events.MustNewID())
	c.refused(err, decision.RefusedUnknownRecord)
}

// TestFind looks for events as those who did them and as others.
func TestFind(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	accessed := c.opened(c.Access(t.Context(), c.nurse, treating(record))).Result
	granted := c.must(c.GrantConsent(t.Context(), c.clerk, c.subject, events.PurposeResearch))
	registered := c.must(c.Register(t.Context(), c.admin, ledger.Registration{Role: events.RoleNurse}))
	for name, test := range map[string]struct {
		who    ledger.Command
		event  *ledger.Result
		logged events.Type // "" if nothing is
	}{
		"one's own":                     {c.nurse, accessed, ""},
		"of a record, the patient":      {c.patient, accessed, events.TypeHistoryRead},
		"of a record, who treats":       {c.doctor, accessed, events.TypeHistoryRead},
		"of a patient, the patient":     {c.patient, granted, events.TypePatientQueried},
		"of a patient, an auditor":      {c.auditor, granted, events.TypePatientQueried},
		"of an actor, an auditor":       {c.auditor, registered, events.TypeLogRead},
		"of an actor, who did it":       {c.admin, registered, ""},
		"of a record, others":           {c.foreign, accessed, events.TypeAccessRefused},
		"of a patient, who sees none":   {c.doctor, granted, events.TypeAccessRefused},
		"of an actor, the actor":        {ledger.Command{Actor: registered.Event.Subject}, registered, events.TypeAccessRefused},
		"of an actor, an administrator": {c.approver, registered, events.TypeAccessRefused},
	} {
		size := c.size()
		found, err := c.Find(t.Context(), test.who, test.event.Event.ID)
		if refused := test.logged == events.TypeAccessRefused; refused != errors.Is(err, ledger.ErrRefused) || refused == (found != nil) || !refused && err != nil {
			t.Errorf("%s: %v, %v", name, found, err)
		} else if found != nil && found.Index != test.event.Index {
			t.Errorf("%s: found event %d", name, found.Index)
		}
		switch made := c.size() - size; {
		case test.logged == "" && made != 0, test.logged != "" && made != 1:
			t.Errorf("%s: %d events", name, made)
		case made == 1 && c.event(size).Type != test.logged:
			t.Errorf("%s: logged is a %s", name, c.event(size).Type)
		}
	}
	if _, err := c.Find(t.Context(), c.auditor, events.MustNewID()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an event that never happened: %v", err)
	}
	opening := c.event(0).ID
	if found, err := c.Find(t.Context(), ledger.Command{}, opening); found != nil || err == nil {
		t.Error("what the ledger did itself is found by nobody in particular")
	}
}

// TestReadLog reads the log for hours: one event an hour says so.
func TestReadLog(t *testing.T) {
	c := newClinic(t)
	other := c.register(ledger.Registration{Role: events.RoleAuditor})
	reads := func(who ledger.Command, want uint64) {
		t.Helper()
		size := c.size()
		if err := c.ReadLog(t.Context(), who); err != nil || c.size()-size != want {
			t.Errorf("%d events, want %d, %v", c.size()-size, want, err)
		}
	}
	reads(c.auditor, 1)
	reads(c.auditor, 0)
	reads(other, 1)
	c.wait(time.Hour - time.Second)
	reads(c.auditor, 0)
	c.wait(time.Second)
	reads(c.auditor, 1)
	c.wait(-3 * time.Hour)
	reads(c.auditor, 1) // a clock that was put back does not silence the log
	reads(c.auditor, 0)
	c.restart()
	reads(c.auditor, 1)
	size := c.size()
	c.refused(c.ReadLog(t.Context(), c.admin), decision.RefusedRole)
	c.refused(c.ReadLog(t.Context(), c.admin), decision.RefusedRole)
	if c.size() != size+2 {
		t.Error("a refusal is remembered as a reading")
	}
	c.wait(4 * time.Hour)
	reads(c.auditor, 1)
	who := c.auditor
	who.Token = c.token(c.auditor, time.Hour)
	reads(who, 0)
	c.must(c.RevokeToken(t.Context(), c.admin, c.auditor.Actor, who.Token))
	if err := c.ReadLog(t.Context(), who); !errors.Is(err, ledger.ErrUnauthenticated) {
		t.Errorf("with a revoked token: %v", err)
	}
}

// TestPagesOfHistories: the pages of a history are the history, whatever their size.
func TestPagesOfHistories(t *testing.T) {
	c := newClinic(t)
	record := c.record("x")
	for range 5 {
		c.content(record)
	}
	whole, err := c.History(t.Context(), c.auditor, record)
	if err != nil || len(whole) < 7 {
		t.Fatalf("%d events, %v", len(whole), err)
	}
	for limit := 1; limit < 8; limit++ {
		var got []*ledger.Result
		for after, more := uint64(0), true; more && len(got) < len(whole); {
			var list []*ledger.Result
			list, more, err = c.HistoryAfter(t.Context(), c.auditor, record, after, limit)
			if err != nil || len(list) == 0 || len(list) > limit {
				t.Fatalf("pages of %d: one of %d, %v", limit, len(list), err)
			}
			got = append(got, list...)
			after = list[len(list)-1].Index
		}
		for i, r := range whole {
			if got[i].Index != r.Index {
				t.Errorf("pages of %d: event %d is that of index %d, want %d", limit, i, got[i].Index, r.Index)
			}
		}
	}
	// Nothing new is no error: the list was read to its end.
	list, more, err := c.HistoryAfter(t.Context(), c.auditor, record, c.size(), 1)
	if err != nil || more || len(list) != 1 && len(list) != 0 {
		t.Errorf("after the end: %d, %v, %v", len(list), more, err)
	}
}
