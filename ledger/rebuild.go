package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/tlog"
)

// Rebuild makes everything that derives from the events of a ledger again: the
// store's index, the log's tiles, the state's copy. The ledger must not be open.
// It refuses if the events do not have the root that was signed last, and can be
// repeated whatever interrupts it.
//
// A log whose checkpoint was lost is never signed anew: kept, a file with a checkpoint that
// this log signed (every receipt and every export has one; verifier/kept), takes its place
// if the folder has none left. Both logs must extend what is in kept, which may be nil.
func Rebuild(ctx context.Context, config Config, kept []byte) (*tlog.Published, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	folder := config.folder()
	origin, err := folder.Origin(config.FS)
	if err != nil {
		return nil, err
	}
	keys, err := loadKeys(folder, config.FS, origin)
	if err != nil {
		return nil, err
	}
	var given keptCheckpoints
	if kept != nil {
		if given, err = findKept(kept, keys.verifier, keys.stateVerifier); err != nil {
			return nil, fmt.Errorf("the file with the checkpoint that was given %w", err)
		}
	}
	signed, err := signedSize(folder, config.FS, keys.verifier)
	if errors.Is(err, tlog.ErrNoCheckpoint) && kept != nil {
		// Crash before: a log without a checkpoint, as it was. Crash after: one that begins
		// at this checkpoint, if the events have its root.
		if err := disk.WriteFile(config.FS, filepath.Join(folder.Log(), "checkpoint"), given.log.Note, 0o644); err != nil {
			return nil, fmt.Errorf("putting a checkpoint back: %w", err)
		}
		signed, err = given.log.Checkpoint.Size, nil
	}
	if err != nil {
		return nil, err
	}
	if given.log != nil {
		signed = max(signed, given.log.Checkpoint.Size)
	}
	if err := segment.Rebuild(ctx, storeConfig(folder, config, signed)); err != nil {
		return nil, fmt.Errorf("making the event store's index again: %w", err)
	}
	l, err := open(ctx, config, origin, rebuilding, given)
	if err != nil {
		return nil, err
	}
	published := l.log.Published()
	return published, errors.Join(l.recover(ctx), l.Close())
}
