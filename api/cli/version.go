package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (p *program) newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version",
		Long: `
Prints the version of medledger, of the Go that built it, and the platform.

Usage:

  medledger version
`,
		RunE: func(*cobra.Command, []string) error {
			return p.printf("medledger %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}

// version is the module version that the program was built from, as Go recorded
// it: a tag, a commit, or (devel).
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
