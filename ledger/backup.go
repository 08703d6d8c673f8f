package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/proof"
)

// A backup is a folder:
//
//	backup.json  what it is of; written last, so it marks a whole backup
//	log.export   the log up to a checkpoint (verifier/archive): an auditor
//	             verifies it with medverify audit --export
//	vault/       the vault's backup (vault.Backup), of that moment or later
//	vault.keys   its key tree (vault.BackupKeys), of the moment after that
//
// It holds none of the secrets: they lie in a folder of their own, are few and
// small, change only when a key is replaced, and are kept apart from it. With that
// of the epoch, and nothing else, the keys in a backup open.
const (
	manifestFile = "backup.json"
	exportFile   = "log.export"
	vaultFolder  = "vault"

	vaultKeysFile = "vault.keys"

	// backupEpoch is the name of the key that the keys in a backup are sealed with.
	backupEpoch = "epoch-1"
	// In backups of format 1 keys lay with the contents, under the vault's root key.
	backupFormat = 2
)

// Manifest says what a backup is of.
type Manifest struct {
	Format int       `json:"format"`
	Origin string    `json:"origin"`
	Key    string    `json:"key"`  // the log's verifier key
	Size   uint64    `json:"size"` // events
	Root   string    `json:"root"` // of the log's tree, in base64
	Time   time.Time `json:"time"` // when it was begun
}

// Backup writes a backup into a folder, which may hold an earlier one of the same
// ledger: what has not changed is not written again. The ledger goes on meanwhile.
// A crash leaves the earlier backup, perhaps with a newer vault, which is no harm:
// what its log does not know is removed when it is restored.
func (l *Ledger) Backup(ctx context.Context, dst string) (*Manifest, error) {
	if err := l.refuseFolder(dst); err != nil {
		return nil, err
	}
	earlier, err := readManifest(dst)
	if err != nil && !errors.Is(err, ErrNoBackup) {
		return nil, err
	}
	key, err := disk.ReadFile(l.config.FS, l.folder.VerifierKey())
	if err != nil {
		return nil, fmt.Errorf("reading the log's verifier key: %w", err)
	}
	vkey := strings.TrimSpace(string(key))
	if earlier != nil && earlier.Key != vkey {
		return nil, fmt.Errorf("%s is a backup of another ledger, %s; choose another folder", dst, earlier.Origin)
	}
	if earlier == nil {
		if err := refuseNonEmpty(dst); err != nil {
			return nil, err
		}
	}
	if err := disk.MakeDir(disk.OS{}, dst, 0o700); err != nil {
		return nil, fmt.Errorf("making the backup's folder: %w", err)
	}
	begun := l.config.Clock().UTC().Truncate(time.Second)
	// The log first: contents come before their events, so a vault that is copied
	// later has all that the log speaks of, unless it was destroyed since.
	export := filepath.Join(dst, exportFile)
	checkpoint, err := l.exportTo(ctx, export+".tmp")
	if err != nil {
		return nil, fmt.Errorf("backing up the log: %w", err)
	}
	if err := l.vault.Backup(ctx, filepath.Join(dst, vaultFolder)); err != nil {
		return nil, fmt.Errorf("backing up the vault: %w", err)
	}
	if err := l.backupKeys(ctx, filepath.Join(dst, vaultKeysFile)); err != nil {
		return nil, fmt.Errorf("backing up the vault's keys: %w", err)
	}
	if err := (disk.OS{}).Rename(export+".tmp", export); err != nil {
		return nil, fmt.Errorf("backing up the log: %w", err)
	}
	m := &Manifest{Format: backupFormat, Origin: l.origin, Key: vkey, Size: checkpoint.Size, Root: checkpoint.Root.String(), Time: begun}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	return m, disk.WriteFile(disk.OS{}, filepath.Join(dst, manifestFile), append(raw, '\n'), 0o600)
}

// backupKeys writes the vault's key tree into a file. A crash leaves the former one,
// and perhaps a temporary file, which the next backup overwrites.
func (l *Ledger) backupKeys(ctx context.Context, name string) (err error) {
	if err := l.makeEpoch(ctx); err != nil {
		return err
	}
	f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = l.vault.BackupKeys(ctx, &pacedFile{File: f}, backupEpoch)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	return disk.OS{}.SyncDir(filepath.Dir(name))
}

