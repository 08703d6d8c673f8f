package audit

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/proof"
)

// Export is the log in an export (package archive) as a source.
type Export struct {
	Source
	state Source
}

// State returns the export's state log as a source.
func (e *Export) State() Source { return e.state }

// NewExport opens an export. One that is cut or malformed makes a source too: its
// checkpoint can be verified all the same, and the audit then finds the defect. The
// error wraps archive.ErrNotArchive or is the reader's.
func NewExport(r io.ReaderAt, size int64) (*Export, error) {
	a, err := archive.Open(r, size)
	var truncated *archive.TruncatedError
	var malformed *archive.MalformedError
	switch {
	case err == nil:
		e := &Export{a, absent{}}
		if state := a.State(); state != nil {
			e.state = state
		}
		return e, nil
	case errors.As(err, &truncated):
		f := Finding{What: ExportTruncated, Located: true, Index: truncated.Complete, Why: err.Error()}
		return &Export{broken{truncated.Checkpoint, truncated.Leaves, &DefectError{Finding: f, Err: err}}, absent{}}, nil
	case errors.As(err, &malformed):
		f := Finding{What: ExportMalformed, Why: err.Error()}
		return &Export{broken{malformed.Checkpoint, malformed.Leaves, &DefectError{Finding: f, Err: err}}, absent{}}, nil
	}
	return nil, err
}

// absent is a log that is not there.
type absent struct{}

func (absent) Checkpoint(context.Context) ([]byte, error) { return nil, fs.ErrNotExist }

func (absent) Entries(context.Context, uint64, int) ([]byte, error) { return nil, fs.ErrNotExist }

func (absent) Tile(context.Context, proof.Tile) ([]byte, error) { return nil, fs.ErrNotExist }

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
