package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/life"
)

// Restoration says what is restored, and how.
type Restoration struct {
	// Data and Keys are the two sides of the backup.
	Data, Keys string
	// Identity is a file of age identities, of which the backup is encrypted to one.
	Identity []byte
	// Kept is a file with the newest checkpoint of the log that anybody has, and perhaps
	// one of the state log (verifier/kept); or nil. If one is beyond the backup, or of
	// another history, that is refused. That there is none newer they do not show: one
	// that is not beyond the backup may be the backup's own.
	Kept []byte
	// NothingNewer is the operator's word that nobody has a checkpoint, a receipt
	// or anything else of the log that is newer than the backup. It is always needed:
	// a log that went on after the backup must not go on again from there.
	NothingNewer bool
	// LoseEvents takes a data side that is older than the key side, or than what a folder
	// of the secrets that survived knows (checkpoints.kept): the events since are lost,
	// and what was destroyed in them stays dead without an event that says so.
	LoseEvents bool
}

// Restored says what came back.
type Restored struct {
	Origin     string
	Size       uint64 // events, of those that were backed up
	Root       string // of the log's tree then, in base64
	Increments int
	// Unlogged is how many records are dead although the log that was restored says that
	// they live: they were destroyed after its last event.
	Unlogged uint64
	// Lost is how many contents had been lost before they were backed up.
	Lost int
}

// Restore makes a ledger of a backup, in a folder that is empty or absent. The secrets are
// taken from the key side unless their folder (Config.Secrets) is there. All of the data
// side is read before anything is made of it, and the log is audited before the vault is
// put back. The ledger goes on with the same log: its next event says that it was
// restored. It refuses if that would fork the log: if Kept is newer than the backup, or
// none of its history (ErrWouldFork), or if the key side or the folder of the secrets knows
// of more; and without NothingNewer (ErrNothingKept).
//
// Crash, at any moment before the data folder has its name: an unfinished one, perhaps
// the folder of the secrets, and keys in custody that nothing was sealed with; another
// Restore begins again with what it finds.
func Restore(ctx context.Context, config Config, r Restoration) (*Restored, error) {
	config, err := config.withDefaults()
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
	b := &restorer{config: config, restoration: r, folder: Folder{place.made, config.Secrets}}
	b.config.Dir, b.config.restoring = place.made, true
	err = b.run(ctx)
	if err != nil {
		err = errors.Join(err, b.destroyMade(ctx))
	}
	if err := errors.Join(err, b.close()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(place.made), b.forgetSecrets())
	}
	// Crash before: the restoration is begun again. Crash after: the file is gone, and with
	// it what was given up; the first Open of what comes of it writes another.
	if err := b.giveUp(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(place.made), b.forgetSecrets())
	}
	return b.result, place.finish()
}

// run makes all of the ledger but its name.
func (b *restorer) run(ctx context.Context) error {
	if err := b.open(ctx); err != nil {
		return err
	}
	if err := b.check(ctx); err != nil {
		return err
	}
	if err := b.make(ctx); err != nil {
		return err
	}
	if err := b.goOn(ctx); err != nil {
		return err
	}
	return b.keySide.Adopt(ctx)
}

// restorer is one Restore under way.
type restorer struct {
	config      Config // of the ledger that is made, in its unfinished folder
	restoration Restoration
	folder      Folder

	unpacked   []string // of the secrets, by this restoration
	made       bool     // their folder, too
	identities []age.Identity
	vkey       string
	stateVkey  string
	verifier   note.Verifier
	states     note.Verifier   // of the state log
	given, own keptCheckpoints // by the operator; in the folder of the secrets
	loses      bool            // own is beyond the backup, and is given up
	secret     []byte
	custody    custody.Custody
	had        []string        // the names of the keys in custody before
	source     custody.Custody // another one that the epochs' keys may be in, or nil
	chain      *backup.Chain
	keySide    *backup.KeySide
	lastSlot   int64 // of a key that the data side names
	lost       int   // contents that it has not
	result     *Restored
}

