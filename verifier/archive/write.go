package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/medledger/medledger/verifier/proof"
)

// Source is a log that can be exported. It may grow meanwhile: Write asks for
// the checkpoint once and for every tile and bundle at the width that it has
// under that checkpoint, so a source must serve those for as long as it takes.
type Source interface {
	// Checkpoint returns the current signed checkpoint.
	Checkpoint(ctx context.Context) ([]byte, error)
	// Entries returns the first width leaves of entry bundle n, in the format
	// of proof.FormatBundle.
	Entries(ctx context.Context, n uint64, width int) ([]byte, error)
	// Tile returns a hash tile, in the format of proof.FormatHashTile.
	Tile(ctx context.Context, t proof.Tile) ([]byte, error)
}

// ErrSource is wrapped by the errors of a source that served something of
// another form than a log has: the archive would not be readable.
var ErrSource = errors.New("the log to export is damaged; verify it with 'medverify audit' to learn where")

// Write exports the log at its current checkpoint, and then the state log at one that
// is at least as new. An archive has no state log if that is nil, or if its checkpoint
// does not exist (fs.ErrNotExist). Write holds one tile or bundle in memory at a time.
// It checks forms and not hashes or signatures: an auditor does that, and a log that
// is false must be exportable too.
//
// After an error what was written is not an archive, and Open refuses it.
func Write(ctx context.Context, w io.Writer, log, state Source) error {
	size, signed, err := current(ctx, log)
	if err != nil {
		return fmt.Errorf("reading the checkpoint to export: %w", err)
	}
	var states uint64
	var stateSigned []byte
	if state != nil {
		states, stateSigned, err = current(ctx, state)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading the state log's checkpoint to export: %w", err)
		}
	}
	if err := writeLog(ctx, w, log, "", size, signed); err != nil {
		return err
	}
	if stateSigned != nil {
		if err := writeLog(ctx, w, state, statePrefix, states, stateSigned); err != nil {
			return err
		}
	}
	if _, err := w.Write(make([]byte, trailer)); err != nil {
		return fmt.Errorf("writing the end of the export: %w", err)
	}
	return nil
}

// current returns a log's signed checkpoint and the size that it states.
func current(ctx context.Context, src Source) (uint64, []byte, error) {
	signed, err := src.Checkpoint(ctx)
	if err != nil {
		return 0, nil, err
	}
	if len(signed) > proof.MaxSignedCheckpoint {
		return 0, nil, fmt.Errorf("checkpoint of %d bytes: %w", len(signed), ErrSource)
	}
	c, err := proof.PeekCheckpoint(signed)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	return c.Size, signed, nil
}

// writeLog writes the members of a log.
func writeLog(ctx context.Context, w io.Writer, src Source, prefix string, size uint64, signed []byte) error {
	if err := writeMember(w, prefix+checkpointName, signed); err != nil {
		return err
	}
	for t := range members(size) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("exporting: %w", err)
		}
		name := prefix + proof.FormatPath(t)
		content, err := fetch(ctx, src, name, t)
		if err != nil {
			return err
		}
		if err := writeMember(w, name, content); err != nil {
			return err
		}
	}
	return nil
}

func fetch(ctx context.Context, src Source, name string, t proof.Tile) ([]byte, error) {
	var content []byte
	var err error
	if t.Level == proof.Entries {
		content, err = src.Entries(ctx, t.Index, t.Width)
	} else {
		content, err = src.Tile(ctx, t)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s to export it: %w", name, err)
	}
	if t.Level == proof.Entries {
		_, err = proof.ParseBundle(content, t.Width)
	} else {
		_, err = proof.ParseHashTile(content, t.Width)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrSource, err)
	}
	return content, nil
}

func writeMember(w io.Writer, name string, content []byte) error {
	h := header(name, int64(len(content)))
	b := make([]byte, block+padded(int64(len(content))))
	copy(b, h[:])
	copy(b[block:], content)
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("writing %s of the export: %w", name, err)
	}
	return nil
}
