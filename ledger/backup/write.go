package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// incrementWriter writes one increment.
type incrementWriter struct {
	c      *Config
	src    Source
	since  json.RawMessage // the vault's position; nil: everything
	header Header

	checkpoint []byte
	vault      json.RawMessage
}

// leavesAtOnce is how many entries of a log are read at a time.
const leavesAtOnce = 256

// write writes the log before the vault: contents come before their events, so a vault
// that is read later has all that the log speaks of, unless it was destroyed since. The
// state log speaks of the log, so its size is taken before the log's.
func (w *incrementWriter) write(ctx context.Context, to io.Writer) error {
	var stateCheckpoint []byte
	var err error
	if state := w.src.StateLog(); state != nil {
		if stateCheckpoint, w.header.State.To, err = w.size(ctx, state, w.header.State.From); err != nil {
			return fmt.Errorf("reading the state log: %w", err)
		}
	}
	if w.checkpoint, w.header.Log.To, err = w.size(ctx, w.src.Log(), w.header.Log.From); err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	f, err := newFrameWriter(to, w.c.Secret, &w.header)
	if err != nil {
		return err
	}
	if err := writeLeaves(ctx, f, kindLeaf, w.src.Log(), w.header.Log); err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	if err := f.frame(kindCheckpoint, w.checkpoint); err != nil {
		return err
	}
	if stateCheckpoint != nil {
		if err := writeLeaves(ctx, f, kindStateLeaf, w.src.StateLog(), w.header.State); err != nil {
			return fmt.Errorf("reading the state log: %w", err)
		}
		if err := f.frame(kindStateCheckpoint, stateCheckpoint); err != nil {
			return err
		}
	}
	if w.vault, err = w.src.Vault(ctx, w.since, f.stream(kindVault)); err != nil {
		return fmt.Errorf("reading the vault: %w", err)
	}
	return f.end()
}

// size is a log's newest checkpoint, and how many entries it covers: not fewer than
// the increment before had.
func (w *incrementWriter) size(ctx context.Context, l Log, from uint64) ([]byte, uint64, error) {
	signed, size, err := l.Checkpoint(ctx)
	if err == nil && size < from {
		err = fmt.Errorf("it has %d entries, the increment before has %d: is this an older copy of the ledger?", size, from)
	}
	return signed, size, err
}

func writeLeaves(ctx context.Context, f *frameWriter, k kind, l Log, s Span) error {
	for at := s.From; at < s.To; {
		leaves, err := l.Leaves(ctx, at, int(min(leavesAtOnce, s.To-at)))
		if err != nil {
			return err
		}
		for _, leaf := range leaves {
			if err := f.frame(k, leaf); err != nil {
				return err
			}
		}
		at += uint64(len(leaves))
		if len(leaves) == 0 {
			return fmt.Errorf("entry %d is missing", at)
		}
	}
	return nil
}
