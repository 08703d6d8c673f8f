package vault

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/medledger/medledger/events"
)

// Keep says what has an event that became durable. Both functions are asked once
// about each version and document that was put before this Open; of what was
// kept they are never asked again. They are called without locks but must not
// call the vault.
type Keep struct {
	Version  func(record events.ID, version uint32) bool
	Document func(p Place) bool
}

// Collect removes what a crash has left: the versions and documents for which
// keep says that no event became durable, large files without a key, and
// segments without a living version. It returns how many versions, documents and
// files it removed. Collect may run beside other calls and leaves alone what they are
// about; the ledger runs it once after Open. After an error it can be repeated.
func (v *Vault) Collect(ctx context.Context, keep Keep) (removed int, err error) {
	if err := v.enter(ctx); err != nil {
		return 0, err
	}
	defer v.leave()
	if keep.Version == nil || keep.Document == nil {
		return 0, fmt.Errorf("collecting without knowing what to keep: %w", ErrInvalid)
	}
	for _, part := range []func(context.Context) (int, error){
		func(ctx context.Context) (int, error) { return v.collectVersions(ctx, keep.Version) },
		func(ctx context.Context) (int, error) { return v.collectDocuments(ctx, keep.Document) },
		v.collectFiles,
		v.collectSegments,
	} {
		n, err := part(ctx)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("collecting what a crash left in the vault: %w", err)
		}
	}
	if removed > 0 {
		v.cfg.Logger.Info("vault collected what a crash had left", "removed", removed)
	}
	return removed, nil
}

// collectVersions discards versions without an event. A crash in between leaves
// the others, and the mark of how far Collect came where it was.
func (v *Vault) collectVersions(ctx context.Context, keep func(events.ID, uint32) bool) (removed int, err error) {
	return collectRows(ctx, v, v.keys.listVersions,
		func(n versionName) bool { return keep(n.record, n.version) },
		func(n versionName) error { return v.discard(n.record, n.version) })
}

// collectDocuments does the same with documents.
func (v *Vault) collectDocuments(ctx context.Context, keep func(Place) bool) (removed int, err error) {
	return collectRows(ctx, v, v.keys.listDocuments, keep, v.discardDocument)
}

func collectRows[T any](
	ctx context.Context, v *Vault, list func(context.Context, serial, serial) ([]T, serial, error),
	keep func(T) bool, discard func(T) error,
) (removed int, err error) {
	after, err := collected(ctx, v.keys.reader)
	if err != nil {
		return 0, err
	}
	for after < v.opened {
		rows, next, err := list(ctx, after, v.opened)
		if err != nil {
			return removed, err
		}
		for _, row := range rows {
			if keep(row) {
				continue
			}
			switch err := discard(row); {
			case err == nil:
				removed++
			case errors.Is(err, ErrNotFound) || errors.Is(err, ErrDestroyed) || errors.Is(err, ErrExists):
				// Somebody else is at it.
			default:
				return removed, err
			}
		}
		after = next
	}
	return removed, nil
}

// collectFiles removes large files that have no key.
func (v *Vault) collectFiles(ctx context.Context) (removed int, err error) {
	shards, err := v.cfg.FS.ReadDir(largeDir(v.cfg.Dir))
	if err != nil {
		return 0, err
	}
	for _, s := range shards {
		shard := filepath.Join(largeDir(v.cfg.Dir), s.Name())
		files, err := v.cfg.FS.ReadDir(shard)
		if err != nil {
			return removed, err
		}
		n := 0
		for _, f := range files {
			gone, err := v.collectFile(ctx, shard, f.Name())
			if err != nil {
				return removed, err
			}
			if gone {
				n++
			}
		}
		if n > 0 {
			if err := v.cfg.FS.SyncDir(shard); err != nil {
				return removed, err
			}
		}
		removed += n
	}
	return removed, nil
}

func (v *Vault) collectFile(ctx context.Context, shard, name string) (gone bool, err error) {
	record, version, ok := parseLargeName(name)
	if !ok {
		v.cfg.Logger.Warn("a file in the vault is none of its own", "shard", filepath.Base(shard))
		return false, nil
	}
	if orphan, err := v.hasNoKey(ctx, record, version); err != nil || !orphan {
		return false, err
	}
	if err := v.active.reserve(recordName(record), version, false); err != nil {
		return false, nil // it is being put, discarded or destroyed
	}
	defer v.active.release(recordName(record), version)
	// It may have been put since; now that it is reserved, it cannot be.
	if orphan, err := v.hasNoKey(ctx, record, version); err != nil || !orphan {
		return false, err
	}
	return true, v.removeLarge(filepath.Join(shard, name))
}

func (v *Vault) hasNoKey(ctx context.Context, record events.ID, version uint32) (bool, error) {
	_, err := v.keys.lookup(ctx, record, version)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDestroyed) {
		return true, nil
	}
	return false, err
}

// collectSegments removes the segments before the current one in which no
// version lives. The rows that say so go first: a crash leaves files without a
// row, which count as dead the next time.
func (v *Vault) collectSegments(context.Context) (removed int, err error) {
	req := &request{op: opSweep, upTo: v.opened}
	if err := v.submit(req); err != nil {
		return 0, err
	}
	numbers, err := v.segments.list()
	if err != nil {
		return 0, err
	}
	for _, n := range numbers {
		if n >= req.current || req.live[n] {
			continue
		}
		if err := v.segments.remove(n); err != nil {
			return removed, err
		}
		removed++
	}
	if removed == 0 {
		return 0, nil
	}
	return removed, v.cfg.FS.SyncDir(v.segments.dir)
}
