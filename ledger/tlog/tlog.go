package tlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/tlog/tilestore"
	"github.com/medledger/medledger/verifier/proof"
)

// Config says where a log lies and what it works with. Every field without a
// default must be set.
type Config struct {
	// Dir is the log's folder. It is made if it is not there, and so are the
	// folders above it.
	Dir string
	// FS is the file system of Dir; the operating system's if nil.
	FS disk.FS
	// Store has the leaves: all of its events, in its order. The log does not
	// close it. A log has either a Store or Leaves.
	Store store.Store
	// Leaves has the leaves of a log without an event store.
	Leaves Leaves
	// Lazy says that a checkpoint is not made durable before it is published. As
	// every leaf is durable before it is integrated, what a crash loses is made again
	// as it was; but leaves that are lost to something else, below the last
	// checkpoint that happens to be on the disk, are not missed.
	Lazy bool
	// Behind says that Open does not integrate what there is beyond the last
	// checkpoint, so that it can be read and checked first: CatchUp does.
	Behind bool
	// Known are signed checkpoints of the log that are kept outside of Dir. If the
	// newest is newer than what Dir has, the log begins at it: what was signed last was
	// lost from Dir or is older there than it was. A log that does not extend all of
	// them is refused, before anything is signed.
	Known [][]byte
	// Alongside, if not nil, is called with every checkpoint that is to be published,
	// and no other is until what it returned was called. It begins what has to be
	// done by then, and what it returned waits for its end, while the checkpoint is
	// being made durable. An error of it stops the log.
	Alongside func(ctx context.Context, next proof.Checkpoint) (wait func() error)
	// Origin names the log in its checkpoints. It is the name of its key.
	Origin string
	// Signer signs checkpoints.
	Signer note.Signer
	// Verifier is the public side of Signer.
	Verifier note.Verifier
	// Clock tells the time; time.Now if nil. It may step back.
	Clock func() time.Time
	// Logger gets warnings and repairs, but never a leaf; slog's default if nil.
	Logger *slog.Logger

	cacheTiles int // full tiles kept in memory; tests make it small
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Dir == "", (c.Store == nil) == (c.Leaves == nil), c.Signer == nil, c.Verifier == nil:
		return c, errors.New("a log needs Dir, Store or Leaves, Signer and Verifier")
	case !proof.ValidOrigin(c.Origin):
		return c, fmt.Errorf("%q cannot be an origin: use a name without spaces and '+', such as example.org/ledger", c.Origin)
	case c.Signer.Name() != c.Origin || c.Verifier.Name() != c.Origin || c.Signer.KeyHash() != c.Verifier.KeyHash():
		return c, fmt.Errorf("keys %s+%08x and %s+%08x do not belong to origin %q",
			c.Signer.Name(), c.Signer.KeyHash(), c.Verifier.Name(), c.Verifier.KeyHash(), c.Origin)
	}
	if c.FS == nil {
		c.FS = disk.OS{}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Alongside == nil {
		c.Alongside = func(context.Context, proof.Checkpoint) func() error { return func() error { return nil } }
	}
	if c.cacheTiles == 0 {
		c.cacheTiles = tilestore.DefaultCacheTiles
	}
	return c, nil
}

var (
	// ErrForeign says that the folder is that of another log: its checkpoint is
	// for another origin or was signed with another key.
	ErrForeign = errors.New("the folder belongs to another log; check its path, the origin and the key")
	// ErrNoCheckpoint says that the log has leaves but no readable checkpoint,
	// so that nothing says which history was signed.
	ErrNoCheckpoint = errors.New("the log has leaves but its checkpoint is lost; restore the files 'checkpoint' and 'signed' from a backup, " +
		"or run 'medledger rebuild --checkpoint KEPT' with a checkpoint that somebody kept")
	// ErrStopped is wrapped by every error after a failed write: what is on the
	// disk is unknown until the log is opened again.
	ErrStopped = errors.New("log stopped after a failed write; close it and open it again")
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("log is closed")
	// ErrNotFound says that what was asked for is not in the published log,
	// perhaps not yet.
	ErrNotFound = errors.New("not in the published log")
	// ErrNotStored says that leaves were to be integrated that are not in the
	// event store. They must be appended there first.
	ErrNotStored = errors.New("leaves are not in the event store")
)

// LostEventsError is the evidence that events were lost: the log signed more
// leaves than the event store has.
type LostEventsError struct {
	Note []byte // the signed checkpoint
	Size uint64 // the leaves that it covers
	Have uint64 // the leaves that are there
}

func (e *LostEventsError) Error() string {
	return fmt.Sprintf("events were lost: the log signed %d of them and the event store has %d; restore the event store from a backup", e.Size, e.Have)
}

// HistoryError is the evidence that events were altered: the leaves do not have
// the root that the log signed.
type HistoryError struct {
	Note     []byte // the signed checkpoint
	Size     uint64
	Signed   tlog.Hash
	Computed tlog.Hash
}

func (e *HistoryError) Error() string {
	return fmt.Sprintf("events were altered: the log signed root %v for its first %d events, which now have root %v; restore the event store from a backup", e.Signed, e.Size, e.Computed)
}

// RegressError is the refusal to publish a root that does not follow the last
// signed one: a smaller tree, another root for the same size, or a tree that was
// computed from another than the last signed.
type RegressError struct {
	Note []byte           // the last signed checkpoint
	Last proof.Checkpoint // what it says
	Next proof.Checkpoint // what was to be signed
}

func (e *RegressError) Error() string {
	return fmt.Sprintf("refusing to sign size %d, root %v: the last signed checkpoint has size %d, root %v",
		e.Next.Size, e.Next.Root, e.Last.Size, e.Last.Root)
}

// Published is a signed checkpoint. It is not to be modified.
type Published struct {
	Checkpoint proof.Checkpoint
	Note       []byte // the C2SP signed note
	// Time is when Trillian made the root that the checkpoint signs; the zero
	// time if that was lost in a crash.
	Time time.Time
}
