package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// program is the binary medledger, whose commands the story gives as anybody
// would: each in a process of its own.
type program struct {
	path string
	// environment is that of the demo without the settings of medledger that may
	// stand in it: the story's servers are set up by the story alone.
	environment []string
}

func newProgram(path string) (*program, error) {
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding medledger's own binary: %w", err)
		}
	}
	p := &program{path: path}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MEDLEDGER_") {
			p.environment = append(p.environment, variable)
		}
	}
	return p, nil
}

// gracePeriod is how long a process that is told to stop has for it.
const gracePeriod = 10 * time.Second

func (p *program) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, p.path, args...)
	c.Env = p.environment
	c.Cancel = func() error { return tellToStop(c.Process) }
	c.WaitDelay = gracePeriod
	return c
}

// tellToStop interrupts a process, or ends it where there are no signals: a ledger
// bears that as well.
func tellToStop(process *os.Process) error {
	err := process.Signal(os.Interrupt)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return process.Kill()
	}
	return err
}

// failedError says that a command failed, in its own words.
type failedError struct{ command, message string }

func (e *failedError) Error() string { return "medledger " + e.command + " failed: " + e.message }

// run runs a command to its end. The error is a *failedError if it failed.
func (p *program) run(ctx context.Context, args ...string) (output string, err error) {
	var out, messages bytes.Buffer
	c := p.command(ctx, args...)
	c.Stdout, c.Stderr = &out, &messages
	err = c.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", &failedError{args[0], strings.TrimSpace(messages.String())}
	}
	if err != nil {
		return "", fmt.Errorf("running medledger %s: %w", args[0], err)
	}
	return out.String(), nil
}

// server is a running 'medledger serve'.
type server struct {
	url     string
	command *exec.Cmd
	out     *bufio.Reader
}

// serve starts a server on a free port of this machine and waits until it is
// ready. What it logs goes to messages. The server ends with ctx; the caller stops
// it in any case.
func (p *program) serve(ctx context.Context, dir string, messages io.Writer) (*server, error) {
	s := &server{command: p.command(ctx, "serve", "--dir", dir, "--listen", "127.0.0.1:0")}
	var tail lastLine
	s.command.Stderr = io.MultiWriter(messages, &tail)
	out, err := s.command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err == nil && ok {
		s.url = url
		return s, nil
	}
	_ = tellToStop(s.command.Process) // it has ended if it cannot be told
	if waited := s.command.Wait(); waited == nil {
		err = nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, errors.Join(fmt.Errorf("the server did not start: %s", tail.text), err)
}

// stop tells the server to stop, waits for its end, and says how that was.
func (s *server) stop() string {
	told := tellToStop(s.command.Process)
	_, _ = io.Copy(io.Discard, s.out) // until it has closed its output
	waited := s.command.Wait()
	switch {
	case told == nil && waited == nil:
		return stopped
	case errors.Is(told, os.ErrProcessDone):
		return "it had ended by itself"
	case waited != nil:
		return waited.Error()
	}
	return told.Error()
}

// stopped is what a server must come to.
const stopped = "stopped"

// lastLine keeps the last line that was written to it.
type lastLine struct{ text string }

func (l *lastLine) Write(b []byte) (int, error) {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	l.text = lines[len(lines)-1]
	return len(b), nil
}
