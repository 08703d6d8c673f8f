package api_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/medverify"
)

// TestHistoryIsProved has those who may read a record's history check, with the log's
// key alone, that it is complete.
func TestHistoryIsProved(t *testing.T) {
	c := newClinic(t, api.Limits{})
	record := c.record("content")
	for i, role := range []events.Role{events.RoleAuditor, events.RoleClinician, events.RolePatient} {
		body := must(c.as(role).History(t.Context(), record))(t)
		v, err := history.Verify(body, c.VerifierKey(), nil)
		if err != nil || v.Summary == nil || v.Summary.Events != uint64(i+2) {
			t.Errorf("%s: %+v, %v", role, v, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := c.far.History(t.Context(), record)
	wantStatus(t, err, 404, "")
	_, err = c.as(events.RoleClinician).History(t.Context(), events.MustNewID())
	wantStatus(t, err, 404, "")
	absent := must(c.as(events.RoleAuditor).History(t.Context(), events.MustNewID()))(t)
	defer absent.Close()
	if v, err := history.Verify(absent, c.VerifierKey(), nil); err != nil || v.Summary != nil {
		t.Errorf("a record that never was: %+v, %v", v, err)
	}
}

// TestAuditorsCommands runs the auditor's command against the service, as an auditor
// does: over the network, with a token, and with a bundle in a file.
func TestAuditorsCommands(t *testing.T) {
	c := newClinic(t, api.Limits{})
	record := c.record("content")
	dir := t.TempDir()
	vkey, token, bundle := filepath.Join(dir, "log.vkey"), filepath.Join(dir, "token"), filepath.Join(dir, "bundle")
	body := must(c.as(events.RoleAuditor).History(t.Context(), record))(t)
	raw := must(io.ReadAll(body))(t)
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	for name, data := range map[string][]byte{
		vkey: c.vkey, token: []byte(c.as(events.RoleAuditor).Token), bundle: raw,
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"record", "--vkey", vkey, bundle},
		{"audit", "--url", c.url, "--vkey", vkey, "--token-file", token},
		{"audit", "--url", c.url + "/log", "--vkey", vkey, "--token-file", token},
	} {
		var out, complaints bytes.Buffer
		if status := medverify.Run(t.Context(), args, &out, &complaints, medverify.Env{}); status != medverify.Verified {
			t.Errorf("%v: status %d: %s%s", args, status, out.String(), complaints.String())
		}
		if !strings.Contains(out.String(), origin) {
			t.Errorf("%v says %q", args, out.String())
		}
	}
}
