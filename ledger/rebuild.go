package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// Rebuild makes everything that derives from the events of a ledger again: the
// store's index, the log's tiles, the state's copy. The ledger must not be open.
// It refuses if the events do not have the root that was signed last, and can be
// repeated whatever interrupts it.
//
// A log whose checkpoint was lost is never signed anew: kept, a checkpoint that
// this log signed (every receipt and every export has one), takes its place if
// the folder has none left. It is otherwise ignored, and may be nil.
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
	signed, err := signedSize(folder, config.FS, keys.verifier)
	if errors.Is(err, tlog.ErrNoCheckpoint) && kept != nil {
		if err := putBack(folder, config.FS, keys, kept); err != nil {
			return nil, err
		}
		signed, err = signedSize(folder, config.FS, keys.verifier)
	}
	if err != nil {
		return nil, err
	}
	if err := segment.Rebuild(ctx, storeConfig(folder, config, signed)); err != nil {
		return nil, fmt.Errorf("making the event store's index again: %w", err)
	}
	l, err := open(ctx, config, origin, rebuilding)
	if err != nil {
		return nil, err
	}
	published := l.log.Published()
	return published, errors.Join(l.recover(ctx), l.Close())
}

// putBack makes a kept checkpoint the log's last one.
func putBack(f Folder, fsys disk.FS, k *keys, kept []byte) error {
	if _, err := proof.VerifyCheckpoint(kept, k.verifier); err != nil {
		return fmt.Errorf("the checkpoint that was given is not this log's: %w", err)
	}
	if err := disk.WriteFile(fsys, filepath.Join(f.Log(), "checkpoint"), kept, 0o644); err != nil {
		return fmt.Errorf("putting a checkpoint back: %w", err)
	}
	return nil
}
