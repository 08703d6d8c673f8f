// Package state keeps the map of where every record stands, and the state log
// whose leaves commit to it (verifier/state specifies both). Only package ledger
// calls it.
//
// # Files
//
//	leaves      the leaves of the state log (verifier/state)
//	log/        its checkpoint and tiles (ledger/tlog)
//	map.sqlite  the map, derived from the events (ledger/state/tree)
//
// # A turn
//
// The ledger's second stage calls Stage with the events of a turn, while it makes
// them durable: the map goes on in memory. Trillian makes the log's next root, and
// before that is published, the log calls Alongside: the leaf, which names the log's
// size and root and the map's root, is made durable while the log's checkpoint is,
// and integrated into the state log. Release ends the turn; in between nobody sees
// the map, so that what View shows belongs to the checkpoints of one moment.
//
//	a crash                        leaves
//
//	before the leaf is durable     a log that may be a turn ahead, in events and
//	                               signed size, of what it published; the next Open
//	                               adds a leaf for what the log has
//	after it                       a leaf of a size that the log has, or comes to
//	                               when it is opened, for its events were durable;
//	                               the next Open integrates it, and signs the same
//	                               checkpoint as nobody or somebody saw
//
// The map is written behind. Open reads it and replays what it lacks.
//
// A folder of files from before looks like a crash. What the state log has signed since is
// known from outside the folder only (Config.Known).
package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	xtlog "golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/state/tree"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/state"
)

// Config says where the state lies and what it works with. All fields but Known and
// the last three must be set.
type Config struct {
	// Dir is its folder, made if it is not there.
	Dir string
	// Signer and Verifier are the keys of the state log; their name is its origin.
	Signer   note.Signer
	Verifier note.Verifier
	// Known are signed checkpoints of the state log that are kept outside of Dir
	// (tlog.Config).
	Known [][]byte
	// Key authenticates the copy of the map on disk.
	Key []byte
	// Events is how many events the event store has.
	Events uint64
	// FS is where everything but the map is written; the operating system's file
	// system if nil.
	FS     disk.FS
	Clock  func() time.Time // time.Now if nil
	Logger *slog.Logger     // slog's default if nil
}

// Event is what the state has to know of an event about a record.
type Event struct {
	Index  uint64
	Hash   xtlog.Hash // of its leaf in the log
	Record events.ID
	Effect state.Effect
}

// What the map may take in memory, and lag behind on disk. With these the whole map of
// 200,000 records stays in memory, the service stays within its budget at a million
// events, and a start after a crash replays for half a second at most.
const (
	dirtyBytes = 16 << 20
	cacheBytes = 24 << 20
	flushEvery = 1 << 15 // events
)

// ErrLost says that the state log cannot go on where it was.
var ErrLost = errors.New("the state log cannot go on: part of the folder 'state' is lost or older than the rest; put the newest one back, or restore the whole ledger from a backup")

// State is an open state. Stage, Alongside, Release and Replay belong to the one
// writer; View and Log are for everybody.
type State struct {
	config Config
	leaves *leafFile
	log    *tlog.Log

	mu     sync.RWMutex // held for writing from Stage to Release
	tree   *tree.Tree   // guarded by mu
	staged chan staged  // what became of the last Stage; nil if nothing is staged
}

type staged struct {
	size uint64
	root xtlog.Hash
	err  error
}

// Open opens the state in a folder, or makes one. It must then be given the events
// from Position on, with Replay, before anything else.
func Open(ctx context.Context, c Config) (_ *State, err error) { return open(ctx, c, false) }

// Rebuild is Open, but makes the tiles of the state log and the map anew.
func Rebuild(ctx context.Context, c Config) (_ *State, err error) { return open(ctx, c, true) }

