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
	// ErrUnauthenticated says that a token is nobody's, revoked or expired.
	ErrUnauthenticated = errors.New("the token is unknown, revoked or expired; log in with another")
	// ErrRightEnded says that the right to read something ended while it was being
	// read.
	ErrRightEnded = errors.New("the right to read this has ended")
	// ErrUnknownPatient says that an account is to stand for a patient who is not
	// registered.
	ErrUnknownPatient = errors.New("no such patient")
	// ErrIdentifier is wrapped by the errors about malformed identifiers.
	ErrIdentifier = errors.New("malformed identifiers of a patient")
	// ErrIdentifierTaken says that somebody is registered under an identifier.
	ErrIdentifierTaken = errors.New("a patient is registered under one of these identifiers already; look them up by it")
	// ErrName says that an organisation or a department cannot have such a name.
	ErrName = fmt.Errorf("a name has 1 to %d bytes of printable UTF-8", MaxName)
	// ErrLifetime says that a token would be worth something for too long.
	ErrLifetime = fmt.Errorf("a token is for %d days at most", int(MaxTokenLifetime.Hours()/24))
	// ErrNoAdministrator says that somebody is not an administrator.
	ErrNoAdministrator = errors.New("no such administrator")
	// ErrConflict says that somebody else changed the record meanwhile.
	ErrConflict = errors.New("the record was changed meanwhile; read it again")
	// ErrVersion says that the record's newest version is not the one that was to be
	// amended.
	ErrVersion = errors.New("the record has a newer version; read that, and amend it")
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
	// ErrOldFormat says that an older medledger wrote the folder.
	ErrOldFormat = errors.New("the folder was written by an older medledger; bring it up to date with 'medledger upgrade'")
	// ErrNothingKept says that a backup was to be restored without the operator's word
	// that the log has not gone on since. A checkpoint can refuse a backup; that there is
	// no newer one no checkpoint shows.
	ErrNothingKept = errors.New("nothing shows that the log has not gone on after the backup, and then it must not go on from there; look for the newest that anybody has of it (an auditor's checkpoint, a receipt, a patient's bundle) and give that with --checkpoint, which refuses a backup that is older; if nobody has anything newer than the backup, say so with --nothing-newer, in addition to --checkpoint or without it; the checkpoint beside the backup is the backup's own and shows nothing")
	// ErrLivingEpochs says that a token is to be left in which backups have living keys.
	ErrLivingEpochs = errors.New("the token has keys of the backups' epochs, which nobody would destroy on their day once the ledger has left it; wait until they are retired, or give --retire-epochs, which destroys them now: then no backup that there is can be restored, so take one right after the move; epochs")
	// ErrWouldFork says that the log has gone on after the backup, or in another way.
	ErrWouldFork = errors.New("the log has other events than the backup, so going on from the backup would make two histories; restore a newer backup")
	// ErrOtherOrigin says that parts of a folder belong to different ledgers.
	ErrOtherOrigin = errors.New("parts of the folder belong to another ledger; put back the right ones")
	// ErrOlder says that the ledger has signed what its folder does not have: the file
	// checkpoints.kept, or a checkpoint that was given, shows it.
	ErrOlder = errors.New("the ledger has signed more than this folder has, or something else, so going on from it would make two histories: 'store', 'log' or 'state' were put back from before; put the newest ones back, or restore a backup, and with --lose-events if there is none newer")
	// ErrKept says that the file checkpoints.kept cannot be read.
	ErrKept = errors.New("the file is damaged, or another ledger's, and without it an older data folder cannot be told from this one; see with 'medverify audit --checkpoint', and what somebody kept, that this folder is the newest, then move the file away: a new one is written")
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
