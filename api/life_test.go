package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

func TestLifeOfARecord(t *testing.T) {
	c := newClinic(t, api.Limits{})
	ctx := t.Context()
	doctor, nurse, clerk, patient, proxy := c.as(events.RoleClinician), c.as(events.RoleNurse), c.as(events.RoleClerk), c.as(events.RolePatient), c.as(events.RoleProxy)
	recipient, admin := c.as(events.RoleRecipient), c.as(events.RoleAdmin)

	if got := must(clerk.FindPatient(ctx, client.Identifier{System: "urn:x", Value: "1"}, ""))(t); got != c.patient {
		t.Fatalf("found %v", got)
	}
	record := c.record("first")
	content, err := nurse.Content(ctx, record, 0, events.PurposeTreatment)
	if got := text(t, content, err); got != "first" || content.ETag != `"v1"` || content.ContentType != "text/plain; charset=utf-8" || content.Index == 0 {
		t.Errorf("read %q, %+v", got, content)
	}
	amended := must(doctor.Amend(ctx, record, "text/plain", strings.NewReader("second"), client.WithETag(`"v1"`)))(t)
	c.verify(amended.Done)
	if amended.Version != 2 || amended.Record != record {
		t.Errorf("amended: %+v", amended)
	}
	_, err = doctor.Amend(ctx, record, "text/plain", strings.NewReader("third"), client.WithETag(`"v1"`))
	wantStatus(t, err, 412, "")
	content, err = patient.Content(ctx, record, 1, events.PurposePatient)
	if got := text(t, content, err); got != "first" {
		t.Errorf("version 1 is %q", got)
	}

	appointed := must(clerk.AppointProxy(ctx, c.patient, client.Appointment{Proxy: proxy.id, Scope: []events.ProxyScope{events.ProxyRead}}))(t)
	c.verify(appointed.Done)
	content, err = proxy.Content(ctx, record, 0, events.PurposeFamily)
	if got := text(t, content, err); got != "second" {
		t.Errorf("the proxy read %q", got)
	}
	c.verify(*must(patient.DismissProxy(ctx, c.patient, appointed.ID))(t))
	_, err = proxy.Content(ctx, record, 0, events.PurposeFamily)
	wantStatus(t, err, 404, "")

	care := must(clerk.OpenCare(ctx, c.patient, client.Care{Member: c.idle.id}))(t)
	content, err = c.idle.Content(ctx, record, 0, events.PurposeTreatment)
	if got := text(t, content, err); got != "second" {
		t.Errorf("the nurse read %q", got)
	}
	c.verify(*must(clerk.CloseCare(ctx, c.patient, care.ID))(t))
	_, err = c.idle.Content(ctx, record, 0, events.PurposeTreatment)
	wantStatus(t, err, 403, "no-care-relationship")

	share := must(clerk.Share(ctx, record, client.ShareRequest{Recipient: recipient.id, Purpose: events.PurposePayment, Until: c.clock().Add(time.Hour)}))(t)
	_, err = recipient.Acknowledge(ctx, share.ID)
	wantStatus(t, err, 409, "not-received")
	content, err = recipient.Receive(ctx, share.ID)
	if got := text(t, content, err); got != "second" {
		t.Errorf("received %q", got)
	}
	c.verify(*must(recipient.Acknowledge(ctx, share.ID))(t))
	c.verify(*must(clerk.EndShare(ctx, share.ID))(t))
	_, err = recipient.Receive(ctx, share.ID)
	wantStatus(t, err, 410, "share-ended")

	c.verify(*must(patient.WithdrawImplied(ctx, c.patient, events.PurposeTreatment))(t))
	_, err = nurse.Content(ctx, record, 0, events.PurposeTreatment)
	wantStatus(t, err, 403, "consent-withdrawn")
	consent := must(patient.GrantConsent(ctx, c.patient, events.PurposeTreatment))(t)
	content, err = nurse.Content(ctx, record, 0, events.PurposeTreatment)
	text(t, content, err)
	c.verify(*must(clerk.WithdrawConsent(ctx, c.patient, consent.ID))(t))

	other := c.newPatient("2")
	c.verify(*must(clerk.MergePatients(ctx, other, c.patient))(t))
	_, err = clerk.MergePatients(ctx, other, c.patient)
	wantStatus(t, err, 409, "same-person")
	third := c.newPatient("3")
	_, err = clerk.Refile(ctx, record, third) // to whom did not withdraw consent
	wantStatus(t, err, 404, "")
	must(patient.GrantConsent(ctx, c.patient, events.PurposeTreatment))(t)
	c.verify(*must(clerk.Refile(ctx, record, third))(t))
	c.verify(*must(clerk.Refile(ctx, record, c.patient))(t))

	listed := must(clerk.ListRecords(ctx, c.patient, client.RecordQuery{Kind: events.KindChart, From: c.clock()}))(t)
	if len(listed.Records) != 1 || listed.Records[0].Versions != 2 || listed.Records[0].OrganisationName != origin || listed.Cursor != "" {
		t.Errorf("listed %+v", listed)
	}

	request := must(patient.RequestDestruction(ctx, record, ""))(t)
	destroyed := must(admin.ApproveDestruction(ctx, request.ID))(t)
	c.verify(destroyed.Done)
	if destroyed.Record != record || destroyed.Keys < 2 {
		t.Errorf("destroyed %+v", destroyed)
	}
	_, err = patient.Content(ctx, record, 0, events.PurposePatient)
	wantStatus(t, err, 410, "record-destroyed")

	accesses := must(patient.ListAccesses(ctx, c.patient, "", ""))(t)
	outcomes := make(map[string]int)
	for _, e := range accesses.Accesses {
		c.verify(client.Done{Event: e.Event, Index: e.Index, Receipt: e.Receipt})
		outcomes[e.Outcome]++
	}
	if outcomes[client.OutcomeReleased] != 6 || outcomes[client.OutcomeDisclosed] != 1 || outcomes[client.OutcomeRefused] != 8 {
		t.Errorf("accesses: %v", outcomes)
	}
	history := must(c.as(events.RoleAuditor).RecordEvents(ctx, record, ""))(t)
	last := history.Events[len(history.Events)-1]
	if history.Record != record || last.Type != events.TypeHistoryRead || last.Outcome != client.OutcomeAnswered {
		t.Errorf("the history ends with %+v", last)
	}
	if _, err := doctor.Receipt(ctx, amended.Event, time.Second); err != nil {
		t.Error(err)
	}
	_, err = c.far.Receipt(ctx, amended.Event, 0)
	wantStatus(t, err, 404, "")
}

