package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
)

const (
	// DefaultSmallLimit is the largest content in bytes that goes to a segment.
	DefaultSmallLimit = 64 << 10
	// MaxSmallLimit is the largest SmallLimit: such contents are held in memory.
	MaxSmallLimit = 1 << 20
	// DefaultSegmentSize is the size in bytes at which a segment is closed.
	DefaultSegmentSize = 128 << 20
	// MaxContentType is the longest content type in bytes.
	MaxContentType = 255
)

var (
	// ErrNotFound says that the vault holds no such record version or document.
	ErrNotFound = errors.New("no such content in the vault")
	// ErrDestroyed says that the record, or the patient's documents, were
	// destroyed, or are being destroyed: the contents are gone for good.
	ErrDestroyed = errors.New("the record's contents are destroyed")
	// ErrExists says that the record version has its content already, or is
	// being written at this moment, or that there is a document in the place.
	// Discard it first if it is to be replaced.
	ErrExists = errors.New("it is in the vault already")
	// ErrTaken is wrapped by a *TakenError.
	ErrTaken = errors.New("a term of the document leads to another one")
	// ErrInvalid says that a call or a Config makes no sense.
	ErrInvalid = errors.New("invalid use of the vault")
	// ErrClosed says that the vault was closed.
	ErrClosed = errors.New("vault is closed")
	// ErrStopped is wrapped by every write after a failed one. Contents can
	// still be read; to write, close the vault, open it again and Collect.
	ErrStopped = errors.New("vault stopped after a failed write; close it and open it again")
)

// Config says where a vault lies and what it works with. Only Dir and Custody are
// needed.
type Config struct {
	// Dir is the vault's folder, created if missing. The caller makes sure that
	// only one Vault uses it.
	Dir string
	// Custody has the root key, outside Dir, best on another disk. The vault makes
	// it and replaces it; it leaves other vaults' alone. The caller closes it after
	// the vault.
	Custody custody.Custody
	// Register is the file in which destroyed slots are registered, so that a
	// restoration kills them again. It lies with the secrets, outside Dir. None is
	// kept if it is empty.
	Register string
	// FS holds the ciphertexts and the register; the operating system's file system
	// if nil. SQLite does its own input and output below Dir.
	FS disk.FS
	// Random yields keys, salts and nonces; crypto/rand if nil. It must be safe
	// for concurrent use.
	Random io.Reader
	// Logger receives what an operator should know; slog's default if nil.
	Logger *slog.Logger
	// SmallLimit is the largest content in bytes that goes to a segment; zero
	// means DefaultSmallLimit.
	SmallLimit int
	// SegmentSize is the size in bytes at which a segment is closed; zero means
	// DefaultSegmentSize.
	SegmentSize int64
	// NodeCache is how many bytes of opened nodes of the key tree are kept in
	// memory; zero means DefaultNodeCache.
	NodeCache int

	fanOut int             // of a new vault's tree, for tests
	moveTo custody.Custody // the vault is opened for a move
}

