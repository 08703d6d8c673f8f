package ledger

import (
	"errors"
	"fmt"
)

// What a command can be answered.
var (
	// ErrRefused is wrapped by every RefusedError.
	ErrRefused = errors.New("refused")
	// ErrUnknownActor says that no such actor is registered. Nothing is logged:
	// the name of an unknown actor has no place in the log.
	ErrUnknownActor = errors.New("no such actor")
	// ErrConflict says that somebody else changed the record meanwhile.
	ErrConflict = errors.New("the record was changed meanwhile; read it again")
	// ErrKeyReused says that an idempotency key was used for another command.
	ErrKeyReused = errors.New("the idempotency key was used for another command; choose a new one")
	// ErrBadKey says that an idempotency key is too long.
	ErrBadKey = fmt.Errorf("an idempotency key has at most %d bytes", MaxIdempotencyKey)
	// ErrUnknownOutcome says that the caller stopped waiting: the command may or
	// may not take effect. The same command with the same idempotency key finds
	// out.
	ErrUnknownOutcome = errors.New("the outcome is not known yet; repeat the command with the same idempotency key to learn it")
	// ErrStopped says that the ledger was closed, or stopped itself after a
	// write failed. Err tells why.
	ErrStopped = errors.New("the ledger has stopped; find out why in its log, then start it again")
)

// What can be wrong with a data folder.
var (
	// ErrExists says that the folder holds a ledger already.
	ErrExists = errors.New("the folder holds a ledger already; choose another, or serve this one")
	// ErrNoLedger says that the folder holds none.
	ErrNoLedger = errors.New("the folder holds no ledger; make one with 'medledger init'")
	// ErrNewerFormat says that a newer medledger wrote the folder.
	ErrNewerFormat = errors.New("the folder was written by a newer medledger; use that version")
	// ErrOtherOrigin says that parts of a folder belong to different ledgers.
	ErrOtherOrigin = errors.New("parts of the folder belong to another ledger; put back the right ones")
	// ErrNoVault says that the vault of a ledger is not where it was.
	ErrNoVault = errors.New("the ledger's vault is missing; mount it, or restore it from a backup")
	// ErrEmpty says that the folder is marked as a ledger's, but holds no event.
	ErrEmpty = errors.New("the ledger's event store is empty; restore it from a backup")
)

// RefusedError says that a command was not allowed. The refusal is an event.
type RefusedError struct {
	// Reason is one of the reasons of verifier/decision.
	Reason string
	// Result is the refusal's event.
	Result *Result
}

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// Unwrap makes errors.Is(err, ErrRefused) true.
func (e *RefusedError) Unwrap() error { return ErrRefused }
