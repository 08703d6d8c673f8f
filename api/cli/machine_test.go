package cli_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// administrator is a client with the token that init has left.
func administrator(t *testing.T, p *process, dir string) *client.Client {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	return &client.Client{URL: p.url, Token: strings.TrimSpace(string(token))}
}

// TestAdminToken gives an administrator a token, with and without a server.
func TestAdminToken(t *testing.T) {
	dir := newLedger(t)
	if info, err := os.Stat(filepath.Join(dir, "admin.token")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v, %v", info, err)
	}
	offline := strings.TrimSpace(succeed(t, "admin", "token", "--dir", dir).out)
	p := serve(t, dir)
	online := strings.TrimSpace(succeed(t, "admin", "token", "--dir", dir, "--lifetime", "1h").out)
	first := administrator(t, p, dir)
	for name, token := range map[string]string{"of init": first.Token, "offline": offline, "online": online} {
		c := &client.Client{URL: p.url, Token: token}
		if _, err := c.RegisterActor(t.Context(), client.Registration{Role: events.RoleClerk}); err != nil {
			t.Errorf("the token %s: %v", name, err)
		}
	}
	refused := new(client.Error)
	stranger := &client.Client{URL: p.url, Token: online[:len(online)-2] + "AA"}
	if _, err := stranger.RegisterActor(t.Context(), client.Registration{Role: events.RoleClerk}); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("a token that nobody gave: %v", err)
	}
	clerk, err := first.RegisterActor(t.Context(), client.Registration{Role: events.RoleClerk})
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, 1, "no such administrator", "admin", "token", "--dir", dir, "--actor", clerk.ID.String())
	refuse(t, 2, "--actor", "admin", "token", "--dir", dir, "--actor", "somebody")
	refuse(t, 2, "--lifetime", "admin", "token", "--dir", dir, "--lifetime", "long")
	refuse(t, 1, "732 days", "admin", "token", "--dir", dir, "--lifetime", "100000h")
	p.stop(t, syscall.SIGTERM)
	for _, secret := range []string{offline, online, first.Token} {
		if strings.Contains(p.messages.String(), secret) {
			t.Error("a token is in the messages")
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "control.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control file is left: %v", err)
	}
}

// TestBackupAndRestore backs a served ledger up, restores it elsewhere, and goes on.
func TestBackupAndRestore(t *testing.T) {
	dir, backup := newLedger(t), filepath.Join(t.TempDir(), "backup")
	p := serve(t, dir)
	admin := administrator(t, p, dir)
	if _, err := admin.RegisterActor(t.Context(), client.Registration{Role: events.RoleClerk}); err != nil {
		t.Fatal(err)
	}
	r := succeed(t, "backup", "--dir", dir, backup)
	if field(t, r.out, "origin") != origin || field(t, r.out, "size") != "6" {
		t.Errorf("backup printed %s", r.out)
	}
	if _, err := admin.RegisterActor(t.Context(), client.Registration{Role: events.RoleNurse}); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(t.TempDir(), "newer")
	_, note := get(t, p.url+"/log/checkpoint")
	if err := os.WriteFile(newer, note, 0o600); err != nil {
		t.Fatal(err)
	}
	p.stop(t, syscall.SIGTERM)

	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	secrets := []string{"--dir", elsewhere, "--custody", dir + ".custody"}
	refuse(t, 2, "--nothing-newer", append([]string{"restore", backup}, secrets...)...)
	refuse(t, 1, "two histories", append([]string{"restore", backup, "--checkpoint", newer}, secrets...)...)
	refuse(t, 1, "no whole backup", append([]string{"restore", t.TempDir(), "--nothing-newer"}, secrets...)...)
	if _, err := os.Stat(elsewhere); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused restoration left something: %v", err)
	}
	succeed(t, "backup", "--dir", dir, backup) // without a server
	r = succeed(t, append([]string{"restore", backup, "--checkpoint", newer}, secrets...)...)
	if field(t, r.out, "size") != "8" {
		t.Errorf("restore printed %s", r.out)
	}
	refuse(t, 1, "choose an empty folder", append([]string{"restore", backup, "--checkpoint", newer}, secrets...)...)
	p = serve(t, elsewhere, "--custody", dir+".custody")
	admin.URL = p.url
	if _, err := admin.RegisterActor(t.Context(), client.Registration{Role: events.RoleNurse}); err != nil {
		t.Errorf("the administrator at the restored ledger: %v", err)
	}
	if c := p.checkpoint(t, elsewhere); c.Size != 11 {
		t.Errorf("the restored log has %d events, want 8, one that says so, and two", c.Size)
	}
	p.stop(t, syscall.SIGTERM)
	// A folder that is up to date needs no upgrade.
	if r := run(t, "upgrade", "--dir", elsewhere, "--custody", dir+".custody"); r.code != 0 || !strings.Contains(r.messages, "up to date") {
		t.Errorf("upgrade: exit %d, %s", r.code, r.messages)
	}
	// Secrets in the data folder would travel with it.
	inside := filepath.Join(t.TempDir(), "inside")
	refuse(t, 2, "choose another custody folder", "init", "--dir", inside, "--origin", origin, "--custody", filepath.Join(inside, "keys"))
}
