package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// Markers stand wherever a client can put text; none of them is found where the
// service writes.
func TestNothingPersonalIsTold(t *testing.T) {
	c := newClinic(t, api.Limits{})
	ctx := t.Context()
	var markers []string
	mark := func(where string) string {
		m := "Zwnchqx-" + where
		markers = append(markers, m)
		return m
	}
	admin, clerk, doctor := c.as(events.RoleAdmin), c.as(events.RoleClerk), c.as(events.RoleClinician)
	must(admin.RegisterActor(ctx, client.Registration{Role: events.RoleNurse, Organisation: mark("organisation"), Department: mark("department")}, client.WithKey(mark("key"))))(t)
	id := client.Identifier{System: mark("system"), Value: mark("value")}
	must(clerk.RegisterPatient(ctx, []client.Identifier{id}, client.WithKey(mark("patient-key"))))(t)
	if _, err := clerk.FindPatient(ctx, id, ""); err != nil {
		t.Fatal(err)
	}
	chart := c.chart()
	chart.ContentType = "text/" + mark("content-type")
	record := must(doctor.CreateRecord(ctx, chart, strings.NewReader(mark("content")), client.WithKey(mark("record-key"))))(t)
	content, err := doctor.Content(ctx, record.Record, 0, events.PurposeTreatment)
	text(t, content, err)

	var problems bytes.Buffer
	bad := func(method, target, headers, body string, status int) {
		t.Helper()
		headers += fmt.Sprintf("Authorization: Bearer %s\r\nContent-Length: %d\r\n", clerk.Token, len(body))
		response, answer := c.raw(t, method, target, headers, body)
		wantProblem(t, response, answer, status)
		if err := response.Header.Write(&problems); err != nil {
			t.Fatal(err)
		}
		problems.Write(answer)
	}
	const asJSON = "Content-Type: application/json\r\n"
	_, err = clerk.FindPatient(ctx, client.Identifier{System: id.System, Value: mark("other-value")}, "")
	wantStatus(t, err, 404, "")
	_, err = clerk.RegisterPatient(ctx, []client.Identifier{id})
	wantStatus(t, err, 409, "")
	bad("GET", "/v1/patients?system="+url.QueryEscape(id.System)+"&value=x&"+mark("parameter")+"=1", "", "", 400)
	bad("GET", "/v1/patients?system=x&value=x&purpose="+mark("purpose"), "", "", 400)
	bad("GET", "/v1/"+mark("path"), "", "", 404)
	bad("GET", "/v1/patients/"+mark("path-id")+"/records", "", "", 404)
	bad("POST", "/v1/patients", asJSON, `{"`+mark("member")+`":1}`, 400)
	bad("POST", "/v1/patients", asJSON, `{"identifiers":"`+mark("wrong-type")+`"}`, 400)
	bad("POST", "/v1/patients", asJSON, `{"identifiers":[{"system":"`+mark("twice")+`","system":"`+mark("twice2")+`"}]}`, 400)
	bad("POST", "/v1/patients", asJSON, mark("no-json"), 400)
	bad("POST", "/v1/patients", "Content-Type: "+mark("type")+"\r\n", "x", 415)
	bad("GET", "/v1/receipts/"+anID, "Idempotency-Key: \""+mark("bad-key")+"\r\n", "", 400)
	bad("GET", "/v1/receipts/"+anID, "X-Request-Id: "+mark("request-id")+"\r\n", "", 404)
	// Sixteen bytes of text pass for a UUID; this request leads to an event.
	name := fmt.Sprintf("%x-%x-%x-%x-%x", "Zwnc", "hq", "x-", "na", "med so")
	markers = append(markers, name)
	bad("GET", "/v1/patients/"+anID+"/records", "X-Request-Id: "+name+"\r\n", "", 404)
	bad("GET", "/v1/receipts/"+anID, "Cookie: "+mark("cookie")+"\r\nUser-Agent: "+mark("agent")+"\r\n", "", 404)
	bad("POST", "/v1/patients/"+c.patient.String()+"/care-relationships", asJSON, `{"member":"`+mark("bad-id")+`"}`, 400)

	_, metrics := c.raw(t, "GET", "/metrics", "", "")
	places := map[string][]byte{"the log output": []byte(c.journal.String()), "the metrics": metrics, "the errors": problems.Bytes()}
	for i, leaf := range c.leaves() {
		places[fmt.Sprintf("leaf %d", i)] = leaf
	}
	tokens := []string{admin.Token, clerk.Token, doctor.Token, "127.0.0.1"}
	for place, all := range places {
		for _, m := range append(markers, tokens...) {
			for _, form := range []string{m, url.QueryEscape(m), base64.StdEncoding.EncodeToString([]byte(m)), hex.EncodeToString([]byte(m))} {
				if bytes.Contains(bytes.ToLower(all), bytes.ToLower([]byte(form))) {
					t.Errorf("%s has %s", place, m)
				}
			}
		}
	}
	if len(c.journal.String()) == 0 || len(places) < 10 {
		t.Error("nothing was searched")
	}
}
