package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/ledger"
)

// restoration is what the flags of a restoration say.
type restoration struct {
	place
	ledger.Restoration
	identity, checkpoint string
}

func (p *program) newRestore() *cobra.Command {
	var r restoration
	c := &cobra.Command{
		Use: "restore", Short: "make a ledger of a backup, and go on with its log",
		Long: `
Makes a ledger of a backup's two sides, in a folder that must be empty or
absent. The secrets are taken from the key side if they are not in their folder;
if that has survived, leave it where it is, for it knows what was destroyed
since, and how far the log had gone on. All of the backup's log is audited
first. The ledger goes on with the same log, and its next event says that it
was restored.

What was destroyed stays destroyed. What was destroyed after the backup's last
event has no event that says so (unlogged): ask for its destruction again.

A log must not go on in two ways: if the old ledger went on after the backup was
taken, what others have of it (receipts, checkpoints) would contradict the new
one. So ask who has something of it, an auditor's checkpoint, a receipt or a
patient's bundle, and give the newest with --checkpoint: if the log has gone on,
it is refused. That nobody has anything newer no checkpoint can show, least of
all the one beside the backup, which is the backup's own: that is for you to
say, with --nothing-newer.

Usage:

  medledger restore --dir D --data D1 --keys D2 --identity FILE
      --nothing-newer [--checkpoint FILE] [--lose-events]

Flags:

  --dir D             the data folder to make
  --custody C         the folder of the secrets (default D.custody)
  --config FILE       read these from a file, as serve does
  --data D1           the backup's data side
  --keys D2           the backup's key side
  --identity FILE     the identity that 'medledger backup identity' printed
  --checkpoint FILE   the newest checkpoint of the log that anybody has; it
                      refuses a backup that is older. FILE is what 'medverify
                      audit --keep' wrote, a receipt, or a record's history
  --nothing-newer     your word that there is none newer than the backup: the
                      old ledger stopped before the backup, or all that came
                      after it was seen by nobody. Always needed, also if the
                      newest checkpoint that anybody has is the backup's
  --lose-events       the data side is older than the key side, or than what the
                      folder of the secrets knows, and there is no newer one:
                      the events since are lost

It prints:

  origin      the log's name
  size        how many events the backup has; the next one says that the ledger
              was restored
  root        root of the log's tree over those, as its checkpoint has it
  increments  how many files of the data side were read
  unlogged    how many records are dead although no event of the backup says so
  lost        how many contents the ledger had lost before they were backed up

Exit codes:

  0  the ledger is there; serve it
  1  refused or failed: standard error says why, and there is no new ledger
  2  wrong usage; nothing was done

Example:

  medledger restore --dir ledger --data /mnt/nas/data --keys /mnt/usb/keys \
      --identity /dev/shm/identity.txt --checkpoint kept --nothing-newer
`,
		RunE: func(c *cobra.Command, _ []string) error {
			if r.checkpoint == "" && !r.NothingNewer {
				return &usageError{c.CommandPath(), ledger.ErrNothingKept}
			}
			return p.restore(c.Context(), r)
		},
	}
	r.place.flags(c)
	r.flags(c)
	c.Flags().StringVar(&r.checkpoint, "checkpoint", "", "the newest checkpoint that anybody has")
	c.Flags().BoolVar(&r.NothingNewer, "nothing-newer", false, "there is none newer than the backup")
	c.Flags().BoolVar(&r.LoseEvents, "lose-events", false, "the data side is older than the key side or the secrets")
	return c
}

// flags adds those that say which backup is read.
func (r *restoration) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.Data, "data", "", "the backup's data side")
	c.Flags().StringVar(&r.Keys, "keys", "", "the backup's key side")
	c.Flags().StringVar(&r.identity, "identity", "", "the file of the identity")
	for _, name := range []string{"data", "keys", "identity"} {
		required(c, name)
	}
}

// read reads the files that flags name.
func (r *restoration) read() (err error) {
	if r.Kept, err = readKept(r.checkpoint); err != nil {
		return err
	}
	r.Identity, err = readIdentity(r.identity)
	return err
}

func (p *program) restore(ctx context.Context, r restoration) error {
	if err := r.read(); err != nil {
		return err
	}
	m, err := ledger.Restore(ctx, r.config(p), r.Restoration)
	if err != nil {
		return err
	}
	p.advise("The ledger is restored. Next: medledger serve --dir %s\n", r.dir)
	return p.printf("origin      %s\n"+
		"size        %d\n"+
		"root        %s\n"+
		"increments  %d\n"+
		"unlogged    %d\n"+
		"lost        %d\n",
		m.Origin, m.Size, m.Root, m.Increments, m.Unlogged, m.Lost)
}

func (p *program) newBackupVerify() *cobra.Command {
	var r restoration
	var scratch string
	c := &cobra.Command{
		Use: "verify", Short: "restore a backup into a scratch folder, and read all of it",
		Long: `
Proves that a backup is good by restoring it into a scratch folder: reads and
decrypts every increment, audits the log, joins the two sides, opens every
content and every document, and removes all of it again. Nothing is logged, and
the ledger need not be there. It needs as much room as the ledger, and the keys
of it lie in the scratch folder meanwhile: choose one on an encrypted disk, or
in memory.

If the ledger's custody is a token, the key of the newest epoch is in it, and
'custody-socket' (in the file, or MEDLEDGER_CUSTODY_SOCKET) says where that is.
Nothing changes in the token; the ledger may be served meanwhile.

Usage:

  medledger backup verify --data D1 --keys D2 --identity FILE --scratch D
      [--config FILE]

Flags:

  --data D1        the backup's data side
  --keys D2        the backup's key side
  --identity FILE  the identity that 'medledger backup identity' printed
  --scratch D      a folder, which must be empty or absent and is removed
  --config FILE    read where the token is from a file, as serve does

It prints:

  origin      the log's name
  size        how many events the backup has
  root        root of the log's tree over those, as its checkpoint has it
  increments  how many files of the data side were read
  contents    how many versions of records were decrypted whole
  documents   how many identities and names were
  destroyed   how many records it knows to be destroyed
  lost        how many contents the ledger had lost before they were backed up

Exit codes:

  0  the backup is good: all that it should have can be restored and read
  1  it is not, or that could not be found out; standard error says why
  2  wrong usage; nothing was done

Example:

  medledger backup verify --data /mnt/nas/data --keys /mnt/usb/keys \
      --identity /dev/shm/identity.txt --scratch /dev/shm/verify
`,
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := settingsOf(c)
			if err != nil {
				return err
			}
			return p.backupVerify(c.Context(), r, place{dir: scratch, helper: helperOf(settings)})
		},
	}
	r.flags(c)
	c.Flags().String("config", "", "a file with settings")
	c.Flags().StringVar(&scratch, "scratch", "", "a folder to restore into")
	required(c, "scratch")
	return c
}

func (p *program) backupVerify(ctx context.Context, r restoration, scratch place) error {
	if err := r.read(); err != nil {
		return err
	}
	v, err := ledger.VerifyBackup(ctx, scratch.config(p), r.Restoration)
	if err != nil {
		return err
	}
	return p.printf("origin      %s\n"+
		"size        %d\n"+
		"root        %s\n"+
		"increments  %d\n"+
		"contents    %d\n"+
		"documents   %d\n"+
		"destroyed   %d\n"+
		"lost        %d\n",
		v.Origin, v.Size, v.Root, v.Increments, v.Contents, v.Documents, v.Destroyed, v.Lost)
}
