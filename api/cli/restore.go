package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/ledger"
)

func (p *program) newRestore() *cobra.Command {
	var at place
	var checkpoint string
	var nothingNewer bool
	c := &cobra.Command{
		Use: "restore", Short: "make a ledger of a backup, and go on with its log",
		Long: `
Makes a ledger of a backup, in a folder that must be empty or absent, with the
secrets in their folder. All of the backup's log is audited first. The ledger
goes on with the same log, and its next event says that it was restored.

A log must not go on in two ways: if the old ledger went on after the backup was
taken, what others have of it (receipts, checkpoints) would contradict the new
one. So give the newest checkpoint that anybody has; if the log has gone on, it
is refused.

Usage:

  medledger restore --dir D [--custody C] --checkpoint FILE FOLDER
  medledger restore --dir D [--custody C] --nothing-newer FOLDER

Flags:

  --dir D             the data folder to make
  --custody C         the folder of the secrets (default D.custody)
  --config FILE       read these from a file, as serve does
  --checkpoint FILE   the newest checkpoint of the log that anybody has
  --nothing-newer     there is none newer than the backup: the old ledger
                      stopped before the backup, or all that came after it was
                      seen by nobody

Example:

  medledger restore --dir ledger --checkpoint kept /mnt/usb/ledger-backup
`,
		Args: oneFolder,
		RunE: func(c *cobra.Command, args []string) error {
			if checkpoint == "" && !nothingNewer {
				return &usageError{c.CommandPath(), ledger.ErrNothingKept}
			}
			return p.restore(c.Context(), at, args[0], checkpoint, nothingNewer)
		},
	}
	at.flags(c)
	c.Flags().StringVar(&checkpoint, "checkpoint", "", "the newest checkpoint that anybody has")
	c.Flags().BoolVar(&nothingNewer, "nothing-newer", false, "there is none newer than the backup")
	return c
}

func (p *program) restore(ctx context.Context, at place, folder, checkpoint string, nothingNewer bool) error {
	kept, err := readKept(checkpoint)
	if err != nil {
		return err
	}
	m, err := ledger.Restore(ctx, at.config(p), folder, ledger.Restoration{Kept: kept, NothingNewer: nothingNewer})
	if err != nil {
		return err
	}
	p.advise("The ledger is restored. Next: medledger serve --dir %s\n", at.dir)
	return p.printf("origin  %s\nsize    %d\nroot    %s\n", m.Origin, m.Size, m.Root)
}
