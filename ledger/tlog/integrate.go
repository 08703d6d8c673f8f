package tlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	trillianlog "github.com/google/trillian/log"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/types"
	"github.com/google/trillian/util/clock"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
)

const (
	// syncEvery is after how many leaves the full tiles are synced. Opening the
	// log after a crash computes at most about twice as many leaf hashes.
	syncEvery = 1 << 16
	// catchUpBatch is how many leaves CatchUp integrates and signs at a time.
	catchUpBatch = 4096
)

// IntegrateHashes adds leaves, by their hashes (proof.LeafHash), to the tree and
// publishes a checkpoint that covers them. They must be the events that follow
// the published ones in the store, and be durable there. When it returns, the
// checkpoint is durable and published, and the leaves can be proved. The log
// keeps the slice.
//
// Its errors wrap ErrNotStored or ErrClosed, and then nothing happened; or
// ErrStopped, and then the log must be opened again, which integrates the leaves.
func (l *Log) IntegrateHashes(ctx context.Context, hashes []tlog.Hash) (*Published, error) {
	l.writer.Lock()
	defer l.writer.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	published := l.published.Load()
	if len(hashes) == 0 {
		return published, nil
	}
	have, err := l.leaves.Len(ctx)
	if err != nil {
		return nil, fmt.Errorf("counting the events: %w", err)
	}
	if want := published.Checkpoint.Size + uint64(len(hashes)); have < want {
		return nil, fmt.Errorf("integrating up to leaf %d, store has %d: %w", want, have, ErrNotStored)
	}
	return l.integrate(ctx, hashes)
}

// CatchUp integrates whatever the store has beyond the published checkpoint, and
// returns the checkpoint that covers it. Its errors are those of IntegrateHashes.
func (l *Log) CatchUp(ctx context.Context) (*Published, error) {
	l.writer.Lock()
	defer l.writer.Unlock()
	for {
		if err := l.usable(); err != nil {
			return nil, err
		}
		have, err := l.leaves.Len(ctx)
		if err != nil {
			return nil, fmt.Errorf("counting the events: %w", err)
		}
		published := l.published.Load()
		size := published.Checkpoint.Size
		if have <= size {
			return published, nil
		}
		hashes, err := l.leaves.hashes(ctx, size, int(min(have-size, catchUpBatch)))
		if err != nil {
			return nil, err
		}
		if _, err := l.integrate(ctx, hashes); err != nil {
			return nil, err
		}
	}
}

// integrate has Trillian integrate the leaves after the published ones. Trillian
// reads them from our storage, writes the tree's nodes there and stores a root,
// whose commit calls publish. The caller holds writer.
func (l *Log) integrate(ctx context.Context, hashes []tlog.Hash) (*Published, error) {
	l.tree.Stage(hashes)
	n, err := trillianlog.IntegrateBatch(ctx, l.definition, len(hashes), 0, 0, l.time, l.storage, quota.Noop())
	if err == nil && n != len(hashes) {
		err = fmt.Errorf("trillian integrated %d leaves of %d", n, len(hashes))
	}
	if err != nil {
		return nil, l.stop(fmt.Errorf("integrating %d leaves: %w", len(hashes), err))
	}
	published := l.published.Load()
	if size := published.Checkpoint.Size; size-l.requested >= syncEvery {
		select {
		case l.syncs <- size:
			l.requested = size
		default: // the last one is still waiting; ask again in the next turn
		}
	}
	return published, nil
}

