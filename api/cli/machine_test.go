package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

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

// backups are the two sides of a backup, and the identity.
type backups struct {
	data, keys, identity, recipient string
}

func newBackups(t *testing.T) backups {
	t.Helper()
	dir := t.TempDir()
	b := backups{filepath.Join(dir, "data"), filepath.Join(dir, "keys"), filepath.Join(dir, "identity"), ""}
	r := succeed(t, "backup", "identity")
	if err := os.WriteFile(b.identity, []byte(r.out), 0o600); err != nil {
		t.Fatal(err)
	}
	if b.recipient = field(t, r.messages, "recipient"); !strings.HasPrefix(b.recipient, "age1") || !strings.Contains(r.out, b.recipient) {
		t.Fatalf("identity printed %s and %s", r.out, r.messages)
	}
	return b
}

// to is the flags of taking a backup, from those of restoring one.
func (b backups) to() []string {
	return []string{"--data", b.data, "--keys", b.keys, "--recipients", b.recipient}
}

func (b backups) from() []string {
	return []string{"--data", b.data, "--keys", b.keys, "--identity", b.identity}
}

func join(lists ...[]string) []string { return slices.Concat(lists...) }

// TestBackupAndRestore backs a served ledger up, restores it elsewhere, and goes on.
func TestBackupAndRestore(t *testing.T) {
	dir, b := newLedger(t), newBackups(t)
	p := serve(t, dir)
	admin := administrator(t, p, dir)
	if _, err := admin.RegisterActor(t.Context(), client.Registration{Role: events.RoleClerk}); err != nil {
		t.Fatal(err)
	}
	take, status := []string{"backup", "run", "--dir", dir}, []string{"backup", "status", "--dir", dir}
	refuse(t, 1, "--data and --keys", take...)
	if r := run(t, join(status, b.to())...); r.code != 1 || !strings.Contains(r.messages, "overdue: no backup") {
		t.Errorf("status exits with %d, %s", r.code, r.messages)
	}
	r := succeed(t, join(take, b.to())...)
	if field(t, r.out, "increment") != "1" || field(t, r.out, "size") != "6" || field(t, r.out, "epoch") != "1" {
		t.Errorf("backup printed %s", r.out)
	}
	if r := succeed(t, join(status, b.to())...); !strings.Contains(r.out, "epoch 1") || !strings.Contains(r.out, "revivable  0") {
		t.Errorf("status printed %s", r.out)
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
	restore := join([]string{"restore", "--dir", elsewhere}, b.from())
	refuse(t, 2, "--nothing-newer", restore...)
	refuse(t, 1, "two histories", join(restore, []string{"--checkpoint", newer})...)
	refuse(t, 2, "identity", "restore", "--dir", elsewhere, "--nothing-newer", "--data", b.data, "--keys", b.keys)
	refuse(t, 1, "holds no backup", "restore", "--dir", elsewhere, "--nothing-newer", "--data", t.TempDir(), "--keys", b.keys, "--identity", b.identity)
	for _, folder := range []string{elsewhere, elsewhere + ".custody"} {
		if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a refused restoration left something: %v", err)
		}
	}
	r = succeed(t, join(take, b.to())...) // without a server
	if field(t, r.out, "increment") != "2" || field(t, r.out, "from") != "6" {
		t.Errorf("backup printed %s", r.out)
	}
	scratch := filepath.Join(t.TempDir(), "scratch")
	r = succeed(t, join([]string{"backup", "verify", "--scratch", scratch}, b.from())...)
	if field(t, r.out, "size") != "8" {
		t.Errorf("verify printed %s", r.out)
	}
	if _, err := os.Stat(scratch); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a verification left something: %v", err)
	}
	own := filepath.Join(b.data, "checkpoint")
	refuse(t, 1, "nothing shows that the log has not gone on", join(restore, []string{"--checkpoint", own})...)
	r = succeed(t, join(restore, []string{"--checkpoint", newer, "--nothing-newer"})...)
	if field(t, r.out, "size") != "8" || field(t, r.out, "increments") != "2" || field(t, r.out, "unlogged") != "0" {
		t.Errorf("restore printed %s", r.out)
	}
	refuse(t, 1, "choose an empty folder", join(restore, []string{"--checkpoint", newer, "--nothing-newer"})...)
	p = serve(t, elsewhere)
	admin.URL = p.url
	if _, err := admin.RegisterActor(t.Context(), client.Registration{Role: events.RoleNurse}); err != nil {
		t.Errorf("the administrator at the restored ledger: %v", err)
	}
	if c := p.checkpoint(t, elsewhere); c.Size != 11 {
		t.Errorf("the restored log has %d events, want 8, one that says so, and two", c.Size)
	}
	p.stop(t, syscall.SIGTERM)
	// A folder that is up to date needs no upgrade.
	if r := run(t, "upgrade", "--dir", elsewhere); r.code != 0 || !strings.Contains(r.messages, "up to date") {
		t.Errorf("upgrade: exit %d, %s", r.code, r.messages)
	}
	// Secrets in the data folder would travel with it.
	inside := filepath.Join(t.TempDir(), "inside")
	refuse(t, 2, "choose another custody folder", "init", "--dir", inside, "--origin", origin, "--custody", filepath.Join(inside, "keys"))
}

// TestServerTakesBackups: a server with a schedule takes backups by itself, and tells.
func TestServerTakesBackups(t *testing.T) {
	dir, b := newLedger(t), newBackups(t)
	refuse(t, 1, "the configuration of backups", "serve", "--dir", dir, "--listen", "127.0.0.1:0",
		"--backup-data", b.data, "--backup-keys", b.keys, "--backup-recipients", "age1x")
	p := serve(t, dir, "--backup-data", b.data, "--backup-keys", b.keys, "--backup-recipients", b.recipient)
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		_, metrics := get(t, p.url+"/metrics")
		if !bytes.Contains(metrics, []byte("\nmedledger_backup_last_success_timestamp_seconds 0\n")) {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("no backup was taken in a minute")
		}
	}
	r := succeed(t, "backup", "run", "--dir", dir) // the server knows where
	if field(t, r.out, "increment") != "2" {
		t.Errorf("backup printed %s", r.out)
	}
	var s struct {
		Last   *struct{ Size uint64 }
		Epochs []struct{ Number uint64 }
	}
	r = succeed(t, "backup", "status", "--dir", dir, "--json")
	if err := json.Unmarshal([]byte(r.out), &s); err != nil || s.Last == nil || s.Last.Size != 4 || len(s.Epochs) != 1 {
		t.Errorf("status printed %s: %v", r.out, err)
	}
	p.stop(t, syscall.SIGTERM)
	if strings.Contains(p.messages.String(), "level=ERROR") {
		t.Errorf("messages: %s", p.messages)
	}
}
