package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// State returns the folder's state log as a source: state/log/checkpoint,
// state/log/tile/… and the leaves in state/leaves.
func (d *Dir) State() Source { return dirState{d} }

// dirState is the state log of a data folder.
type dirState struct{ dir *Dir }

const leavesFile = "state/leaves"

// Checkpoint reads state/log/checkpoint. A leaf is in the file before a checkpoint
// promises it.
func (s dirState) Checkpoint(context.Context) ([]byte, error) {
	signed, err := s.dir.readSteady("state/log/checkpoint")
	if err != nil {
		return nil, fmt.Errorf("reading the state log's checkpoint of the data folder: %w", err)
	}
	return signed, nil
}

// Entries makes an entry bundle of the file of leaves.
func (s dirState) Entries(_ context.Context, n uint64, width int) (_ []byte, err error) {
	first := n * proof.TileWidth
	f, err := s.dir.fsys.Open(leavesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, leafLost(first)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, ok := f.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("%s can only be read from its beginning", leavesFile)
	}
	records := make([]byte, width*state.RecordSize)
	if _, err := r.ReadAt(records, int64(first)*state.RecordSize); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	leaves := make([][]byte, width)
	for i := range leaves {
		// What a crash, an enlarging or the end of the file leaves behind the last
		// record is no record, but a checkpoint promises none of that either.
		leaf, ok := state.ParseRecord(records[i*state.RecordSize : (i+1)*state.RecordSize])
		if !ok {
			return nil, leafLost(first + uint64(i))
		}
		leaves[i] = leaf.Marshal()
	}
	return proof.FormatBundle(leaves)
}

func leafLost(index uint64) error {
	return &DefectError{Finding: Finding{
		What: StateLeavesMissing, Located: true, Index: index,
		Why: fmt.Sprintf("%s has no record of leaf %d, or it is damaged; the checkpoint of the state log promises it", leavesFile, index),
	}}
}

// Tile reads a hash tile.
func (s dirState) Tile(_ context.Context, t proof.Tile) ([]byte, error) {
	return s.dir.readTile("state/log", t)
}
