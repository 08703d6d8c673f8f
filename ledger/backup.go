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

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/statement"
)

// A backup is a folder:
//
//	backup.json  what it is of; written last, so it marks a whole backup
//	log.export   the log up to a checkpoint (verifier/archive): an auditor
//	             verifies it with medverify log --export
//	vault/       the vault's backup (vault.Backup), of that moment or later
//
// It holds none of the secrets: they lie in the folder of the custody, are few and
// small, change only when a key is replaced, and are kept apart from it.
const (
	manifestFile = "backup.json"
	exportFile   = "log.export"
	vaultFolder  = "vault"

	backupFormat = 1
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
	w := bufio.NewWriterSize(f, 1<<20)
	if err := archive.Write(ctx, w, l.log); err != nil {
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

// Restoration says how a backup is restored.
type Restoration struct {
	// Kept is the newest checkpoint of the log that anybody has, or nil.
	Kept []byte
	// NothingNewer is the operator's word that nobody has a checkpoint, a receipt
	// or anything else of the log that is newer than the backup. It is needed if
	// Kept is nil: a log that went on after the backup must not go on again from
	// there.
	NothingNewer bool
}

// Restore makes a ledger of a backup, in a folder that is empty or absent, with the
// secrets in the folder of the custody. It audits the backup's log before anything
// else. The ledger goes on with the same log: its next event says that it was
// restored. It refuses if that would fork the log: if Kept is newer than the
// backup, or none of its history (ErrWouldFork).
func Restore(ctx context.Context, config Config, src string, r Restoration) (*Manifest, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	m, err := readManifest(src)
	if err != nil {
		return nil, err
	}
	if r.Kept == nil && !r.NothingNewer {
		return nil, ErrNothingKept
	}
	made, err := beginRestoration(config.FS, config.Dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(src, exportFile))
	if err != nil {
		return nil, fmt.Errorf("reading the backup's log: %w", err)
	}
	defer f.Close()
	exported, signed, err := openExport(f)
	if err != nil {
		return nil, fmt.Errorf("reading the backup's log: %w", err)
	}
	unfinished := config
	unfinished.Dir = made.made
	vkey, verifier, err := verifierOf(config.folder(), config.FS)
	if err != nil {
		return nil, err
	}
	if vkey != m.Key || verifier.Name() != m.Origin {
		return nil, fmt.Errorf("the secrets are those of %q, the backup is of another ledger, %q: %w", verifier.Name(), m.Origin, ErrOtherOrigin)
	}
	if err := auditBackup(ctx, exported, verifier, r.Kept); err != nil {
		return nil, err
	}
	if err := restoreInto(ctx, unfinished, m, src, exported, parts{signed, vkey}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(unfinished.Dir))
	}
	if err := made.finish(); err != nil {
		return nil, err
	}
	return m, nil
}

// auditBackup verifies all of a backup's log, and that it extends the kept
// checkpoint.
func auditBackup(ctx context.Context, exported *archive.Archive, verifier note.Verifier, kept []byte) error {
	report, err := audit.Log(ctx, exported, audit.Options{Verifier: verifier, Kept: kept})
	if err != nil {
		return fmt.Errorf("verifying the backup's log: %w", err)
	}
	for _, forks := range []audit.Code{audit.KeptLarger, audit.KeptFork, audit.KeptMismatch} {
		if report.Counts[forks] > 0 {
			return fmt.Errorf("the checkpoint that was given is of %d events, the backup has %d: %w",
				report.Kept.Size, report.Checkpoint.Size, ErrWouldFork)
		}
	}
	if !report.OK() {
		return fmt.Errorf("the backup's log is damaged; take another backup: %v", report.Findings[0])
	}
	return nil
}

// parts are the small files of a data folder.
type parts struct {
	checkpoint []byte
	vkey       string
}

// restoreInto makes the parts of a ledger, and its first event after the backup.
func restoreInto(ctx context.Context, config Config, m *Manifest, src string, exported *archive.Archive, p parts) (err error) {
	f := config.folder()
	for _, dir := range []string{f.Data, f.Store(), f.Log()} {
		if err := disk.MakeDir(config.FS, dir, 0o700); err != nil {
			return fmt.Errorf("making the data folder: %w", err)
		}
	}
	if err := putEvents(ctx, config, exported); err != nil {
		return fmt.Errorf("putting the events back: %w", err)
	}
	if err := disk.WriteFile(config.FS, filepath.Join(f.Log(), "checkpoint"), p.checkpoint, 0o644); err != nil {
		return fmt.Errorf("putting the checkpoint back: %w", err)
	}
	if err := vault.Restore(ctx, vault.Config{
		Dir: f.Vault(), RootKeyFile: f.RootKey(), FS: config.FS, Random: config.Random, Logger: config.Logger,
	}, filepath.Join(src, vaultFolder)); err != nil {
		return fmt.Errorf("putting the vault back: %w", err)
	}
	if err := disk.WriteFile(config.FS, f.VerifierKey(), []byte(p.vkey+"\n"), 0o644); err != nil {
		return fmt.Errorf("putting the log's verifier key back: %w", err)
	}
	if err := f.mark(config.FS, m.Origin); err != nil {
		return fmt.Errorf("marking the data folder: %w", err)
	}
	if _, err := Rebuild(ctx, config, nil); err != nil {
		return err
	}
	l, err := Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	_, err = l.submit(ctx, &proposal{decide: func(s *life.State, now moment) (events.ID, events.Data, error) {
		return s.Head().Ledger, &events.LedgerRestored{Size: now.index}, nil
	}})
	return err
}

// putEvents appends the statements of an export to a new event store.
func putEvents(ctx context.Context, config Config, exported *archive.Archive) (err error) {
	s, err := segment.Open(ctx, storeConfig(config.folder(), config, 0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for t := range proof.TilesOf(exported.Size(), proof.Entries) {
		bundle, err := exported.Entries(ctx, t.Index, t.Width)
		if err != nil {
			return err
		}
		leaves, err := proof.ParseBundle(bundle, t.Width)
		if err != nil {
			return err
		}
		batch := make([]store.Append, len(leaves))
		for i, leaf := range leaves {
			parsed, err := statement.Parse(leaf)
			if err != nil {
				return err
			}
			batch[i] = store.Append{
				Stream: parsed.Event.Stream(), Expected: store.Any,
				Events: []store.Event{{ID: parsed.Event.ID, Statement: leaf}},
			}
		}
		if _, err := s.AppendBatch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}
