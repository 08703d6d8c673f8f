// Package demo is the README's first command: the day of a small clinic. It makes a
// ledger, starts the service on it, and does over HTTP what a clinic does: people
// come in, records are written, found, read, refused, amended, shared and destroyed,
// a consent is withdrawn, a disk that was copied before a destruction is looked into,
// the service moves to another machine, and people are proved that a record's history
// is whole; then an auditor verifies all of it with one public key, and somebody
// rewrites copies of the log, without its keys and with them, and is found out.
//
// Nothing in it is staged. The service is 'medledger serve' in a process of its own,
// and everybody in the story has nothing but an address and a token; medverify is
// the auditor's own program; and every line of the story that carries a mark is an
// expectation that was checked: what is not as it must be is printed with what was
// expected and what happened, and the demo fails.
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

	"github.com/medledger/medledger/ledger"
)

// Options say what the demo works on.
type Options struct {
	// Records is a folder whose *.json files live through the story, in place of
	// the documents that the demo brings along. Their names, which may name
	// patients, are neither printed nor kept.
	Records string
	// Dir is where the ledger is left; it must be empty or not exist. If Dir is "",
	// all is made in a temporary folder and removed.
	Dir string
	// Colour sets the story in colours.
	Colour bool
	// Clock tells the time, for the timings; time.Now if nil.
	Clock func() time.Time
	// Binary is the program medledger; the running one if "".
	Binary string
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
		Use: "demo", Short: "tell a clinic's day, and have it audited",
		Long: `
Tells the day of a small clinic, and checks every line of it: a ledger is made
and served, people come in, records are written, read, refused, shared and
destroyed over HTTP, the service moves to another machine, an auditor verifies
all of it with one public key, and then copies of the log are tampered with,
also by somebody who has its keys; each must be found out.

Usage:

  medledger demo [--records DIR] [--dir D]

Flags:

  --records DIR   take the *.json files of a folder for records, such as FHIR
                  bundles; without it, a few invented documents
  --dir D         leave the ledger and the evidence in D, and the secrets in
                  D.custody, which must be empty or absent; without it, a
                  temporary folder that is removed

The service listens on a free port of this machine while the story is told.
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
	binary, err := newProgram(o.Binary)
	if err != nil {
		return err
	}
	// What is not to be left to a reader of the folder, such as tampered copies.
	scratch, err := os.MkdirTemp("", "medledger-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the story: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	dir := filepath.Join(scratch, "ledger")
	if o.Dir != "" {
		if dir, err = emptyDir(o.Dir); err != nil {
			return err
		}
	}
	s := newStory(newPage(out, o.Colour, o.Clock), binary, ledger.FolderAt(dir), scratch, docs)
	s.kept, s.bundled = o.Dir != "", o.Records == ""
	return s.tell(ctx)
}

// emptyDir makes sure that a ledger can be left in a folder, and its secrets beside.
func emptyDir(named string) (string, error) {
	dir, err := filepath.Abs(named)
	if err != nil {
		return "", fmt.Errorf("finding the folder for the ledger: %w", err)
	}
	for _, folder := range []string{dir, ledger.DefaultCustody(dir)} {
		switch entries, err := os.ReadDir(folder); {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return "", fmt.Errorf("looking into the folder for the ledger: %w", err)
		case len(entries) > 0:
			return "", fmt.Errorf("%s: %w", folder, ErrNotEmpty)
		}
	}
	return dir, nil
}
