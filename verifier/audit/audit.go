// Package audit holds a log to its word. It reads every statement that a signed
// checkpoint promises and checks, with nothing but the log's verifier key:
//
//	checkpoint   its signature and that it belongs to the key's log
//	statements   the form and the Ed25519 signature of each, by a key that the
//	             log had announced for that place (statement.KeySet)
//	ids          that no event stands in the log twice
//	lives        that each event may follow those before it (life.State)
//	decisions    that the access rules, asked again on the state before the event,
//	             decide what it says they did (decision.Replay)
//	tree         that the statements give the checkpoint's root hash, and that
//	             every hash tile served is the one that they give
//	history      that the log extends a checkpoint that was kept earlier
//
// and, if it is given the state log (package verifier/state), with the key that the
// log announces:
//
//	checkpoint   of the state log, likewise; its leaves, tree, tiles and history
//	leaves       that each is of the log as it was at that size, that the sizes rise,
//	             and that there is one for the log's checkpoint
//	map          that the events up to each leaf give the root of the map that it has:
//	             no event of a record was left out, moved or invented
//
// Whoever can serve a log can lie in each of these; a lie becomes a Finding
// with the evidence for it. What cannot be read, because a server does not
// answer or a disk fails, proves nothing and is an error instead.
//
// # What an audit does not show
//
// It cannot show that others are served the same log: for that, compare kept
// checkpoints, or have the log witnessed. It cannot show that all that happened
// was entered. It says nothing of contents, which are not in the log.
package audit

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
)

// Source is a log as somebody serves it. An audit believes nothing that it
// returns. Its methods are called from several goroutines at once.
//
// What a source finds false itself, such as a file that the checkpoint promises
// and that is not there, it returns as a *DefectError; the audit reports it.
// Every other error ends the audit: it could not check.
type Source interface {
	// Checkpoint returns the current signed checkpoint. The audit calls it
	// once; the log may grow afterwards.
	Checkpoint(ctx context.Context) ([]byte, error)
	// Entries returns the first width leaves of entry bundle n, in the format
	// of proof.FormatBundle. Bundles are asked for roughly in order.
	Entries(ctx context.Context, n uint64, width int) ([]byte, error)
	// Tile returns a hash tile, in the format of proof.FormatHashTile.
	Tile(ctx context.Context, t proof.Tile) ([]byte, error)
}

// Options say how to audit.
type Options struct {
	// Verifier is the log's key; its name is the log's origin. Required.
	Verifier note.Verifier
	// Kept is a signed checkpoint of the same log from an earlier audit, or nil.
	Kept []byte
	// State is the state log that the log announces, or nil to leave it out. It is
	// read after the log's checkpoint; what it has beyond that is left aside. The
	// error of its Checkpoint wraps fs.ErrNotExist if there is no state log.
	State Source
	// KeptState is a signed checkpoint of the state log from an earlier audit, or
	// nil.
	KeptState []byte
	// Progress, if not nil, is called now and then with the number of events
	// that were checked, from the goroutine that called Log.
	Progress func(done, total uint64)
	// Workers is how many goroutines read and check at a time. Zero means one a
	// core; a source behind a network gains from more.
	Workers int
	// MaxFindings is how many findings the report holds; the others are only
	// counted. Zero means DefaultMaxFindings.
	MaxFindings int
}

// DefaultMaxFindings is how many findings a report holds unless told otherwise.
const DefaultMaxFindings = 100

var (
	// ErrKept says that the checkpoint that was given as kept is none of this
	// log, so nothing can be compared with it.
	ErrKept = errors.New("the kept checkpoint is not one that this key signed")
	// ErrOptions says that an audit was started without a verifier key.
	ErrOptions = errors.New("an audit needs the log's verifier key")
	// ErrKeptState says the same of the kept checkpoint of the state log.
	ErrKeptState = errors.New("the kept checkpoint of the state log is not one that its key signed")
	// ErrNoState says that the log announces no state log: an older medledger wrote
	// it, and there is nothing to hold the state against.
	ErrNoState = errors.New("the log announces no state log; 'medledger upgrade' opens one, and 'medverify log' checks what there is without it")
)

