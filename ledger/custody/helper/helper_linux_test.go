package helper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/custodytest"
	"github.com/medledger/medledger/ledger/custody/custodytest/softhsm"
	"github.com/medledger/medledger/ledger/custody/helper"
	"github.com/medledger/medledger/ledger/custody/token"
)

// built is the helper's binary and why there is none.
var built struct {
	binary string
	err    error
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "mlt")
	if err == nil {
		err = os.Chmod(folder, 0o755) // helpers of other users run from it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	built.binary, built.err = softhsm.Build(folder)
	return m.Run()
}

// binary is the helper's, or the end of the test.
func binary(t *testing.T) string {
	t.Helper()
	if built.err != nil {
		softhsm.MustHaveCompiler(t)
		t.Fatal(built.err)
	}
	return built.binary
}

var (
	plain = []byte("thirty-two bytes of a child key.")
	bound = []byte("the place of the child")
)

// result is how a run of the helper ended.
type result struct {
	out, messages string
	code          int
}

func end(t *testing.T, c *exec.Cmd) result {
	t.Helper()
	var out, messages bytes.Buffer
	c.Stdout, c.Stderr = &out, &messages
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer late.Stop()
	if err := c.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return result{out.String(), messages.String(), c.ProcessState.ExitCode()}
}

// TestConformance holds what reaches the ledger to the contract: the token, the
// helper's process and the socket together.
func TestConformance(t *testing.T) {
	custodytest.Run(t, func(t *testing.T) func() (custody.Custody, error) {
		h := softhsm.New(t).Serve(t, binary(t))
		return func() (custody.Custody, error) {
			return token.Dial(t.Context(), token.Config{Socket: h.Socket})
		}
	})
}

func TestServe(t *testing.T) {
	h := softhsm.New(t).Serve(t, binary(t))
	c := h.Dial(t)
	if c.Kind() != custody.Token {
		t.Errorf("kind %s", c.Kind())
	}
	if err := c.Create(t.Context(), "root-1"); err != nil {
		t.Fatal(err)
	}
	sealed, err := c.Seal(t.Context(), "root-1", plain, bound)
	if err != nil {
		t.Fatal(err)
	}
	if log := h.Stop(t); log != "" {
		t.Errorf("it logged %q", log)
	}
	h.Start(t)
	if got, err := c.Open(t.Context(), "root-1", sealed, bound); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened %q, %v", got, err)
	}
	if err := c.Destroy(t.Context(), "root-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(t.Context(), "root-1", sealed, bound); !errors.Is(err, custody.ErrNoKey) {
		t.Errorf("after destruction: %v", err)
	}
}

// TestKilled kills the helper again and again in the middle of calls, and starts it
// again. Nobody sees more of it than that it takes longer: no key is lost, none is
// made twice, none is there after its destruction.
func TestKilled(t *testing.T) {
	h := softhsm.New(t).Serve(t, binary(t))
	// A helper that is killed all the time takes more patience than one that crashed.
	c, err := token.Dial(t.Context(), token.Config{Socket: h.Socket, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Create(t.Context(), "kept"); err != nil {
		t.Fatal(err)
	}
	sealed, err := c.Seal(t.Context(), "kept", plain, bound)
	if err != nil {
		t.Fatal(err)
	}
	ctx, enough := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer all.Wait()
	defer enough()
	all.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("root-%d", i)
			if err := live(c, name); err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
		}
	})
	all.Go(func() {
		for ctx.Err() == nil {
			if got, err := c.Open(context.Background(), "kept", sealed, bound); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("opened %q, %v", got, err)
				return
			}
		}
	})
	kills := 20
	if os.Getenv("MEDLEDGER_LONG") == "1" {
		kills = 300
	}
	for i := range kills {
		time.Sleep(time.Duration(i*7%61) * time.Millisecond)
		h.Kill(t)
		h.Start(t)
	}
	enough()
	all.Wait()
	if names, err := c.Names(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("names %q, %v", names, err)
	}
}

// live makes, uses and destroys a key.
func live(c custody.Custody, name string) error {
	ctx := context.Background()
	if err := c.Create(ctx, name); err != nil {
		return fmt.Errorf("creating: %w", err)
	}
	sealed, err := c.Seal(ctx, name, plain, bound)
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	if err := c.Destroy(ctx, name); err != nil {
		return fmt.Errorf("destroying: %w", err)
	}
	if _, err := c.Open(ctx, name, sealed, bound); !errors.Is(err, custody.ErrNoKey) {
		return fmt.Errorf("opening after destruction: %w", err)
	}
	return nil
}

