package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/state"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/ledger/vault"
	"github.com/medledger/medledger/projections/access"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/statement"
)

// Config says how a ledger is opened. Only Dir is needed.
type Config struct {
	// Dir is the data folder.
	Dir string
	// Secrets is the folder of the secrets; DefaultCustody(Dir) if "".
	Secrets string
	// Helper is how the process is reached that has the token with the vault's root key;
	// if it is the zero Helper, the root key is in the folder of the secrets.
	Helper Helper
	// Clock tells the time; time.Now if nil. It may step back: events' times
	// do not.
	Clock func() time.Time
	// Random is where keys, ids and salts come from; crypto/rand if nil.
	Random io.Reader
	// FS is where everything but SQLite's files is written; the operating
	// system's file system if nil.
	FS disk.FS
	// TurnSize is how many commands one turn takes at most; 256 if zero.
	TurnSize int
	// Logger gets messages for the operator; slog's default if nil.
	Logger *slog.Logger

	restoring bool // opened by a restoration, in a folder that has no name yet
}

// Helper is a helper process that has a PKCS #11 token open (ledger/custody/token).
type Helper struct {
	// Socket is the path of its socket.
	Socket string
	// User is the id of the user that it runs as, who is believed besides root and the
	// ledger's own.
	User uint32
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("a ledger needs a data folder; name one with --dir")
	}
	c.Secrets = c.SecretsFolder()
	if inside(c.Dir, c.Secrets) {
		return c, fmt.Errorf("the secrets are to lie in %s, inside the data folder; choose another folder with --custody, so that a copy of the data has no keys", c.Secrets)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.FS == nil {
		c.FS = disk.OS{}
	}
	if c.TurnSize < 0 {
		return c, fmt.Errorf("turns of %d commands; want 1 or more", c.TurnSize)
	}
	if c.TurnSize == 0 {
		c.TurnSize = 256
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// SecretsFolder is the folder of the ledger's secrets.
func (c Config) SecretsFolder() string {
	if c.Secrets != "" {
		return c.Secrets
	}
	return DefaultCustody(c.Dir)
}

// folder is where the ledger lies.
func (c Config) folder() Folder { return Folder{c.Dir, c.Secrets} }

// inside reports whether a path lies in a folder, as far as their names tell.
func inside(dir, path string) bool {
	dir, err1 := filepath.Abs(dir)
	path, err2 := filepath.Abs(path)
	rel, err3 := filepath.Rel(dir, path)
	return err1 == nil && err2 == nil && err3 == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// opening is what a ledger is opened for.
type opening int

const (
	serving opening = iota
	creating
	rebuilding
)

// Ledger is an open ledger. Its methods may be called from several goroutines
// at once.
type Ledger struct {
	config  Config
	folder  Folder
	origin  string
	opening opening
	keys    *keys
	store   *segment.Store
	log     *tlog.Log
	vault   *vault.Vault
	custody custody.Custody // of the vault's root key, and of those of backups' epochs
	backups *backup.Backups
	// elsewhere has keys of epochs from before the ledger moved to its custody; or nil.
	elsewhere custody.Custody

	standing *state.State // where every record stands; the commit stage's, but for reading
	shown    uint64       // size of the checkpoint that the folder showed when it was opened
	serving  atomic.Bool  // the stages run

	// The decide stage writes under stateMu; everybody may read under it. The
	// state can be ahead of what is durable by the turns in flight.
	stateMu sync.RWMutex
	access  *access.Projection

	signer *statement.Signer // owned by the decide stage

	proposals chan *proposal
	turns     chan *turn
	closing   chan struct{} // closed when no more proposals are taken
	ended     chan struct{} // closed when the last turn was answered

	known     []keptCheckpoints // that both logs had to extend when the ledger was opened
	keeping   chan struct{}     // closed when keepLoop has ended
	keptFile  []byte            // as it was written last; keepLoop's until that has ended
	keepFails bool              // likewise: the last time

	failMu sync.Mutex
	closed bool
	cause  error // why the ledger stopped

	announced []events.StatementKey // last, when the ledger was opened
	running   sync.Map              // commandName -> chan struct{}, closed when it is done
	rotating  sync.Mutex
	closeOnce sync.Once
	closeErr  error

	announcements announcements
	fence         fence
	readers       logReaders
}

// view calls f with the state, which f must neither change nor keep.
func (l *Ledger) view(f func(*life.State)) {
	l.stateMu.RLock()
	defer l.stateMu.RUnlock()
	f(l.access.State())
}

// Origin is the ledger's name, which its checkpoints and events carry.
func (l *Ledger) Origin() string { return l.origin }

// VerifierKey is the log's public key in the form of C2SP signed notes.
func (l *Ledger) VerifierKey() note.Verifier { return l.keys.verifier }

// Log is the transparency log, for reading.
func (l *Ledger) Log() *tlog.Log { return l.log }

// StateLog is the log of where every record stands, for reading.
func (l *Ledger) StateLog() *tlog.Log { return l.standing.Log() }

// Err returns why the ledger stopped itself, or nil while it works.
func (l *Ledger) Err() error {
	l.failMu.Lock()
	defer l.failMu.Unlock()
	return l.cause
}

// fail stops the ledger for the given reason.
func (l *Ledger) fail(cause error) {
	l.failMu.Lock()
	defer l.failMu.Unlock()
	if l.cause == nil {
		l.cause = cause
		l.config.Logger.Error("the ledger stops: nothing more is accepted until it is started again", "cause", cause)
	}
	l.stopTaking()
}

// notKept wraps what the vault failed with. If that is a write that left its files in
// doubt, the vault takes no more until it is opened again, so neither does the ledger.
func (l *Ledger) notKept(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	if !errors.Is(err, vault.ErrStopped) {
		return err
	}
	l.fail(err)
	return l.stopped()
}

// stopTaking makes the decide stage take no more proposals; failMu is held.
func (l *Ledger) stopTaking() {
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
}

// stopped is what a command is answered after the ledger stopped.
func (l *Ledger) stopped() error {
	if cause := l.Err(); cause != nil {
		return fmt.Errorf("%w: %w", ErrStopped, cause)
	}
	return ErrStopped
}

// Close takes no more commands, finishes those it took, and closes the folder.
// Closing it again does nothing.
func (l *Ledger) Close() error {
	l.failMu.Lock()
	l.stopTaking()
	l.failMu.Unlock()
	<-l.ended
	<-l.keeping
	l.closeOnce.Do(func() {
		l.tryToKeep()
		l.closeErr = l.closeParts()
	})
	return l.closeErr
}

func (l *Ledger) closeParts() error {
	var errs []error
	if l.access != nil {
		errs = append(errs, l.access.Close())
	}
	if l.vault != nil {
		errs = append(errs, l.vault.Close())
	}
	for _, c := range []custody.Custody{l.custody, l.elsewhere} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if l.log != nil {
		errs = append(errs, l.log.Close())
	}
	if l.standing != nil {
		errs = append(errs, l.standing.Close(context.Background()))
	}
	if l.store != nil {
		errs = append(errs, l.store.Close())
	}
	return errors.Join(errs...)
}
