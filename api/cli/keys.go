package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

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
	var dir string
	c := &cobra.Command{
		Use: "rotate", Short: "replace the key that signs events",
		Long: `
Replaces the key that signs events by a new one. The replacement is an event,
signed with the old key; everything after it is signed with the new one, and
what the old one signed stays valid. The key that signs checkpoints (D/log.vkey)
stays. Prints the event's index in the log and the new key's id.

Usage:

  medledger keys rotate --dir D

Flags:

  --dir D   the ledger's data folder; no server may be running on it

Example:

  medledger keys rotate --dir ledger
`,
		RunE: func(c *cobra.Command, _ []string) error { return p.rotate(c.Context(), dir) },
	}
	dirFlag(c, &dir)
	return c
}

func (p *program) rotate(ctx context.Context, dir string) (err error) {
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir, Logger: p.logger(slog.LevelWarn)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
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
