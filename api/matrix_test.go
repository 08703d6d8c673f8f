package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/statement"
)

// TestRolesOnRoutes sends a well-formed request of every role to every operation of
// the document. Whose role the operation does not list is refused because of it, and
// the log says so; whose role it lists gets further.
func TestRolesOnRoutes(t *testing.T) {
	c := newClinic(t, api.Limits{})
	record := c.record("content")
	doc := parsedDocument(t)
	operations := 0
	for path, item := range doc["paths"].(object) {
		for method, o := range item.(object) {
			o := o.(object)
			if o["security"] == nil {
				continue
			}
			operations++
			name := strings.ToUpper(method) + " " + path
			t.Run(name, func(t *testing.T) {
				var listed []string
				for _, role := range o["x-medledger-roles"].([]any) {
					listed = append(listed, role.(string))
				}
				if len(listed) == 0 {
					t.Fatal("no role may do this")
				}
				for role, who := range c.who {
					r := &sample{c: c, doc: doc, who: who, record: record}
					c.matrix(t, r.request(t, strings.ToUpper(method), path, o), who, slices.Contains(listed, string(role)), string(role))
				}
				r := &sample{c: c, doc: doc, who: c.as(events.RoleAdmin), record: record}
				request := r.request(t, strings.ToUpper(method), path, o)
				request.Header.Del("Authorization")
				if status, _ := exchange(t, request); status != 401 {
					t.Errorf("without a token: %d", status)
				}
			})
		}
	}
	if operations != len(api.Routes())+1 { // and the entry bundles
		t.Errorf("%d operations", operations)
	}
}

func (c *clinic) matrix(t *testing.T, request *http.Request, who person, listed bool, role string) {
	t.Helper()
	before := c.Log().Published().Checkpoint.Size
	status, p := exchange(t, request)
	byRole := status == 403 && p.Reason == decision.RefusedRole
	switch {
	case listed && (byRole || status == 400 || status == 401 || status == 415 || status >= 500):
		t.Errorf("%s may do this and got %d %+v", role, status, p)
	case !listed && !byRole:
		t.Errorf("%s may not do this and got %d %+v", role, status, p)
	case !listed:
		leaf, err := c.Log().Leaf(t.Context(), before)
		if err != nil {
			t.Fatalf("%s was refused without an event: %v", role, err)
		}
		parsed, err := statement.Parse(leaf)
		if err != nil {
			t.Fatal(err)
		}
		refused, ok := parsed.Event.Data.(*events.AccessRefused)
		if !ok || refused.Actor != who.id || refused.Decision.Rule != decision.RefusedRole {
			t.Errorf("%s was refused, and the log has %+v", role, parsed.Event.Data)
		}
	}
}

// exchange sends a request and returns the status and the problem, if it is one.
func exchange(t *testing.T, r *http.Request) (int, client.Problem) {
	t.Helper()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p client.Problem
	if response.StatusCode >= 400 {
		if err := json.Unmarshal(body, &p); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	return response.StatusCode, p
}

func parsedDocument(t *testing.T) object {
	t.Helper()
	text, err := json.Marshal(document())
	if err != nil {
		t.Fatal(err)
	}
	var doc object
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// sample makes a request of an operation of the document.
type sample struct {
	c      *clinic
	doc    object
	who    person
	record events.ID
}

func (s *sample) request(t *testing.T, method, path string, o object) *http.Request {
	t.Helper()
	query := url.Values{}
	parameters, _ := o["parameters"].([]any)
	for _, p := range parameters {
		p := p.(object)
		name := p["name"].(string)
		switch {
		case p["in"] == "path":
			path = strings.Replace(path, "{"+name+"}", s.inPath(name), 1)
		case p["in"] == "query" && p["required"] == true:
			query.Set(name, fmt.Sprint(s.value(p["schema"].(object), name)))
		}
	}
	var body io.Reader
	contentType := ""
	if b, ok := o["requestBody"].(object); ok {
		for kind, media := range b["content"].(object) {
			if kind == "*/*" {
				contentType, body = "text/plain", strings.NewReader("x")
				continue
			}
			text, err := json.Marshal(s.value(media.(object)["schema"].(object), ""))
			if err != nil {
				t.Fatal(err)
			}
			contentType, body = kind, bytes.NewReader(text)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.c.url+path+"?"+query.Encode(), body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.who.Token)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func (s *sample) inPath(name string) string {
	switch name {
	case "actor":
		return s.who.id.String() // everybody may give back a token of their own
	case "patient":
		return s.c.patient.String()
	case "record":
		return s.record.String()
	case "bundle":
		return "000.p/1"
	}
	return events.MustNewID().String()
}

// value makes a value of a schema. A member that is optional in general, and needed
// in some cases, is there.
func (s *sample) value(schema object, name string) any {
	if target, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(target, "#/components/schemas/")
		schema = s.doc["components"].(object)["schemas"].(object)[name].(object)
	}
	if codes, ok := schema["enum"].([]any); ok {
		return codes[0]
	}
	switch schema["type"] {
	case "object":
		out := make(object)
		properties := schema["properties"].(object)
		required := schema["required"].([]any)
		for _, optional := range []string{"member", "ground"} {
			if properties[optional] != nil {
				required = append(required, optional)
			}
		}
		for _, member := range required {
			out[member.(string)] = s.value(properties[member.(string)].(object), member.(string))
		}
		return out
	case "array":
		return []any{s.value(schema["items"].(object), name)}
	case "integer":
		return 1
	}
	switch {
	case schema["format"] == "date-time":
		return "2027-01-01T00:00:00Z"
	case name == "patient":
		return s.c.patient
	case name == "contentType":
		return "text/plain"
	}
	return events.MustNewID()
}