// Report is what an audit found out. What it says of the log (all but Findings
// and Counts) is true of the events that were verified.
type Report struct {
	Checkpoint proof.Checkpoint // verified, unless there is a finding about it
	Signed     []byte           // the signed checkpoint as served
	Kept       *proof.Checkpoint
	KeptHolds  bool // the log was shown to extend Kept

	Complete bool   // the audit came to its end
	Checked  uint64 // events that were looked at; Checkpoint.Size if Complete
	Verified uint64 // events whose form and signature are good

	ByType        map[events.Type]uint64 // newest version of each type
	Actors        int
	Records       int
	Destroyed     int              // records that were destroyed
	Destroying    int              // records whose destruction is not complete
	First, Last   events.Timestamp // times of the first and the last verified event
	Announcements []Announcement   // of statement keys, oldest first
	Restored      []uint64         // where the ledger was put back from a backup

	State *StateReport // nil if the state log was not audited

	Findings []Finding       // in the order of the log, at most MaxFindings
	Counts   map[Code]uint64 // of all findings, also of those not held
}

// Announcement is an event that announced statement keys.
type Announcement struct {
	Index uint64
	Keys  []string // key ids
}

// StateReport is what an audit found out about the state log.
type StateReport struct {
	Announced  uint64           // log index of the event that announced it
	Checkpoint proof.Checkpoint // verified, unless there is a finding about it
	Signed     []byte           // the signed checkpoint as served; nil if there is none
	Kept       *proof.Checkpoint
	KeptHolds  bool // the state log was shown to extend Kept

	Compared uint64    // leaves whose map the events give
	Beyond   uint64    // leaves that are newer than the log's checkpoint: not compared
	Map      tlog.Hash // root of the map at the log's checkpoint
	Records  int       // in the map then
}

// OK reports whether the audit was complete and found nothing false.
func (r *Report) OK() bool {
	return r.Complete && len(r.Counts) == 0 && (r.Kept == nil || r.KeptHolds) &&
		(r.State == nil || r.State.Kept == nil || r.State.KeptHolds)
}

// FoundFalse reports whether the audit found something false.
func (r *Report) FoundFalse() bool { return len(r.Counts) > 0 }

// Total returns the number of all findings.
func (r *Report) Total() uint64 {
	var n uint64
	for _, c := range r.Counts {
		n += c
	}
	return n
}

// Log audits a log, and its state log if there is one in the options. The report is
// never nil: after an error, which says that something could not be checked, it holds
// what was found until then, and is not OK. The error wraps ErrKept, ErrKeptState,
// ErrNoState or ErrOptions, or is the source's or ctx's.
func Log(ctx context.Context, src Source, o Options) (*Report, error) {
	a := &auditor{src: src, options: o, report: &Report{
		ByType: make(map[events.Type]uint64), Counts: make(map[Code]uint64),
	}}
	if o.Verifier == nil {
		return a.report, ErrOptions
	}
	if a.options.Workers <= 0 {
		a.options.Workers = runtime.GOMAXPROCS(0)
	}
	if a.options.MaxFindings <= 0 {
		a.options.MaxFindings = DefaultMaxFindings
	}
	if err := a.checkpoints(ctx); err != nil || a.report.FoundFalse() {
		return a.report, err
	}
	err := a.entries(ctx)
	a.summarise()
	return a.report, err
}

// checkpoints verifies the log's checkpoint and the kept one. A finding means
// that there is no size to go by.
func (a *auditor) checkpoints(ctx context.Context) error {
	r := a.report
	if a.options.Kept != nil {
		kept, err := proof.VerifyCheckpoint(a.options.Kept, a.options.Verifier)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrKept, err)
		}
		r.Kept = &kept
	}
	signed, err := a.src.Checkpoint(ctx)
	if err != nil {
		if err = a.blame(err); err != nil {
			return fmt.Errorf("reading the log's checkpoint: %w", err)
		}
		return nil
	}
	r.Signed = signed
	if r.Checkpoint, err = proof.VerifyCheckpoint(signed, a.options.Verifier); err != nil {
		a.found(badCheckpoint(signed, a.options.Verifier, err))
	} else if r.Checkpoint.Size == 0 {
		a.found(Finding{What: LogEmpty, Why: "the log has no events, not even the one that opens a ledger"})
	} else if a.options.State != nil {
		return a.openStates(ctx)
	}
	return nil
}
