// Package demo is the README's first command: a story of records that are
// created, read, refused, amended, shared and destroyed in a real ledger, of an
// auditor who verifies all of it with one public key, and of somebody who
// rewrites copies of the log and is found out.
//
// Nothing in it is staged. The ledger is the one that is served, medverify is
// the auditor's own program, and every line of the story that carries a mark is
// an expectation that was checked: what is not as it must be is printed with
// what was expected and what happened, and the demo fails.
//
// Only the calendar is made up: the story takes three weeks, which end now.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// Options say what the demo works on.
type Options struct {
	// Records is a folder whose *.json files live through the story, in place of
	// the documents that the demo brings along. Their names, which may name
	// patients, are neither printed nor kept.
	Records string
	// Dir is where the ledger is made and left; it must be empty or not exist.
	// If Dir is "", the ledger is made in a temporary folder and removed.
	Dir string
	// Colour sets the story in colours.
	Colour bool
	// Clock tells the time, for the timings and the end of the story; time.Now
	// if nil.
	Clock func() time.Time
}

var (
	// ErrUnmet says that something was not as it must be; the story has said
	// what.
	ErrUnmet = errors.New("not everything was as it must be; the lines marked ✗ say what")
	// ErrNotEmpty says that the folder for the ledger holds something already.
	ErrNotEmpty = errors.New("the folder is not empty; name a new or an empty one with --dir")
)

// Command returns 'medledger demo', whose story is told in colours or not.
func Command(colour bool) *cobra.Command {
	o := Options{Colour: colour}
	c := &cobra.Command{
		Use: "demo", Short: "tell the story of some records, and have it audited",
		Long: `
Tells a story, and checks every line of it: a ledger is made, records live in it
and die, an auditor verifies all of it offline with one public key, and then
copies of the log are tampered with, each of which must be found out.

Usage:

  medledger demo [--records DIR] [--dir D]

Flags:

  --records DIR   take the *.json files of a folder for records, such as FHIR
                  bundles; without it, a few invented documents
  --dir D         leave the ledger and the evidence in D, which must be empty
                  or absent; without it, a temporary folder that is removed

Exit code 0 says that everything was as it must be. The names of the files,
which may be patients', are neither printed nor kept. Colours are for terminals,
and NO_COLOR=1 turns them off.

Examples:

  medledger demo
  medledger demo --records bundles --dir ledger
`,
		RunE: func(c *cobra.Command, _ []string) error { return Run(c.Context(), o, c.OutOrStdout()) },
	}
	c.Flags().StringVar(&o.Records, "records", "", "folder of records")
	c.Flags().StringVar(&o.Dir, "dir", "", "empty folder to leave the ledger in")
	return c
}

// Run tells the story to out, in lines of at most 80 columns. It returns
// ErrUnmet if an expectation was not met, and another error if the story could
// not be told to its end.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	docs, err := documents(o.Records)
	if err != nil {
		return err
	}
	dir, remove, err := makeDir(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	// What is not to be left to a reader of the folder, such as tampered copies.
	scratch, err := os.MkdirTemp("", "medledger-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for tampered copies: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()

	s := newStory(newPage(out, o.Colour, o.Clock), dir, scratch, docs)
	s.kept, s.bundled = o.Dir != "", o.Records == ""
	return s.tell(ctx)
}

// makeDir makes the ledger's folder, and tells how to remove it again, which is
// not at all if the user named it.
func makeDir(named string) (dir string, remove func() error, err error) {
	if named == "" {
		dir, err = os.MkdirTemp("", "medledger-demo-")
		if err != nil {
			return "", nil, fmt.Errorf("making a folder for the ledger: %w", err)
		}
		return dir, func() error { return os.RemoveAll(dir) }, nil
	}
	switch entries, err := os.ReadDir(named); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return "", nil, fmt.Errorf("looking into the folder for the ledger: %w", err)
	case len(entries) > 0:
		return "", nil, fmt.Errorf("%s: %w", named, ErrNotEmpty)
	}
	if dir, err = filepath.Abs(named); err != nil {
		return "", nil, fmt.Errorf("finding the folder for the ledger: %w", err)
	}
	return dir, func() error { return nil }, nil
}