func (c Config) withDefaults() (Config, error) {
	if c.FS == nil {
		c.FS = disk.OS{}
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.SmallLimit == 0 {
		c.SmallLimit = DefaultSmallLimit
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = DefaultSegmentSize
	}
	if c.NodeCache == 0 {
		c.NodeCache = DefaultNodeCache
	}
	if c.fanOut == 0 {
		c.fanOut = defaultFanOut
	}
	switch {
	case c.Dir == "":
		return c, fmt.Errorf("no vault folder given: %w", ErrInvalid)
	case c.Custody == nil:
		return c, fmt.Errorf("no custody given for the root key: %w", ErrInvalid)
	case c.SmallLimit < 0 || c.SmallLimit > MaxSmallLimit:
		return c, fmt.Errorf("small limit of %d bytes, allowed are 1 to %d: %w", c.SmallLimit, MaxSmallLimit, ErrInvalid)
	case c.SegmentSize < 0 || c.NodeCache < 0:
		return c, fmt.Errorf("segments of %d bytes and %d bytes of nodes in memory: %w", c.SegmentSize, c.NodeCache, ErrInvalid)
	}
	return c, nil
}

// Vault is an open vault. Its methods may be called from several goroutines at
// once.
type Vault struct {
	cfg      Config
	keys     *keyStore
	ledger   ledgerSecrets
	segments *segments
	active   *registry
	cache    *keyCache
	named    *namedCache
	buffers  sync.Pool  // of *putBuffers
	opened   serial     // the last serial in use when the vault was opened
	backup   sync.Mutex // held by the one Backup that runs

	queue chan *request // to the committing goroutine
	done  chan struct{} // closed when that goroutine has ended

	life   sync.RWMutex // held for reading by every call while it runs
	closed bool         // guarded by life
}

// Open opens the vault in cfg.Dir, or makes one. It completes destructions that a
// crash interrupted. It refuses a custody in which the root key is not, or of
// another kind, with an error that wraps ErrRootKey and says what to do; a folder of
// an earlier format, or one whose upgrade was interrupted, with ErrOldFormat; one
// whose restoration was, with ErrUnfinished; and one whose key was being moved, with
// ErrMoving. After a crash, call Collect.
func Open(ctx context.Context, cfg Config) (*Vault, error) {
	return open(ctx, cfg, noHook)
}

func open(ctx context.Context, cfg Config, hook stepHook) (*Vault, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	// Crash: some of the folders, empty, which the next Open uses.
	for _, dir := range []string{segmentsDir(cfg.Dir), largeDir(cfg.Dir)} {
		if err := disk.MakeDir(cfg.FS, dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the vault's folders: %w", err)
		}
	}
	if err := refuseUnfinished(cfg.FS, cfg.Dir); err != nil {
		return nil, err
	}
	empty, err := holdsNothing(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, err
	}
	keys, err := openKeyStore(ctx, cfg, empty, hook)
	if err != nil {
		return nil, err
	}
	ledger, err := openLedgerKeys(ctx, keys)
	if err != nil {
		return nil, errors.Join(err, keys.close())
	}
	segs, err := openSegments(cfg.FS, segmentsDir(cfg.Dir), cfg.SegmentSize, cfg.Logger)
	if err != nil {
		return nil, errors.Join(err, keys.close())
	}
	v := &Vault{
		cfg:      cfg,
		keys:     keys,
		ledger:   ledger,
		segments: segs,
		active:   newRegistry(),
		cache:    newKeyCache(cachedKeys),
		named:    newNamedCache(cachedNamed),
		opened:   keys.lastSerial,
		queue:    make(chan *request),
		done:     make(chan struct{}),
	}
	v.buffers.New = func() any { return newPutBuffers(cfg.SmallLimit) }
	go v.commitLoop()
	return v, nil
}

// Close waits for running calls, ends open readers (ErrClosed), wipes the keys
// in memory and closes the files. A second Close does nothing.
func (v *Vault) Close() error {
	v.life.Lock()
	defer v.life.Unlock()
	if v.closed {
		return nil
	}
	v.closed = true
	close(v.queue)
	<-v.done
	for _, r := range v.active.all() {
		r.end(ErrClosed)
	}
	v.cache.wipe()
	v.named.wipe()
	v.ledger.wipe()
	return errors.Join(v.segments.close(), v.keys.close())
}

// enter is called first by every method; leave must follow if it succeeds.
func (v *Vault) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.life.RLock()
	if v.closed {
		v.life.RUnlock()
		return ErrClosed
	}
	return nil
}

func (v *Vault) leave() { v.life.RUnlock() }

// holdsNothing reports whether there is no ciphertext in the vault's folder.
func holdsNothing(fsys disk.FS, dir string) (bool, error) {
	for _, d := range []string{segmentsDir(dir), largeDir(dir)} {
		entries, err := fsys.ReadDir(d)
		if err != nil {
			return false, fmt.Errorf("looking into the vault's folders: %w", err)
		}
		if len(entries) > 0 {
			return false, nil
		}
	}
	return true, nil
}

func segmentsDir(dir string) string { return filepath.Join(dir, "segments") }
func largeDir(dir string) string    { return filepath.Join(dir, "large") }
