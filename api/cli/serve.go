package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/ledger"
)

func (p *program) newServe() *cobra.Command {
	s := &service{program: p}
	c := &cobra.Command{
		Use: "serve", Short: "serve a ledger over HTTP",
		Long: `
Opens a ledger, puts in order what a crash left, and serves its log over HTTP:

  /log/checkpoint, /log/tile/...   the log (https://c2sp.org/tlog-tiles)
  /healthz                         200 while the process runs
  /readyz                          200 while the ledger accepts commands
  /metrics                         for Prometheus

Usage:

  medledger serve --dir D [--listen ADDR]

Flags:

  --dir D         the ledger's data folder
  --listen ADDR   host:port to listen on (default 127.0.0.1:8340); port 0 takes
                  a free one

When it is ready it prints one line, 'listening http://HOST:PORT'. Requests are
not authenticated: whoever reaches the address can read the log. SIGTERM and
SIGINT stop it; running requests are finished, a second signal cuts them off.

If a write fails, the ledger stops itself: /readyz answers 503, the log can
still be read, and the cause stands in the messages.

Examples:

  medledger serve --dir ledger
  medledger serve --dir ledger --listen :8340
`,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, _, err := net.SplitHostPort(s.listen); err != nil {
				return &usageError{c.CommandPath(), fmt.Errorf("--listen wants host:port: %w", err)}
			}
			return s.run(c.Context())
		},
	}
	dirFlag(c, &s.dir)
	c.Flags().StringVar(&s.listen, "listen", "127.0.0.1:8340", "the address to listen on")
	return c
}

// service is a server on a ledger.
type service struct {
	*program
	dir    string
	listen string

	logger *slog.Logger
	server *api.Server
	ledger *ledger.Ledger
}

// run serves until ctx ends, which is its good end.
func (s *service) run(ctx context.Context) error {
	s.logger = s.program.logger(slog.LevelInfo)
	err := s.open(ctx)
	if err == nil {
		err = s.serve(ctx)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // told to stop while it was opening
	}
	return errors.Join(err, s.close())
}

// open takes the address before the ledger: an address that is taken is found
// out before anything else happens.
func (s *service) open(ctx context.Context) error {
	var err error
	if s.server, err = api.Listen(ctx, s.listen, s.logger, api.DefaultGrace); err != nil {
		return err
	}
	s.ledger, err = ledger.Open(ctx, ledger.Config{Dir: s.dir, Logger: s.logger})
	return err
}

func (s *service) serve(ctx context.Context) error {
	handler, err := api.New(api.Config{
		Log: s.ledger.Log(), Stopped: s.ledger.Err, Logger: s.logger, Clock: time.Now, Version: version(),
	})
	if err != nil {
		return err
	}
	s.logger.Info("listening", "address", s.server.Addr().String(),
		"origin", s.ledger.Origin(), "size", s.ledger.Log().Published().Checkpoint.Size)
	if err := s.printf("listening %s\n", s.server.URL()); err != nil {
		return err
	}
	if err := s.server.Run(ctx, handler); err != nil {
		return err
	}
	s.logger.Info("stopping")
	if cause := s.ledger.Err(); cause != nil {
		return fmt.Errorf("the ledger had stopped after a failed write (%w); start it again once the cause is gone", cause)
	}
	return nil
}

// close releases what open got so far. No request runs any more.
func (s *service) close() error {
	var errs []error
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	if s.ledger != nil {
		errs = append(errs, s.ledger.Close())
	}
	return errors.Join(errs...)
}
