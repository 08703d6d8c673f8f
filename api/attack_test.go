package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/receipt"
	"github.com/medledger/medledger/verifier/statement"
)

// Whatever somebody may not know of is answered as what does not exist, byte for
// byte.
func TestForbiddenLooksAbsent(t *testing.T) {
	c := newClinic(t, api.Limits{})
	ctx := t.Context()
	record := c.record("x")
	clerk := c.as(events.RoleClerk)
	share := must(clerk.Share(ctx, record, client.ShareRequest{Recipient: c.as(events.RoleRecipient).id, Purpose: events.PurposePayment, Until: c.clock().Add(time.Hour)}))(t)
	request := must(c.as(events.RolePatient).RequestDestruction(ctx, record, ""))(t)
	otherPatient := c.register(client.Registration{Role: events.RolePatient, Patient: c.newPatient("other")})
	otherRecipient := c.register(client.Registration{Role: events.RoleRecipient, Organisation: "another insurer"})
	farAdmin := c.register(client.Registration{Role: events.RoleAdmin, Organisation: "hospital"})
	farClerk := c.register(client.Registration{Role: events.RoleClerk, Organisation: "hospital"})
	proxy := c.as(events.RoleProxy)
	const asJSON, asText = "Content-Type: application/json\r\n", "Content-Type: text/plain\r\n"
	for _, x := range []struct {
		who                           person
		method, before, after, header string
		id                            events.ID
		body                          string
	}{
		{c.far, "GET", "/v1/records/", "/content?purpose=TREAT", "", record, ""},
		{c.far, "GET", "/v1/records/", "/history", "", record, ""},
		{c.far, "PUT", "/v1/records/", "/content", asText, record, "y"},
		{c.far, "POST", "/v1/records/", "/shares", asJSON, record, `{"recipient":"` + anID + `","purpose":"TREAT","until":"2027-01-01T00:00:00Z"}`},
		{c.far, "PUT", "/v1/records/", "/patient", asJSON, record, `{"patient":"` + anID + `"}`},
		{c.far, "GET", "/v1/patients/", "/records", "", c.patient, ""},
		{c.far, "GET", "/v1/patients/", "/records?purpose=HRESCH", "", c.patient, ""},
		{c.far, "POST", "/v1/patients/", "/care-relationships", asJSON, c.patient, `{"member":"` + c.far.id.String() + `"}`},
		{c.far, "POST", "/v1/patients/", "/merge", asJSON, c.patient, `{"into":"` + anID + `"}`},
		{c.far, "DELETE", "/v1/patients/", "/consents?purpose=TREAT", "", c.patient, ""},
		{farClerk, "POST", "/v1/patients/", "/proxies", asJSON, c.patient, `{"proxy":"` + proxy.id.String() + `","scope":["read"]}`},
		{farClerk, "POST", "/v1/records/", "/destruction-requests", asJSON, record, `{"ground":"purpose-ended"}`},
		{otherPatient, "GET", "/v1/records/", "/content?purpose=PATRQT", "", record, ""},
		{otherPatient, "GET", "/v1/records/", "/content?purpose=PATRQT&version=7", "", record, ""},
		{otherPatient, "POST", "/v1/records/", "/destruction-requests", asJSON, record, `{}`},
		{otherPatient, "GET", "/v1/patients/", "/records", "", c.patient, ""},
		{otherPatient, "GET", "/v1/patients/", "/accesses", "", c.patient, ""},
		{otherPatient, "POST", "/v1/patients/", "/consents", asJSON, c.patient, `{"purpose":"TREAT"}`},
		{proxy, "GET", "/v1/records/", "/content?purpose=FAMRQT", "", record, ""},
		{proxy, "GET", "/v1/patients/", "/records", "", c.patient, ""},
		{farClerk, "GET", "/v1/patients/", "/records", "", c.patient, ""},
		{farClerk, "POST", "/v1/patients/", "/merge", asJSON, c.patient, `{"into":"` + anID + `"}`},
		{farClerk, "DELETE", "/v1/shares/", "", "", share.ID, ""},
		{otherRecipient, "GET", "/v1/shares/", "/content", "", share.ID, ""},
		{otherRecipient, "POST", "/v1/shares/", "/acknowledgement", "", share.ID, ""},
		{otherRecipient, "DELETE", "/v1/shares/", "", "", share.ID, ""},
		{farAdmin, "POST", "/v1/destruction-requests/", "/approval", "", request.ID, ""},
		{c.far, "GET", "/v1/receipts/", "", "", share.Event, ""},
		{otherPatient, "GET", "/v1/receipts/", "", "", share.Event, ""},
		{farAdmin, "GET", "/v1/receipts/", "", "", share.Event, ""},
	} {
		ask := func(id string) string {
			header := x.header + "Authorization: Bearer " + x.who.Token + "\r\n"
			response, body := c.raw(t, x.method, x.before+id+x.after, header+fmt.Sprintf("Content-Length: %d\r\n", len(x.body)), x.body)
			response.Header.Del("Date")
			response.Header.Del("X-Request-Id")
			var all bytes.Buffer
			fmt.Fprintln(&all, response.Status)
			if err := response.Header.Write(&all); err != nil {
				t.Fatal(err)
			}
			return all.String() + string(body)
		}
		there := ask(x.id.String())
		for _, id := range []string{events.MustNewID().String(), "x", "%2e%2e"} {
			if absent := ask(id); absent != there {
				t.Errorf("%s %s…%s: forbidden is\n%s\nabsent (%s) is\n%s", x.method, x.before, x.after, there, id, absent)
			}
		}
		if !strings.HasPrefix(there, "404") {
			t.Errorf("%s %s…%s: %s", x.method, x.before, x.after, there)
		}
	}
}

