package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

func (p *program) newKeys() *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "replace the key that signs events"}
	c.AddCommand(p.newRotate())
	c.Long = fmt.Sprintf(`
Looks after a ledger's keys.

Usage:

  medledger keys COMMAND [FLAGS]

Commands:

%s`, listOf(c.Commands()))
	return c
}

func (p *program) newRotate() *cobra.Command {
	var at place
	c := &cobra.Command{
		Use: "rotate", Short: "replace the key that signs events",
		Long: `
Replaces the key that signs events by a new one. The replacement is an event,
signed with the old key; everything after it is signed with the new one, and
what the old one signed stays valid. The key that signs checkpoints (D/log.vkey)
stays. Prints the event's index in the log and the new key's id.

Usage:

  medledger keys rotate --dir D [--custody C]

Flags:

  --dir D         the ledger's data folder; no server may be running on it
  --custody C     the folder of its secrets (default D.custody)
  --config FILE   read these from a file, as serve does

Example:

  medledger keys rotate --dir ledger
`,
		RunE: func(c *cobra.Command, _ []string) error { return p.rotate(c.Context(), at) },
	}
	at.flags(c)
	return c
}

func (p *program) rotate(ctx context.Context, at place) error {
	return p.withLedger(ctx, at, func(l *ledger.Ledger) error { return p.rotateIn(ctx, l) })
}

func (p *program) rotateIn(ctx context.Context, l *ledger.Ledger) error {
	result, err := l.RotateStatementKey(ctx)
	if err != nil {
		return err
	}
	rotated, ok := result.Event.Data.(*events.KeyRotated)
	if !ok || len(rotated.StatementKeys) == 0 {
		return fmt.Errorf("event %d is a %s and replaces no key", result.Index, result.Event.Type)
	}
	return p.printf("index          %d\nstatement-key  %s\n", result.Index, rotated.StatementKeys[0].Kid)
}
