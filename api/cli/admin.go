package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api/control"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

func (p *program) newAdmin() *cobra.Command {
	c := &cobra.Command{Use: "admin", Short: "help an administrator in again"}
	c.AddCommand(p.newAdminToken())
	c.Long = fmt.Sprintf(`
Helps administrators, on the ledger's own machine.

Usage:

  medledger admin COMMAND [FLAGS]

Commands:

%s`, listOf(c.Commands()))
	return c
}

func (p *program) newAdminToken() *cobra.Command {
	var at place
	var administrator, lifetime string
	c := &cobra.Command{
		Use: "token", Short: "give an administrator a token in place of a lost one",
		Long: `
Gives an administrator a token and prints it. It needs no other token, only the
ledger's own machine; an event says that it was given. A server may be running.
Tokens given before stay good: revoke one that was stolen with
DELETE /v1/actors/ID/tokens/TOKEN.

Usage:

  medledger admin token --dir D [--custody C] [--actor ID] [--lifetime TIME]

Flags:

  --dir D           the ledger's data folder
  --custody C       the folder of its secrets (default D.custody)
  --config FILE     read these from a file, as serve does
  --actor ID        which administrator (default the first)
  --lifetime TIME   for how long it is good, such as 12h (default 8760h)

Example:

  medledger admin token --dir ledger
`,
		RunE: func(c *cobra.Command, _ []string) error {
			var id events.ID
			if administrator != "" {
				var err error
				if id, err = events.ParseID(administrator); err != nil {
					return &usageError{c.CommandPath(), fmt.Errorf("--actor: %w", err)}
				}
			}
			lasting, err := time.ParseDuration(lifetime)
			if err != nil {
				return &usageError{c.CommandPath(), fmt.Errorf("--lifetime: %w", err)}
			}
			return p.adminToken(c.Context(), at, id, lasting)
		},
	}
	at.flags(c)
	c.Flags().StringVar(&administrator, "actor", "", "which administrator")
	c.Flags().StringVar(&lifetime, "lifetime", "8760h", "for how long it is good")
	return c
}

func (p *program) adminToken(ctx context.Context, at place, administrator events.ID, lifetime time.Duration) error {
	issued, err := control.Token(ctx, at.dir, administrator, lifetime)
	if errors.Is(err, control.ErrNoServer) {
		err = p.withLedger(ctx, at, func(l *ledger.Ledger) error {
			result, secret, err := l.IssueOnTheMachine(ctx, administrator, lifetime)
			if err == nil {
				issued = &control.Issued{Secret: secret, Index: result.Index, Event: result.Event.ID}
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	p.advise("Event %d of the log says that this token was given.\n", issued.Index)
	return p.printf("%s\n", issued.Secret)
}