// publish signs a root that Trillian made, stores it and shows it to readers. It
// is the commit of Trillian's transaction; its caller holds writer.
//
// The tiles are written by now. They must have the new root, and still have the
// last signed one at its size: nothing is signed that they do not show, nor
// anything that does not extend what was signed before.
//
// A crash before the checkpoint is stored leaves the last one; Open integrates
// the leaves again and comes to the same root. A crash after it leaves this one,
// whatever became of what is done alongside, of which nobody was told.
func (l *Log) publish(ctx context.Context, root *types.LogRootV1) error {
	next := proof.Checkpoint{Origin: l.config.Origin, Size: root.TreeSize}
	if len(root.RootHash) != len(next.Root) {
		return fmt.Errorf("root hash of %d bytes", len(root.RootHash))
	}
	copy(next.Root[:], root.RootHash)
	last := l.published.Load()
	if err := l.extends(ctx, last, next); err != nil {
		return err
	}
	signed, err := proof.SignCheckpoint(next, l.config.Signer)
	if err != nil {
		return err
	}
	wait := l.config.Alongside(ctx, next)
	err = l.signed.store(root.TimestampNanos, signed)
	if err := errors.Join(err, wait()); err != nil {
		return err
	}
	if err := l.signed.show(signed); err != nil {
		return err
	}
	if !l.published.CompareAndSwap(last, &Published{Checkpoint: next, Note: signed, Time: rootTime(root.TimestampNanos)}) {
		return errors.New("another writer published a checkpoint at the same time")
	}
	return nil
}

// extends returns a *RegressError unless the tiles lead from the last signed
// root to the next one.
func (l *Log) extends(ctx context.Context, last *Published, next proof.Checkpoint) error {
	first := last == nil // a log begins with a checkpoint of size 0
	if first {
		last = &Published{Checkpoint: proof.Checkpoint{Origin: next.Origin, Root: proof.EmptyRoot()}}
	}
	if next.Size != l.tiles.Size() || first != (next.Size == 0) || (!first && next.Size <= last.Checkpoint.Size) {
		return &RegressError{last.Note, last.Checkpoint, next}
	}
	root, err := l.tiles.Root(ctx, next.Size)
	if err != nil {
		return err
	}
	before, err := l.tiles.Root(ctx, last.Checkpoint.Size)
	if err != nil {
		return err
	}
	if root != next.Root || before != last.Checkpoint.Root {
		return &RegressError{last.Note, last.Checkpoint, next}
	}
	return nil
}

// syncTiles makes full tiles durable in the background, off the path of any
// write. Close ends it.
func (l *Log) syncTiles() {
	defer close(l.synced)
	for to := range l.syncs {
		if l.failure.Load() != nil {
			continue
		}
		if err := l.tiles.Sync(l.marked, to); err != nil {
			_ = l.stop(err) // the next write reports it
			continue
		}
		l.marked = to
	}
}

// Close syncs the tiles, so that the next Open has nothing to compute, and
// releases the log's files. It waits for running writes. It does not close
// the store. After Close, reads of tiles and proofs may still work.
func (l *Log) Close() error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.syncs)
	<-l.synced
	var err error
	if published := l.published.Load(); published != nil && l.failure.Load() == nil && l.marked != published.Checkpoint.Size {
		err = l.tiles.Sync(l.marked, published.Checkpoint.Size)
	}
	return errors.Join(err, l.tiles.Close(), l.signed.close())
}

// Err returns the error that stopped the log, which wraps ErrStopped, or nil
// while it can be written to.
func (l *Log) Err() error {
	if err := l.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// stop makes the log refuse every later write.
func (l *Log) stop(cause error) error {
	err := fmt.Errorf("%w: %w", ErrStopped, cause)
	if l.failure.CompareAndSwap(nil, &err) {
		l.config.Logger.Error("log stopped after a failed write", "dir", l.config.Dir, "error", cause)
	}
	return err
}

// usable returns why the log cannot be written to. The caller holds writer.
func (l *Log) usable() error {
	if l.closed {
		return ErrClosed
	}
	return l.Err()
}

// advancing is a clock that never shows the same time twice and never steps
// back: max(now, last+1 ns). Trillian refuses a root that is not younger than
// the one before it.
type advancing struct {
	clock func() time.Time

	mu   sync.Mutex
	last int64 // nanoseconds since 1970
}

// Now implements clock.TimeSource.
func (a *advancing) Now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = max(a.clock().UnixNano(), a.last+1)
	return time.Unix(0, a.last)
}

// NewTimer implements clock.TimeSource. Nothing that runs in this process uses
// it.
func (a *advancing) NewTimer(d time.Duration) clock.Timer { return clock.System.NewTimer(d) }
