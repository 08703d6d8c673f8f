package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/receipt"
)

const origin = "clinic.example/ledger"

// clinic is a served ledger with somebody of every role.
type clinic struct {
	*ledger.Ledger
	t       testing.TB
	url     string
	vkey    []byte // the log's verifier key
	journal *journal
	answers *answers

	mu  sync.Mutex
	now time.Time

	who     map[events.Role]person
	patient events.ID // the subject of the patient's account
	far     person    // a clinician of another organisation
	idle    person    // a nurse of the organisation who treats nobody
}

// person is an actor with a token.
type person struct {
	*client.Client
	id, token events.ID
}

// newClinic makes a ledger, serves it and registers everybody. Limits may be zero.
func newClinic(t testing.TB, limits api.Limits) *clinic {
	t.Helper()
	c := &clinic{t: t, journal: new(journal), who: make(map[events.Role]person)}
	c.now = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	config := ledger.Config{
		Dir: filepath.Join(dir, "data"), Secrets: filepath.Join(dir, "custody"),
		Clock: c.clock, Logger: slog.New(slog.DiscardHandler),
	}
	founding, err := ledger.Create(t.Context(), config, origin)
	if err != nil {
		t.Fatal(err)
	}
	if c.Ledger, err = ledger.Open(context.WithoutCancel(t.Context()), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	h, err := api.New(api.Config{
		Ledger: c.Ledger, Clock: c.clock, Limits: limits,
		Logger: slog.New(slog.NewTextHandler(c.journal, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.Listen(t.Context(), api.ServerConfig{
		Address: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(c.journal, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := serving(t, server, h)
	t.Cleanup(func() { _ = stop() }) // a test may leave a request that is cut off
	c.url = server.URL()
	c.answers = &answers{t: t}
	secret, err := os.ReadFile(filepath.Join(config.Dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	if c.vkey, err = os.ReadFile(filepath.Join(config.Dir, "log.vkey")); err != nil {
		t.Fatal(err)
	}
	admin := c.with(strings.TrimSpace(string(secret)))
	admin.id = founding.Administrator
	c.who[events.RoleAdmin] = admin
	c.staff()
	return c
}

func (c *clinic) staff() {
	c.t.Helper()
	for _, role := range []events.Role{
		events.RoleClinician, events.RoleNurse, events.RoleClerk, events.RoleProxy, events.RoleAuditor, events.RoleDevice, events.RoleSystem,
	} {
		in := client.Registration{Role: role}
		if role == events.RoleClinician || role == events.RoleNurse {
			in.Department = "ward 1"
		}
		c.who[role] = c.register(in)
	}
	c.patient = c.newPatient("1")
	c.who[events.RolePatient] = c.register(client.Registration{Role: events.RolePatient, Patient: c.patient})
	c.who[events.RoleRecipient] = c.register(client.Registration{Role: events.RoleRecipient, Organisation: "insurer"})
	c.far = c.register(client.Registration{Role: events.RoleClinician, Organisation: "hospital", Department: "ward 9"})
	c.idle = c.register(client.Registration{Role: events.RoleNurse})
}

func (c *clinic) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clinic) wait(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// with is a client with a token, whose answers are held against the document.
func (c *clinic) with(token string) person {
	return person{Client: &client.Client{URL: c.url, Token: token, HTTP: &http.Client{Transport: c.answers}}}
}

func (c *clinic) as(role events.Role) person { return c.who[role] }

func (c *clinic) register(in client.Registration) person {
	c.t.Helper()
	out := must(c.as(events.RoleAdmin).RegisterActor(c.t.Context(), in))(c.t)
	c.verify(out.Done)
	p := c.with(out.Token)
	p.id, p.token = out.ID, out.TokenID
	return p
}

func (c *clinic) newPatient(number string) events.ID {
	c.t.Helper()
	out := must(c.as(events.RoleClerk).RegisterPatient(c.t.Context(), []client.Identifier{{System: "urn:x", Value: number}}))(c.t)
	c.verify(out.Done)
	return out.ID
}

func (c *clinic) chart() client.NewRecord {
	return client.NewRecord{Patient: c.patient, Kind: events.KindChart, Confidentiality: events.Normal, ContentType: "text/plain; charset=utf-8"}
}

// record stores a record of the patient and returns its id.
func (c *clinic) record(content string) events.ID {
	c.t.Helper()
	out := must(c.as(events.RoleClinician).CreateRecord(c.t.Context(), c.chart(), strings.NewReader(content)))(c.t)
	c.verify(out.Done)
	return out.Record
}

// verify checks a receipt with nothing but the log's key.
func (c *clinic) verify(d client.Done) {
	c.t.Helper()
	parsed, err := receipt.Parse(d.Receipt)
	if err != nil {
		c.t.Fatalf("%v: %s", err, d.Receipt)
	}
	verified, err := receipt.Verify(parsed, c.VerifierKey())
	if err != nil {
		c.t.Fatal(err)
	}
	if verified.Index != d.Index || verified.Event.ID != d.Event {
		c.t.Fatalf("the receipt is of event %d, want %d", verified.Index, d.Index)
	}
}

// must fails the test if a call failed.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantStatus expects a call to fail with a status.
func wantStatus(t testing.TB, err error, status int, reason string) {
	t.Helper()
	e := new(client.Error)
	if !errors.As(err, &e) || e.Status != status || e.Reason != reason {
		t.Fatalf("got %v, want status %d, reason %q", err, status, reason)
	}
	if e.Type != "about:blank" || e.Detail == "" || e.RequestID == "" {
		t.Errorf("problem %+v", e)
	}
}

func text(t testing.TB, content *client.Content, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(content.Body)
	if err := errors.Join(err, content.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// leaves returns all statements of the log.
func (c *clinic) leaves() (all [][]byte) {
	c.t.Helper()
	for i := range c.Log().Published().Checkpoint.Size {
		leaf, err := c.Log().Leaf(context.Background(), i)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, leaf)
	}
	return all
}

// raw sends a request as it is.
func (c *clinic) raw(t testing.TB, method, target, headers, body string) (*http.Response, []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n%s", method, target, headers, body)
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return response, text
}
