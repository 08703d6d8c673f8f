package cli_test

import (
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/custody/custodytest/softhsm"
)

// TestVaultStats asks for them with a server and without one.
func TestVaultStats(t *testing.T) {
	dir := newLedger(t)
	offline := succeed(t, "vault", "stats", "--dir", dir).out
	p := serve(t, dir)
	online := succeed(t, "vault", "stats", "--dir", dir).out
	p.stop(t, syscall.SIGTERM)
	for _, name := range []string{"custody", "generation", "retired", "height", "fan-out", "entries", "slots", "doomed"} {
		if field(t, offline, name) == "" || field(t, offline, name) != field(t, online, name) {
			t.Errorf("%s is %q without a server and %q with one", name, field(t, offline, name), field(t, online, name))
		}
	}
	if field(t, offline, "custody") != "file" || field(t, offline, "retired") != "0" {
		t.Errorf("a new ledger's are\n%s", offline)
	}
	refuse(t, 2, "give token or file", "vault", "move", "--dir", dir, "--to", "paper")
	refuse(t, 1, "custody-socket", "vault", "move", "--dir", dir, "--to", "token")
}

// TestVaultMove moves the root key of a ledger with records into a real token, works on,
// destroys, and moves it out again.
func TestVaultMove(t *testing.T) {
	dir := newLedger(t)
	p := serve(t, dir)
	admin := administrator(t, p, dir)
	doctor, record := originate(t, admin, "before the move")
	p.stop(t, syscall.SIGTERM)

	token := softhsm.Start(t)
	t.Setenv("MEDLEDGER_CUSTODY_SOCKET", token.Socket)
	refuse(t, 1, "'medledger vault move'", "vault", "stats", "--dir", dir) // it is not there yet
	if r := succeed(t, "vault", "move", "--dir", dir, "--to", "token"); field(t, r.out, "custody") != "token" {
		t.Errorf("move printed %s", r.out)
	}
	if left, err := filepath.Glob(filepath.Join(dir+".custody", "keys", "*root*")); err != nil || len(left) != 0 {
		t.Errorf("in the folder there is still %v, %v", left, err)
	}
	p = serve(t, dir)
	doctor.URL, admin.URL = p.url, p.url
	before := succeed(t, "vault", "stats", "--dir", dir).out
	if got := contentOf(t, doctor, record); got != "before the move" {
		t.Errorf("a record from before the move is %q", got)
	}
	custody := destroyed(t, doctor, admin, record)
	if custody != events.CustodyFile {
		t.Errorf("the event of a record from before the move says custody %q", custody)
	}
	after := succeed(t, "vault", "stats", "--dir", dir).out
	// The record's key and the patient's are gone; their slots stay given out.
	if number(t, after, "entries") != number(t, before, "entries")-2 || number(t, after, "slots") < number(t, before, "slots") {
		t.Errorf("before the destruction\n%safter it\n%s", before, after)
	}
	reader, since := originate(t, admin, "since the move")
	if custody := destroyed(t, reader, admin, since); custody != events.CustodyToken {
		t.Errorf("the event of a record since the move says custody %q", custody)
	}
	_, later := originate(t, admin, "in the token")
	stats := succeed(t, "vault", "stats", "--dir", dir).out
	if field(t, stats, "custody") != "token" {
		t.Errorf("the stats are\n%s", stats)
	}
	p.stop(t, syscall.SIGTERM)

	t.Setenv("MEDLEDGER_CUSTODY_SOCKET", "")
	refuse(t, 1, "token", "vault", "stats", "--dir", dir)
	t.Setenv("MEDLEDGER_CUSTODY_SOCKET", token.Socket)
	succeed(t, "vault", "move", "--dir", dir, "--to", "file")
	t.Setenv("MEDLEDGER_CUSTODY_SOCKET", "")
	p = serve(t, dir)
	doctor.URL = p.url
	if got := contentOf(t, doctor, later); got != "in the token" {
		t.Errorf("a record from the token's time is %q", got)
	}
	p.stop(t, syscall.SIGTERM)
}

func number(t *testing.T, out, name string) int {
	t.Helper()
	n, err := strconv.Atoi(field(t, out, name))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// originate registers a doctor, a patient and a record of theirs.
func originate(t *testing.T, admin *client.Client, content string) (doctor *client.Client, record events.ID) {
	t.Helper()
	registered, err := admin.RegisterActor(t.Context(), client.Registration{Role: events.RoleClinician, Department: "ward"})
	if err != nil {
		t.Fatal(err)
	}
	doctor = &client.Client{URL: admin.URL, Token: registered.Token}
	patient, err := doctor.RegisterPatient(t.Context(), []client.Identifier{{System: "urn:test", Value: content}})
	if err != nil {
		t.Fatal(err)
	}
	made, err := doctor.CreateRecord(t.Context(), client.NewRecord{
		Patient: patient.ID, Kind: events.KindChart, Confidentiality: events.Normal, ContentType: "text/plain",
	}, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return doctor, made.Record
}

func contentOf(t *testing.T, doctor *client.Client, record events.ID) string {
	t.Helper()
	c, err := doctor.Content(t.Context(), record, 0, events.PurposeTreatment)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Body.Close()
	raw, err := io.ReadAll(c.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// destroyed has a record destroyed and returns what the event says of the custody.
func destroyed(t *testing.T, doctor, admin *client.Client, record events.ID) string {
	t.Helper()
	clerk, err := admin.RegisterActor(t.Context(), client.Registration{Role: events.RoleClerk})
	if err != nil {
		t.Fatal(err)
	}
	asked, err := (&client.Client{URL: admin.URL, Token: clerk.Token}).RequestDestruction(t.Context(), record, events.GroundRetentionEnded)
	if err != nil {
		t.Fatal(err)
	}
	done, err := admin.ApproveDestruction(t.Context(), asked.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := doctor.Content(t.Context(), record, 0, events.PurposeTreatment); err == nil {
		t.Error("what was destroyed is read")
	}
	return done.Custody
}
