package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/ledger"
)

func (p *program) newUpgrade() *cobra.Command {
	var at place
	c := &cobra.Command{
		Use: "upgrade", Short: "bring a data folder of an older version up to date",
		Long: `
Brings a data folder that an older medledger wrote up to date. Events are never
rewritten. If it is interrupted, run it again. There is no way back.

From format 1: the secrets move out of the data folder into a folder of their
own. From 1 and 2: the vault's keys move into a tree, their former root key is
destroyed, and the ledger gets a state log. Backups of the former version
cannot be restored after that: take one as soon as it serves.

Usage:

  medledger upgrade --dir D [--custody C]

Flags:

  --dir D         the ledger's data folder; no server may be running on it
  --custody C     the folder for its secrets (default D.custody)
  --config FILE   read these from a file, as serve does

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
	p.advise("The folder is up to date. Its secrets lie in %s now.\n", at.config(p).SecretsFolder())
	return nil
}
