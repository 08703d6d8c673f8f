package token

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/medledger/medledger/ledger/custody"
)

const stranger = 65534

// spoof is the claim to be root's process 1, as a process may send it on a socket.
func spoof() []byte {
	return unix.UnixCredentials(&unix.Ucred{Pid: 1, Uid: 0, Gid: 0})
}

// as runs the test's binary in a role as another user.
func as(t *testing.T, uid uint32, role, socket string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		const missing = "only root can run a process of another user"
		if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(folder(t), "role")
	raw, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(binary, raw, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(binary)
	c.Env = append(os.Environ(), "MEDLEDGER_TEST_ROLE="+role, "MEDLEDGER_TEST_SOCKET="+socket)
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return c
}

func mustRun(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// open lets everybody through to a socket, as a careless administrator might.
func open(t *testing.T, socket string) {
	t.Helper()
	if err := errors.Join(os.Chmod(filepath.Dir(socket), 0o755), os.Chmod(socket, 0o777)); err != nil {
		t.Fatal(err)
	}
}

// TestStrangers: another user does not get through to the socket; where the file
// system would let them, they hear nothing, whatever they claim to be; and one who is
// allowed is served.
func TestStrangers(t *testing.T) {
	s := serve(t, ServerConfig{Custody: newMemory(), AllowUIDs: []uint32{4711}})
	c := as(t, stranger, "client", s.socket)
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("through the folder: %v, %s", err, out)
	}
	open(t, s.socket)
	for _, role := range []string{"client", "spoofer"} {
		if out := mustRun(t, as(t, stranger, role, s.socket)); out != "heard \n" {
			t.Errorf("%s: %s", role, out)
		}
	}
	if got := strings.Count(s.log.String(), "msg=\"a connection was refused\" uid=65534\n"); got != 2 {
		t.Errorf("logged: %s", s.log)
	}
	hello := &response{op: opHello, kind: custody.Token}
	if out := mustRun(t, as(t, 4711, "client", s.socket)); out != fmt.Sprintf("heard %x\n", hello.frame()) {
		t.Errorf("who is allowed: %s", out)
	}
}

// TestImpostor: what another user listens on is told nothing, unless that user is one
// whose helper is believed.
func TestImpostor(t *testing.T) {
	public := folder(t)
	if os.Geteuid() == 0 {
		if err := os.Chown(public, stranger-1, stranger-1); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(public, "socket")
	c := as(t, stranger-1, "server", socket)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "listening" {
		t.Fatalf("it said %q", lines.Text())
	}
	_, err = Dial(t.Context(), Config{Socket: socket})
	if !errors.Is(err, custody.ErrUnavailable) || !strings.Contains(err.Error(), "user 65533 answers") {
		t.Errorf("dialling: %v", err)
	}
	if !lines.Scan() || lines.Text() != "heard " {
		t.Errorf("the impostor %s", lines.Text())
	}
	if _, err := Dial(t.Context(), Config{Socket: socket, ServerUIDs: []uint32{stranger - 1}, Patience: time.Millisecond}); err == nil {
		t.Error("it answered nothing")
	}
	if !lines.Scan() || lines.Text() != "heard 00" {
		t.Errorf("who is believed %s", lines.Text())
	}
}
