package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api/cli/bench"
	"github.com/medledger/medledger/api/cli/demo"
	"github.com/medledger/medledger/api/cli/load"
)

// newRoot puts the command line together.
func (p *program) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "medledger", SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	help := newHelp(root)
	root.SetHelpCommand(help)
	commands := []*cobra.Command{ // in the order of the help
		p.newInit(),
		p.newServe(),
		p.newConfig(),
		p.newAdmin(),
		p.newBackup(),
		p.newRestore(),
		p.newExport(),
		p.newRebuild(),
		p.newUpgrade(),
		p.newKeys(),
		p.newVault(),
		bench.Command(p.logger(slog.LevelWarn)),
		demo.Command(wantsColour(p.out)),
		p.newVersion(),
		help,
	}
	root.AddCommand(commands...)
	root.AddCommand(load.Command(p.logger(slog.LevelWarn))) // hidden: for bench and the crash tests
	root.Long = fmt.Sprintf(rootText, listOf(commands))
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		// A closed standard output leaves nobody to tell.
		_, _ = fmt.Fprint(c.OutOrStdout(), strings.TrimLeft(c.Long, "\n"))
	})
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{c.CommandPath(), err}
	})
	strict(root)
	return root
}

const rootText = `
medledger keeps an account of what happens to medical records: every act on a
record is a signed event in a transparency log, which an auditor checks with
medverify and the log's public key.

Usage:

  medledger COMMAND [FLAGS]

Commands:

%s
'medledger help COMMAND' explains a command.

Exit codes:

  0  done
  1  failed; standard error says why and what to do
  2  wrong usage; nothing was done

Data goes to standard output, messages go to standard error. MEDLEDGER_DIR and
MEDLEDGER_CUSTODY say where the ledger lies, if no flag does.

Examples:

  medledger init --dir ledger --origin ledger.example.org
  medledger serve --dir ledger
  medledger export --dir ledger ledger.tar
`

// listOf lists commands, one a line.
func listOf(commands []*cobra.Command) string {
	var lines strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&lines, "  %-10s %s\n", c.Name(), c.Short)
	}
	return lines.String()
}

// strict makes usage errors of what cobra finds wrong with a command's arguments
// and required flags, for a command and all below it. A command that has no Args
// takes none; one that does nothing itself wants one of those below it.
func strict(c *cobra.Command) {
	check := c.Args
	if check == nil {
		check = noArguments
	}
	if c.RunE == nil && c.Run == nil {
		check = missingCommand
		c.SuggestionsMinimumDistance = 2                             // letters that may be wrong
		c.RunE = func(*cobra.Command, []string) error { return nil } // check refuses first
	}
	c.DisableFlagsInUseLine = true
	c.Args = func(c *cobra.Command, args []string) error {
		if err := errors.Join(check(c, args), c.ValidateRequiredFlags()); err != nil {
			return &usageError{c.CommandPath(), err}
		}
		return nil
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is too much: it takes flags only", args[0])
	}
	return nil
}

func missingCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("no command was given")
	}
	for _, similar := range c.SuggestionsFor(args[0]) {
		return fmt.Errorf("there is no command %q, but %q", args[0], similar)
	}
	return fmt.Errorf("there is no command %q", args[0])
}

func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help", Short: "explain a command",
		Args: cobra.ArbitraryArgs,
		Long: `
Explains a command.

Usage:

  medledger help [COMMAND]

Example:

  medledger help serve
`,
		RunE: func(_ *cobra.Command, args []string) error {
			// Find stops at the last command that there is.
			c, rest, _ := root.Find(args)
			if len(rest) > 0 {
				return &usageError{c.CommandPath(), missingCommand(c, rest)}
			}
			return c.Help()
		},
	}
}

// required marks a flag that was just defined.
func required(c *cobra.Command, name string) {
	if err := c.MarkFlagRequired(name); err != nil {
		panic(err) // a flag that is not defined: a mistake in this package
	}
}
