package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/medledger/medledger/api/cli/load"
)

// generator is the process that makes the load.
type generator struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// startGenerator starts a process that calls the service at a URL.
func startGenerator(ctx context.Context, self, url string, setup load.Setup, messages io.Writer) (*generator, error) {
	g := &generator{cmd: exec.CommandContext(ctx, self, "load", "--url", url)}
	g.cmd.Stderr = messages
	in, err := g.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	g.in, g.answers = in, json.NewDecoder(out)
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	if err := g.tell(setup); err != nil {
		return nil, errors.Join(err, g.end())
	}
	return g, nil
}

func (g *generator) tell(message any) error {
	if err := json.NewEncoder(g.in).Encode(message); err != nil {
		return fmt.Errorf("telling the load generator what to do: %w", err)
	}
	return nil
}

// hear waits for what came of a job.
func (g *generator) hear() (*load.Summary, error) {
	var s load.Summary
	if err := g.answers.Decode(&s); err != nil {
		return nil, fmt.Errorf("the load generator ended: %w", err)
	}
	if s.Error != "" {
		return nil, errors.New(s.Error)
	}
	return &s, nil
}

// stop ends a job that goes on until it is stopped.
func (g *generator) stop() error { return g.tell(struct{}{}) }

// end ends the process: its input ends, and so does it.
func (g *generator) end() error { return errors.Join(g.in.Close(), g.cmd.Wait()) }
