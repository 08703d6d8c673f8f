package state

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/state"
)

// Putter makes a state's folder out of the leaves of its log, as they were backed up.
// What derives from the events, Rebuild makes. A crash leaves part of a folder, which
// another Putter writes over.
type Putter struct {
	fsys disk.FS
	dir  string
	file disk.File
	w    *bufio.Writer
}

// NewPutter begins in a folder, made if missing.
func NewPutter(fsys disk.FS, dir string) (*Putter, error) {
	if err := disk.MakeDir(fsys, filepath.Join(dir, "log"), 0o755); err != nil {
		return nil, err
	}
	f, err := fsys.OpenFile(filepath.Join(dir, "leaves"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	return &Putter{fsys, dir, f, bufio.NewWriterSize(f, 1<<20)}, nil
}

// Add adds the next leaf.
func (p *Putter) Add(raw []byte) error {
	leaf, err := state.ParseLeaf(raw)
	if err != nil {
		return err
	}
	_, err = p.w.Write(state.AppendRecord(nil, leaf))
	return err
}

// Finish makes the leaves durable and then writes their signed checkpoint.
func (p *Putter) Finish(signed []byte) error {
	if err := errors.Join(p.w.Flush(), p.file.Sync(), p.Close(), p.fsys.SyncDir(p.dir)); err != nil {
		return err
	}
	return disk.WriteFile(p.fsys, filepath.Join(p.dir, "log", "checkpoint"), signed, 0o644)
}

// Close releases what is open. Closing it again does nothing.
func (p *Putter) Close() error {
	if p.file == nil {
		return nil
	}
	err := p.file.Close()
	p.file = nil
	return err
}

// RebuildLog makes the tiles of the state log that a Putter has put back. It refuses
// leaves that do not have the root of the checkpoint.
func RebuildLog(ctx context.Context, c Config) error {
	s := &State{config: c}
	return errors.Join(s.openLog(ctx, true), s.Close(context.WithoutCancel(ctx)))
}
