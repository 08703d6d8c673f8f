package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api/cli/config"
	"github.com/medledger/medledger/api/control"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/backup"
)

func (p *program) newBackup() *cobra.Command {
	c := &cobra.Command{Use: "backup", Short: "back a ledger up, and say what that could bring back"}
	c.AddCommand(p.newBackupIdentity(), p.newBackupRun(), p.newBackupStatus(), p.newBackupVerify())
	c.Long = fmt.Sprintf(`
Backs a ledger up. A backup has two sides: the data side has the log and the
encrypted contents and may be kept for years; the key side has the keys, which
die with their epoch, so that what was destroyed cannot be brought back after
that. Keep the two apart. Both are encrypted to the recipient of an identity
that you keep on paper.

A server takes backups by itself if its configuration has backup-data,
backup-keys and backup-recipients. 'medledger restore' puts a backup back.

Usage:

  medledger backup COMMAND [FLAGS]

Commands:

%s`, listOf(c.Commands()))
	return c
}

func (p *program) newBackupIdentity() *cobra.Command {
	return &cobra.Command{
		Use: "identity", Short: "make the identity that backups are decrypted with",
		Long: `
Makes an age identity and prints it: print it on paper, keep the paper away from
the ledger, and leave no copy on this machine, where what was on a disk can be
found after it was deleted: /dev/shm is in memory. Whoever has it and a backup's
two sides can read every record; without it no backup can be read by anybody.
The recipient is for the configuration (backup-recipients) and no secret.

Usage:

  medledger backup identity > FILE

Example:

  medledger backup identity > /dev/shm/identity.txt
`,
		RunE: func(*cobra.Command, []string) error {
			identity, recipient, err := backup.NewIdentity()
			if err != nil {
				return err
			}
			p.advise("recipient  %s\n", recipient)
			return p.printf("# medledger backup identity; its recipient is %s\n%s\n", recipient, identity)
		},
	}
}

// sides are the flags that say where a backup lies.
type sides struct {
	place
	plan backup.Plan
}

// flags adds them to a command. What they do not say the configuration says.
func (s *sides) flags(c *cobra.Command) {
	s.place.flags(c)
	var data, keys, recipients string
	c.Flags().StringVar(&data, "data", "", "the folder of the data side")
	c.Flags().StringVar(&keys, "keys", "", "the folder of the key side")
	c.Flags().StringVar(&recipients, "recipients", "", "whom it is encrypted to")
	placed := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if err := placed(c, args); err != nil {
			return err
		}
		settings, err := settingsOf(c)
		if err != nil {
			return err
		}
		s.plan = backup.Plan{Data: data, Keys: keys, Recipients: listed(recipients)}.Or(planOf(settings))
		return nil
	}
}

// planOf is the plan of a configuration. Its folders are empty if there is none.
func planOf(c *config.Config) backup.Plan {
	return backup.Plan{
		Data: c.BackupData, Keys: c.BackupKeys, Recipients: listed(c.BackupRecipients),
		Every: c.BackupEvery, Epoch: c.BackupEpoch, Keep: c.BackupKeep,
	}
}

