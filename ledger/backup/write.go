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

// write writes the logs before the vault: contents come before their events, so a vault
// that is read later has all that the log speaks of, unless it was destroyed since.
func (w *incrementWriter) write(ctx context.Context, to io.Writer) error {
	log, state := w.src.Logs()
	var stateCheckpoint []byte
	w.checkpoint, w.header.Log.To = log.Newest()
	stateCheckpoint, w.header.State.To = state.Newest()
	for _, s := range []Span{w.header.Log, w.header.State} {
		if s.To < s.From {
			return fmt.Errorf("the log has %d entries, the increment before has %d: is this an older copy of the ledger?", s.To, s.From)
		}
	}
	f, err := newFrameWriter(to, w.c.Secret, &w.header)
	if err != nil {
		return err
	}
	if err := writeLeaves(ctx, f, kindLeaf, log, w.header.Log); err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	if err := f.frame(kindCheckpoint, w.checkpoint); err != nil {
		return err
	}
	if err := writeLeaves(ctx, f, kindStateLeaf, state, w.header.State); err != nil {
		return fmt.Errorf("reading the state log: %w", err)
	}
	if err := f.frame(kindStateCheckpoint, stateCheckpoint); err != nil {
		return err
	}
	if w.vault, err = w.src.Vault(ctx, w.since, f.stream(kindVault)); err != nil {
		return fmt.Errorf("reading the vault: %w", err)
	}
	return f.end()
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
