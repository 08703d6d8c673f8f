package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/medledger/medledger/events"
)

// Destroy destroys a record's key, and with it every key and salt of its
// versions, durably, and removes its ciphertext files. It returns how many keys
// were destroyed, also if that was earlier: one for each version, and one more
// for the record's own (but not of a record that was destroyed before the vault
// was upgraded: those had none). It first closes the record: open readers fail with
// ErrDestroyed at their next Read, calls that are under way fail, and when
// Destroy returns nothing of the record can be decrypted through this process.
//
// It is idempotent: repeated, also after a crash, it completes what is missing.
// If it fails the record stays closed until it is repeated or the vault is
// opened again; ErrStopped says that the latter is needed. A record that the
// vault knows nothing of gets a tombstone with no keys.
//
// The context counts only until the destruction begins.
func (v *Vault) Destroy(ctx context.Context, record events.ID) (keys int, err error) {
	if err := v.enter(ctx); err != nil {
		return 0, err
	}
	defer v.leave()
	if record.IsZero() {
		return 0, fmt.Errorf("destroying a record without an id: %w", ErrInvalid)
	}
	name := recordName(record)
	v.shut(name)
	// A Put of this record that is under way was handed over before (and is
	// destroyed with the rest) or meets the tombstone.
	//
	// Crash before the commit: the record is as it was, and its readers' end
	// was not final. Crash after it: it is destroyed; see commit for the
	// write-ahead log, and below for the files.
	req := &request{op: opDestroy, name: name}
	if err := v.submit(req); err != nil {
		return 0, fmt.Errorf("destroying record %v: %w", record, err)
	}
	// Crash before or between the removals: ciphertext without a key, which
	// Collect or another Destroy removes.
	if err := v.removeLargeOf(record); err != nil {
		return 0, fmt.Errorf("the keys of record %v are destroyed, but not its files; destroy it again: %w", record, err)
	}
	v.active.forget(name)
	return req.keys, nil
}

// shut closes a record, or a patient's documents, and wipes what memory has of
// its keys.
func (v *Vault) shut(name keyName) {
	for _, r := range v.active.shut(name) {
		if err := r.end(ErrDestroyed); err != nil {
			v.cfg.Logger.Warn("closing a file of a destroyed record", "error", err)
		}
	}
	if name.kind == recordKey {
		v.cache.drop(name.owner)
	}
	v.named.drop(name)
}

// removeLargeOf removes every large file of a record, durably. It syncs the folder
// even if there is none: one that an earlier destruction or a failed Put removed
// may still be in the folder as the disk has it, and a crash would bring it back.
func (v *Vault) removeLargeOf(record events.ID) error {
	shard := shardDir(v.cfg.Dir, record)
	entries, err := v.cfg.FS.ReadDir(shard)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if id, _, ok := parseLargeName(e.Name()); !ok || id != record {
			continue
		}
		if err := v.removeLarge(filepath.Join(shard, e.Name())); err != nil {
			return err
		}
	}
	return v.cfg.FS.SyncDir(shard)
}

// Discard undoes the Put of a version whose event was never written. Its key is
// gone when Discard returns, durably, and with the only version of a record the
// record's key. Unlike Destroy it leaves no tombstone, and does not truncate the
// write-ahead log: where nobody was told that a version exists, nobody is told
// that no copy of its wrapped key does. Errors: ErrNotFound, ErrDestroyed,
// ErrExists if the version is being put at this moment, ErrStopped.
func (v *Vault) Discard(ctx context.Context, record events.ID, version uint32) error {
	if err := v.enter(ctx); err != nil {
		return err
	}
	defer v.leave()
	return v.discard(record, version)
}

func (v *Vault) discard(record events.ID, version uint32) error {
	if err := v.active.reserve(recordName(record), version, true); err != nil {
		return err
	}
	defer v.active.release(recordName(record), version)
	for _, r := range v.active.readersOf(recordName(record), version) {
		if err := r.end(ErrNotFound); err != nil {
			v.cfg.Logger.Warn("closing a file of a discarded version", "error", err)
		}
	}
	v.cache.drop(record)
	// Crash before the commit: the version is there, and Collect removes it.
	// Crash after it: at most its file is there, and Collect removes that.
	if err := v.submit(&request{op: opDiscard, record: record, version: version}); err != nil {
		return fmt.Errorf("discarding record %v version %d: %w", record, version, err)
	}
	if err := v.removeLarge(largePath(v.cfg.Dir, record, version)); err != nil {
		return fmt.Errorf("the key of record %v version %d is discarded, but not its file, which the next Collect removes: %w", record, version, err)
	}
	return nil
}
