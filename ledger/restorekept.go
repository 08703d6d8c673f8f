package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/verifier/proof"
)

// check reads all of the data side, and holds its size to what is known of the log. That
// it is none of another history the audit finds.
func (b *restorer) check(ctx context.Context) error {
	if err := b.chain.Read(ctx, b.secret, backup.Contents{}); err != nil {
		return fmt.Errorf("reading the data side: %w", err)
	}
	size := b.chain.Newest.Log.To
	if b.restoration.Kept != nil {
		var err error
		if b.given, err = findKept(b.restoration.Kept, b.verifier, b.states); err != nil {
			return fmt.Errorf("the file with the checkpoint that was given %w", err)
		}
		if err := b.beyond(b.given); err != nil {
			return fmt.Errorf("the checkpoint that was given %w", err)
		}
	}
	if known := b.keySide.Snapshot().Size; known > size && !b.restoration.LoseEvents {
		return fmt.Errorf("the key side knows of %d events, the data side has %d: bring the newest data side, or give the others up with --lose-events: %w", known, size, ErrWouldFork)
	}
	if err := b.beyond(b.own); err != nil {
		if !b.restoration.LoseEvents {
			return fmt.Errorf("the newest checkpoint in the folder of the secrets (%s) %w; if there is no newer data side, give the others up with --lose-events", keptFile, err)
		}
		b.own, b.loses = keptCheckpoints{}, true
	}
	if !b.restoration.NothingNewer {
		return fmt.Errorf("the checkpoint that was given is of %d events, the backup has %d: %w", b.given.log.Checkpoint.Size, size, ErrNothingKept)
	}
	return nil
}

// beyond returns an error if a checkpoint is of more than the backup has.
func (b *restorer) beyond(k keptCheckpoints) error {
	size, leaves := b.chain.Newest.Log.To, b.chain.Newest.State.To
	if k.log != nil && k.log.Checkpoint.Size > size {
		return fmt.Errorf("is of %d events, the backup has %d: %w", k.log.Checkpoint.Size, size, ErrWouldFork)
	}
	if k.state != nil && k.state.Checkpoint.Size > leaves {
		return fmt.Errorf("is of %d leaves of the state log, the backup has %d: %w", k.state.Checkpoint.Size, leaves, ErrWouldFork)
	}
	return nil
}

// agree makes sure that both logs go on from what the key side and the folder of the
// secrets know of them, also if another checkpoint was given.
func (b *restorer) agree(ctx context.Context, l *Ledger) error {
	known, err := proof.VerifyCheckpoint(b.keySide.Checkpoint(), b.verifier)
	if err != nil {
		return fmt.Errorf("the checkpoint on the key side: %w", err)
	}
	if known.Size <= l.log.Published().Checkpoint.Size { // or it was said that events may be lost
		if err := extends(ctx, l.log, known); err != nil {
			return fmt.Errorf("the key side has a checkpoint of %d events of another history: %w: %w", known.Size, ErrWouldFork, err)
		}
	}
	if own := b.own.log; own != nil {
		if err := extends(ctx, l.log, own.Checkpoint); err != nil {
			return fmt.Errorf("the folder of the secrets has a checkpoint of %d events of another history: %w: %w", own.Checkpoint.Size, ErrWouldFork, err)
		}
	}
	if own := b.own.state; own != nil {
		if err := extends(ctx, l.StateLog(), own.Checkpoint); err != nil {
			return fmt.Errorf("the folder of the secrets has a checkpoint of %d leaves of another state log: %w: %w", own.Checkpoint.Size, ErrWouldFork, err)
		}
	}
	return nil
}

// giveUp removes the file of kept checkpoints if it knows of events that are lost.
func (b *restorer) giveUp() error {
	if !b.loses {
		return nil
	}
	if err := errors.Join(b.config.FS.Remove(b.folder.Kept()), b.config.FS.SyncDir(b.folder.Secrets)); err != nil {
		return fmt.Errorf("removing the checkpoints of events that are lost: %w", err)
	}
	return nil
}
