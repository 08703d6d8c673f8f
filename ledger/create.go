package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Founding is what a new ledger starts with.
type Founding struct {
	// Administrator is the first actor, who may register all others.
	Administrator events.ID
	// Organisation is the administrator's.
	Organisation events.ID
}

// Create makes a ledger of the given origin in a data folder: its keys, its
// opening at index 0 and its first administrator at index 1. The folder is
// marked as a ledger's last; until then Create can be called again and goes on
// where it was interrupted. It answers ErrExists if the folder is marked.
func Create(ctx context.Context, config Config, origin string) (*Founding, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := events.CheckOrigin(origin); err != nil {
		return nil, err
	}
	folder := config.folder()
	if held, err := folder.Origin(config.FS); err == nil {
		return nil, fmt.Errorf("%s is the folder of %s: %w", config.Dir, held, ErrExists)
	} else if !errors.Is(err, ErrNoLedger) {
		return nil, err
	}
	if err := disk.MakeDir(config.FS, config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	if err := refuseForeign(folder, config); err != nil {
		return nil, err
	}
	if err := prepare(folder, config, origin); err != nil {
		return nil, err
	}
	l, err := open(ctx, config, origin, creating)
	if err != nil {
		return nil, err
	}
	founding, err := l.ensureFounded(ctx)
	if err == nil {
		err = l.announceStateLog(ctx)
	}
	if err == nil {
		err = l.firstToken(ctx)
	}
	if err := errors.Join(err, l.Close()); err != nil {
		return nil, err
	}
	return founding, folder.mark(config.FS, origin)
}

// firstTokenLasts is for how long the token that a ledger starts with is good.
const firstTokenLasts = 365 * 24 * time.Hour

// firstToken gives the first administrator a token, in a file that only its owner
// reads. A crash before the file is there leaves a token that nobody knows, and the
// next call makes another.
func (l *Ledger) firstToken(ctx context.Context) error {
	_, secret, err := l.IssueOnTheMachine(ctx, events.ID{}, firstTokenLasts)
	if err != nil {
		return fmt.Errorf("issuing the first administrator's token: %w", err)
	}
	if err := disk.WriteFile(l.config.FS, l.folder.AdminToken(), []byte(secret+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the first administrator's token: %w", err)
	}
	return nil
}

// prepare makes the keys of a new ledger. Two at once would mix theirs.
func prepare(f Folder, config Config, origin string) (err error) {
	release, err := segment.Lock(storeConfig(f, config, 0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return createKeys(f, config.FS, config.Random, origin)
}

// refuseForeign keeps a new ledger out of a folder with somebody else's files.
func refuseForeign(f Folder, config Config) error {
	entries, err := config.FS.ReadDir(config.Dir)
	if err != nil {
		return fmt.Errorf("reading the data folder: %w", err)
	}
	ours := map[string]fs.FileMode{
		"store": fs.ModeDir, "log": fs.ModeDir, "vault": fs.ModeDir, "state": fs.ModeDir,
		"log.vkey": 0, "log.vkey.tmp": 0, "state.vkey": 0, "state.vkey.tmp": 0, "medledger.json.tmp": 0, "admin.token": 0, "admin.token.tmp": 0,
		"access.sqlite": 0, "access.sqlite-wal": 0, "access.sqlite-shm": 0,
	}
	for _, entry := range entries {
		if kind, ok := ours[entry.Name()]; !ok || kind != entry.Type() {
			return fmt.Errorf("%s holds %q, which is no part of a ledger; choose an empty folder", f, entry.Name())
		}
	}
	return nil
}

// ensureFounded appends the first two events, or those of them that are missing.
func (l *Ledger) ensureFounded(ctx context.Context) (*Founding, error) {
	if l.state().Head().Size == 0 {
		if err := l.appendOpening(ctx); err != nil {
			return nil, err
		}
	}
	founding, err := l.Founding(ctx)
	if founding != nil || err != nil {
		return founding, err
	}
	founding = new(Founding)
	if founding.Administrator, err = l.newID(); err != nil {
		return nil, err
	}
	// The organisation that runs the ledger is called as the ledger is.
	if founding.Organisation, err = l.Organisation(ctx, l.origin); err != nil {
		return nil, err
	}
	_, err = l.submit(ctx, &proposal{decide: func(_ *life.State, now moment) (events.ID, events.Data, error) {
		return founding.Administrator, &events.ActorRegistered{
			Decision:     events.Decision{Position: now.index, Rule: decision.Founding, Rules: decision.Version},
			Organisation: founding.Organisation, Role: events.RoleAdmin,
		}, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("registering the first administrator: %w", err)
	}
	return founding, nil
}

func (l *Ledger) appendOpening(ctx context.Context) error {
	id, err := events.NewID(l.config.Random)
	if err != nil {
		return err
	}
	_, err = l.submit(ctx, &proposal{decide: func(_ *life.State, now moment) (events.ID, events.Data, error) {
		return id, &events.LedgerOpened{
			Created: now.time, Origin: l.origin, StatementKeys: []events.StatementKey{l.signer.JWK()},
		}, nil
	}})
	if err != nil {
		return fmt.Errorf("logging the ledger's opening: %w", err)
	}
	return nil
}

// Founding returns what the ledger started with, as the log has it; nil while
// Create has not come that far.
func (l *Ledger) Founding(ctx context.Context) (*Founding, error) {
	if l.store.Len() < 2 {
		return nil, nil
	}
	records, err := l.store.ReadRange(ctx, 1, 1)
	if err != nil {
		return nil, err
	}
	second, err := l.recall(records[0], l.log.Published())
	if err != nil {
		return nil, err
	}
	admin, ok := second.Event.Data.(*events.ActorRegistered)
	if !ok {
		return nil, fmt.Errorf("event 1 is a %s; this folder was not made by 'medledger init'", second.Event.Type)
	}
	return &Founding{Administrator: second.Event.Subject, Organisation: admin.Organisation}, nil
}
