package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/state"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/statement"
)

// putBack puts the events and the log's tiles back, and unpacks the vault's part.
func (b *restorer) putBack(ctx context.Context, unpacked string) (err error) {
	s, err := segment.Open(ctx, storeConfig(b.folder, b.config, 0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	u, err := vault.NewUnpacker(ctx, b.config.FS, unpacked)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.Close()) }()
	states, err := state.NewPutter(b.config.FS, b.folder.State())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, states.Close()) }()
	in := inserter{ctx: ctx, store: s}
	var checkpoint, stateCheckpoint []byte
	err = b.chain.Read(ctx, b.secret, backup.Contents{
		Leaf:            in.add,
		StateLeaf:       states.Add,
		Checkpoint:      func(signed []byte) error { checkpoint = bytes.Clone(signed); return nil },
		StateCheckpoint: func(signed []byte) error { stateCheckpoint = bytes.Clone(signed); return nil },
		Vault:           u.Add,
	})
	if err = errors.Join(err, in.flush()); err != nil {
		return fmt.Errorf("putting the events back: %w", err)
	}
	if err := u.Finish(); err != nil {
		return err
	}
	b.lastSlot, b.lost = u.LastSlot(), u.Lost()
	if err := disk.WriteFile(b.config.FS, filepath.Join(b.folder.Log(), "checkpoint"), checkpoint, 0o644); err != nil {
		return fmt.Errorf("putting the checkpoint back: %w", err)
	}
	if err := states.Finish(stateCheckpoint); err != nil {
		return fmt.Errorf("putting the state log back: %w", err)
	}
	k, err := loadKeys(b.folder, b.config.FS, b.verifier.Name())
	if err != nil {
		return err
	}
	if _, err := tlog.Rebuild(ctx, logConfig(b.folder, b.config, k, s)); err != nil {
		return fmt.Errorf("making the log's tiles again: %w", err)
	}
	err = state.RebuildLog(ctx, state.Config{
		Dir: b.folder.State(), Signer: k.state, Verifier: k.stateVerifier, FS: b.config.FS, Clock: b.config.Clock, Logger: b.config.Logger,
	})
	if err != nil {
		return fmt.Errorf("making the state log's tiles again: %w", err)
	}
	return nil
}

// inserter appends statements to an event store, many at a time.
type inserter struct {
	ctx   context.Context // of the one restoration that it lives in
	store *segment.Store
	batch []store.Append
}

// insertAtOnce is how many statements one durable write takes.
const insertAtOnce = 256

func (i *inserter) add(leaf []byte) error {
	parsed, err := statement.Parse(leaf)
	if err != nil {
		return err
	}
	i.batch = append(i.batch, store.Append{
		Stream: parsed.Event.Stream(), Expected: store.Any,
		Events: []store.Event{{ID: parsed.Event.ID, Statement: bytes.Clone(leaf)}},
	})
	if len(i.batch) < insertAtOnce {
		return nil
	}
	return i.flush()
}

func (i *inserter) flush() error {
	if len(i.batch) == 0 {
		return nil
	}
	_, err := i.store.AppendBatch(i.ctx, i.batch)
	i.batch = nil
	return err
}
