package bench

import (
	"encoding/json"
	"fmt"
	"log/slog"
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
	keys         int
	json         string
	profile      string
}

// The sizes of a quick run and of a full one.
const (
	quickEvents, fullEvents = 20_000, 1_000_000
	quickTime, fullTime     = 3 * time.Second, 10 * time.Second
	quickUpload, fullUpload = 256 << 20, 1 << 30
	quickKeys, fullKeys     = 20_000, 1_000_000
)

const help = `
Makes a ledger, serves it, measures the service over HTTP against the budgets of
the design, and removes it again. Prints a table that names the machine. Takes
about a minute; the machine should have nothing else to do.

Usage:

  medledger bench [--full] [--dir D] [--json FILE] [--cpuprofile PREFIX]
                  [--events N] [--time T] [--upload BYTES] [--destructions N]
                  [--keys N]

Flags:

  --full               measure at the size that the budgets are for: 1,000,000
                       events over 200,000 records, rows of 10 s, an upload of
                       1 GiB, a vault of 1,000,000 records; takes about ten
                       minutes and 8 GB
  --dir D              the folder to work in, on the disk to be measured
                       (default: the current one)
  --json FILE          write the figures to FILE as well
  --cpuprofile PREFIX  write a CPU profile of the service in each row to
                       PREFIX-ROW.pprof, and one of its memory after it
  --events N           grow the log to N events (default 20000)
  --time T             how long each timed row goes on (default 3s)
  --upload BYTES       size of the content uploaded meanwhile (default 256 MiB)
  --destructions N     how many records to destroy (default 200)
  --keys N             how many records the vault has whose key tree is measured
                       by itself (default 20000)

Examples:

  medledger bench
  medledger bench --full --dir /srv --json figures.json
`

// Command returns the command 'bench'. The table goes to its standard output,
// what is being measured to its standard error, and the ledger's messages to
// logger; it stops when its context ends.
func Command(logger *slog.Logger) *cobra.Command {
	o := new(options)
	c := &cobra.Command{
		Use: "bench", Short: "measure a ledger against its budgets", Long: help, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.measure(c, logger)
		},
	}
	f := c.Flags()
	f.StringVar(&o.dir, "dir", ".", "the folder to work in")
	f.IntVar(&o.events, "events", quickEvents, "grow the log to this many events")
	f.BoolVar(&o.full, "full", false, "measure at full size")
	f.DurationVar(&o.lasting, "time", quickTime, "how long each timed row goes on")
	f.Int64Var(&o.upload, "upload", quickUpload, "bytes uploaded while appends are measured")
	f.IntVar(&o.destructions, "destructions", 200, "how many records to destroy")
	f.IntVar(&o.keys, "keys", quickKeys, "records of the vault whose key tree is measured")
	f.StringVar(&o.json, "json", "", "write the figures to this file as well")
	f.StringVar(&o.profile, "cpuprofile", "", "write CPU profiles to files that begin so")
	return c
}

func (o *options) measure(c *cobra.Command, logger *slog.Logger) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program, which is also run in other processes: %w", err)
	}
	if o.full {
		o.grow(c)
	}
	r, err := measure(c.Context(), plan{
		dir: o.dir, events: o.events, lasting: o.lasting, upload: o.upload, destructions: o.destructions, keys: o.keys,
		self: self, profile: o.profile, progress: c.ErrOrStderr(), logger: logger,
	})
	if err != nil {
		return err
	}
	if o.json != "" {
		raw, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(raw, '\n'), 0o644); err != nil {
			return fmt.Errorf("writing the figures: %w", err)
		}
	}
	return r.writeTable(c.OutOrStdout())
}

// grow sets the sizes that were not given to those of a full run.
func (o *options) grow(c *cobra.Command) {
	for name, set := range map[string]func(){
		"events": func() { o.events = fullEvents },
		"time":   func() { o.lasting = fullTime },
		"upload": func() { o.upload = fullUpload },
		"keys":   func() { o.keys = fullKeys },
	} {
		if !c.Flags().Changed(name) {
			set()
		}
	}
}
