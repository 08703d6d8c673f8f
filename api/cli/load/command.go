package load

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/ledger"
)

const help = `
Puts load on a ledger. This is for medledger bench, and for tests that pull the
plug.

With --dir, opens a ledger and puts it under a steady, mixed load until it is
told to stop. Every line on standard output is a JSON object with what the
ledger has promised by then: an event that it acknowledged, or an id that it
refused and that may never appear.

With --url, calls a service over HTTP as the lines on standard input say.

Usage:

  medledger load --dir D [--custody C] [--workers N]
  medledger load --url URL

Flags:

  --dir D       the ledger's data folder; no server may be running on it
  --custody C   the folder of its secrets (default D.custody)
  --workers N   how many callers there are, 1 to 32 (default 16)
  --url URL     the service to call, such as http://127.0.0.1:8340

Example:

  medledger load --dir ledger
`

// options are the flags.
type options struct {
	dir, custody, url string
	workers           int
}

// Command returns the command 'load'. Lines go to its standard output, the
// ledger's messages to logger; it stops when its context ends.
func Command(logger *slog.Logger) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use: "load", Short: "put load on a ledger", Long: help, Hidden: true,
		Args: func(c *cobra.Command, args []string) error { return errors.Join(cobra.NoArgs(c, args), o.check()) },
		RunE: func(c *cobra.Command, _ []string) error {
			if o.url != "" {
				leaveMemory()
				return serveJobs(c.Context(), o.url, c.InOrStdin(), c.OutOrStdout())
			}
			return run(c.Context(), ledger.Config{Dir: o.dir, Secrets: o.custody, Logger: logger}, o.workers, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&o.dir, "dir", "", "the ledger's data folder")
	c.Flags().StringVar(&o.custody, "custody", "", "the folder of its secrets")
	c.Flags().StringVar(&o.url, "url", "", "the service to call")
	c.Flags().IntVar(&o.workers, "workers", 16, "how many callers there are")
	return c
}

func (o *options) check() error {
	switch {
	case (o.dir == "") == (o.url == ""):
		return errors.New("name the ledger's data folder with --dir, or a service with --url")
	case o.workers < 1 || o.workers > 32:
		return fmt.Errorf("--workers %d; there are 1 to 32", o.workers)
	}
	return nil
}

// leaveMemory has the collector of a process that makes load run when its heap is
// this large, and not before. It keeps next to nothing: by default its heap is some
// megabytes, and collecting it thirty times a second would take processor time from
// the service that is measured.
func leaveMemory() {
	const heap = 256 << 20
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(heap)
}
