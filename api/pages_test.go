package api_test

import (
	"testing"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// Pages hold everything once and in order.
func TestPages(t *testing.T) {
	c := newClinic(t, api.Limits{})
	ctx := t.Context()
	items := make([]client.BatchItem, 130)
	for i := range items {
		items[i] = client.BatchItem{Patient: c.patient, Kind: events.KindChart, Confidentiality: events.Low, ContentType: "text/plain", Text: "x"}
	}
	results := must(c.as(events.RoleClinician).CreateRecords(ctx, items))(t)
	want := make(map[events.ID]bool)
	for _, r := range results {
		want[r.Record] = true
	}
	q, pages := client.RecordQuery{}, 0
	for {
		page := must(c.as(events.RoleClerk).ListRecords(ctx, c.patient, q))(t)
		pages++
		for _, r := range page.Records {
			if !want[r.Record] {
				t.Errorf("%v is listed twice, or is not the patient's", r.Record)
			}
			delete(want, r.Record)
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			break
		}
	}
	if len(want) != 0 || pages != 2 {
		t.Errorf("%d pages lack %d records", pages, len(want))
	}

	record := results[0].Record
	for range 105 {
		content, err := c.as(events.RoleNurse).Content(ctx, record, 0, events.PurposeTreatment)
		text(t, content, err)
	}
	auditor := c.as(events.RoleAuditor)
	first := must(auditor.RecordEvents(ctx, record, ""))(t)
	second := must(auditor.RecordEvents(ctx, record, first.Cursor))(t)
	if len(first.Events) != 100 || len(second.Events) != 6+2 || second.Cursor != "" { // and the two readings
		t.Errorf("the history has %d and %d events", len(first.Events), len(second.Events))
	}
	if first.Events[99].Index >= second.Events[0].Index {
		t.Error("the pages of a history overlap")
	}
	one := must(auditor.ListAccesses(ctx, c.patient, "", ""))(t)
	two := must(auditor.ListAccesses(ctx, c.patient, "", one.Cursor))(t)
	if len(one.Accesses) != 100 || len(two.Accesses) == 0 || two.Cursor != "" || one.Accesses[99].Index >= two.Accesses[0].Index {
		t.Errorf("the accesses have %d and %d events", len(one.Accesses), len(two.Accesses))
	}
	_, err := auditor.ListAccesses(ctx, c.patient, "", one.Cursor+"A")
	wantStatus(t, err, 400, "")
}
