package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api/control"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/custody"
)

func (p *program) newVault() *cobra.Command {
	c := &cobra.Command{Use: "vault", Short: "look at the keys of contents, and where their root is"}
	c.AddCommand(p.newVaultStats(), p.newVaultMove())
	c.Long = fmt.Sprintf(`
Looks after the tree of keys that contents lie under (ledger/vault).

Usage:

  medledger vault COMMAND [FLAGS]

Commands:

%s`, listOf(c.Commands()))
	return c
}

func (p *program) newVaultStats() *cobra.Command {
	var at place
	c := &cobra.Command{
		Use: "stats", Short: "say how the tree of keys is doing",
		Long: `
Says how the tree of keys is doing. A server may be running.

Usage:

  medledger vault stats --dir D [--custody C]

Flags:

  --dir D         the ledger's data folder
  --custody C     the folder of its secrets (default D.custody)
  --config FILE   read these from a file, as serve does

Prints

  custody      where the root key is: file or token
  generation   of the root key; a destruction, or a batch, makes the next
  retired      root keys before it, which are destroyed
  height       levels of the tree; fan-out: children of a node
  entries      keys of records, patients and the ledger that live
  slots        places of keys that were given out; none is used twice
  doomed       of these, keys that the next destruction takes along
  nodes        of the tree, and the bytes that they take on disk
  open-nodes   that are open in memory, and the bytes of these

Example:

  medledger vault stats --dir ledger
`,
		RunE: func(c *cobra.Command, _ []string) error { return p.vaultStats(c.Context(), at) },
	}
	at.flags(c)
	return c
}

func (p *program) vaultStats(ctx context.Context, at place) error {
	s, err := control.VaultStats(ctx, at.dir)
	if errors.Is(err, control.ErrNoServer) {
		err = p.withLedger(ctx, at, func(l *ledger.Ledger) (err error) {
			s, err = l.VaultStats(ctx)
			return err
		})
	}
	if err != nil {
		return err
	}
	return p.printf("custody     %s\n"+
		"generation  %d\n"+
		"retired     %d\n"+
		"height      %d\n"+
		"fan-out     %d\n"+
		"entries     %d\n"+
		"slots       %d\n"+
		"doomed      %d\n"+
		"nodes       %d, %d bytes\n"+
		"open-nodes  %d, %d bytes\n",
		s.Custody, s.Generation, s.Retired, s.Height, s.FanOut, s.Entries, s.LastSlot, s.Doomed, s.Nodes, s.NodeBytes, s.OpenNodes, s.OpenBytes)
}

func (p *program) newVaultMove() *cobra.Command {
	var at place
	var to string
	var retire bool
	c := &cobra.Command{
		Use: "move", Short: "move the root key into a token, or out of it",
		Long: `
Moves the root key of the tree of keys into a PKCS #11 token, or out of it again
into the folder of the secrets. The key itself never moves: the tree gets
another root key, there, and the former one is destroyed. Everything else stays.
What was written before the move stays as good as the file was: an image of
folder and file from before opens it, so the event of its destruction says
"file".
If it is interrupted, run it again.

The keys of the backups' epochs do not move. Those in the folder are destroyed
on their day as before. Out of a token it moves only if no living epoch has
its key there: nobody would destroy it. Wait until they are retired, or give
--retire-epochs, which destroys the keys of the living epochs in the custody
that is left. No backup that there is can be restored from then on: take one
at once.

Usage:

  medledger vault move --dir D [--custody C] --to token|file [--retire-epochs]

Flags:

  --dir D         the ledger's data folder; no server may be running on it
  --custody C     the folder of its secrets (default D.custody)
  --to KIND       token or file
  --retire-epochs destroy the keys of the living epochs that are left behind
  --config FILE   read these from a file, as serve does

The socket of medledger-token is what 'custody-socket' says in the file, or
MEDLEDGER_CUSTODY_SOCKET; 'custody-user' is the id of the user that it runs as.
Once the key is in a token, keep the setting: it tells serve where the key is.
Take a backup afterwards. What a token promises: deploy/token.

Example:

  export MEDLEDGER_CUSTODY_SOCKET=/run/medledger-token/socket
  medledger vault move --dir ledger --to token
`,
		RunE: func(c *cobra.Command, _ []string) error { return p.vaultMove(c.Context(), at, to, retire) },
	}
	at.flags(c)
	c.Flags().StringVar(&to, "to", "", "token or file")
	c.Flags().BoolVar(&retire, "retire-epochs", false, "destroy the keys of the living epochs that are left behind")
	required(c, "to")
	return c
}

func (p *program) vaultMove(ctx context.Context, at place, to string, retire bool) error {
	kind := custody.Kind(to)
	if kind != custody.Token && kind != custody.File {
		return &usageError{"medledger vault move", fmt.Errorf("--to is %q; give token or file", to)}
	}
	if err := ledger.MoveCustody(ctx, at.config(p), kind, retire); err != nil {
		return err
	}
	if retire {
		p.advise("No backup from before the move can be restored; take one now: medledger backup run\n")
	}
	if kind == custody.File {
		p.advise("Unset custody-socket now: it tells the ledger that the key is in a token.\n")
	}
	return p.printf("custody  %s\n", kind)
}
