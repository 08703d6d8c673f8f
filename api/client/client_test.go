package client_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// serve answers every request with a function and returns a client of it.
func serve(t *testing.T, f http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return &client.Client{URL: server.URL + "/", Token: "mlt_x"}
}

func TestRequests(t *testing.T) {
	id, other := events.MustNewID(), events.MustNewID()
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = strings.Join([]string{r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key"), string(body)}, "|")
		if r.Header.Get("Authorization") != "Bearer mlt_x" {
			t.Error("the token is missing")
		}
		_, _ = io.WriteString(w, "{}")
	})
	until := time.Date(2027, 1, 2, 3, 4, 5, 6000, time.UTC)
	replace := strings.NewReplacer("ID", id.String(), "OTHER", other.String())
	for want, call := range map[string]func() error{
		`POST|/v1/actors|application/json|"a\"b"|{"role":"nurse"}`: func() error {
			_, err := c.RegisterActor(t.Context(), client.Registration{Role: events.RoleNurse}, client.WithKey(`a"b`))
			return err
		},
		`GET|/v1/patients?system=a%26b&value=c+d|||`: func() error {
			_, err := c.FindPatient(t.Context(), client.Identifier{System: "a&b", Value: "c d"}, "")
			return err
		},
		`POST|/v1/patients/ID/care-relationships|application/json||{"member":"OTHER","until":"2027-01-02T03:04:05.000006Z"}`: func() error {
			_, err := c.OpenCare(t.Context(), id, client.Care{Member: other, Until: until})
			return err
		},
		`DELETE|/v1/patients/ID/consents?purpose=TREAT|||`: func() error {
			_, err := c.WithdrawImplied(t.Context(), id, events.PurposeTreatment)
			return err
		},
		`POST|/v1/records?confidentiality=N&kind=chart&patient=ID|text/plain||body`: func() error {
			_, err := c.CreateRecord(t.Context(), client.NewRecord{Patient: id, Kind: events.KindChart, Confidentiality: events.Normal, ContentType: "text/plain"}, strings.NewReader("body"))
			return err
		},
		`GET|/v1/patients/ID/records?from=2027-01-02T03%3A04%3A05.000006Z&kind=chart|||`: func() error {
			_, err := c.ListRecords(t.Context(), id, client.RecordQuery{Kind: events.KindChart, From: until})
			return err
		},
		`GET|/v1/receipts/ID?wait=2|||`: func() error {
			_, err := c.Receipt(t.Context(), id, 2*time.Second)
			return err
		},
	} {
		if err := call(); err != nil {
			t.Error(err)
		}
		if want = replace.Replace(want); got != want {
			t.Errorf("sent %s\nwant %s", got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, x := range []struct {
		contentType, body string
		detail, reason    string
	}{
		{"application/problem+json", `{"type":"about:blank","title":"Not Found","status":404,"detail":"d","reason":"r"}`, "d", "r"},
		{"application/problem+json; charset=utf-8", `{"status":200,"detail":"d"}`, "d", ""},
		{"application/problem+json", `{`, "the problem could not be read", ""},
		{"text/html", `<h1>no</h1>`, "", ""},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", x.contentType)
			w.Header().Set("X-Request-Id", "q")
			w.WriteHeader(404)
			_, _ = io.WriteString(w, x.body)
		})
		_, err := c.RecordEvents(t.Context(), events.MustNewID(), "")
		e := new(client.Error)
		if !errors.As(err, &e) || e.Status != 404 || e.Title != "Not Found" || e.Detail != x.detail || e.Reason != x.reason || e.RequestID != "q" {
			t.Errorf("%s: %+v, %v", x.body, e, err)
		}
	}
}

// A content that was cut off is never taken for a whole one.
func TestContentThatIsCutOff(t *testing.T) {
	id := events.MustNewID()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.Header().Set("Medledger-Event", id.String())
		w.Header().Set("Medledger-Index", "7")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	content, err := c.Receive(t.Context(), events.MustNewID())
	if err != nil {
		t.Fatal(err)
	}
	defer content.Body.Close()
	if content.Event != id || content.Index != 7 || content.Size != 10 {
		t.Errorf("%+v", content)
	}
	if b, err := io.ReadAll(content.Body); err == nil {
		t.Errorf("%q was taken for the whole", b)
	}
}

// The wire types are read back as they are written.
func TestWire(t *testing.T) {
	for _, in := range []any{
		&client.Created{ID: events.MustNewID(), Done: client.Done{Event: events.MustNewID(), Index: 3, Receipt: json.RawMessage(`{}`)}},
		&client.BatchResult{Status: 404, Problem: &client.Problem{Type: "about:blank", Title: "t", Status: 404, Detail: "d"}},
	} {
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		if _, nested := members["Done"]; nested || len(members) < 2 {
			t.Errorf("%s", text)
		}
	}
}
