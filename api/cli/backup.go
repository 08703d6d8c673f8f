package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api/control"
	"github.com/medledger/medledger/ledger"
)

// oneFolder takes one argument, which names a folder.
func oneFolder(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one folder of a backup, not %d", len(args))
	}
	return nil
}

func (p *program) newBackup() *cobra.Command {
	var at place
	c := &cobra.Command{
		Use: "backup", Short: "back a ledger up into a folder",
		Long: `
Backs a ledger up into a folder. A server may be running and goes on meanwhile.
A folder that holds an earlier backup of the same ledger is brought up to date:
contents that it has are not copied again.

Usage:

  medledger backup --dir D [--custody C] FOLDER

Flags:

  --dir D       the ledger's data folder
  --custody C   the folder of its secrets (default D.custody)
  --config F    read these from a file, as serve does

FOLDER/log.export is the log; an auditor verifies it with
'medverify log --export'. The backup holds no secrets: copy the folder of the
secrets too, once and after every replacement of a key, and keep it elsewhere.
Without it a backup cannot be read, by thieves or by you.

Example:

  medledger backup --dir ledger /mnt/usb/ledger-backup
`,
		Args: oneFolder,
		RunE: func(c *cobra.Command, args []string) error { return p.backup(c.Context(), at, args[0]) },
	}
	at.flags(c)
	return c
}

func (p *program) backup(ctx context.Context, at place, folder string) error {
	m, err := control.Backup(ctx, at.dir, folder)
	if errors.Is(err, control.ErrNoServer) {
		err = p.withLedger(ctx, at, func(l *ledger.Ledger) (err error) {
			m, err = l.Backup(ctx, folder)
			return err
		})
	}
	if err != nil {
		return err
	}
	p.advise("The backup is whole. Keep the secrets apart from it: %s\n", at.config(p).Secrets())
	return p.printf("origin  %s\nsize    %d\nroot    %s\n", m.Origin, m.Size, m.Root)
}

func (p *program) newRestore() *cobra.Command {
	var at place
	var checkpoint string
	var nothingNewer bool
	c := &cobra.Command{
		Use: "restore", Short: "make a ledger of a backup, and go on with its log",
		Long: `
Makes a ledger of a backup, in a folder that must be empty or absent, with the
secrets in their folder. All of the backup's log is audited first.
The ledger goes on with the same log, and its next event says that it was
restored.

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
  --config F          read these from a file, as serve does
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
	r := ledger.Restoration{NothingNewer: nothingNewer}
	if checkpoint != "" {
		var err error
		if r.Kept, err = os.ReadFile(checkpoint); err != nil {
			return fmt.Errorf("reading the kept checkpoint: %w", err)
		}
	}
	m, err := ledger.Restore(ctx, at.config(p), folder, r)
	if err != nil {
		return err
	}
	p.advise("The ledger is restored. Next: medledger serve --dir %s\n", at.dir)
	return p.printf("origin  %s\nsize    %d\nroot    %s\n", m.Origin, m.Size, m.Root)
}

func (p *program) newUpgrade() *cobra.Command {
	var at place
	c := &cobra.Command{
		Use: "upgrade", Short: "bring a data folder of an older version up to date",
		Long: `
Brings a data folder that an older medledger wrote up to date. Events are never
rewritten. Copy the folder before; if it is interrupted, run it again.

From format 1: the secrets move out of the data folder into a folder of their
own, and the vault's keys are wrapped anew.

Usage:

  medledger upgrade --dir D [--custody C]

Flags:

  --dir D       the ledger's data folder; no server may be running on it
  --custody C   the folder for its secrets (default D.custody)
  --config F    read these from a file, as serve does

Example:

  medledger upgrade --dir ledger
`,
		RunE: func(c *cobra.Command, _ []string) error { return p.upgrade(c.Context(), at) },
	}
	at.flags(c)
	return c
}

func (p *program) upgrade(ctx context.Context, at place) error {
	changed, err := ledger.Upgrade(ctx, at.config(p))
	if err != nil {
		return err
	}
	if !changed {
		p.advise("The folder is up to date; nothing was done.\n")
		return nil
	}
	p.advise("The folder is up to date. Its secrets lie in %s now.\n", at.config(p).Secrets())
	return nil
}
