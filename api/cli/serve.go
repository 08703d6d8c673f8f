package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/cli/config"
	"github.com/medledger/medledger/api/control"
	"github.com/medledger/medledger/ledger"
)

func (p *program) newServe() *cobra.Command {
	c := &cobra.Command{
		Use: "serve", Short: "serve a ledger over HTTP",
		Long: fmt.Sprintf(`
Opens a ledger, puts in order what a crash left, and serves it over HTTP:

  /v1/...                          people, patients, records, shares
  /openapi.json                    what there is under /v1, and for whom
  /log/checkpoint, /log/tile/...   the log (https://c2sp.org/tlog-tiles)
  /healthz                         200 while the process runs
  /readyz                          200 while the ledger accepts commands
  /metrics                         for Prometheus

Usage:

  medledger serve --dir D [FLAGS]
  medledger serve --config FILE [FLAGS]

Flags:

%s
Each flag but --config is a setting, which the environment (--max-batch as
MEDLEDGER_MAX_BATCH) and the file (as 'max-batch: 1000') can give as well; the
file can stand in MEDLEDGER_CONFIG. A flag counts more than the environment,
that more than the file.

When it is ready it prints one line, 'listening http://HOST:PORT', or https with
TLS. Whoever calls /v1 or reads the log's statements needs a token; the first
administrator's is in D/admin.token. SIGTERM and SIGINT stop it; running
requests are finished, a second signal cuts them off.

If a write fails, the ledger stops itself: /readyz answers 503, the log can
still be read, and the cause stands in the messages.

Examples:

  medledger serve --dir ledger
  medledger serve --config medledger.yaml --listen :8340
`, config.Usage()),
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := settingsOfLedger(c)
			if err != nil {
				return err
			}
			return (&service{program: p, settings: settings}).run(c.Context())
		},
	}
	config.AddFlags(c.Flags())
	return c
}

// service is a server on a ledger.
type service struct {
	*program
	settings *config.Config

	logger *slog.Logger
	server *api.Server
	ledger *ledger.Ledger
	local  *control.Server
}

// spareFiles is how many files besides connections a server has open at most.
const spareFiles = 1000

// run serves until ctx ends, which is its good end.
func (s *service) run(ctx context.Context) error {
	s.logger = s.formatted(s.settings.LogLevel, s.settings.LogFormat)
	routeTrillian(s.logger)
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
	c := s.settings
	if c.BackupData != "" {
		if _, err := planOf(c).WithDefaults(); err != nil {
			return fmt.Errorf("the configuration of backups: %w", err)
		}
	}
	var certificate *api.Certificate
	if c.TLSCertificate != "" {
		var err error
		if certificate, err = api.LoadCertificate(c.TLSCertificate, c.TLSKey, time.Now, s.logger); err != nil {
			return err
		}
	}
	if files := openFiles(); files < uint64(c.MaxConnections)+spareFiles {
		s.logger.Warn("the system allows fewer open files than max-connections needs: connections may fail before they wait",
			"files", files, "max-connections", c.MaxConnections)
	}
	var err error
	s.server, err = api.Listen(ctx, api.ServerConfig{
		Address: c.Listen, Certificate: certificate,
		MaxConnections: c.MaxConnections, MaxInFlight: c.MaxInFlight,
		Patience: api.Patience{Body: c.BodyTimeout, Write: c.WriteTimeout},
		Grace:    c.Grace, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	s.ledger, err = ledger.Open(ctx, ledger.Config{Dir: c.Dir, Secrets: c.Custody, Helper: helperOf(c), Logger: s.logger})
	if err != nil {
		return err
	}
	s.local, err = control.Serve(c.Dir, s.ledger, planOf(c))
	return err
}

// retire retires the epochs of backups while the server runs, also if none are configured
// (any more), until ctx ends. It returns a channel that closes at its end.
func (s *service) retire(ctx context.Context) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.ledger.KeepRetiring(ctx)
	}()
	return ended
}

// backups takes them while the server runs, if they are configured, until ctx ends. It
// returns a channel that closes at its end.
func (s *service) backups(ctx context.Context) <-chan struct{} {
	ended := make(chan struct{})
	if s.settings.BackupData == "" {
		close(ended)
		return ended
	}
	go func() {
		defer close(ended)
		if err := s.ledger.KeepBackups(ctx, planOf(s.settings)); err != nil {
			s.logger.Error("no backups are taken: correct the configuration and start the server again", "cause", err)
		}
	}()
	return ended
}

func (s *service) serve(ctx context.Context) error {
	beside, enough := context.WithCancel(ctx)
	collected, retired, backedUp := collect(beside), s.retire(beside), s.backups(beside)
	defer func() {
		enough()
		<-collected
		<-retired
		<-backedUp
	}()
	c := s.settings
	handler, err := api.New(api.Config{
		Ledger: s.ledger, Logger: s.logger, Clock: time.Now, Version: version(), Metrics: s.server.Metrics(),
		Limits: api.Limits{Content: c.MaxBody, JSON: c.MaxJSON, Batch: c.MaxBatch}, TokenLifetime: c.TokenLifetime,
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
	if s.local != nil {
		errs = append(errs, s.local.Close())
	}
	if s.ledger != nil {
		errs = append(errs, s.ledger.Close())
	}
	return errors.Join(errs...)
}
