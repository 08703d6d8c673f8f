package cli

import (
	"context"
	"errors"
	"fmt"

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

  --dir D         the ledger's data folder
  --custody C     the folder of its secrets (default D.custody)
  --config FILE   read these from a file, as serve does

FOLDER/log.export is the log; an auditor verifies it with
'medverify audit --export'. The backup holds no secrets: copy the folder of the
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
