package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api/cli/config"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/kept"
)

// place is where a ledger lies, as flags, the environment or a file say.
type place struct {
	dir, custody string
	helper       ledger.Helper
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
		at.dir, at.custody, at.helper = settings.Dir, settings.Custody, helperOf(settings)
		return nil
	}
}

func (at place) config(p *program) ledger.Config {
	return ledger.Config{Dir: at.dir, Secrets: at.custody, Helper: at.helper, Logger: p.logger(slog.LevelWarn)}
}

// helperOf is where the settings say that the vault's root key is.
func helperOf(c *config.Config) ledger.Helper {
	return ledger.Helper{Socket: c.CustodySocket, User: uint32(c.CustodyUser)}
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

// readKept reads as much of a file with checkpoints that somebody kept (verifier/kept) as
// it takes to find them; nil if none is named.
func readKept(name string) (file []byte, err error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err == nil {
		file, err = io.ReadAll(io.LimitReader(f, kept.MaxSize))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kept checkpoint: %w", err)
	}
	return file, nil
}