// open finds the secrets and both sides, and holds them to each other.
func (b *restorer) open(ctx context.Context) (err error) {
	if b.identities, err = backup.ParseIdentities(b.restoration.Identity); err != nil {
		return err
	}
	if err := b.findSecrets(); err != nil {
		return err
	}
	if b.vkey, b.verifier, err = verifierOf(b.config.FS, filepath.Join(b.folder.Secrets, logKeyFile)); err != nil {
		return err
	}
	if b.stateVkey, b.states, err = verifierOf(b.config.FS, filepath.Join(b.folder.Secrets, stateKeyFile)); err != nil {
		return err
	}
	if b.own, err = readKept(b.folder, b.config.FS, b.verifier, b.states); err != nil {
		return err
	}
	k := new(keys)
	if err := readCommandsKey(b.folder, b.config.FS, k); err != nil {
		return err
	}
	b.secret = k.backupKey()
	if b.custody, err = openCustody(ctx, b.folder, b.config); err != nil {
		return err
	}
	if b.had, err = b.custody.Names(ctx); err != nil {
		return fmt.Errorf("looking for keys in custody: %w", err)
	}
	if b.chain, err = backup.OpenChain(b.config.FS, b.restoration.Data, b.identities); err != nil {
		return fmt.Errorf("opening the data side: %w", err)
	}
	if h := b.chain.Newest; h.Key != b.vkey || h.Origin != b.verifier.Name() {
		return fmt.Errorf("the secrets are those of %q, the backup is of another ledger, %q: %w", b.verifier.Name(), h.Origin, ErrOtherOrigin)
	}
	c := backupConfig(b.folder, b.config, k, b.vkey, b.verifier.Name(), b.custody)
	c.Elsewhere = b.source
	if b.keySide, err = backup.OpenKeySide(c, b.restoration.Keys); err != nil {
		return fmt.Errorf("opening the key side: %w", err)
	}
	return nil
}

