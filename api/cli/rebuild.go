package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/projections/lives"
)

func (p *program) newRebuild() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "rebuild", Short: "make derived data again from the events",
		Long: `
Drops what is derived from the events and makes it again: the event store's
index, the hash tiles and the projections. The events themselves, the keys and
the contents are not touched. Prints the size and the root of the log.

Usage:

  medledger rebuild --dir D

Flags:

  --dir D   the ledger's data folder; no server may be running on it

If the events do not have the root that was signed last, it refuses and prints
the evidence: then events were altered or lost, and only a backup of them helps.

Example:

  medledger rebuild --dir ledger
`,
		RunE: func(c *cobra.Command, _ []string) error { return p.rebuild(c.Context(), dir) },
	}
	dirFlag(c, &dir)
	return c
}

func (p *program) rebuild(ctx context.Context, dir string) error {
	logger := p.logger(slog.LevelWarn)
	if err := rebuildDerived(ctx, ledger.Folder(dir), logger); err != nil {
		return err
	}
	// Opening it replays the events into a new projection.
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir, Logger: logger})
	if err != nil {
		return err
	}
	last := l.Log().Published().Checkpoint
	if err := l.Close(); err != nil {
		return err
	}
	return p.printf("size  %d\nroot  %v\n", last.Size, last.Root)
}

// rebuildDerived makes the event store's index and the log's tiles again and
// drops the projection. A crash at any moment leaves a folder that the next
// start, or another rebuild, puts right: nothing is removed that cannot be made
// of the events.
func rebuildDerived(ctx context.Context, folder ledger.Folder, logger *slog.Logger) (err error) {
	origin, err := folder.Origin(disk.OS{})
	if err != nil {
		return err
	}
	signer, verifier, err := logKeys(folder)
	if err != nil {
		return err
	}
	config := segment.Config{Dir: folder.Store(), Logger: logger}
	switch last, err := tlog.LastSigned(disk.OS{}, folder.Log(), verifier); {
	case errors.Is(err, tlog.ErrNoCheckpoint): // tlog.Rebuild signs a new one
	case err != nil:
		return fmt.Errorf("reading the last checkpoint: %w", err)
	case last != nil:
		config.KeepRecords = last.Checkpoint.Size
	}
	if err := segment.Rebuild(ctx, config); err != nil {
		return fmt.Errorf("rebuilding the event store's index: %w", err)
	}
	store, err := segment.Open(ctx, config) // its lock keeps other processes out
	if err != nil {
		return fmt.Errorf("opening the event store: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := lives.Remove(filepath.Join(string(folder), "lives.sqlite")); err != nil {
		return err
	}
	_, err = tlog.Rebuild(ctx, tlog.Config{
		Dir: folder.Log(), FS: disk.OS{}, Store: store, Origin: origin,
		Signer: signer, Verifier: verifier, Clock: time.Now, Logger: logger,
	})
	if err != nil {
		return fmt.Errorf("rebuilding the log: %w", err)
	}
	return nil
}

// logKeys reads the keys of the log's checkpoints.
func logKeys(folder ledger.Folder) (note.Signer, note.Verifier, error) {
	private, err := os.ReadFile(filepath.Join(string(folder), "keys", "log.key"))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the log's key: %w", err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(private)))
	if err != nil {
		return nil, nil, fmt.Errorf("the log's key is damaged; restore it from a backup: %w", err)
	}
	public, err := os.ReadFile(folder.VerifierKey())
	if err != nil {
		return nil, nil, fmt.Errorf("reading the log's verifier key: %w", err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(public)))
	if err != nil {
		return nil, nil, fmt.Errorf("%s is damaged; restore it from a backup: %w", folder.VerifierKey(), err)
	}
	return signer, verifier, nil
}
