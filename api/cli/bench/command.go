// Package bench measures a ledger against the budgets of its design (section
// 10), through the Go interface that the entrances use: run.go is the order of a
// run, rows.go what happens while the ledger is open, outside.go what is looked
// at from other processes and from disk. It also puts a steady, mixed load on a
// ledger for others to watch or to kill (steady.go).
//
// Only the command line calls it, and the crash tests, which read its load's
// output.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// options are the flags.
type options struct {
	dir          string
	events       int
	full         bool
	lasting      time.Duration
	upload       int64
	destructions int
	json         string
	profile      string
	load         bool
	probe        bool
	workers      int
}

// The sizes of a quick run and of a full one.
const (
	quickEvents, fullEvents = 20_000, 1_000_000
	quickTime, fullTime     = 3 * time.Second, 10 * time.Second
	quickUpload, fullUpload = 256 << 20, 1 << 30
)

// Command returns the command `bench`. Data goes to its standard output,
// messages to its standard error; it stops when its context ends.
func Command() *cobra.Command {
	o := new(options)
	c := &cobra.Command{
		Use: "bench", Short: "measure a ledger against its budgets",
		Long: `
Makes a ledger, measures it against the budgets of the design, and removes it
again. Prints a table that names the machine. Takes about a minute; the machine
should have nothing else to do.

Usage:

  medledger bench [--full] [--dir D] [--json FILE] [--cpuprofile PREFIX]
                  [--events N] [--time T] [--upload BYTES] [--destructions N]
  medledger bench --load --dir D [--workers N]

Flags:

  --full               measure at the size that the budgets are for: 1,000,000
                       events over 200,000 records, rows of 10 s, an upload of
                       1 GiB; takes about ten minutes and 4 GB
  --dir D              the folder to work in, on the disk to be measured
                       (default: the current one)
  --json FILE          write the figures to FILE as well
  --cpuprofile PREFIX  write a CPU profile of each row to PREFIX-ROW.pprof
  --events N           grow the log to N events (default 20000)
  --time T             how long each timed row goes on (default 3s)
  --upload BYTES       size of the content uploaded meanwhile (default 256 MiB)
  --destructions N     how many records to destroy (default 200)

With --load, D is a ledger's data folder: the ledger is opened and put under a
steady, mixed load, by --workers N callers (default 16), until it is told to
stop. Every line on standard output is a JSON object with what the ledger has
promised by then: an event that it acknowledged, or an id that it refused and
that may never appear. This is for tests that pull the plug.

Examples:

  medledger bench
  medledger bench --full --dir /srv --json figures.json
`,
		Args: func(c *cobra.Command, args []string) error {
			return errors.Join(cobra.NoArgs(c, args), o.check(c))
		},
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	f := c.Flags()
	f.StringVar(&o.dir, "dir", ".", "the folder to work in")
	f.IntVar(&o.events, "events", quickEvents, "grow the log to this many events")
	f.BoolVar(&o.full, "full", false, "measure at full size")
	f.DurationVar(&o.lasting, "time", quickTime, "how long each timed row goes on")
	f.Int64Var(&o.upload, "upload", quickUpload, "bytes uploaded while appends are measured")
	f.IntVar(&o.destructions, "destructions", 200, "how many records to destroy")
	f.StringVar(&o.json, "json", "", "write the figures to this file as well")
	f.StringVar(&o.profile, "cpuprofile", "", "write CPU profiles to files that begin so")
	f.BoolVar(&o.load, "load", false, "put a load on the ledger in --dir")
	f.BoolVar(&o.probe, "probe", false, "open the ledger in --dir and tell how that went (for bench itself)")
	f.IntVar(&o.workers, "workers", 16, "callers of --load, 1 to 32")
	return c
}

// errModes says that flags were given that do not go together.
var errModes = errors.New("--load takes --dir and --workers, of which there are 1 to 32, and no other flag")

func (o *options) check(c *cobra.Command) error {
	if !o.load {
		return nil
	}
	given := c.Flags().NFlag()
	for _, name := range []string{"load", "dir", "workers"} {
		if c.Flags().Changed(name) {
			given--
		}
	}
	if given > 0 || !c.Flags().Changed("dir") || o.workers < 1 || o.workers > 32 {
		return errModes
	}
	return nil
}

func (o *options) run(c *cobra.Command) error {
	switch {
	case o.load:
		return Load(c.Context(), ledgerConfig(o.dir, c.ErrOrStderr()), o.workers, c.OutOrStdout())
	case o.probe:
		return probe(c.Context(), ledgerConfig(o.dir, c.ErrOrStderr()), o.lasting, c.OutOrStdout())
	}
	return o.measure(c.Context(), c)
}

func (o *options) measure(ctx context.Context, c *cobra.Command) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program, which is also run as another process: %w", err)
	}
	if o.full {
		for name, set := range map[string]func(){
			"events": func() { o.events = fullEvents },
			"time":   func() { o.lasting = fullTime },
			"upload": func() { o.upload = fullUpload },
		} {
			if !c.Flags().Changed(name) {
				set()
			}
		}
	}
	report, err := Run(ctx, Config{
		Dir: o.dir, Events: o.events, Lasting: o.lasting, Upload: o.upload, Destructions: o.destructions,
		Child: []string{self, "bench"}, Profile: o.profile, Progress: c.ErrOrStderr(),
	})
	if err != nil {
		return err
	}
	if o.json != "" {
		raw, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(raw, '\n'), 0o644); err != nil {
			return fmt.Errorf("writing the figures: %w", err)
		}
	}
	return report.WriteTable(c.OutOrStdout())
}