func TestBatch(t *testing.T) {
	c := newClinic(t, api.Limits{Batch: 4})
	doctor := c.as(events.RoleClinician)
	item := client.BatchItem{Patient: c.patient, Kind: events.KindBundle, Confidentiality: events.Normal, ContentType: "application/fhir+json"}
	one, two, bad, lost := item, item, item, item
	one.Content, two.Text = []byte("one"), "two"
	bad.Kind, lost.Patient = "diary", events.MustNewID()
	results := must(doctor.CreateRecords(t.Context(), []client.BatchItem{one, two, bad, lost}, client.WithKey("k")))(t)
	for i, want := range []int{201, 201, 400, 404} {
		r := results[i]
		if r.Status != want || (r.Problem == nil) != (want == 201) {
			t.Fatalf("item %d: %+v", i, r)
		}
		if want != 201 {
			continue
		}
		c.verify(client.Done{Event: r.Event, Index: r.Index, Receipt: r.Receipt})
		content, err := doctor.Content(t.Context(), r.Record, 0, events.PurposeTreatment)
		if got := text(t, content, err); got != []string{"one", "two"}[i] || content.ContentType != "application/fhir+json" {
			t.Errorf("item %d is %q", i, got)
		}
	}
	again := must(doctor.CreateRecords(t.Context(), []client.BatchItem{one, two}, client.WithKey("k")))(t)
	for i, r := range again {
		if r.Record != results[i].Record || r.Event != results[i].Event {
			t.Errorf("item %d again: %+v", i, r)
		}
	}
	size := c.Log().Published().Checkpoint.Size
	_, err := c.as(events.RoleClerk).CreateRecords(t.Context(), []client.BatchItem{one, two, one})
	wantStatus(t, err, 403, "role-not-allowed")
	if now := c.Log().Published().Checkpoint.Size; now != size+1 {
		t.Errorf("a refused batch left %d events", now-size)
	}
	_, err = doctor.CreateRecords(t.Context(), []client.BatchItem{one, one, one, one, one})
	wantStatus(t, err, 422, "")
	_, err = doctor.CreateRecords(t.Context(), nil)
	wantStatus(t, err, 400, "")
}

