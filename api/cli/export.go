package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/audit"
)

func (p *program) newExport() *cobra.Command {
	var at place
	var force bool
	c := &cobra.Command{
		Use: "export", Short: "write a ledger's log into one file",
		Long: `
Writes the log into one file, for an auditor: every event's statement, the tree
and the signed checkpoint. It holds no keys and no contents of records. A server
may run on the folder meanwhile.

Usage:

  medledger export --dir D [--force] FILE

Flags:

  --dir D         the ledger's data folder
  --custody C     not needed: an export holds no secrets
  --config FILE   read these from a file, as serve does
  --force         replace FILE if it exists

The file is written as FILE.tmp and renamed when it is whole.

Example:

  medledger export --dir ledger ledger.tar
  medverify audit --export ledger.tar --vkey log.vkey
`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("name one file to write, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return p.export(c.Context(), at, args[0], force) },
	}
	at.flags(c)
	c.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	return c
}

func (p *program) export(ctx context.Context, at place, file string, force bool) error {
	folder := ledger.Folder{Data: at.dir, Secrets: at.custody}
	if _, err := folder.Origin(disk.OS{}); err != nil {
		return err
	}
	source := audit.NewDir(os.DirFS(at.dir))
	err := writeFile(file, force, func(w io.Writer) error { return archive.Write(ctx, w, source, source.State()) })
	if err := errors.Join(err, source.Close()); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	p.advise("The log is in %s. An auditor checks it with: medverify audit --export %s --vkey %s\n",
		file, file, folder.VerifierKey())
	return nil
}

// errFileExists says that a file would be overwritten.
var errFileExists = errors.New("the file exists; name another, or replace it with --force")

// writeFile makes a file of what write writes. A crash, or an error, before the
// rename leaves the old file if there was one, and perhaps name.tmp, which the
// next call overwrites; after it the new file is whole.
func writeFile(name string, force bool, write func(io.Writer) error) (err error) {
	if err := mayReplace(name, force); err != nil {
		return err
	}
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	err = write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := mayReplace(name, force); err != nil { // writing takes its time
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	return disk.OS{}.SyncDir(filepath.Dir(name))
}

func mayReplace(name string, force bool) error {
	switch info, err := os.Stat(name); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file; name another", name)
	case !force:
		return fmt.Errorf("%s: %w", name, errFileExists)
	}
	return nil
}
