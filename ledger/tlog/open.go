package tlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/google/trillian"
	"github.com/google/trillian/extension"
	trillianlog "github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/tlog/tilestore"
)

// Log is an open log. Published and the reading methods may be called from any
// number of goroutines at any time; the writing methods (IntegrateHashes,
// CatchUp, Close) take turns.
type Log struct {
	config  Config
	leaves  *leaves
	tiles   *tilestore.Tiles
	tree    *tilestore.Tree
	storage *tilestore.Storage
	known   []Published // verified Config.Known; never modified once open
	server  *server.TrillianLogRPCServer
	time    *advancing

	definition *trillian.Tree // never modified

	published atomic.Pointer[Published] // never nil once open
	failure   atomic.Pointer[error]     // the first failed write

	writer    sync.Mutex
	closed    bool         // guarded by writer
	signed    *signedStore // guarded by writer
	requested uint64       // guarded by writer: tiles to be synced up to here

	syncs  chan uint64   // sizes to sync tiles up to; closed by Close
	synced chan struct{} // closed when the syncing goroutine has ended
	marked uint64        // owned by the syncing goroutine until synced is closed
}

// Open opens the log in a folder, or makes one if the folder has none and the
// store is empty. What a crash left undone is done: lost tiles are computed
// again, and events in the store beyond the last checkpoint are integrated and
// signed, unless Config.Behind says otherwise.
//
// The tree that it finds must have the root that was signed last. Its errors are
// a *LostEventsError, a *HistoryError or a *proof.ForkError, which hold evidence;
// or wrap ErrForeign or ErrNoCheckpoint; or are those of the file system and the
// store.
func Open(ctx context.Context, c Config) (*Log, error) { return open(ctx, c, false) }

// Rebuild computes every tile of a log again from the events, and signs what is
// in the store beyond the last checkpoint. It refuses, like Open, if the events
// do not have the root that was signed last. Only if no checkpoint is left does
// it sign the events as they are: then kept checkpoints and receipts must tell
// whether they are what they were. (ledger.Rebuild does not let it come to that.)
func Rebuild(ctx context.Context, c Config) (*Published, error) {
	l, err := open(ctx, c, true)
	if err != nil {
		return nil, err
	}
	return l.Published(), l.Close()
}

