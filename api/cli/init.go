package cli

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

func (p *program) newInit() *cobra.Command {
	var dir, origin string
	c := &cobra.Command{
		Use: "init", Short: "make a new ledger in a folder",
		Long: `
Makes a new ledger: its keys, the opening event of its log, and its first
administrator, who may register all other actors. Prints what it made.

Usage:

  medledger init --dir D --origin NAME

Flags:

  --dir D         the data folder to make; it must be empty or absent
  --origin NAME   the ledger's name in its log, for ever; a host name and path
                  of yours, in lower-case letters, digits and . - _ /

If it is interrupted, the same command goes on where it stopped.

D/log.vkey is the key with which others verify the log: publish it.
D/keys holds the secrets: keep copies of it safe, apart from those of the rest.

Example:

  medledger init --dir ledger --origin ledger.example.org
`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := events.CheckOrigin(origin); err != nil {
				why := strings.TrimSuffix(err.Error(), ": "+events.ErrInvalid.Error()) // there is no event yet
				return &usageError{c.CommandPath(), errors.New(why)}
			}
			return p.initialise(c.Context(), dir, origin)
		},
	}
	dirFlag(c, &dir)
	c.Flags().StringVar(&origin, "origin", "", "the ledger's name")
	required(c, "origin")
	return c
}

func (p *program) initialise(ctx context.Context, dir, origin string) error {
	config := ledger.Config{Dir: dir, Logger: p.logger(slog.LevelWarn)}
	founding, err := ledger.Create(ctx, config, origin)
	if err != nil {
		return err
	}
	err = p.printf("origin         %s\nadministrator  %v\norganisation   %v\nverifier-key   %s\n",
		origin, founding.Administrator, founding.Organisation, ledger.Folder(dir).VerifierKey())
	p.advise("The ledger is made. Next: medledger serve --dir %s\n", dir)
	return err
}
