package audit

import (
	"context"
	"errors"
	"io"

	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/proof"
)

// NewExport returns the log in an export (package archive) as a source. An
// export that is cut or malformed makes a source too: its checkpoint can be
// verified all the same, and the audit then finds the defect. The error wraps
// archive.ErrNotArchive or is the reader's.
func NewExport(r io.ReaderAt, size int64) (Source, error) {
	a, err := archive.Open(r, size)
	var truncated *archive.TruncatedError
	var malformed *archive.MalformedError
	switch {
	case err == nil:
		return a, nil
	case errors.As(err, &truncated):
		f := Finding{What: ExportTruncated, Located: true, Index: truncated.Complete, Why: err.Error()}
		return broken{truncated.Checkpoint, truncated.Leaves, &DefectError{Finding: f, Err: err}}, nil
	case errors.As(err, &malformed):
		f := Finding{What: ExportMalformed, Why: err.Error()}
		return broken{malformed.Checkpoint, malformed.Leaves, &DefectError{Finding: f, Err: err}}, nil
	}
	return nil, err
}

// broken is a source of which only the checkpoint can be read, and perhaps not
// even that.
type broken struct {
	checkpoint []byte
	leaves     uint64
	defect     *DefectError
}

func (b broken) Checkpoint(context.Context) ([]byte, error) {
	if b.checkpoint == nil || b.leaves == 0 {
		return nil, b.defect
	}
	return b.checkpoint, nil
}

func (b broken) Entries(context.Context, uint64, int) ([]byte, error) { return nil, b.defect }

func (b broken) Tile(context.Context, proof.Tile) ([]byte, error) { return nil, b.defect }