func open(ctx context.Context, c Config, rebuild bool) (_ *State, err error) {
	if c.FS == nil {
		c.FS = disk.OS{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := disk.MakeDir(c.FS, c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the state's folder: %w", err)
	}
	s := &State{config: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.openLog(ctx, rebuild); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	if rebuild {
		if err := tree.Remove(s.mapFile()); err != nil {
			return nil, err
		}
	}
	if err := s.openMap(ctx); err != nil {
		return nil, fmt.Errorf("opening the map of records: %w", err)
	}
	return s, nil
}

func (s *State) mapFile() string { return filepath.Join(s.config.Dir, "map.sqlite") }

func (s *State) openLog(ctx context.Context, rebuild bool) error {
	c := s.config
	log := tlog.Config{
		Dir: filepath.Join(c.Dir, "log"), FS: c.FS, Origin: c.Verifier.Name(), Signer: c.Signer, Verifier: c.Verifier,
		Known: c.Known, Clock: c.Clock, Logger: c.Logger, Lazy: true,
	}
	covered := uint64(0)
	last, err := tlog.LastSigned(c.FS, log.Dir, c.Verifier)
	if err != nil {
		return err
	}
	if last != nil {
		covered = last.Checkpoint.Size
	}
	if s.leaves, err = openLeaves(c.FS, filepath.Join(c.Dir, "leaves"), covered); err != nil {
		return fmt.Errorf("reading its leaves: %w", err)
	}
	log.Leaves = s.leaves
	if rebuild {
		if _, err := tlog.Rebuild(ctx, log); err != nil {
			return err
		}
	}
	s.log, err = tlog.Open(ctx, log)
	return err
}

// openMap opens the copy of the map, and begins it anew if it knows of events that
// the event store does not have.
func (s *State) openMap(ctx context.Context) (err error) {
	c := tree.Config{
		Path: s.mapFile(), Leaf: leaf, Key: s.config.Key, Logger: s.config.Logger,
		DirtyBytes: dirtyBytes, CacheBytes: cacheBytes, FlushEvery: flushEvery,
	}
	if s.tree, err = tree.Open(ctx, c); err != nil || s.tree.Position() <= s.config.Events {
		return err
	}
	s.config.Logger.Warn("the map of records is ahead of the event store; making it again", "map", s.tree.Position(), "events", s.config.Events)
	if err := errors.Join(s.tree.Close(ctx), tree.Remove(s.mapFile())); err != nil {
		return err
	}
	s.tree, err = tree.Open(ctx, c)
	return err
}

// Close writes the map's copy and closes the files.
func (s *State) Close(ctx context.Context) error {
	var errs []error
	if s.tree != nil {
		errs = append(errs, s.tree.Close(ctx))
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.leaves != nil {
		errs = append(errs, s.leaves.close())
	}
	return errors.Join(errs...)
}

// Log is the state log, for reading.
func (s *State) Log() *tlog.Log { return s.log }

// Position is how many events the map covers.
func (s *State) Position() uint64 { return s.tree.Position() }

// Root is the root of the map at Position.
func (s *State) Root() xtlog.Hash { return xtlog.Hash(s.tree.Root()) }

// Replay brings the map from Position to position with the events about records in
// between, in their order. Nobody may use the state meanwhile.
func (s *State) Replay(position uint64, list []Event) error {
	_, err := s.apply(position, list)
	return err
}

// Stage brings the map to position, as Replay does, but in a goroutine of its own.
// Release must follow.
func (s *State) Stage(position uint64, list []Event) {
	s.mu.Lock()
	done := make(chan staged, 1)
	s.staged = done
	go func() {
		root, err := s.apply(position, list)
		done <- staged{position, root, err}
	}()
}

// Release ends a turn.
func (s *State) Release() {
	if s.staged != nil {
		<-s.staged // nothing of it is under way any more
		s.staged = nil
	}
	s.mu.Unlock()
}

// apply adds events to the map.
func (s *State) apply(position uint64, list []Event) (xtlog.Hash, error) {
	histories := make(map[events.ID]*state.History, len(list))
	order := make([]events.ID, 0, len(list))
	keys := make([]tree.Key, 0, len(list))
	for _, e := range list {
		if histories[e.Record] == nil {
			histories[e.Record] = new(state.History)
			order, keys = append(order, e.Record), append(keys, state.Key(e.Record))
		}
	}
	if err := s.tree.Fetch(keys); err != nil {
		return xtlog.Hash{}, fmt.Errorf("reading the map of records: %w", err)
	}
	for i, record := range order {
		if err := s.history(record, keys[i], histories[record]); err != nil {
			return xtlog.Hash{}, err
		}
	}
	for _, e := range list {
		histories[e.Record].Add(e.Index, e.Hash, e.Effect)
	}
	changes := make([][]byte, len(order))
	for i, record := range order {
		changes[i] = encode(nil, record, histories[record])
	}
	root, err := s.tree.Update(position, changes)
	if err != nil {
		return xtlog.Hash{}, fmt.Errorf("updating the map of records: %w", err)
	}
	return xtlog.Hash(root), nil
}

// history reads a record's history as the map has it; h stays empty if it has none.
func (s *State) history(record events.ID, key tree.Key, h *state.History) error {
	stored, there, err := s.tree.Get(key)
	if err != nil {
		return fmt.Errorf("reading the map of records: %w", err)
	}
	if !there {
		return nil
	}
	found, kept, err := decode(stored, nil)
	if err != nil || found != record {
		return fmt.Errorf("the map of records is damaged; run 'medledger rebuild': %w", errStored)
	}
	*h = kept
	return nil
}

// Alongside adds the leaf of a checkpoint of the log that is to be published
// (tlog.Config.Alongside). The map must have been staged at its size, or have been
// replayed to it.
func (s *State) Alongside(ctx context.Context, next proof.Checkpoint) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- s.add(ctx, next) }()
	return func() error { return <-done }
}

func (s *State) add(ctx context.Context, next proof.Checkpoint) error {
	if next.Size <= s.leaves.last.Size {
		return nil // it was added before a crash
	}
	root := xtlog.Hash(s.tree.Root())
	size := s.tree.Position()
	if s.staged != nil {
		result := <-s.staged
		s.staged = nil
		if result.err != nil {
			return result.err
		}
		root, size = result.root, result.size
	}
	if size != next.Size {
		return fmt.Errorf("the map of records covers %d events, the log %d", size, next.Size)
	}
	leaf := state.Leaf{Size: next.Size, Root: next.Root, Map: root}
	if err := s.leaves.append(leaf); err != nil {
		return fmt.Errorf("writing a leaf of the state log: %w", err)
	}
	if _, err := s.log.IntegrateHashes(ctx, []xtlog.Hash{proof.LeafHash(leaf.Marshal())}); err != nil {
		return fmt.Errorf("logging where the records stand: %w", err)
	}
	return nil
}

// Last returns the last leaf; false if there is none.
func (s *State) Last() (state.Leaf, bool) { return s.leaves.last, s.leaves.n.Load() > 0 }
