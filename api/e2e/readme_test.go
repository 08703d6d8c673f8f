package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadme pastes the README's commands into a shell, as a newcomer does. Only
// the building of the binaries is left out, which TestMain has done, and the port is
// a free one.
func TestReadme(t *testing.T) {
	need(t, "bash", "curl")
	_, script, found := strings.Cut(readme(t), "```sh\n")
	script, _, closed := strings.Cut(script, "```")
	build, script, rest := strings.Cut(script, "\n")
	if !found || !closed || !rest || !strings.HasPrefix(build, "go build") {
		t.Fatal("the README has no commands that begin with a build")
	}
	dir := t.TempDir()
	for _, program := range []string{"medledger", "medverify"} {
		if err := os.Symlink(filepath.Join(bin, program), filepath.Join(dir, program)); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	script = strings.ReplaceAll(script, "127.0.0.1:8340", "127.0.0.1:"+port)
	script = strings.Replace(script, "serve --dir clinic", "serve --dir clinic --listen 127.0.0.1:"+port, 1)

	// The server, which the script leaves, writes to its folders until it has ended.
	script = "trap 'kill $!; wait $!' EXIT\n" + script

	shell := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", script)
	shell.Dir = dir
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	file, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	shell.Stdout, shell.Stderr = file, file // a file: the server keeps a pipe open
	err = shell.Run()
	_ = syscall.Kill(-shell.Process.Pid, syscall.SIGTERM) // what is left if the shell was killed
	text, readErr := os.ReadFile(file.Name())
	out := string(text)
	if err != nil || readErr != nil {
		t.Fatalf("%v, %v\n%s", err, readErr, out)
	}
	for _, want := range []string{
		"VERIFIED: the event was signed and is in the log", // the receipt
		`"status":410`, // read again
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the README's commands do not print %q", want)
		}
	}
	// Verified: a receipt, a history, and all of it. Read by the doctor, received by the insurer.
	for text, want := range map[string]int{"VERIFIED": 3, "Rest and fluids.": 2} {
		if n := strings.Count(out, text); n != want {
			t.Errorf("%q is printed %d times, want %d", text, n, want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// need skips a test, or fails it where services are required, without these programs.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
				t.Fatalf("the README's commands need %s: %v", tool, err)
			}
			t.Skipf("the README's commands need %s", tool)
		}
	}
}

func readme(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
