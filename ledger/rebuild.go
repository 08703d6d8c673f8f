package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/projections/lives"
)

// Rebuild makes everything that derives from the events of a ledger again: the
// store's index, the log's tiles, the state's copy. The ledger must not be open.
// It refuses if the events do not have the root that was signed last, and can be
// repeated whatever interrupts it.
func Rebuild(ctx context.Context, config Config) (*tlog.Published, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	folder := Folder(config.Dir)
	origin, err := folder.Origin(config.FS)
	if err != nil {
		return nil, err
	}
	keys, err := loadKeys(folder, config.FS, origin)
	if err != nil {
		return nil, err
	}
	published, err := rebuildLog(ctx, folder, config, keys)
	if err != nil {
		return nil, err
	}
	l, err := Open(ctx, config) // replays every event into a new copy
	if err != nil {
		return nil, err
	}
	return published, l.Close()
}

func rebuildLog(ctx context.Context, f Folder, c Config, k *keys) (_ *tlog.Published, err error) {
	signed, err := signedSize(f, c.FS, k.verifier)
	if err != nil && !errors.Is(err, tlog.ErrNoCheckpoint) { // without one, tlog.Rebuild signs anew and says so
		return nil, err
	}
	if err := segment.Rebuild(ctx, storeConfig(f, c, signed)); err != nil {
		return nil, fmt.Errorf("making the event store's index again: %w", err)
	}
	s, err := segment.Open(ctx, storeConfig(f, c, signed))
	if err != nil {
		return nil, fmt.Errorf("opening the event store: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := lives.Remove(f.Lives()); err != nil {
		return nil, err
	}
	published, err := tlog.Rebuild(ctx, logConfig(f, c, k, s))
	if err != nil {
		return nil, fmt.Errorf("making the log's tiles again: %w", err)
	}
	return published, nil
}
