package cli

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/ledger"
)

func (p *program) newRebuild() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "rebuild", Short: "make derived data again from the events",
		Long: `
Drops what is derived from the events and makes it again: the event store's
index, the hash tiles and the projections. The events themselves, the keys and
the contents are not touched. Prints the size and the root of the log.

Usage:

  medledger rebuild --dir D

Flags:

  --dir D   the ledger's data folder; no server may be running on it

If the events do not have the root that was signed last, it refuses and prints
the evidence: then events were altered or lost, and only a backup of them helps.

Example:

  medledger rebuild --dir ledger
`,
		RunE: func(c *cobra.Command, _ []string) error { return p.rebuild(c.Context(), dir) },
	}
	dirFlag(c, &dir)
	return c
}

func (p *program) rebuild(ctx context.Context, dir string) error {
	published, err := ledger.Rebuild(ctx, ledger.Config{Dir: dir, Logger: p.logger(slog.LevelWarn)})
	if err != nil {
		return err
	}
	return p.printf("size  %d\nroot  %v\n", published.Checkpoint.Size, published.Checkpoint.Root)
}