// listed takes a list apart.
func listed(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

const sidesUsage = `
  --dir D            the ledger's data folder
  --custody C        the folder of its secrets (default D.custody)
  --config FILE      read these from a file, as serve does
  --data D1          the folder of the data side (backup-data)
  --keys D2          the folder of the key side (backup-keys)
  --recipients LIST  whom it is encrypted to (backup-recipients)`

func (p *program) newBackupRun() *cobra.Command {
	var at sides
	var full bool
	c := &cobra.Command{
		Use: "run", Short: "take a backup now",
		Long: fmt.Sprintf(`
Takes a backup: writes what is new since the last one to the data side, and a
snapshot of the keys to the key side. A server may be running and goes on
meanwhile; where it has backups in its configuration, nothing needs to be said.

Usage:

  medledger backup run --dir D [FLAGS]

Flags:
%s
  --full             write everything, and begin a new chain of increments

It prints:

  increment  number of the file that was written to the data side
  chain      number of the first one that a restore needs with it
  from       how many of the log's events the increments before it have
  size       how many there are with it
  bytes      how long the increment is
  epoch      whose snapshot of the keys was written to the key side
  retires    when that epoch's key is destroyed

Exit codes:

  0  both sides are written, and durable
  1  no backup was taken, or an epoch whose day has come could not be retired
  2  wrong usage; nothing was done

Examples:

  medledger backup run --dir ledger
  medledger backup run --dir ledger --data /mnt/nas/data --keys /mnt/usb/keys \
      --recipients age1...
`, sidesUsage),
		RunE: func(c *cobra.Command, _ []string) error { return p.backupRun(c.Context(), at, full) },
	}
	at.flags(c)
	c.Flags().BoolVar(&full, "full", false, "write everything")
	return c
}

func (p *program) backupRun(ctx context.Context, at sides, full bool) error {
	r, err := control.Backup(ctx, at.dir, at.plan, full)
	if errors.Is(err, control.ErrNoServer) {
		err = p.withLedger(ctx, at.place, func(l *ledger.Ledger) (err error) {
			r, err = l.Backup(ctx, at.plan, full)
			return err
		})
	}
	if err != nil {
		return err
	}
	return p.printf("increment  %d\n"+
		"chain      %d\n"+
		"from       %d\n"+
		"size       %d\n"+
		"bytes      %d\n"+
		"epoch      %d\n"+
		"retires    %s\n",
		r.Increment, r.Base, r.From, r.Size, r.Bytes, r.Epoch, r.Retires.Format(time.RFC3339))
}

func (p *program) newBackupStatus() *cobra.Command {
	var at sides
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "say what could be restored, and what that could bring back",
		Long: fmt.Sprintf(`
Says what the newest backup is, and of every epoch until when it could bring
back what: how many records were destroyed since its first snapshot (revivable),
and when its key is destroyed. All snapshots of an epoch are under one key, so
a copy that somebody made of the first one counts as well. With custody in a
folder a copy of a key side has that key too, for the paper: with such a copy
and the paper they could be brought back after that day as well.

An epoch that was found is a key in custody that nothing else is known of: the
ledger was restored without it, from another key side, or a crash left it. It is
destroyed on its day like the others.

Usage:

  medledger backup status --dir D [FLAGS]

Flags:
%s
  --json             print it as JSON

It prints:

  last backup  when the last one was begun that succeeded, and how many of the
               log's events it has
  data side    which increments a restore would read, how many events they have
               and how long they are; "not there" if the folder is not, or no
               flag and no configuration names it
  destroyed    how many destructions there were so far
  epoch N      each epoch that something is left of:
    made       when its key was made
    found      instead: only its key was found, in custody; a key side that is
               not known here may need it
    snapshot   when its newest snapshot was taken, and the generation of the
               root key in it
    retires    when its key is destroyed; "due" if that day has come
    revivable  how many records, destroyed since its first snapshot, it could
               bring back until then; at most, if its snapshots are not known
    retired    its key is destroyed here; the media that are named were not
               seen since, and have what is left of it

Exit codes:

  0  all is as it should be
  1  overdue: no backup for twice as long as backup-every says, or an epoch is
     due; or it could not be found out. Standard error says which. A server
     retires epochs within a minute, also if it takes no backups
  2  wrong usage

Example:

  medledger backup status --dir ledger
`, sidesUsage),
		RunE: func(c *cobra.Command, _ []string) error { return p.backupStatus(c.Context(), at, asJSON) },
	}
	at.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return c
}

func (p *program) backupStatus(ctx context.Context, at sides, asJSON bool) error {
	s, err := control.BackupStatus(ctx, at.dir, at.plan)
	if errors.Is(err, control.ErrNoServer) {
		err = p.withLedger(ctx, at.place, func(l *ledger.Ledger) (err error) {
			s, err = l.BackupStatus(ctx, at.plan)
			return err
		})
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = p.statusJSON(s)
	} else {
		err = p.statusText(s)
	}
	if err == nil && len(s.Overdue) > 0 {
		err = fmt.Errorf("overdue: %s; see to it that the server runs, and that both sides and the custody are there", strings.Join(s.Overdue, "; "))
	}
	return err
}

func (p *program) statusJSON(s *backup.Status) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return p.printf("%s\n", raw)
}

func (p *program) statusText(s *backup.Status) error {
	var out strings.Builder
	if s.Last == nil {
		fmt.Fprintf(&out, "last backup  none\n")
	} else {
		fmt.Fprintf(&out, "last backup  %s, %s ago, of %d of %d events\n", s.Last.Time.Format(time.RFC3339),
			s.Time.Sub(s.Last.Time).Round(time.Second), s.Last.Size, s.Size)
	}
	if s.Data == nil {
		fmt.Fprintf(&out, "data side    not there\n")
	} else {
		fmt.Fprintf(&out, "data side    increments %d to %d, %d events, %d bytes\n", s.Data.Base, s.Data.Newest, s.Data.Size, s.Data.Bytes)
	}
	fmt.Fprintf(&out, "destroyed    %d so far\n", s.Destroyed)
	for _, e := range s.Epochs {
		fmt.Fprintf(&out, "epoch %d\n", e.Number)
		since := "since its first snapshot"
		if e.Adopted {
			since = "at most, for its snapshots are not known"
			fmt.Fprintf(&out, "  found      %s, only its key: a key side that is not known here may need it\n", e.Made.Format(time.RFC3339))
		} else {
			fmt.Fprintf(&out, "  made       %s\n", e.Made.Format(time.RFC3339))
		}
		if e.Snapshot != nil {
			fmt.Fprintf(&out, "  snapshot   %s, generation %d\n", e.Snapshot.Time.Format(time.RFC3339), e.Snapshot.Generation)
		}
		if e.Retired {
			media := ""
			if len(e.Media) > 0 {
				media = "; still on the media " + strings.Join(e.Media, ", ")
			}
			fmt.Fprintf(&out, "  retired    here%s\n", media)
			continue
		}
		due := ""
		if e.Due {
			due = ", due: its key is still there"
		}
		fmt.Fprintf(&out, "  retires    %s%s\n", e.Retires.Format(time.RFC3339), due)
		fmt.Fprintf(&out, "  revivable  %d destroyed %s\n", e.Revivable, since)
	}
	return p.printf("%s", out.String())
}

func readIdentity(file string) ([]byte, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	return raw, nil
}
