package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/custodytest/softhsm"
)

// TestBackupWithToken backs a ledger up whose root key is in a real token. The epochs' keys
// are there too and on no medium: without the token nothing is restored, with it everything
// but what was destroyed.
func TestBackupWithToken(t *testing.T) {
	dir, b := newLedger(t), newBackups(t)
	run := join([]string{"backup", "run", "--dir", dir}, b.to())
	succeed(t, run...) // an epoch in the folder
	token := softhsm.Start(t)
	t.Setenv("MEDLEDGER_CUSTODY_SOCKET", token.Socket)
	succeed(t, "vault", "move", "--dir", dir, "--to", "token")
	p := serve(t, dir)
	admin := administrator(t, p, dir)
	_, gone := originate(t, admin, "to be destroyed")
	doctor, kept := originate(t, admin, "kept")
	if r := succeed(t, run...); field(t, r.out, "epoch") != "2" {
		t.Errorf("backup printed %s", r.out)
	}
	if custody := destroyed(t, doctor, admin, gone); custody != events.CustodyToken {
		t.Errorf("the event says custody %q", custody)
	}
	succeed(t, run...)
	checkpoint := filepath.Join(t.TempDir(), "checkpoint")
	_, note := get(t, p.url+"/log/checkpoint")
	if err := os.WriteFile(checkpoint, note, 0o600); err != nil {
		t.Fatal(err)
	}
	p.stop(t, syscall.SIGTERM)
	if keys, err := filepath.Glob(filepath.Join(b.keys, "*", "key.age")); err != nil || len(keys) != 1 {
		t.Errorf("keys of epochs on the key side: %v, %v", keys, err)
	}

	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	restore := join([]string{"restore", "--dir", elsewhere, "--checkpoint", checkpoint, "--nothing-newer"}, b.from())
	t.Setenv("MEDLEDGER_CUSTODY_SOCKET", "")
	refuse(t, 1, "restore with that token", restore...)
	refuse(t, 1, "restore with that token", join([]string{"backup", "verify", "--scratch", filepath.Join(t.TempDir(), "s")}, b.from())...)
	t.Setenv("MEDLEDGER_CUSTODY_SOCKET", token.Socket)
	before := keysIn(t, token)
	if r := succeed(t, join([]string{"backup", "verify", "--scratch", filepath.Join(t.TempDir(), "s")}, b.from())...); field(t, r.out, "destroyed") != "1" {
		t.Errorf("verify printed %s", r.out)
	}
	if after := keysIn(t, token); !slices.Equal(before, after) {
		t.Errorf("a verification made of the token's keys %v: %v", before, after)
	}
	// A key that only a medium tells of which is not here.
	if err := token.Create(t.Context(), "epoch-0009"); err != nil {
		t.Fatal(err)
	}
	succeed(t, restore...)
	if r := succeed(t, join([]string{"backup", "status", "--dir", elsewhere}, b.to())...); !strings.Contains(r.out, "epoch 9\n  found  ") || !strings.Contains(r.out, "revivable  1 destroyed at most") {
		t.Errorf("status printed %s", r.out)
	}
	p = serve(t, elsewhere)
	doctor.URL = p.url
	if got := contentOf(t, doctor, kept); got != "kept" {
		t.Errorf("a record from before is %q", got)
	}
	if c, err := doctor.Content(t.Context(), gone, 0, events.PurposeTreatment); err == nil {
		c.Body.Close()
		t.Error("what was destroyed is read")
	}
	again := join([]string{"backup", "run", "--dir", elsewhere}, b.to())
	succeed(t, again...)
	p.stop(t, syscall.SIGTERM)

	// Out of the token it goes only without leaving keys behind that nobody destroys.
	refuse(t, 1, "--retire-epochs", "vault", "move", "--dir", elsewhere, "--to", "file")
	succeed(t, "vault", "move", "--dir", elsewhere, "--to", "file", "--retire-epochs")
	if left := keysIn(t, token); slices.ContainsFunc(left, func(name string) bool { return strings.HasPrefix(name, "epoch-") }) {
		t.Errorf("keys are left in the token: %v", left)
	}
	t.Setenv("MEDLEDGER_CUSTODY_SOCKET", "")
	if r := succeed(t, again...); field(t, r.out, "epoch") != "11" {
		t.Errorf("backup printed %s", r.out)
	}
	back := filepath.Join(t.TempDir(), "back")
	succeed(t, join([]string{"restore", "--dir", back, "--nothing-newer"}, b.from())...)
	p = serve(t, back)
	doctor.URL = p.url
	if got := contentOf(t, doctor, kept); got != "kept" {
		t.Errorf("restored without the token, a record is %q", got)
	}
	p.stop(t, syscall.SIGTERM)
}

func keysIn(t *testing.T, in custody.Custody) []string {
	t.Helper()
	names, err := in.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return names
}
