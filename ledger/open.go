package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/projections/access"
	"github.com/medledger/medledger/verifier/life"
	segmentformat "github.com/medledger/medledger/verifier/segment"
)

// Open opens the ledger in a data folder, and puts in order what a crash left:
// events that were durable but not logged are logged, started destructions
// completed, orphans in the vault removed.
func Open(ctx context.Context, config Config) (*Ledger, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	origin, err := config.folder().Origin(config.FS)
	if err != nil {
		return nil, err
	}
	l, err := open(ctx, config, origin, serving)
	if err != nil {
		return nil, err
	}
	if l.state().Head().Size == 0 {
		return nil, errors.Join(fmt.Errorf("%s: %w", config.Dir, ErrEmpty), l.Close())
	}
	if err := l.announceStateLog(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if err := l.recover(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// open opens the parts of a ledger, whose folder need not be marked yet, and
// starts its two stages. Both logs must extend the checkpoints that are given.
func open(ctx context.Context, config Config, origin string, how opening, given ...keptCheckpoints) (_ *Ledger, err error) {
	l := &Ledger{
		config: config, folder: config.folder(), origin: origin, opening: how,
		proposals: make(chan *proposal), turns: make(chan *turn),
		closing: make(chan struct{}), ended: make(chan struct{}), keeping: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.closeParts())
		}
	}()
	if l.keys, err = loadKeys(l.folder, config.FS, l.origin); err != nil {
		return nil, err
	}
	if err = l.gatherKnown(given); err != nil {
		return nil, err
	}
	if err = l.openParts(ctx); err != nil {
		return nil, l.older(err)
	}
	if err = l.chooseSigner(); err != nil {
		return nil, err
	}
	if err = l.keep(); err != nil {
		return nil, err
	}
	l.serving.Store(true)
	go l.decideLoop()
	go l.commitLoop()
	go l.keepLoop()
	return l, nil
}

// openParts opens the store first: its lock keeps other processes out of the
// whole folder. The log comes after the state: nothing is signed that was not
// verified.
func (l *Ledger) openParts(ctx context.Context) error {
	signed, err := signedSize(l.folder, l.config.FS, l.keys.verifier)
	if err != nil {
		return err
	}
	l.store, err = segment.Open(ctx, storeConfig(l.folder, l.config, max(signed, l.knownSize())))
	if err != nil {
		return fmt.Errorf("opening the event store: %w", err)
	}
	// Two large files are read, each on a core.
	var reading sync.WaitGroup
	var stateErr, standingErr error
	reading.Go(func() { standingErr = l.openStanding(ctx) })
	reading.Go(func() { stateErr = l.openState(ctx) })
	reading.Wait()
	if err := errors.Join(stateErr, standingErr); err != nil {
		return err
	}
	if l.shown, err = tlog.LastShown(l.config.FS, l.folder.Log(), l.keys.verifier); err != nil {
		return fmt.Errorf("reading the checkpoint that was shown last: %w", err)
	}
	log := logConfig(l.folder, l.config, l.keys, l.store)
	log.Behind, log.Alongside, log.Known = true, l.alongside, l.notes(ofLog)
	if l.opening == rebuilding {
		if _, err := tlog.Rebuild(ctx, log); err != nil {
			return fmt.Errorf("making the log's tiles again: %w", err)
		}
	}
	if l.log, err = tlog.Open(ctx, log); err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	if err := l.catchUpStanding(ctx); err != nil {
		return err
	}
	if err := errors.Join(l.checkAnnouncements(ctx), l.checkStateLog(ctx)); err != nil {
		return err
	}
	return l.openVault(ctx)
}

// openState loads the state's copy and replays the events that it lacks.
func (l *Ledger) openState(ctx context.Context) (err error) {
	if l.opening == rebuilding {
		if err := access.Remove(l.folder.StateCopy()); err != nil {
			return err
		}
	}
	l.access, err = access.Open(ctx, access.Config{
		Path: l.folder.StateCopy(), Key: l.keys.copyKey(), Events: l.store.Len(), Logger: l.config.Logger,
	})
	if err != nil {
		return fmt.Errorf("opening the projection: %w", err)
	}
	return l.replay(ctx)
}

// openVault opens the vault, which must be there unless the ledger is new: one
// that is made anew in its place would attest the destruction of keys that it
// never had.
func (l *Ledger) openVault(ctx context.Context) (err error) {
	there, err := vault.Exists(l.folder.Vault())
	if err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	if !there && l.opening != creating {
		return fmt.Errorf("%s: %w", l.folder.Vault(), ErrNoVault)
	}
	if l.custody, err = openCustody(ctx, l.folder, l.config); err != nil {
		return err
	}
	if l.vault, err = vault.Open(ctx, vaultConfig(l.folder, l.config, l.custody)); err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	return l.openBackups(ctx)
}

func storeConfig(f Folder, c Config, signed uint64) segment.Config {
	return segment.Config{Dir: f.Store(), FS: c.FS, KeepRecords: signed, Logger: c.Logger}
}

func logConfig(f Folder, c Config, k *keys, s *segment.Store) tlog.Config {
	return tlog.Config{
		Dir: f.Log(), FS: c.FS, Store: s, Origin: k.log.Name(),
		Signer: k.log, Verifier: k.verifier, Clock: c.Clock, Logger: c.Logger,
	}
}

func vaultConfig(f Folder, c Config, keys custody.Custody) vault.Config {
	return vault.Config{Dir: f.Vault(), Custody: keys, Register: f.Register(), FS: c.FS, Random: c.Random, Logger: c.Logger}
}

// signedSize is the size of the last checkpoint that was signed, below which the
// event store must never shrink. A store with events of which none was ever
// signed is refused before anybody opens it for writing: the log signs before the
// first event, so that what was signed must have been lost.
func signedSize(f Folder, fsys disk.FS, v note.Verifier) (uint64, error) {
	last, err := tlog.LastSigned(fsys, f.Log(), v)
	if err != nil {
		return 0, fmt.Errorf("reading the last checkpoint: %w", err)
	}
	if last != nil {
		return last.Checkpoint.Size, nil
	}
	entries, err := fsys.ReadDir(f.Store())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking into the event store: %w", err)
	}
	for _, entry := range entries {
		info, err := fsys.Stat(filepath.Join(f.Store(), entry.Name()))
		if err != nil {
			return 0, fmt.Errorf("looking into the event store: %w", err)
		}
		if strings.HasSuffix(entry.Name(), ".seg") && info.Size() > segmentformat.HeaderSize {
			return 0, fmt.Errorf("%s: %w", f.Log(), tlog.ErrNoCheckpoint)
		}
	}
	return 0, nil
}

// chooseSigner picks the signer whose key the log announced last. An empty log
// has announced none yet; then any key on disk will be the one.
func (l *Ledger) chooseSigner() error {
	if l.announced == nil {
		for _, s := range l.keys.statement {
			l.signer = s
		}
		return nil
	}
	current := make(map[string]bool)
	for _, key := range l.announced {
		current[key.Kid] = true
		if s := l.keys.statement[key.Kid]; s != nil {
			l.signer = s
		}
	}
	if l.signer != nil {
		return l.removeRetiredKeys(current)
	}
	return errors.New("none of the statement keys that the log announced is in the folder of the secrets; restore the ledger from a backup, whose key side has the secrets")
}

// state is for the goroutine that opens the ledger, while nobody else has it.
func (l *Ledger) state() *life.State { return l.access.State() }