// TestNoActorWithoutToken: a registration whose token cannot be issued registers
// nobody.
func TestNoActorWithoutToken(t *testing.T) {
	c := newClinic(t, api.Limits{})
	admin := c.as(events.RoleAdmin)
	before := c.Log().Published().Checkpoint.Size
	for _, expires := range []time.Time{c.clock(), c.clock().Add(-time.Hour), c.clock().Add(ledger.MaxTokenLifetime + time.Hour)} {
		_, err := admin.RegisterActor(t.Context(), client.Registration{Role: events.RoleNurse, Expires: expires})
		wantStatus(t, err, 422, "")
	}
	if after := c.Log().Published().Checkpoint.Size; after != before {
		t.Errorf("they left %d events", after-before)
	}
	// A repetition is answered also when the token has expired since.
	short := client.Registration{Role: events.RoleNurse, Expires: c.clock().Add(time.Minute)}
	first := must(admin.RegisterActor(t.Context(), short, client.WithKey("short")))(t)
	c.wait(time.Hour)
	again := must(admin.RegisterActor(t.Context(), short, client.WithKey("short")))(t)
	if again.ID != first.ID || !again.TokenShown {
		t.Errorf("repeated: %+v", again)
	}
}

func TestTokensThatAreWorthNothing(t *testing.T) {
	c := newClinic(t, api.Limits{})
	ctx := t.Context()
	record := c.record("x")
	admin, nurse := c.as(events.RoleAdmin), c.as(events.RoleNurse)
	read := func(token string) string {
		response, body := c.raw(t, "GET", "/v1/records/"+record.String()+"/content?purpose=TREAT",
			"Authorization: Bearer "+token+"\r\n", "")
		return response.Status + string(body)
	}
	short := must(admin.IssueToken(ctx, nurse.id, c.clock().Add(time.Minute)))(t)
	if got := read(short.Token); !strings.HasPrefix(got, "200") {
		t.Fatal(got)
	}
	unknown := read("mlt_" + strings.Repeat("A", 43))
	c.wait(time.Minute)
	if got := read(short.Token); got != unknown || !strings.HasPrefix(got, "401") {
		t.Errorf("expired: %s\nunknown: %s", got, unknown)
	}
	if err := admin.RevokeToken(ctx, nurse.id, nurse.token); err != nil {
		t.Fatal(err)
	}
	if got := read(nurse.Token); got != unknown {
		t.Errorf("revoked: %s\nunknown: %s", got, unknown)
	}
	wantStatus(t, admin.RevokeToken(ctx, nurse.id, nurse.token), 404, "")
	wantStatus(t, c.as(events.RoleClerk).RevokeToken(ctx, c.far.id, c.far.token), 403, "role-not-allowed")
	_, err := admin.IssueToken(ctx, nurse.id, c.clock())
	wantStatus(t, err, 422, "ends-before-it-begins")
	for name, want := range map[string]string{
		"medledger_unauthenticated_total":                         "3",
		`medledger_commands_refused_total{action="revoke-token"}`: "2",
		`medledger_commands_refused_total{action="issue-token"}`:  "1",
	} {
		if got := c.metric(t, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// large is more than the buffers of a connection hold.
var large = bytes.Repeat([]byte("0123456789abcdef"), 4<<20) // 64 MiB

func (c *clinic) largeRecord() events.ID {
	c.t.Helper()
	return must(c.as(events.RoleClinician).CreateRecord(c.t.Context(), c.chart(), bytes.NewReader(large)))(c.t).Record
}

// failures returns the failed deliveries in the log, waiting for the first.
func (c *clinic) failures() (all []*events.DeliveryFailed) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(all) == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, leaf := range c.leaves() {
			parsed, err := statement.Parse(leaf)
			if err != nil {
				c.t.Fatal(err)
			}
			if failed, ok := parsed.Event.Data.(*events.DeliveryFailed); ok {
				all = append(all, failed)
			}
		}
	}
	return all
}

// While a reader reads, their right ends: they get no whole content, whoever ended
// the right is answered before the end, and the log says that it did not arrive.
func TestRightEndsInFlight(t *testing.T) {
	for name, end := range map[string]func(c *clinic, record events.ID) error{
		"consent withdrawn": func(c *clinic, _ events.ID) error {
			_, err := c.as(events.RolePatient).WithdrawImplied(context.Background(), c.patient, events.PurposeTreatment)
			return err
		},
		"token revoked": func(c *clinic, _ events.ID) error {
			return c.as(events.RoleAdmin).RevokeToken(context.Background(), c.as(events.RoleNurse).id, c.as(events.RoleNurse).token)
		},
		"record destroyed": func(c *clinic, record events.ID) error {
			request, err := c.as(events.RolePatient).RequestDestruction(context.Background(), record, "")
			if err == nil {
				_, err = c.as(events.RoleAdmin).ApproveDestruction(context.Background(), request.ID)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClinic(t, api.Limits{})
			record := c.largeRecord()
			content, err := c.as(events.RoleNurse).Content(t.Context(), record, 0, events.PurposeTreatment)
			if err != nil {
				t.Fatal(err)
			}
			defer content.Body.Close()
			if _, err := io.ReadFull(content.Body, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := end(c, record); err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, content.Body)
			if err == nil || n+1000 >= content.Size {
				t.Errorf("%d bytes of %d arrived, %v", n+1000, content.Size, err)
			}
			failed := c.failures()
			if len(failed) != 1 || failed[0].Reason != events.FailureRightEnded || failed[0].Release != content.Event || failed[0].Actor != c.as(events.RoleNurse).id {
				t.Errorf("the log has %+v", failed)
			}
		})
	}
}

func TestReaderGoesAway(t *testing.T) {
	c := newClinic(t, api.Limits{})
	record := c.largeRecord()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /v1/records/%v/content?purpose=TREAT HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", record, c.as(events.RoleNurse).Token)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	failed := c.failures()
	if len(failed) != 1 || failed[0].Reason != events.FailureDisconnected || failed[0].Release.String() != response.Header.Get("Medledger-Event") {
		t.Errorf("the log has %+v", failed)
	}
	if got := c.metric(t, "medledger_undelivered_total"); got != "1" {
		t.Errorf("medledger_undelivered_total %s", got)
	}
}

// A client that goes away between the decision and the answer: the writer of the
// answer fails at its first byte.
func TestReaderGoesAwayBeforeTheAnswer(t *testing.T) {
	c := newClinic(t, api.Limits{})
	record := c.record("small")
	h, err := api.New(api.Config{Ledger: c.Ledger, Clock: c.clock, Logger: start(t, 1).logger()})
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*goneWriter{"at the body": {}, "at the flush": {takes: true}} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "/v1/records/"+record.String()+"/content?purpose=TREAT", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.as(events.RoleNurse).Token)
		before := len(c.leaves())
		func() {
			defer func() {
				if v := recover(); v != http.ErrAbortHandler {
					t.Errorf("%s: the connection is not cut: %v", name, v)
				}
			}()
			h.ServeHTTP(w, r)
		}()
		leaves := c.leaves()[before:]
		if len(leaves) != 2 {
			t.Fatalf("%s: %d events", name, len(leaves))
		}
		parsed, err := statement.Parse(leaves[1])
		if err != nil {
			t.Fatal(err)
		}
		if failed, ok := parsed.Event.Data.(*events.DeliveryFailed); !ok || failed.Reason != events.FailureDisconnected {
			t.Errorf("%s: the log ends with %+v", name, parsed.Event.Data)
		}
	}
}

