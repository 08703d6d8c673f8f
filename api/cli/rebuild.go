package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/ledger"
)

func (p *program) newRebuild() *cobra.Command {
	var at place
	var checkpoint string
	c := &cobra.Command{
		Use: "rebuild", Short: "make derived data again from the events",
		Long: `
Drops what is derived from the events and makes it again: the event store's
index, the hash tiles and the projections. The events themselves, the keys and
the contents are not touched. Prints the size and the root of the log.

Usage:

  medledger rebuild --dir D [--custody C] [--checkpoint KEPT]

Flags:

  --dir D            the ledger's data folder; no server may be running on it
  --custody C        the folder of its secrets (default D.custody)
  --config FILE      read these from a file, as serve does
  --checkpoint KEPT  a file with a checkpoint that this log signed, which it
                     must extend; it takes the place of the folder's own if
                     that was lost. What 'medverify audit --keep' wrote has one
                     of each log; a receipt has one, a record's history both

A log is never signed anew: without any checkpoint of its own and without a kept
one it refuses. Auditors keep checkpoints, and every export has one.

If the events do not have the root that was signed last, it refuses and prints
the evidence: then events were altered or lost, and only a backup of them helps.

Example:

  medledger rebuild --dir ledger
`,
		RunE: func(c *cobra.Command, _ []string) error { return p.rebuild(c.Context(), at, checkpoint) },
	}
	at.flags(c)
	c.Flags().StringVar(&checkpoint, "checkpoint", "", "a checkpoint that was kept")
	return c
}

func (p *program) rebuild(ctx context.Context, at place, checkpoint string) error {
	kept, err := readKept(checkpoint)
	if err != nil {
		return err
	}
	published, err := ledger.Rebuild(ctx, at.config(p), kept)
	if err != nil {
		return err
	}
	return p.printf("size  %d\nroot  %v\n", published.Checkpoint.Size, published.Checkpoint.Root)
}
