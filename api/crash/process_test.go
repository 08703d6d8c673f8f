package crash

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/api/cli/load"
)

// process is a load on the ledger from another process.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer // to be read after wait

	begun chan struct{} // closed when the ledger is open, or the process has ended
	ended chan struct{} // closed when its output was read to the end

	mu    sync.Mutex
	more  sync.Cond // of mu: there are more lines, or there will be none
	lines []load.Line
	over  bool  // there will be no more lines
	bad   error // output that is not what it should be
}

// start puts a load on the ledger in a folder.
func start(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{
		cmd:   exec.Command(medledger, "load", "--dir", dir),
		begun: make(chan struct{}), ended: make(chan struct{}),
	}
	p.more.L = &p.mu
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.collect(out)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // has ended long ago if the test went well
		<-p.ended
		_ = p.cmd.Wait()
	})
	return p
}

// collect reads the output. A line without an end was cut by the kill: nobody
// could have read it.
func (p *process) collect(out io.Reader) {
	defer close(p.ended)
	begun := sync.OnceFunc(func() { close(p.begun) })
	defer begun()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.over = true
		p.more.Broadcast()
	}()
	for lines := bufio.NewReader(out); ; {
		raw, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var line load.Line
		err = json.Unmarshal(raw, &line)
		p.mu.Lock()
		if err != nil {
			p.bad = fmt.Errorf("output line %q: %w", raw, err)
		}
		p.lines = append(p.lines, line)
		p.more.Broadcast()
		p.mu.Unlock()
		begun()
	}
}

// work waits until the process has promised n things more.
func (p *process) work(t *testing.T, n int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for want := len(p.lines) + n; len(p.lines) < want; p.more.Wait() {
		if p.over {
			t.Fatalf("the process ended by itself after %d lines", len(p.lines))
		}
	}
}

// wait returns all that the process had promised, when it has ended.
func (p *process) wait(t *testing.T) ([]load.Line, error) {
	t.Helper()
	<-p.ended
	err := p.cmd.Wait()
	if p.bad != nil {
		t.Fatal(p.bad)
	}
	return p.lines, err
}

// run runs a program to its end and returns its exit code and both outputs.
func run(t *testing.T, program string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, messages strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &messages
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), messages.String()
}