func open(ctx context.Context, c Config, rebuild bool) (*Log, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	if err := disk.MakeDir(c.FS, c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the log's folder: %w", err)
	}
	l := &Log{config: c, leaves: newLeaves(c), syncs: make(chan uint64, 1), synced: make(chan struct{})}
	l.tiles = tilestore.NewTiles(c.FS, c.Dir, l.leaves.hashes, c.cacheTiles, c.Logger)
	last, err := l.find(ctx, rebuild)
	if err != nil {
		return nil, err
	}
	if err := l.restore(ctx, last, rebuild); err != nil {
		return nil, errors.Join(err, l.tiles.Close())
	}
	if l.signed, err = openSigned(c.FS, c.Dir, last, c.Lazy); err != nil {
		return nil, errors.Join(err, l.tiles.Close())
	}
	go l.syncTiles()
	if err := l.start(ctx, last); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// find returns what was signed last, nil in a new log, and refuses a folder and
// a store that do not belong together.
func (l *Log) find(ctx context.Context, rebuild bool) (*lastSigned, error) {
	last, err := readLast(l.config.FS, l.config.Dir, l.config.Verifier)
	if err != nil && !(rebuild && errors.Is(err, ErrNoCheckpoint)) {
		return nil, fmt.Errorf("opening log %s: %w", l.config.Dir, err)
	}
	have, err := l.leaves.Len(ctx)
	if err != nil {
		return nil, fmt.Errorf("counting the events: %w", err)
	}
	if l.marked, err = l.tiles.Mark(); err != nil {
		return nil, err
	}
	if last == nil && max(have, l.marked) > 0 && !rebuild {
		return nil, fmt.Errorf("opening log %s: %w", l.config.Dir, ErrNoCheckpoint)
	}
	if last, err = l.beginAtKnown(last); err != nil {
		return nil, fmt.Errorf("opening log %s: %w", l.config.Dir, err)
	}
	switch {
	case last == nil && have > 0:
		l.config.Logger.Warn("no checkpoint is left; signing the events as they are", "dir", l.config.Dir, "events", have)
	case last != nil && last.Checkpoint.Size > have:
		return nil, fmt.Errorf("opening log %s: %w", l.config.Dir, &LostEventsError{last.Note, last.Checkpoint.Size, have})
	}
	return last, nil
}

// beginAtKnown verifies the known checkpoints, and returns the newest of them and last.
func (l *Log) beginAtKnown(last *lastSigned) (*lastSigned, error) {
	for _, signed := range l.config.Known {
		c, err := verifyOwn(signed, l.config.Verifier)
		if err != nil {
			return nil, fmt.Errorf("a checkpoint that was kept elsewhere: %w", err)
		}
		known := Published{Checkpoint: c, Note: signed}
		l.known = append(l.known, known)
		switch {
		case last == nil:
			last = &lastSigned{Published: known}
		case c.Size > last.Checkpoint.Size:
			last = &lastSigned{known, last.sequence, last.nanos}
		}
	}
	return last, nil
}

// restore brings the tiles to the last signed size and compares their roots with
// those that were signed.
func (l *Log) restore(ctx context.Context, last *lastSigned, all bool) error {
	if last == nil {
		last = &lastSigned{}
		l.marked = 0
	}
	size := last.Checkpoint.Size
	if !all && size > 0 {
		err := l.tiles.Load(ctx, l.marked, size)
		if err == nil {
			err = l.compare(ctx, last)
		}
		if err == nil {
			l.published.Store(&last.Published)
			return nil
		}
		l.config.Logger.Warn("tiles do not match the last checkpoint; computing all of them again", "dir", l.config.Dir, "size", size, "error", err)
	}
	l.marked = 0
	if err := errors.Join(l.tiles.Forget(), l.tiles.Load(ctx, 0, size)); err != nil {
		return err
	}
	return l.compare(ctx, last)
}

// compare returns a *HistoryError unless the tiles have the root that was signed last,
// and those of the known checkpoints.
func (l *Log) compare(ctx context.Context, last *lastSigned) error {
	for _, p := range append(l.known, last.Published) {
		c := p.Checkpoint
		if c.Size == 0 {
			continue // every log extends it
		}
		root, err := l.tiles.Root(ctx, c.Size)
		if err != nil {
			return err
		}
		if root != c.Root {
			return fmt.Errorf("opening log %s: %w", l.config.Dir, &HistoryError{p.Note, c.Size, c.Root, root})
		}
	}
	return nil
}

// start sets up Trillian at the last root, initialises a new log, and integrates
// what the store has beyond it.
func (l *Log) start(ctx context.Context, last *lastSigned) error {
	l.time = &advancing{clock: l.config.Clock}
	tc := tilestore.TreeConfig{ID: treeID(l.config.Origin), Leaves: l.leaves, Tiles: l.tiles, Publish: l.publish}
	if last != nil {
		l.published.Store(&last.Published)
		l.requested = last.Checkpoint.Size
		l.time.last = int64(min(last.nanos, math.MaxInt64))
		tc.Root = &types.LogRootV1{
			TreeSize: last.Checkpoint.Size, RootHash: bytes.Clone(last.Checkpoint.Root[:]), TimestampNanos: last.nanos,
		}
	}
	var err error
	if l.tree, err = tilestore.NewTree(tc); err != nil {
		return err
	}
	admin := tilestore.NewAdmin(l.config.Clock, func() (int64, error) { return tc.ID, nil })
	l.storage = tilestore.NewStorage(admin, func(int64) (*tilestore.Tree, error) { return l.tree, nil })
	l.definition, err = storage.CreateTree(ctx, admin, &trillian.Tree{
		TreeState: trillian.TreeState_ACTIVE, TreeType: trillian.TreeType_PREORDERED_LOG,
		DisplayName: l.config.Origin, MaxRootDuration: durationpb.New(0),
	})
	if err != nil {
		return fmt.Errorf("defining the log's tree: %w", err)
	}
	// Trillian's metrics are global to the process; only the first call counts.
	trillianlog.InitMetrics(monitoring.InertMetricFactory{})
	l.server = server.NewTrillianLogRPCServer(extension.Registry{
		AdminStorage: admin, LogStorage: l.storage, QuotaManager: quota.Noop(), MetricFactory: monitoring.InertMetricFactory{},
	}, l.time)
	if last == nil {
		if _, err := l.server.InitLog(ctx, &trillian.InitLogRequest{LogId: tc.ID}); err != nil {
			return fmt.Errorf("initialising the log: %w", err)
		}
	}
	if l.config.Behind {
		return nil
	}
	_, err = l.CatchUp(ctx)
	return err
}

// treeID gives a log's tree the same id in every process.
func treeID(origin string) int64 {
	digest := sha256.Sum256([]byte(origin))
	return int64(binary.BigEndian.Uint64(digest[:])>>1 | 1)
}

// Trillian returns Trillian's own log server over this log, for tools that speak
// its API, and the id of the log's tree. Leaves added through it are durable at
// once and integrated by the next IntegrateHashes or CatchUp; it must not be used for
// that while another writer appends to the store.
func (l *Log) Trillian() (trillian.TrillianLogServer, int64) {
	return l.server, l.definition.TreeId
}