func TestRepeatedCalls(t *testing.T) {
	c := newClinic(t, api.Limits{})
	ctx, key := t.Context(), client.WithKey(`a "key"\`)
	admin, doctor, clerk := c.as(events.RoleAdmin), c.as(events.RoleClinician), c.as(events.RoleClerk)
	in := client.Registration{Role: events.RoleNurse, Department: "ward 2"}
	first := must(admin.RegisterActor(ctx, in, key))(t)
	again := must(admin.RegisterActor(ctx, in, key))(t)
	if first.Token == "" || first.TokenShown || again.Token != "" || !again.TokenShown || again.ID != first.ID || again.TokenID != first.TokenID {
		t.Errorf("registered %+v, then %+v", first, again)
	}
	_, err := admin.RegisterActor(ctx, client.Registration{Role: events.RoleClerk}, key)
	wantStatus(t, err, 422, "")
	record := must(doctor.CreateRecord(ctx, c.chart(), strings.NewReader("x"), key))(t)
	same := must(doctor.CreateRecord(ctx, c.chart(), strings.NewReader("x"), key))(t)
	if same.Record != record.Record || same.Event != record.Event {
		t.Errorf("created %+v, then %+v", record, same)
	}
	_, err = doctor.CreateRecord(ctx, c.chart(), strings.NewReader("y"), key)
	wantStatus(t, err, 422, "")
	_, err = doctor.Amend(ctx, record.Record, "text/plain", strings.NewReader("x"), key)
	wantStatus(t, err, 422, "")
	ids := []client.Identifier{{System: "urn:y", Value: "1"}}
	p1 := must(clerk.RegisterPatient(ctx, ids, key))(t)
	p2 := must(clerk.RegisterPatient(ctx, ids, key))(t)
	if p1.ID != p2.ID {
		t.Errorf("registered %v, then %v", p1.ID, p2.ID)
	}
	_, err = clerk.RegisterPatient(ctx, ids)
	wantStatus(t, err, 409, "")
	_, err = admin.IssueToken(ctx, first.ID, c.clock().Add(20*365*24*time.Hour))
	wantStatus(t, err, 422, "")
	issued := must(admin.IssueToken(ctx, first.ID, time.Time{}))(t)
	if err := c.with(issued.Token).RevokeToken(ctx, first.ID, issued.ID, key); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.with(issued.Token).RevokeToken(ctx, first.ID, issued.ID, key), 401, "")
}

// TestWhatWaits: an administrator finds what is to be approved, and a token whose id
// nobody noted.
func TestWhatWaits(t *testing.T) {
	c := newClinic(t, api.Limits{})
	ctx := t.Context()
	admin, clerk, nurse := c.as(events.RoleAdmin), c.as(events.RoleClerk), c.as(events.RoleNurse)
	record := c.record("waits")
	asked := must(clerk.RequestDestruction(ctx, record, events.GroundRetentionEnded))(t)
	pending := must(admin.PendingDestructions(ctx))(t)
	if len(pending) != 1 || pending[0].ID != asked.ID || pending[0].Record != record || pending[0].Requester != clerk.id ||
		pending[0].Ground != events.GroundRetentionEnded || pending[0].Kind == "" {
		t.Errorf("what waits: %+v", pending)
	}
	_, err := clerk.PendingDestructions(ctx)
	wantStatus(t, err, 403, "role-not-allowed")
	must(admin.ApproveDestruction(ctx, asked.ID))(t)
	if pending = must(admin.PendingDestructions(ctx))(t); len(pending) != 0 {
		t.Errorf("after the approval: %+v", pending)
	}

	tokens := must(admin.ListTokens(ctx, nurse.id))(t)
	if len(tokens) != 1 || tokens[0].ID != nurse.token || tokens[0].Revoked || tokens[0].Expires.IsZero() {
		t.Errorf("the nurse's tokens: %+v", tokens)
	}
	_, err = nurse.ListTokens(ctx, nurse.id)
	wantStatus(t, err, 403, "role-not-allowed")
	_, err = admin.ListTokens(ctx, events.MustNewID())
	wantStatus(t, err, 422, "unknown-member")
	if err := admin.RevokeToken(ctx, nurse.id, tokens[0].ID); err != nil {
		t.Fatal(err)
	}
	if tokens = must(admin.ListTokens(ctx, nurse.id))(t); len(tokens) != 1 || !tokens[0].Revoked {
		t.Errorf("after the revocation: %+v", tokens)
	}
	_, err = nurse.ListRecords(ctx, c.patient, client.RecordQuery{})
	wantStatus(t, err, 401, "")
}

// TestRightsOfAPatient: who is to close a relationship finds its id.
func TestRightsOfAPatient(t *testing.T) {
	c := newClinic(t, api.Limits{})
	ctx := t.Context()
	clerk, patient := c.as(events.RoleClerk), c.as(events.RolePatient)
	before := must(clerk.Rights(ctx, c.patient, ""))(t)
	care := must(clerk.OpenCare(ctx, c.patient, client.Care{Member: c.idle.id, Until: c.clock().Add(time.Hour)}))(t)
	must(patient.WithdrawImplied(ctx, c.patient, events.PurposePayment))(t)
	consent := must(patient.GrantConsent(ctx, c.patient, events.PurposeResearch))(t)
	for name, who := range map[string]person{"clerk": clerk, "patient": patient, "nurse": c.idle} {
		rights := must(who.Rights(ctx, c.patient, ""))(t)
		if len(rights.CareRelationships) != len(before.CareRelationships)+1 || len(rights.Proxies) != len(before.Proxies) || len(rights.Consents) != len(before.Consents)+2 {
			t.Fatalf("%s is told %+v, before %+v", name, rights, before)
		}
		r := rights.CareRelationships[len(rights.CareRelationships)-1]
		if r.ID != care.ID || r.Member != c.idle.id || r.Closed || !r.Until.Equal(c.clock().Add(time.Hour)) {
			t.Errorf("%s: the relationship is %+v", name, r)
		}
		g := rights.Consents[len(rights.Consents)-2:]
		if g[0].Purpose != events.PurposePayment || !g[0].Withdrawn || g[1].ID != consent.ID || g[1].Withdrawn {
			t.Errorf("%s: the consents are %+v", name, g)
		}
	}
	must(clerk.CloseCare(ctx, c.patient, care.ID))(t)
	rights := must(clerk.Rights(ctx, c.patient, ""))(t)
	if r := rights.CareRelationships[len(rights.CareRelationships)-1]; !r.Closed {
		t.Errorf("after it was closed: %+v", r)
	}
	for name, who := range map[string]person{"recipient": c.as(events.RoleRecipient), "admin": c.as(events.RoleAdmin), "device": c.as(events.RoleDevice)} {
		if _, err := who.Rights(ctx, c.patient, ""); err == nil {
			t.Errorf("%s is told the rights", name)
		}
	}
	_, err := c.far.Rights(ctx, c.patient, "")
	wantStatus(t, err, 404, "")
	// That it was asked is told to the patient.
	asked := 0
	for _, e := range must(patient.ListAccesses(ctx, c.patient, "", ""))(t).Accesses {
		if e.Query == events.QueryRights {
			asked++
		}
	}
	if asked != 5 {
		t.Errorf("the account has %d questions about the rights", asked)
	}
}