// findSecrets unpacks the secrets if they are not there.
func (b *restorer) findSecrets() error {
	_, err := b.config.FS.Stat(filepath.Join(b.folder.Secrets, logKeyFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err = b.config.FS.Stat(b.folder.Secrets)
	b.made = errors.Is(err, fs.ErrNotExist)
	b.unpacked, err = backup.UnpackSecrets(b.config.FS, b.restoration.Keys, b.identities, b.folder.Secrets, logKeyFile)
	if err != nil {
		return fmt.Errorf("taking the secrets from the key side: %w", err)
	}
	return nil
}

// forgetSecrets removes what a failed restoration put into the folder of the secrets.
func (b *restorer) forgetSecrets() error {
	if b.made {
		return os.RemoveAll(b.folder.Secrets)
	}
	var errs []error
	for i := range b.unpacked { // what marks them first
		err := os.Remove(filepath.Join(b.folder.Secrets, b.unpacked[len(b.unpacked)-1-i]))
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// destroyMade destroys the keys that a failed restoration put into a folder whose secrets it
// unpacked: to remove their files is not to destroy them.
func (b *restorer) destroyMade(ctx context.Context) error {
	if b.custody == nil || b.custody.Kind() != custody.File || !b.made && len(b.unpacked) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	names, err := b.custody.Names(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if !slices.Contains(b.had, name) {
			errs = append(errs, b.custody.Destroy(ctx, name))
		}
	}
	return errors.Join(errs...)
}

func (b *restorer) close() error {
	var errs []error
	for _, in := range []custody.Custody{b.custody, b.source} {
		if in != nil {
			errs = append(errs, in.Close())
		}
	}
	return errors.Join(errs...)
}

// unpackedFolder is where the vault's part is unpacked, in the unfinished data folder.
const unpackedFolder = "unpacked"

// make makes the parts of a ledger.
func (b *restorer) make(ctx context.Context) (err error) {
	f := b.folder
	for _, dir := range []string{f.Data, f.Store(), f.Log()} {
		if err := disk.MakeDir(b.config.FS, dir, 0o700); err != nil {
			return fmt.Errorf("making the data folder: %w", err)
		}
	}
	if err := disk.WriteFile(b.config.FS, f.VerifierKey(), []byte(b.vkey+"\n"), 0o644); err != nil {
		return fmt.Errorf("putting the log's verifier key back: %w", err)
	}
	if err := disk.WriteFile(b.config.FS, f.StateVerifierKey(), []byte(b.stateVkey+"\n"), 0o644); err != nil {
		return fmt.Errorf("putting the state log's verifier key back: %w", err)
	}
	unpacked := f.path(unpackedFolder)
	if err := b.putBack(ctx, unpacked); err != nil {
		return err
	}
	if err := b.audit(ctx); err != nil {
		return err
	}
	if err := b.putVaultBack(ctx, unpacked); err != nil {
		return fmt.Errorf("putting the vault back: %w", err)
	}
	if err := os.RemoveAll(unpacked); err != nil {
		return fmt.Errorf("removing what was unpacked: %w", err)
	}
	if err := f.mark(b.config.FS, b.verifier.Name()); err != nil {
		return fmt.Errorf("marking the data folder: %w", err)
	}
	_, err = Rebuild(ctx, b.config, nil)
	return err
}

// goOn makes the log's first event after the backup.
func (b *restorer) goOn(ctx context.Context) (err error) {
	l, err := Open(ctx, b.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := errors.Join(b.agree(ctx, l), b.count(ctx, l)); err != nil {
		return err
	}
	_, err = l.submit(ctx, &proposal{decide: func(s *life.State, now moment) (events.ID, events.Data, error) {
		return s.Head().Ledger, &events.LedgerRestored{Size: now.index}, nil
	}})
	return err
}

// putVaultBack joins the two sides.
func (b *restorer) putVaultBack(ctx context.Context, unpacked string) (err error) {
	if err := b.keySide.ImportKeys(ctx, b.identities); err != nil {
		return err
	}
	holder, err := b.keySide.Holder(ctx)
	if err != nil {
		return err
	}
	tree, err := b.keySide.Tree()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	info, err := vault.InspectKeys(tree)
	if err != nil {
		return err
	}
	if info.LastSlot < b.lastSlot {
		return fmt.Errorf("the key side is older than the data side and lacks keys of it; bring the newest key side, or move the newest increments away: %w", backup.ErrIncomplete)
	}
	if _, err := tree.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return vault.Restore(ctx, vaultConfig(b.folder, b.config, b.custody), vault.Source{
		Contents: unpacked, Keys: tree, Custody: holder, After: b.keySide.Generation(),
	})
}

// audit verifies all of the log that was put back, and that it extends what is known of
// it: the kept checkpoint, or else the one on the key side. What else is known it has to
// extend too, before it goes on (agree).
func (b *restorer) audit(ctx context.Context) (err error) {
	o := audit.Options{Verifier: b.verifier}
	if b.given.log != nil {
		o.Kept = b.given.log.Note
	} else if b.keySide.Snapshot().Size <= b.chain.Newest.Log.To {
		o.Kept = b.keySide.Checkpoint()
	}
	if b.given.state != nil {
		o.KeptState = b.given.state.Note
	}
	dir := audit.NewDir(os.DirFS(b.folder.Data))
	defer func() { err = errors.Join(err, dir.Close()) }()
	o.State = dir.State()
	report, err := audit.Log(ctx, dir, o)
	if err != nil {
		return fmt.Errorf("verifying the backup's log: %w", err)
	}
	for _, forks := range []audit.Code{audit.KeptLarger, audit.KeptFork, audit.KeptMismatch} {
		if report.Counts[forks] > 0 {
			return fmt.Errorf("the checkpoint that is known is of %d events, the backup has %d: %w",
				report.Kept.Size, report.Checkpoint.Size, ErrWouldFork)
		}
	}
	for _, forks := range []audit.Code{audit.StateKeptLarger, audit.StateKeptFork, audit.StateKeptMismatch} {
		if report.Counts[forks] > 0 {
			return fmt.Errorf("the checkpoint of the state log that is known is of %d leaves, the backup has %d: %w",
				report.State.Kept.Size, report.State.Checkpoint.Size, ErrWouldFork)
		}
	}
	if !report.OK() {
		return fmt.Errorf("the backup's log is damaged; use another backup: %v", report.Findings[0])
	}
	b.result = &Restored{
		Origin: b.verifier.Name(), Size: report.Checkpoint.Size, Root: report.Checkpoint.Root.String(), Increments: b.chain.Increments(), Lost: b.lost,
	}
	return nil
}

// count finds out what is dead without an event.
func (b *restorer) count(ctx context.Context, l *Ledger) error {
	var living []events.ID
	l.view(func(s *life.State) {
		for id, r := range s.Records {
			if r.Phase != life.Destroyed {
				living = append(living, id)
			}
		}
	})
	live, err := l.vault.WithoutTombstone(ctx, living)
	if err != nil {
		return err
	}
	if b.result.Unlogged = uint64(len(living) - len(live)); b.result.Unlogged > 0 {
		b.config.Logger.Warn("records are dead that the log says live: they were destroyed after its last event; ask for their destruction again", "records", b.result.Unlogged)
	}
	return nil
}