// goneWriter is a connection whose client has gone.
type goneWriter struct {
	header http.Header
	takes  bool // writes succeed, as into a buffer
}

func (w *goneWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}
func (w *goneWriter) WriteHeader(int) {}
func (w *goneWriter) Write(b []byte) (int, error) {
	if w.takes {
		return len(b), nil
	}
	return 0, net.ErrClosed
}
func (w *goneWriter) FlushError() error { return net.ErrClosed }

// An upload that is cut off leaves nothing, and the same command can be given again.
func TestUploadIsCutOff(t *testing.T) {
	c := newClinic(t, api.Limits{})
	before := c.Log().Published().Checkpoint.Size
	broken := io.MultiReader(bytes.NewReader(large[:1<<20]), failing{})
	_, err := c.as(events.RoleClinician).CreateRecord(t.Context(), c.chart(), broken, client.WithKey("k"))
	if err == nil {
		t.Fatal("half an upload was taken")
	}
	out := must(c.as(events.RoleClinician).CreateRecord(t.Context(), c.chart(), strings.NewReader("whole"), client.WithKey("k")))(t)
	if out.Index != before {
		t.Errorf("the upload that was cut off left %d events", out.Index-before)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk of the client failed") }

// metric returns the value of a metric, without labels.
func (c *clinic) metric(t testing.TB, name string) string {
	t.Helper()
	_, body := c.raw(t, "GET", "/metrics", "", "")
	_, after, _ := strings.Cut(string(body), "\n"+name+" ")
	value, _, _ := strings.Cut(after, "\n")
	return value
}

// Receipts are written as verifier/receipt writes them.
func TestReceiptsAreCanonical(t *testing.T) {
	c := newClinic(t, api.Limits{})
	record := c.record("x")
	if _, err := c.RotateStatementKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	history, err := c.History(t.Context(), ledger.Command{Actor: c.as(events.RoleAuditor).id}, record)
	if err != nil {
		t.Fatal(err)
	}
	all := []*receipt.Receipt{{Status: receipt.StatusPromised, Statement: []byte("statement")}}
	for _, r := range history {
		proved, err := r.Receipt(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, proved)
	}
	for i, text := range api.AppendReceipts(all) {
		if want, err := receipt.Marshal(all[i]); err != nil || !bytes.Equal(text, want) {
			t.Errorf("receipt %d is\n%s\nwant\n%s, %v", i, text, want, err)
		}
	}
}
