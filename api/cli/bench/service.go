package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// service is a medledger that serves, in a process of its own, as an operator would
// run it.
type service struct {
	cmd     *exec.Cmd
	url     string
	started time.Duration // until it said that it listens
	log     *os.File      // what it says
	ended   chan error    // of capacity 1
}

// startService serves the ledger in a folder and returns when it is ready.
func startService(ctx context.Context, self, folder, log string) (_ *service, err error) {
	s := &service{ended: make(chan error, 1)}
	if s.log, err = os.OpenFile(log, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, self, "serve", "--dir", folder, "--listen", "127.0.0.1:0")
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, s.log.Close())
	}
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, s.log.Close())
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	s.started = time.Since(start)
	go func() { s.ended <- s.cmd.Wait() }()
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if !ok {
		return nil, errors.Join(fmt.Errorf("the service did not start (%q): %w", line, readErr), s.kill(), errors.New(s.said()))
	}
	s.url = url
	return s, nil
}

// said is the end of what the service had to say, a line for each request aside.
func (s *service) said() string {
	raw, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(string(raw)) {
		if !strings.Contains(line, "msg=request ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return "the service says: " + strings.Join(lines[max(len(lines)-5, 0):], "; ")
}

func (s *service) pid() int { return s.cmd.Process.Pid }

// stop ends the service in good order.
func (s *service) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return errors.Join(fmt.Errorf("stopping the service: %w", err), <-s.ended, s.log.Close())
	}
	if err := <-s.ended; err != nil {
		return errors.Join(fmt.Errorf("the service that was told to stop: %w", err), errors.New(s.said()), s.log.Close())
	}
	return s.log.Close()
}

// kill ends it as a power failure would.
func (s *service) kill() error {
	err := s.cmd.Process.Kill()
	<-s.ended // which says that it was killed
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, s.log.Close())
}
