package api_test

import (
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/events"
)

const asJSON = "Content-Type: application/json\r\n"

// TestLongLists: a list is counted before it is decoded. A few megabytes of it would
// become some gigabytes.
func TestLongLists(t *testing.T) {
	c := newClinic(t, api.Limits{JSON: 4 << 20})
	zeros := "[" + strings.Repeat("0,", 1<<20) + "0]"
	for _, x := range []struct {
		name, target, body string
		who                events.Role
		status             int
	}{
		{"a batch", "/v1/records:batch", `{"records":` + zeros + `}`, events.RoleClinician, 422},
		{"a batch of nulls", "/v1/records:batch", `{"records":` + strings.ReplaceAll(zeros, "0", "null") + `}`, events.RoleClinician, 422},
		{"after a text", "/v1/records:batch", `{"\\\"[":"\\","records":` + zeros + `}`, events.RoleClinician, 422},
		{"a batch of somebody who may not", "/v1/records:batch", `{"records":` + zeros + `}`, events.RoleRecipient, 422},
		{"a larger one of theirs", "/v1/records:batch", `{"records":[` + strings.Repeat(" ", 4<<20) + `]}`, events.RoleRecipient, 413},
		{"identifiers", "/v1/patients", `{"identifiers":` + zeros + `}`, events.RoleClerk, 422},
		{"scopes", "/v1/patients/" + c.patient.String() + "/proxies", `{"scope":` + zeros + `}`, events.RolePatient, 422},
		{"a list too deep to be one", "/v1/patients", `{"identifiers":[{"system":` + zeros + `}]}`, events.RoleClerk, 400},
		{"no JSON", "/v1/patients", `]]]]"\`, events.RoleClerk, 400},
	} {
		headers := fmt.Sprintf("%sAuthorization: Bearer %s\r\nContent-Length: %d\r\n", asJSON, c.as(x.who).Token, len(x.body))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		response, body := c.raw(t, "POST", x.target, headers, x.body)
		runtime.ReadMemStats(&after)
		t.Run(x.name, func(t *testing.T) { wantProblem(t, response, body, x.status) })
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
			t.Errorf("%s: %d bytes of a request took %d bytes of memory", x.name, len(x.body), took)
		}
	}
}

// TestBatchesAtATime: batches that would fill the memory together are told to come
// again, and others are served meanwhile.
func TestBatchesAtATime(t *testing.T) {
	c := newClinic(t, api.Limits{BatchJSON: 4 << 20})
	doctor := "Authorization: Bearer " + c.as(events.RoleClinician).Token + "\r\n"
	var open []net.Conn
	hold := func() {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		fmt.Fprintf(conn, "POST /v1/records:batch HTTP/1.1\r\nHost: x\r\n%s%sTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", doctor, asJSON)
		open = append(open, conn)
	}
	item := `{"patient":"` + c.patient.String() + `","kind":"chart","confidentiality":"N","contentType":"text/plain","text":"x"}`
	body := `{"records":[` + item + `]}`
	batch := func() (*http.Response, []byte) {
		return c.raw(t, "POST", "/v1/records:batch", fmt.Sprintf("%s%sContent-Length: %d\r\n", doctor, asJSON, len(body)), body)
	}
	answered := func(status int, meanwhile func()) (response *http.Response, answer []byte) {
		for range 500 {
			if response, answer = batch(); response.StatusCode == status {
				return response, answer
			}
			meanwhile()
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("a batch is answered %s, want %d", response.Status, status)
		return nil, nil
	}
	response, answer := answered(429, hold)
	wantProblem(t, response, answer, 429)
	if response.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", response.Header.Get("Retry-After"))
	}
	c.record("one that is no batch")
	for _, conn := range open {
		_ = conn.Close()
	}
	answered(200, func() {})
}
