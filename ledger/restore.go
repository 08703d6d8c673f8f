package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/state"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/proof"
	stateformat "github.com/medledger/medledger/verifier/state"
	"github.com/medledger/medledger/verifier/statement"
)

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
// secrets in their folder (Config.Custody). It audits the backup's log before anything
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
	place, err := beginRestoration(config.FS, config.Dir)
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
	unfinished.Dir = place.made
	vkey, verifier, err := verifierOf(config.FS, filepath.Join(config.Custody, logKeyFile))
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
	if err := place.finish(); err != nil {
		return nil, err
	}
	return m, nil
}

// auditBackup verifies all of a backup's log, and that it extends the kept
// checkpoint.
func auditBackup(ctx context.Context, exported *archive.Archive, verifier note.Verifier, kept []byte) error {
	report, err := audit.Log(ctx, exported, audit.Options{Verifier: verifier, Kept: kept, State: exported.State()})
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
	if err := putStateLog(ctx, config, m.Origin, exported); err != nil {
		return fmt.Errorf("putting the state log back: %w", err)
	}
	if err := restoreVault(ctx, config, src); err != nil {
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

// putStateLog puts the state log and its verifier key back.
func putStateLog(ctx context.Context, config Config, origin string, exported *archive.Archive) error {
	if exported.State() == nil {
		return errors.New("the backup has none; it was taken by an earlier version, which has to restore it")
	}
	f := config.folder()
	vkey, verifier, err := verifierOf(config.FS, filepath.Join(f.Custody, stateKeyFile))
	if err != nil {
		return err
	}
	if verifier.Name() != stateformat.Origin(origin) {
		return fmt.Errorf("the secrets are those of %q: %w", verifier.Name(), ErrOtherOrigin)
	}
	if err := disk.WriteFile(config.FS, f.StateVerifierKey(), []byte(vkey+"\n"), 0o644); err != nil {
		return err
	}
	return state.Put(ctx, config.FS, f.State(), verifier, exported.State())
}

// restoreVault joins the contents of a backup with its keys.
func restoreVault(ctx context.Context, config Config, src string) (err error) {
	f := config.folder()
	custody, err := openCustody(ctx, f, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, custody.Close()) }()
	keys, err := os.Open(filepath.Join(src, vaultKeysFile))
	if err != nil {
		return err
	}
	defer keys.Close()
	return vault.Restore(ctx, vaultConfig(f, config, custody), vault.Source{Contents: filepath.Join(src, vaultFolder), Keys: keys})
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
