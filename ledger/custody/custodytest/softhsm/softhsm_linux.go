package softhsm

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

	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/token"
)

// PIN is the user's PIN of every token.
const PIN = "correct-horse-4711"

// Token is a token that was initialised and has no keys.
type Token struct {
	Module  string // SoftHSM's library
	Config  string // what SOFTHSM2_CONF must name
	Objects string // the folder in which SoftHSM has its objects: the token's inside
	Label   string
	PINFile string

	whole map[string][]byte // the files that a login rewrites, by name
}

// New initialises a token.
func New(t testing.TB) *Token {
	t.Helper()
	util, module := find(t)
	folder := t.TempDir()
	k := &Token{
		Module: module, Label: "medledger test", Objects: filepath.Join(folder, "objects"),
		Config: filepath.Join(folder, "softhsm2.conf"), PINFile: filepath.Join(folder, "pin"),
	}
	if err := os.Mkdir(k.Objects, 0o700); err != nil {
		t.Fatal(err)
	}
	config := "directories.tokendir = " + k.Objects + "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
	for name, text := range map[string]string{k.Config: config, k.PINFile: PIN + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	initialise := exec.Command(util, "--init-token", "--free", "--label", k.Label, "--so-pin", "security-officer", "--pin", PIN)
	initialise.Env = append(os.Environ(), "SOFTHSM2_CONF="+k.Config)
	if out, err := initialise.CombinedOutput(); err != nil {
		t.Fatalf("initialising a token: %v\n%s", err, out)
	}
	k.keep(t)
	return k
}

// keep remembers the files that SoftHSM rewrites in place at every login. Whoever kills
// it in that moment loses the token with all its keys, about once in 25 times: a
// fault of SoftHSM 2.6.1 that a test of the helper must not depend on.
func (k *Token) keep(t testing.TB) {
	t.Helper()
	k.whole = make(map[string][]byte)
	for _, name := range []string{"token.object", "generation"} {
		found, err := filepath.Glob(filepath.Join(k.Objects, "*", name))
		if err != nil || len(found) != 1 {
			t.Fatalf("the token's folder has %q, %v", found, err)
		}
		raw, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		k.whole[found[0]] = raw
	}
}

// mend writes those files again that a kill cut short.
func (k *Token) mend(t testing.TB) {
	t.Helper()
	for name, whole := range k.whole {
		info, err := os.Stat(name)
		if err == nil && info.Size() != int64(len(whole)) {
			err = os.WriteFile(name, whole, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// find looks for SoftHSM.
func find(t testing.TB) (util, module string) {
	t.Helper()
	util, err := exec.LookPath("softhsm2-util")
	if err != nil {
		Missing(t, "softhsm2-util (Debian package softhsm2)")
	}
	for _, name := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(name); err == nil {
			return util, name
		}
	}
	Missing(t, "SoftHSM's library, /usr/lib/softhsm/libsofthsm2.so")
	return "", ""
}

// Missing skips a test that lacks something, or fails it where services are required.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
		t.Fatalf("there is no %s", what)
	}
	t.Skipf("there is no %s", what)
}

// MustHaveCompiler skips or fails a test that builds the helper without a C compiler.
func MustHaveCompiler(t testing.TB) {
	t.Helper()
	for _, name := range []string{"gcc", "clang"} {
		if _, err := exec.LookPath(name); err == nil {
			return
		}
	}
	Missing(t, "C compiler, which the helper takes")
}

// Build builds the helper into a folder.
func Build(folder string) (binary string, err error) {
	binary = filepath.Join(folder, "medledger-token")
	build := exec.Command("go", "build", "-o", binary, "github.com/medledger/medledger/ledger/cmd/medledger-token")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the helper, which takes a C compiler: %w\n%s", err, out)
	}
	return binary, nil
}

// Helper is a helper process that serves a token.
type Helper struct {
	Token  *Token
	Socket string

	// As is the user that the helper is, root only; nil is the test's own. It must
	// be set, and the token be given to that user, before Start.
	As *syscall.Credential

	binary  string
	args    []string
	process *exec.Cmd
	log     *strings.Builder
}

// Serve starts a helper for the token, with more arguments than it takes, and ends it
// with the test.
func (k *Token) Serve(t testing.TB, binary string, args ...string) *Helper {
	t.Helper()
	h := k.Prepare(t, binary, args...)
	h.Start(t)
	return h
}

// Prepare is Serve without starting it yet.
func (k *Token) Prepare(t testing.TB, binary string, args ...string) *Helper {
	t.Helper()
	// A test's folder may have a path too long for a socket.
	folder, err := os.MkdirTemp("", "mlt")
	if err != nil {
		t.Fatal(err)
	}
	h := &Helper{Token: k, Socket: filepath.Join(folder, "socket"), binary: binary, args: args}
	t.Cleanup(func() {
		if h.process != nil {
			h.Kill(t)
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	return h
}

// Command is a command line of the helper for the token.
func (k *Token) Command(binary string, args ...string) *exec.Cmd {
	c := exec.Command(binary, append([]string{"--module", k.Module, "--token-label", k.Label, "--pin-file", k.PINFile}, args...)...)
	c.Env = append(os.Environ(), "SOFTHSM2_CONF="+k.Config)
	return c
}

// Start starts the helper that does not run, and waits until it is ready.
func (h *Helper) Start(t testing.TB) {
	t.Helper()
	h.log = new(strings.Builder)
	c := h.Token.Command(h.binary, append([]string{"--socket", h.Socket}, h.args...)...)
	c.Stderr = h.log
	c.SysProcAttr = &syscall.SysProcAttr{Credential: h.As}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	h.process = c
	late := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	defer late.Stop()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "medledger-token: ready on "+h.Socket+"\n" {
		h.Kill(t)
		t.Fatalf("the helper said %q, %v\n%s", line, err, h.log)
	}
}

// Kill ends the helper as a crash would, but for what that would do to SoftHSM itself.
func (h *Helper) Kill(t testing.TB) {
	t.Helper()
	_ = h.process.Process.Kill() // it may have ended
	h.wait(t)
	h.Token.mend(t)
}

// Stop ends the helper in good order, and returns what it logged.
func (h *Helper) Stop(t testing.TB) string {
	t.Helper()
	if err := h.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := h.wait(t); code != 0 {
		t.Errorf("the helper ended with %d: %s", code, h.log)
	}
	return h.log.String()
}

// PID is the process that runs.
func (h *Helper) PID() int { return h.process.Process.Pid }

func (h *Helper) wait(t testing.TB) int {
	t.Helper()
	err := h.process.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	code := h.process.ProcessState.ExitCode()
	h.process = nil
	return code
}

// Dial opens custody in what the helper serves, until the test ends.
func (h *Helper) Dial(t testing.TB) custody.Custody {
	t.Helper()
	c, err := token.Dial(t.Context(), token.Config{Socket: h.Socket})
	if err != nil {
		t.Fatalf("%v\n%s", err, h.log)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Custody is custody in a token behind a helper.
type Custody struct {
	custody.Custody
	*Helper
}

// Start builds the helper, and starts it for a new token.
func Start(t testing.TB) *Custody {
	t.Helper()
	find(t)
	MustHaveCompiler(t)
	binary, err := Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := New(t).Serve(t, binary)
	return &Custody{h.Dial(t), h}
}