// TestTwoOnOneSocket: the second says so and leaves the first alone.
func TestTwoOnOneSocket(t *testing.T) {
	k := softhsm.New(t)
	h := k.Serve(t, binary(t))
	r := end(t, k.Command(binary(t), "--socket", h.Socket))
	if r.code != helper.Failed || r.out != "" || !strings.Contains(r.messages, "another helper serves") {
		t.Errorf("%+v", r)
	}
	if _, err := h.Dial(t).Names(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	r := end(t, softhsm.New(t).Command(binary(t), "--check"))
	if r.code != helper.Done || r.messages != "" || !strings.HasSuffix(r.out, "\nthe token is usable\n") || strings.Count(r.out, "\n") != 6 {
		t.Errorf("%+v", r)
	}
}

// TestWrongPIN: it is tried once, and the exit code says that a new start would be
// another try. The right one works afterwards.
func TestWrongPIN(t *testing.T) {
	k := softhsm.New(t)
	if err := os.WriteFile(k.PINFile, []byte("wrong-4712\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"--check", "--socket=" + filepath.Join(t.TempDir(), "s")} {
		r := end(t, k.Command(binary(t), mode))
		if r.code != helper.PIN || r.out != "" || !strings.Contains(r.messages, "CKR_PIN_INCORRECT") || strings.Contains(r.messages, "4712") {
			t.Errorf("%s: %+v", mode, r)
		}
	}
	if err := os.WriteFile(k.PINFile, []byte(softhsm.PIN), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := end(t, k.Command(binary(t), "--check")); r.code != helper.Done {
		t.Errorf("%+v", r)
	}
}

// TestRefused: what is wrong is said in one line, and no PIN stands in it.
func TestRefused(t *testing.T) {
	k := softhsm.New(t)
	with := func(name, text string, mode os.FileMode) string {
		t.Helper()
		name = filepath.Join(t.TempDir(), name)
		if err := errors.Join(os.WriteFile(name, []byte(text), 0o600), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, test := range map[string]struct {
		code int
		want string
		args []string
	}{
		"nothing":         {helper.Usage, "--module is missing", nil},
		"no token":        {helper.Usage, "either --token-label or --slot", []string{"--module", k.Module, "--pin-file", k.PINFile}},
		"two tokens":      {helper.Usage, "either --token-label or --slot", []string{"--module", k.Module, "--token-label", "x", "--slot", "1", "--pin-file", k.PINFile}},
		"no PIN":          {helper.Usage, "--pin-file is missing", []string{"--module", k.Module, "--slot", "1"}},
		"PIN as argument": {helper.Usage, "belongs to no option", []string{"--module", k.Module, "--slot", "1", "secret-4713"}},
		"unknown user":    {helper.Usage, "unknown user", []string{"--allow-uid", "no-such-user"}},
		"root's group":    {helper.Usage, "group", []string{"--group", "0"}},
		"unknown option":  {helper.Usage, "-pin", []string{"--pin", "secret-4713"}},
		"no module":       {helper.Failed, "install the token's software", []string{"--module", "/none.so", "--slot", "1", "--pin-file", k.PINFile}},
		"no such token":   {helper.Failed, "plug it in", []string{"--module", k.Module, "--token-label", "other", "--pin-file", k.PINFile}},
		"PIN for all":     {helper.Failed, "run chmod 600", []string{"--module", k.Module, "--token-label", k.Label, "--pin-file", with("open", "secret-4713", 0o640)}},
		"PIN of no bytes": {helper.Failed, "must hold", []string{"--module", k.Module, "--token-label", k.Label, "--pin-file", with("empty", "", 0o600)}},
		"PIN of lines":    {helper.Failed, "must hold", []string{"--module", k.Module, "--token-label", k.Label, "--pin-file", with("two", "secret-4713\nmore\n", 0o600)}},
		"PIN without end": {helper.Failed, "must hold", []string{"--module", k.Module, "--token-label", k.Label, "--pin-file", with("long", strings.Repeat("secret-4713", 30), 0o600)}},
		"no PIN file":     {helper.Failed, "no such file", []string{"--module", k.Module, "--token-label", k.Label, "--pin-file", "/none"}},
		"open folder": {helper.Failed, "of mode 700 or less", []string{
			"--module", k.Module, "--token-label", k.Label, "--pin-file", k.PINFile, "--socket", "/tmp/medledger-token-socket"}},
	} {
		c := exec.Command(binary(t), test.args...)
		c.Env = append(os.Environ(), "SOFTHSM2_CONF="+k.Config)
		r := end(t, c)
		if r.code != test.code || r.out != "" || !strings.Contains(r.messages, test.want) ||
			!strings.HasPrefix(r.messages, "medledger-token: ") || strings.Count(r.messages, "\n") != 1 || strings.Contains(r.messages, "4713") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestHelp(t *testing.T) {
	r := end(t, exec.Command(binary(t), "--help"))
	if r.code != helper.Done || r.messages != "" {
		t.Errorf("%+v", r)
	}
	for line := range strings.Lines(r.out) {
		if len(line) > 81 {
			t.Errorf("longer than 80 columns: %s", line)
		}
	}
	for _, option := range []string{"--module", "--token-label", "--slot", "--pin-file", "--socket", "--allow-uid", "--group", "--check"} {
		if !strings.Contains(r.out, "\n  "+option) {
			t.Errorf("no word on %s", option)
		}
	}
}

// TestNoImage: a running helper leaves no core dump, and the PIN is not in its
// arguments or environment. That its memory is closed to others is in TestHarden.
func TestNoImage(t *testing.T) {
	h := softhsm.New(t).Serve(t, binary(t))
	proc := fmt.Sprintf("/proc/%d/", h.PID())
	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
		t.Errorf("limits:\n%s", limits)
	}
	for _, name := range []string{"cmdline", "environ"} {
		raw, err := os.ReadFile(proc + name)
		if err != nil || bytes.Contains(raw, []byte(softhsm.PIN)) {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
}
