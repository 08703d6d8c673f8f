package api_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
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

// slowly is a client's transport whose connections take little before it is read, so
// that the server waits for whoever reads slowly.
func slowly() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return conn, err
	}}
}

// longHistory makes a record of which there are so many events that a bundle of them
// is more than the buffers of a connection hold.
func (c *clinic) longHistory() events.ID {
	c.t.Helper()
	record := c.record("content")
	patient := ledger.Command{Actor: c.as(events.RolePatient).id}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for range 100 {
				if _, _, err := c.Ledger.HistoryAfter(context.Background(), patient, record, 0, 1); err != nil {
					c.t.Error(err)
					return
				}
			}
		})
	}
	readers.Wait()
	return record
}

// TestRightEndsWhileAHistoryIsSent: whoever loses their right while a bundle is sent to
// them does not get the rest of it, and knows that it is not whole.
func TestRightEndsWhileAHistoryIsSent(t *testing.T) {
	c := newClinic(t, api.Limits{})
	record := c.longHistory()
	ctx := context.Background()
	for _, test := range []struct {
		name string
		role events.Role
		end  func() error
	}{
		{"consent withdrawn", events.RoleClinician, func() error {
			_, err := c.as(events.RolePatient).WithdrawImplied(ctx, c.patient, events.PurposeTreatment)
			return err
		}},
		{"an auditor's token revoked", events.RoleAuditor, func() error {
			return c.as(events.RoleAdmin).RevokeToken(ctx, c.as(events.RoleAuditor).id, c.as(events.RoleAuditor).token)
		}},
	} {
		transport := slowly()
		slow := &client.Client{URL: c.url, Token: c.as(test.role).Token, HTTP: &http.Client{Transport: transport}}
		body := must(slow.History(t.Context(), record))(t)
		if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := test.end(); err != nil {
			t.Fatal(err)
		}
		rest := must(io.ReadAll(must(c.as(events.RolePatient).History(t.Context(), record))(t)))(t)
		n, err := io.Copy(io.Discard, body)
		if err == nil || n+1000 >= int64(len(rest)) {
			t.Errorf("%s: %d bytes arrived of about %d, %v", test.name, n+1000, len(rest), err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
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
