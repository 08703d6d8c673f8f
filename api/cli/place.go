package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api/cli/config"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/proof"
)

// place is where a ledger lies, as flags, the environment or a file say.
type place struct {
	dir, custody string
	token        ledger.Token
}

// flags adds --dir, --custody and --config to a command, and fills the place before
// the command runs. Where a token is, the environment or the file says.
func (at *place) flags(c *cobra.Command) {
	c.Flags().String("config", "", "a file with settings")
	c.Flags().String("dir", "", "the ledger's data folder")
	c.Flags().String("custody", "", "the folder of the ledger's secrets")
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		settings, err := settingsOfLedger(c)
		if err != nil {
			return err
		}
		at.dir, at.custody, at.token = settings.Dir, settings.Custody, tokenOf(settings)
		return nil
	}
}

func (at place) config(p *program) ledger.Config {
	return ledger.Config{Dir: at.dir, Custody: at.custody, Token: at.token, Logger: p.logger(slog.LevelWarn)}
}

// tokenOf is where the settings say that the vault's root key is.
func tokenOf(c *config.Config) ledger.Token {
	return ledger.Token{Socket: c.CustodySocket, User: uint32(c.CustodyUser)}
}

// withLedger opens a ledger that no server has open.
func (p *program) withLedger(ctx context.Context, at place, do func(*ledger.Ledger) error) (err error) {
	l, err := ledger.Open(ctx, at.config(p))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return do(l)
}

// readKept reads the file of a checkpoint that somebody kept, or the first in it, the
// log's, if 'medverify audit --keep' wrote it; nil if none is named.
func readKept(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the kept checkpoint: %w", err)
	}
	if notes := proof.SplitNotes(kept); len(notes) > 0 {
		kept = notes[0]
	}
	return kept, nil
}
