package helper_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/custodytest/softhsm"
	"github.com/medledger/medledger/ledger/custody/token"
)

// TestForeignUser: nobody but those who are allowed uses the keys, also where the
// file system would let them through.
func TestForeignUser(t *testing.T) {
	if os.Geteuid() != 0 {
		const missing = "only root can run a process of another user"
		if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	h := softhsm.New(t).Serve(t, binary(t), "--allow-uid", "4711")
	if err := errors.Join(os.Chmod(filepath.Dir(h.Socket), 0o755), os.Chmod(h.Socket, 0o777)); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[int]error{4711: nil, 4712: custody.ErrUnavailable} {
		if err := as(uid, uid, func() error {
			_, err := token.Dial(t.Context(), token.Config{Socket: h.Socket, Patience: time.Millisecond})
			return err
		}); !errors.Is(err, want) {
			t.Errorf("user %d: %v", uid, err)
		}
	}
	if log := h.Stop(t); strings.Count(log, "uid=4712") == 0 || strings.Contains(log, "4711") {
		t.Errorf("it logged %s", log)
	}
}

// TestSeparateUsers is the deployment of deploy/token: helper and ledger are users of
// their own, the group of the ledger's lets it through to the socket, and either is
// told who the other may be.
func TestSeparateUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		const missing = "only root can run a process of another user"
		if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	const helperUser, ledgerUser, ledgerGroup, other = 4711, 4712, 4713, 4714
	k := softhsm.New(t)
	h := k.Prepare(t, binary(t), "--allow-uid", "4712", "--group", "4713")
	h.As = &syscall.Credential{Uid: helperUser, Gid: helperUser, Groups: []uint32{ledgerGroup}}
	if err := os.Chmod(filepath.Dir(filepath.Dir(k.Config)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{filepath.Dir(k.Config), filepath.Dir(h.Socket)} {
		if err := filepath.WalkDir(folder, func(name string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chown(name, helperUser, helperUser))
		}); err != nil {
			t.Fatal(err)
		}
	}
	h.Start(t)
	dial := func(believed ...uint32) func() error {
		return func() error {
			c, err := token.Dial(t.Context(), token.Config{Socket: h.Socket, ServerUIDs: believed, Patience: time.Millisecond})
			if err != nil {
				return err
			}
			return errors.Join(c.Create(t.Context(), "root-1"), c.Destroy(t.Context(), "root-1"), c.Close())
		}
	}
	for name, test := range map[string]struct {
		uid, gid int
		dial     func() error
		want     string // of the error, empty for none
	}{
		"the ledger":             {ledgerUser, ledgerGroup, dial(helperUser), ""},
		"who believes nobody":    {ledgerUser, ledgerGroup, dial(), "user 4711 answers"},
		"another of the group":   {other, ledgerGroup, dial(helperUser), "no helper answers"},
		"the ledger, no group":   {ledgerUser, other, dial(helperUser), "permission denied"},
		"another of other group": {other, other, dial(helperUser), "permission denied"},
	} {
		err := as(test.uid, test.gid, test.dial)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// as runs f while the process is another user's and of one group.
func as(uid, gid int, f func() error) (err error) {
	groups, err := syscall.Getgroups()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, syscall.Setreuid(-1, 0), syscall.Setregid(-1, 0), syscall.Setgroups(groups))
	}()
	if err := errors.Join(syscall.Setgroups([]int{gid}), syscall.Setregid(-1, gid), syscall.Setreuid(-1, uid)); err != nil {
		return err
	}
	return f()
}
