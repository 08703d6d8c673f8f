package api_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

const anID = "0198c0de-0000-7000-8000-000000000001"

func TestRequestsAreReadStrictly(t *testing.T) {
	good := `{"scope":["read"],"proxy":"` + anID + `"}`
	if err := api.DecodeStrict([]byte(" "+good+"\n"), new(client.Appointment)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":             ``,
		"half":                good[:20],
		"two values":          good + good,
		"trailing text":       good + "x",
		"null":                `null`,
		"an array":            `[` + good + `]`,
		"a text":              `"x"`,
		"unknown member":      `{"scope":["read"],"proxy":"` + anID + `","x":1}`,
		"member twice":        `{"scope":["read"],"proxy":"` + anID + `","proxy":"` + anID + `"}`,
		"twice, once escaped": `{"scope":["read"],"proxy":"` + anID + `","prox\u0079":"` + anID + `"}`,
		"other case":          `{"scope":["read"],"Proxy":"` + anID + `"}`,
		"twice in two cases":  `{"scope":["read"],"proxy":"` + anID + `","PROXY":"` + anID + `"}`,
		"member missing":      `{"scope":["read"]}`,
		"null member":         `{"scope":["read"],"proxy":null}`,
		"null in an array":    `{"scope":[null],"proxy":"` + anID + `"}`,
		"unknown code":        `{"scope":["everything"],"proxy":"` + anID + `"}`,
		"empty code":          `{"scope":[""],"proxy":"` + anID + `"}`,
		"another type":        `{"scope":"read","proxy":"` + anID + `"}`,
		"number for an id":    `{"scope":["read"],"proxy":1}`,
		"empty id":            `{"scope":["read"],"proxy":""}`,
		"upper-case id":       `{"scope":["read"],"proxy":"` + strings.ToUpper(anID) + `"}`,
		"zero id":             `{"scope":["read"],"proxy":"00000000-0000-0000-0000-000000000000"}`,
		"not a time":          `{"scope":["read"],"proxy":"` + anID + `","until":"tomorrow"}`,
		"invalid UTF-8":       "{\"scope\":[\"read\"],\"proxy\":\"\xff\"}",
		"half a surrogate":    `{"scope":["\ud800"],"proxy":"` + anID + `"}`,
		"halves swapped":      `{"scope":["\udc00\ud800"],"proxy":"` + anID + `"}`,
		"deep":                strings.Repeat("[", 20000),
		"a comment":           "/* x */" + good,
		"byte order mark":     "\ufeff" + good,
	} {
		if err := api.DecodeStrict([]byte(text), new(client.Appointment)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for name, text := range map[string]string{
		"bytes as numbers": `{"records":[{"patient":"` + anID + `","kind":"chart","confidentiality":"N","contentType":"a/b","content":[1,2]}]}`,
		"unknown in item":  `{"records":[{"patient":"` + anID + `","kind":"chart","confidentiality":"N","contentType":"a/b","contents":""}]}`,
		"twice in item":    `{"records":[{"patient":"` + anID + `","kind":"chart","kind":"chart","confidentiality":"N","contentType":"a/b"}]}`,
		"bad base64":       `{"records":[{"patient":"` + anID + `","kind":"chart","confidentiality":"N","contentType":"a/b","content":"*"}]}`,
	} {
		if err := api.DecodeStrict([]byte(text), new(client.Batch)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	var p client.NewPatient
	if err := api.DecodeStrict([]byte(`{"identifiers":[{"system":"a","value":"\ud83d\ude00 \"\\"}]}`), &p); err != nil || p.Identifiers[0].Value != "\U0001f600 \"\\" {
		t.Errorf("%+v, %v", p, err)
	}
}

// What is read strictly means what encoding/json reads, and its own form is read
// as the same again; an error never repeats what was sent.
func FuzzStrictJSON(f *testing.F) {
	for _, seed := range []string{
		`{"role":"nurse","organisation":"a","expires":"2027-01-01T00:00:00Z"}`, `{"role":"patient","patient":"` + anID + `"}`,
		`{"role":"x"}`, `{"role":null}`, `{"Role":"nurse"}`, `{"role":"nurse","role":"nurse"}`, `{"role":"\ud800"}`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got client.Registration
		if err := api.DecodeStrict(text, &got); err != nil {
			return
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var second client.Registration
		if err := api.DecodeStrict(again, &second); err != nil || !reflect.DeepEqual(got, second) {
			t.Errorf("%s became %s: %v", text, again, err)
		}
	})
}

func TestIdempotencyKeys(t *testing.T) {
	long := strings.Repeat("k", ledger.MaxIdempotencyKey)
	for header, want := range map[string]string{
		`"a"`: "a", `a`: "a", `"a b, c"`: "a b, c", `"\"\\"`: `"\`, `"` + long + `"`: long, long: long,
		`8e03978e-40d5-43e8-bc93-6894a57f9324`: "8e03978e-40d5-43e8-bc93-6894a57f9324",
	} {
		if got, err := api.IdempotencyKey(header); err != nil || got != want {
			t.Errorf("%q: %q, %v", header, got, err)
		}
	}
	for _, header := range []string{
		``, `""`, `"`, `"a`, `a"`, `a"b`, `"a"b"`, `"a", "b"`, `a,b`, `a b`, `"\a"`, `"\"`, `a\`, "\"\x00\"", "\"\u00fc\"", "a\tb",
		long + "k", `"` + long + `k"`,
	} {
		if got, err := api.IdempotencyKey(header); err == nil {
			t.Errorf("%q was read as %q", header, got)
		}
	}
}

func FuzzIdempotencyKey(f *testing.F) {
	f.Add(`"a\"b"`)
	f.Add(`abc`)
	f.Fuzz(func(t *testing.T, header string) {
		key, err := api.IdempotencyKey(header)
		if err != nil {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := api.IdempotencyKey(quoted); err != nil || again != key {
			t.Errorf("%q is %q, which is written %s and read as %q, %v", header, key, quoted, again, err)
		}
	})
}

func TestBadRequests(t *testing.T) {
	c := newClinic(t, api.Limits{Content: 1000, JSON: 2000})
	record := c.record("x")
	doctor := c.as(events.RoleClinician).Token
	clerk := c.as(events.RoleClerk).Token
	query := "?patient=" + c.patient.String() + "&kind=chart&confidentiality=N"
	const asText, asJSON = "Content-Type: text/plain\r\n", "Content-Type: application/json\r\n"
	content := "/v1/records/" + record.String() + "/content"
	before := c.Log().Published().Checkpoint.Size
	for _, x := range []struct {
		name, method, target, token, headers, body string
		status                                     int
	}{
		{"no Content-Type", "POST", "/v1/records" + query, doctor, "", "x", 400},
		{"bad Content-Type", "POST", "/v1/records" + query, doctor, "Content-Type: text\r\n", "x", 400},
		{"long Content-Type", "POST", "/v1/records" + query, doctor, "Content-Type: text/plain; a=" + strings.Repeat("x", 250) + "\r\n", "x", 400},
		{"two Content-Types", "POST", "/v1/records" + query, doctor, asText + asText, "x", 400},
		{"encoded content", "POST", "/v1/records" + query, doctor, asText + "Content-Encoding: gzip\r\n", "x", 415},
		{"content over the limit", "POST", "/v1/records" + query, doctor, asText, strings.Repeat("x", 1001), 413},
		{"chunks over the limit", "POST", "/v1/records" + query, doctor, asText + "Transfer-Encoding: chunked\r\n", "3e9\r\n" + strings.Repeat("x", 1001) + "\r\n0\r\n\r\n", 413},
		{"unknown kind", "POST", "/v1/records?patient=" + c.patient.String() + "&kind=diary&confidentiality=N", doctor, asText, "x", 400},
		{"unknown confidentiality", "POST", "/v1/records?patient=" + c.patient.String() + "&kind=chart&confidentiality=X", doctor, asText, "x", 400},
		{"parameter missing", "POST", "/v1/records?kind=chart&confidentiality=N", doctor, asText, "x", 400},
		{"parameter twice", "POST", "/v1/records" + query + "&kind=chart", doctor, asText, "x", 400},
		{"parameter twice, once escaped", "POST", "/v1/records" + query + "&%6bind=chart", doctor, asText, "x", 400},
		{"parameter empty", "POST", "/v1/records?patient=" + c.patient.String() + "&kind=&confidentiality=N", doctor, asText, "x", 400},
		{"parameter of another call", "POST", "/v1/records" + query + "&purpose=TREAT", doctor, asText, "x", 400},
		{"a token in the query", "POST", "/v1/records" + query + "&access_token=" + doctor, doctor, asText, "x", 400},
		{"a semicolon", "POST", "/v1/records" + query + ";x", doctor, asText, "x", 400},
		{"two keys", "POST", "/v1/records" + query, doctor, asText + "Idempotency-Key: a\r\nIdempotency-Key: a\r\n", "x", 400},
		{"bad key", "POST", "/v1/records" + query, doctor, asText + "Idempotency-Key: \"\r\n", "x", 400},
		{"two tokens", "POST", "/v1/records" + query, doctor, asText + "Authorization: Bearer " + clerk + "\r\n", "x", 400},
		{"unknown purpose", "GET", content + "?purpose=FUN", doctor, "", "", 400},
		{"no purpose", "GET", content, doctor, "", "", 400},
		{"version zero", "GET", content + "?purpose=TREAT&version=0", doctor, "", "", 400},
		{"version +1", "GET", content + "?purpose=TREAT&version=%2B1", doctor, "", "", 400},
		{"version too large", "GET", content + "?purpose=TREAT&version=4294967296", doctor, "", "", 400},
		{"a body where none belongs", "GET", content + "?purpose=TREAT", doctor, "", "x", 400},
		{"HEAD", "HEAD", content + "?purpose=TREAT", doctor, "", "", 405},
		{"malformed id", "GET", "/v1/records/" + strings.ToUpper(record.String()) + "/content?purpose=TREAT", doctor, "", "", 404},
		{"escaped id", "GET", "/v1/records/%30" + record.String()[1:] + "/content?purpose=TREAT", doctor, "", "", 404},
		{"path traversal", "GET", "/v1/records/../records/" + record.String() + "/content?purpose=TREAT", doctor, "", "", 404},
		{"trailing slash", "GET", content + "/?purpose=TREAT", doctor, "", "", 404},
		{"JSON as text", "POST", "/v1/patients", clerk, asText, `{"identifiers":[{"system":"a","value":"b"}]}`, 415},
		{"JSON in another charset", "POST", "/v1/patients", clerk, "Content-Type: application/json; charset=latin1\r\n", `{"identifiers":[{"system":"a","value":"b"}]}`, 415},
		{"JSON over the limit", "POST", "/v1/patients", clerk, asJSON, `{"identifiers":[{"system":"a","value":"` + strings.Repeat("b", 2000) + `"}]}`, 413},
		{"no identifiers", "POST", "/v1/patients", clerk, asJSON, `{"identifiers":[]}`, 400},
		{"long identifier", "POST", "/v1/patients", clerk, asJSON, `{"identifiers":[{"system":"a","value":"` + strings.Repeat("b", 513) + `"}]}`, 400},
		{"the wrong cursor", "GET", "/v1/patients/" + c.patient.String() + "/records?cursor=ZQ", clerk, "", "", 400},
		{"the cursor of another list", "GET", "/v1/patients/" + c.patient.String() + "/records?cursor=ZQAAAAAAAAAB", clerk, "", "", 400},
		{"not a time", "GET", "/v1/patients/" + c.patient.String() + "/records?from=yesterday", clerk, "", "", 400},
		{"a long wait", "GET", "/v1/receipts/" + anID + "?wait=31", clerk, "", "", 400},
		{"another scheme", "GET", content + "?purpose=TREAT", "", "Authorization: Basic eDp5\r\n", "", 401},
		{"another's prefix", "GET", content + "?purpose=TREAT", "xx" + doctor, "", "", 401},
		{"a longer token", "GET", content + "?purpose=TREAT", doctor + "A", "", "", 401},
		{"a shorter token", "GET", content + "?purpose=TREAT", doctor[:len(doctor)-1], "", "", 401},
		{"no token", "GET", content + "?purpose=TREAT", "", "", "", 401},
	} {
		headers := x.headers
		if x.token != "" {
			headers += "Authorization: Bearer " + x.token + "\r\n"
		}
		if x.body != "" && !strings.Contains(headers, "chunked") {
			headers += fmt.Sprintf("Content-Length: %d\r\n", len(x.body))
		}
		response, body := c.raw(t, x.method, x.target, headers, x.body)
		t.Run(x.name, func(t *testing.T) { wantProblem(t, response, body, x.status) })
		if got := response.Header.Get("WWW-Authenticate"); (got == "Bearer") != (x.status == 401) {
			t.Errorf("%s: WWW-Authenticate is %q", x.name, got)
		}
	}
	if after := c.Log().Published().Checkpoint.Size; after != before {
		t.Errorf("bad requests left %d events", after-before)
	}
}