// makeEpoch makes the key of the backups' epoch, if it is missing.
func (l *Ledger) makeEpoch(ctx context.Context) error {
	if err := l.custody.Create(ctx, backupEpoch); err != nil && !errors.Is(err, custody.ErrExists) {
		return fmt.Errorf("making the key of backups: %w", err)
	}
	return nil
}

// refuseFolder refuses to back up into the ledger's own folders: a backup shares no
// fate with the data, and no folder with the secrets. And it refuses a folder of a
// backup in which somebody has put links: what they point at would be overwritten,
// or removed as what the vault has no longer.
func (l *Ledger) refuseFolder(dst string) error {
	for _, own := range []string{l.folder.Data, l.folder.Custody} {
		if inside(resolved(own), resolved(dst)) {
			return fmt.Errorf("%s lies in %s, which is the ledger's own; choose a folder elsewhere, best on another disk", dst, own)
		}
	}
	err := filepath.WalkDir(resolved(dst), func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !e.Type().IsRegular() {
			err = fmt.Errorf("%s is no file that a backup has; choose another folder", name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking into the backup's folder: %w", err)
	}
	return nil
}

// resolved is where a path leads once its links are followed, as far as it exists.
func resolved(path string) string {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(absolute); err == nil {
		return real
	}
	parent := filepath.Dir(absolute)
	if parent == absolute {
		return absolute
	}
	return filepath.Join(resolved(parent), filepath.Base(absolute))
}

// exportTo writes the log into a file, durably, and returns the checkpoint that it
// is exported at.
func (l *Ledger) exportTo(ctx context.Context, name string) (c proof.Checkpoint, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(&pacedFile{File: f}, 128<<10)
	log, states := l.pinned()
	if err := archive.Write(ctx, w, log, states); err != nil {
		return c, err
	}
	if err := errors.Join(w.Flush(), f.Sync()); err != nil {
		return c, err
	}
	_, signed, err := openExport(f)
	if err != nil {
		return c, err
	}
	return proof.VerifyCheckpoint(signed, l.keys.verifier)
}

// pinned is a log as it was at one of its checkpoints.
type pinned struct {
	*tlog.Log
	at *tlog.Published
}

// Checkpoint implements archive.Source.
func (p pinned) Checkpoint(context.Context) ([]byte, error) { return p.at.Note, nil }

// pinned returns the log and the state log as they are at one moment.
func (l *Ledger) pinned() (log, states pinned) {
	l.standing.Between(func() {
		log = pinned{l.log, l.log.Published()}
		states = pinned{l.standing.Log(), l.standing.Log().Published()}
	})
	return log, states
}

// pacedFile is a file that is written in the background: reading and checking what
// is written to it takes half a core at most, and it is synced before much has come
// together, for everybody else's syncs wait for one that takes long.
type pacedFile struct {
	*os.File
	pace     disk.Pace
	unsynced int
}

// syncEvery is how many bytes are written in the background between two syncs.
const syncEvery = 8 << 20

// Write implements io.Writer.
func (f *pacedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if f.unsynced += n; err == nil && f.unsynced >= syncEvery {
		f.unsynced = 0
		err = f.Sync()
	}
	f.pace.Rest()
	return n, err
}

func openExport(f *os.File) (*archive.Archive, []byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	a, err := archive.Open(f, info.Size())
	if err != nil {
		return nil, nil, err
	}
	signed, err := a.Checkpoint(context.Background())
	return a, signed, err
}

func refuseNonEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking into %s: %w", dir, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s holds something else; choose an empty folder", dir)
	}
	return nil
}

func readManifest(dir string) (*Manifest, error) {
	raw, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoBackup)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what the backup is of: %w", err)
	}
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("%s is damaged; take another backup: %w", filepath.Join(dir, manifestFile), err)
	}
	if m.Format != backupFormat {
		return nil, fmt.Errorf("%s has format %d, this program knows %d; use the medledger that wrote it: %w", dir, m.Format, backupFormat, ErrNewerFormat)
	}
	return &m, events.CheckOrigin(m.Origin)
}
