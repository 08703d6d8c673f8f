package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

func (p *program) newInit() *cobra.Command {
	var at place
	var origin string
	c := &cobra.Command{
		Use: "init", Short: "make a new ledger in a folder",
		Long: `
Makes a new ledger: its keys, the opening event of its log, and its first
administrator, who may register all other actors. Prints what it made.

Usage:

  medledger init --dir D --origin NAME [--custody C]

Flags:

  --dir D         the data folder to make; it must be empty or absent
  --custody C     the folder for the secrets (default D.custody); not in D
  --config FILE   read these from a file, as serve does
  --origin NAME   the ledger's name in its log, for ever; a host name and path
                  of yours, in lower-case letters, digits and . - _ /

If it is interrupted, the same command goes on where it stopped.

D/log.vkey is the key with which others verify the log: publish it.
D/admin.token is the first administrator's token: move it to where it is safe.
The folder of the secrets holds the keys, the data folder none. Copy the secrets
nowhere by hand: a copy could bring back what is destroyed later. 'medledger
backup' keeps what a restore needs.

Example:

  medledger init --dir ledger --origin ledger.example.org
`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := events.CheckOrigin(origin); err != nil {
				why := strings.TrimSuffix(err.Error(), ": "+events.ErrInvalid.Error()) // there is no event yet
				return &usageError{c.CommandPath(), errors.New(why)}
			}
			return p.initialise(c.Context(), at, origin)
		},
	}
	at.flags(c)
	c.Flags().StringVar(&origin, "origin", "", "the ledger's name")
	required(c, "origin")
	return c
}

func (p *program) initialise(ctx context.Context, at place, origin string) error {
	config := at.config(p)
	founding, err := ledger.Create(ctx, config, origin)
	if err != nil {
		return err
	}
	folder := ledger.Folder{Data: at.dir, Secrets: config.SecretsFolder()}
	err = p.printf("origin         %s\nadministrator  %v\norganisation   %v\nverifier-key   %s\nadmin-token    %s\nsecrets        %s\n",
		origin, founding.Administrator, founding.Organisation, folder.VerifierKey(), folder.AdminToken(), folder.Secrets)
	p.advise("The ledger is made. Next: medledger serve --dir %s\n", at.dir)
	return err
}
