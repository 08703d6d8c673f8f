package ledger

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/projections/lives"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/statement"
)

// Open opens the ledger in a data folder, and puts in order what a crash left:
// events that were durable but not logged are logged, started destructions
// completed, orphans in the vault removed.
func Open(ctx context.Context, config Config) (*Ledger, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	origin, err := Folder(config.Dir).Origin(config.FS)
	if err != nil {
		return nil, err
	}
	l, err := open(ctx, config, origin)
	if err != nil {
		return nil, err
	}
	if l.state().Head().Size == 0 {
		return nil, errors.Join(fmt.Errorf("%s: %w", config.Dir, ErrEmpty), l.Close())
	}
	if err := l.recover(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// open opens the parts of a ledger, whose folder need not be marked yet, and
// starts its two stages.
func open(ctx context.Context, config Config, origin string) (_ *Ledger, err error) {
	l := &Ledger{
		config: config, folder: Folder(config.Dir), origin: origin,
		proposals: make(chan *proposal), turns: make(chan *turn),
		closing: make(chan struct{}), ended: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.closeParts())
		}
	}()
	if l.keys, err = loadKeys(l.folder, config.FS, l.origin); err != nil {
		return nil, err
	}
	if err = l.openParts(ctx); err != nil {
		return nil, err
	}
	if err = l.replay(ctx); err != nil {
		return nil, err
	}
	if err = l.chooseSigner(ctx); err != nil {
		return nil, err
	}
	go l.decideLoop()
	go l.commitLoop()
	return l, nil
}

// openParts opens the store first: its lock keeps other processes out of the
// whole folder.
func (l *Ledger) openParts(ctx context.Context) error {
	signed, err := signedSize(l.folder, l.config.FS, l.keys.verifier)
	if err != nil {
		return err
	}
	l.store, err = segment.Open(ctx, storeConfig(l.folder, l.config, signed))
	if err != nil {
		return fmt.Errorf("opening the event store: %w", err)
	}
	l.log, err = tlog.Open(ctx, logConfig(l.folder, l.config, l.keys, l.store))
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	l.vault, err = vault.Open(ctx, vault.Config{
		Dir: l.folder.Vault(), RootKeyFile: l.folder.RootKey(),
		FS: l.config.FS, Random: l.config.Random, Logger: l.config.Logger,
	})
	if err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	l.lives, err = lives.Open(ctx, l.folder.Lives(), l.store.Len())
	if err != nil {
		return fmt.Errorf("opening the projection: %w", err)
	}
	return nil
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

// signedSize is the size of the last checkpoint that was signed, below which the
// event store must never shrink.
func signedSize(f Folder, fsys disk.FS, v note.Verifier) (uint64, error) {
	last, err := tlog.LastSigned(fsys, f.Log(), v)
	if err != nil {
		return 0, fmt.Errorf("reading the last checkpoint: %w", err)
	}
	if last == nil {
		return 0, nil
	}
	return last.Checkpoint.Size, nil
}

// replay brings the state up to the end of the store.
func (l *Ledger) replay(ctx context.Context) error {
	for first := l.state().Head().Size; first < l.store.Len(); first = l.state().Head().Size {
		records, err := l.store.ReadRange(ctx, first, int(min(l.store.Len()-first, 4096)))
		if err != nil {
			return fmt.Errorf("replaying the event store: %w", err)
		}
		var changes lives.Changes
		for i, r := range records {
			parsed, err := statement.Parse(r.Statement)
			if err != nil {
				return fmt.Errorf("replaying event %d; check the folder with 'medverify log --dir': %w", first+uint64(i), err)
			}
			if err := l.lives.Apply(first+uint64(i), events.Upcast(parsed.Event), &changes); err != nil {
				return fmt.Errorf("replaying the event store; check the folder with 'medverify log --dir': %w", err)
			}
		}
		l.lives.Persist(changes)
	}
	return nil
}

// chooseSigner picks the signer whose key the log announced last. An empty log
// has announced none yet; then any key on disk will be the one.
func (l *Ledger) chooseSigner(ctx context.Context) error {
	announced := l.state().Head().Announcements
	if len(announced) == 0 {
		for _, s := range l.keys.statement {
			l.signer = s
		}
		return nil
	}
	raw, err := l.log.Leaf(ctx, announced[len(announced)-1])
	if err != nil {
		return fmt.Errorf("reading the announcement of the statement keys: %w", err)
	}
	parsed, err := statement.Parse(raw)
	if err != nil {
		return fmt.Errorf("reading the announcement of the statement keys: %w", err)
	}
	current := make(map[string]bool)
	for _, key := range parsed.Event.StatementKeys() {
		current[key.Kid] = true
		if s := l.keys.statement[key.Kid]; s != nil {
			l.signer = s
		}
	}
	if l.signer != nil {
		return l.removeRetiredKeys(current)
	}
	return errors.New("none of the statement keys that the log announced is in the keys' folder; restore it from a backup")
}

// recover completes what a crash interrupted.
func (l *Ledger) recover(ctx context.Context) error {
	known := func(record events.ID, version uint32) bool {
		r := l.state().Record(record)
		return r != nil && version <= r.Versions
	}
	removed, err := l.vault.Collect(ctx, known)
	if err != nil {
		return fmt.Errorf("removing orphans from the vault: %w", err)
	}
	if removed > 0 {
		l.config.Logger.Info("removed contents whose events never happened", "count", removed)
	}
	unfinished := make(map[events.ID]events.ID)
	for id, r := range l.state().Records {
		if r.Phase == life.Destroying {
			unfinished[id] = r.Destruction
		}
	}
	for record, destruction := range unfinished {
		if _, err := l.completeDestruction(ctx, record, destruction, Command{}); err != nil {
			return fmt.Errorf("completing a started destruction: %w", err)
		}
		l.config.Logger.Info("completed a destruction that was interrupted", "record", record)
	}
	return nil
}

// state is for the goroutine that opens the ledger, while nobody else has it.
func (l *Ledger) state() *life.State { return l.lives.State() }
