package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// Put makes a state's folder out of its log as somebody exported it, which the caller
// has audited. What derives from the events, Rebuild makes. A crash leaves part of a
// folder, which Put writes over.
func Put(ctx context.Context, fsys disk.FS, dir string, v note.Verifier, exported archive.Source) error {
	signed, err := exported.Checkpoint(ctx)
	if err != nil {
		return err
	}
	checkpoint, err := proof.VerifyCheckpoint(signed, v)
	if err != nil {
		return fmt.Errorf("the state log's checkpoint: %w", err)
	}
	log := filepath.Join(dir, "log")
	if err := disk.MakeDir(fsys, log, 0o755); err != nil {
		return err
	}
	f, err := fsys.OpenFile(filepath.Join(dir, "leaves"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = putLeaves(ctx, w, checkpoint.Size, exported)
	if err == nil {
		err = errors.Join(w.Flush(), f.Sync())
	}
	if err := errors.Join(err, f.Close(), fsys.SyncDir(dir)); err != nil {
		return err
	}
	return disk.WriteFile(fsys, filepath.Join(log, "checkpoint"), signed, 0o644)
}

func putLeaves(ctx context.Context, w *bufio.Writer, size uint64, exported archive.Source) error {
	for t := range proof.TilesOf(size, proof.Entries) {
		bundle, err := exported.Entries(ctx, t.Index, t.Width)
		if err != nil {
			return err
		}
		leaves, err := proof.ParseBundle(bundle, t.Width)
		if err != nil {
			return err
		}
		for _, raw := range leaves {
			leaf, err := state.ParseLeaf(raw)
			if err != nil {
				return err
			}
			if _, err := w.Write(state.AppendRecord(nil, leaf)); err != nil {
				return err
			}
		}
	}
	return nil
}
