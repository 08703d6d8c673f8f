package load

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/ledger"
)

const help = `
Opens a ledger and puts it under a steady, mixed load until it is told to stop.
Every line on standard output is a JSON object with what the ledger has promised
by then: an event that it acknowledged, or an id that it refused and that may
never appear. This is for tests that pull the plug.

Usage:

  medledger load --dir D [--workers N]

Flags:

  --dir D       the ledger's data folder; no server may be running on it
  --workers N   how many callers there are, 1 to 32 (default 16)

Example:

  medledger load --dir ledger
`

// Command returns the command 'load'. Lines go to its standard output, the
// ledger's messages to logger; it stops when its context ends.
func Command(logger *slog.Logger) *cobra.Command {
	var dir string
	var workers int
	c := &cobra.Command{
		Use: "load", Short: "put a steady, mixed load on a ledger", Long: help, Hidden: true,
		Args: func(c *cobra.Command, args []string) error {
			return errors.Join(cobra.NoArgs(c, args), check(dir, workers))
		},
		RunE: func(c *cobra.Command, _ []string) error {
			return run(c.Context(), ledger.Config{Dir: dir, Logger: logger}, workers, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the ledger's data folder")
	c.Flags().IntVar(&workers, "workers", 16, "how many callers there are")
	return c
}

func check(dir string, workers int) error {
	switch {
	case dir == "":
		return errors.New("name the ledger's data folder with --dir")
	case workers < 1 || workers > 32:
		return fmt.Errorf("--workers %d; there are 1 to 32", workers)
	}
	return nil
}
