package cli_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/verifier/proof"
)

// process is a running server.
type process struct {
	cmd      *exec.Cmd
	url      string
	messages *bytes.Buffer // to be read after the end
}

// serve starts a server on a free port and waits until it is ready.
func serve(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{messages: new(bytes.Buffer)}
	p.cmd = exec.Command(binary, append([]string{"serve", "--dir", dir, "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Stderr = p.messages
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil { // the test failed before it stopped it
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	url, found := strings.CutPrefix(line, "listening ")
	if err != nil || !found {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		t.Fatalf("the server said %q, %v\n%s", line, err, p.messages)
	}
	p.url = strings.TrimSpace(url)
	return p
}

// stop sends a signal and wants a clean end.
func (p *process) stop(t *testing.T, signal os.Signal) {
	t.Helper()
	told := time.Now()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	err := p.cmd.Wait()
	if took := time.Since(told); took > time.Second {
		t.Errorf("%v took %v", signal, took)
	}
	if err != nil {
		t.Errorf("%v: %v\n%s", signal, err, p.messages)
	}
}

func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

// checkpoint gets a server's checkpoint and verifies it with D/log.vkey.
func (p *process) checkpoint(t *testing.T, dir string) proof.Checkpoint {
	t.Helper()
	status, body := get(t, p.url+"/log/checkpoint")
	if status != 200 {
		t.Fatalf("checkpoint: %d %s", status, body)
	}
	vkey, err := os.ReadFile(filepath.Join(dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(vkey)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := proof.VerifyCheckpoint(body, verifier)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
