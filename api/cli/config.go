package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api/cli/config"
)

func (p *program) newConfig() *cobra.Command {
	var sample bool
	c := &cobra.Command{
		Use: "config", Short: "print the settings of the server",
		Long: fmt.Sprintf(`
Prints the settings that 'medledger serve' would run with, given the same flags,
environment and file: as YAML that --config takes, each with a comment that says
where its value came from.

Usage:

  medledger config [--sample] [FLAGS]

Flags:

  --sample                print a file to edit instead: every setting explained,
                          those that have their default as comments
%s
Examples:

  medledger config --config medledger.yaml
  medledger config --sample --dir ledger > medledger.yaml
`, config.Usage()),
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := settingsOf(c)
			if err != nil {
				return err
			}
			if sample {
				return p.printf("%s", settings.Sample())
			}
			return p.printf("%s", settings.YAML())
		},
	}
	config.AddFlags(c.Flags())
	c.Flags().BoolVar(&sample, "sample", false, "print a file to edit")
	return c
}

// settingsOf loads the settings of a command that has the flags of
// config.AddFlags.
func settingsOf(c *cobra.Command) (*config.Config, error) {
	settings, err := config.Load(config.Sources{
		Flags:     c.Flags(),
		LookupEnv: os.LookupEnv,
		Open:      func(name string) (io.ReadCloser, error) { return os.Open(name) },
	})
	if err != nil {
		return nil, &usageError{c.CommandPath(), err}
	}
	return settings, nil
}

// settingsOfLedger are settingsOf for a command that works on a ledger, which they
// have to name.
func settingsOfLedger(c *cobra.Command) (*config.Config, error) {
	settings, err := settingsOf(c)
	if err == nil && settings.Dir == "" {
		err = &usageError{c.CommandPath(), config.ErrNoFolder}
	}
	if err != nil {
		return nil, err
	}
	return settings, nil
}
