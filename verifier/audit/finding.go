package audit

import (
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/statement"
)

// Code names a kind of finding. Codes do not change from release to release.
type Code string

// The kinds of finding.
const (
	// CheckpointMalformed: the signed checkpoint is not in its format.
	CheckpointMalformed Code = "checkpoint-malformed"
	// CheckpointSignature: the log's key did not sign the checkpoint.
	CheckpointSignature Code = "checkpoint-signature"
	// CheckpointOrigin: the checkpoint is of another log than the key.
	CheckpointOrigin Code = "checkpoint-origin"
	// RootMismatch: the statements do not give the checkpoint's root hash.
	RootMismatch Code = "root-mismatch"
	// KeptFork: the log does not extend the kept checkpoint: it has signed two
	// histories.
	KeptFork Code = "kept-fork"
	// KeptMismatch: the statements are neither those of the kept checkpoint nor
	// those of the log's own.
	KeptMismatch Code = "kept-mismatch"
	// KeptLarger: the kept checkpoint covers more events than the log: its tail
	// was removed.
	KeptLarger Code = "kept-larger"
	// LogEmpty: the log has no events, not even its opening.
	LogEmpty Code = "log-empty"
	// StatementsMissing: statements that the checkpoint promises are not there.
	StatementsMissing Code = "statements-missing"
	// StoreDamaged: a file of the event store contradicts its own checksums or
	// format.
	StoreDamaged Code = "store-damaged"
	// StoreLabel: the event store keeps a statement under an id or a stream
	// that is not the statement's own.
	StoreLabel Code = "store-label"
	// ExportTruncated: an export ends before what its checkpoint promises.
	ExportTruncated Code = "export-truncated"
	// ExportMalformed: an export is not in its format.
	ExportMalformed Code = "export-malformed"
	// BundleMalformed: an entry bundle is not in its format.
	BundleMalformed Code = "bundle-malformed"
	// TileMismatch: a hash tile is not the one that the statements give.
	TileMismatch Code = "tile-mismatch"
	// TileMissing: a hash tile is not there.
	TileMissing Code = "tile-missing"
	// StatementMalformed: a leaf is not a statement in its one form.
	StatementMalformed Code = "statement-malformed"
	// StatementSignature: a statement's signature does not verify.
	StatementSignature Code = "statement-signature"
	// StatementKey: a statement names a key that the log never announced
	// before it.
	StatementKey Code = "statement-key"
	// StatementRetiredKey: a statement names a key that had been replaced.
	StatementRetiredKey Code = "statement-retired-key"
	// StatementOrigin: a statement is of another ledger.
	StatementOrigin Code = "statement-origin"
	// AnnouncementBroken: an event announces statement keys against the rules.
	AnnouncementBroken Code = "announcement-broken"
	// EventUnknown: a statement's event has a type or a version that this
	// program does not know.
	EventUnknown Code = "event-unknown"
	// EventRepeated: an event's id stands in the log before.
	EventRepeated Code = "event-repeated"
	// EventIllegal: an event cannot follow those before it.
	EventIllegal Code = "event-illegal"
	// DecisionWrong: the rules of verifier/decision, asked again on the state
	// before the event, do not decide what the event says they did.
	DecisionWrong Code = "decision-wrong"
)

// The kinds of finding about the state log; see OfState.
const (
	// StateMissing: the log announces a state log that is not there.
	StateMissing Code = "state-missing"
	// StateCheckpointMalformed: the state log's signed checkpoint is not in its
	// format.
	StateCheckpointMalformed Code = "state-checkpoint-malformed"
	// StateCheckpointSignature: the key that the log announces did not sign the
	// state log's checkpoint.
	StateCheckpointSignature Code = "state-checkpoint-signature"
	// StateCheckpointOrigin: the checkpoint is of another log.
	StateCheckpointOrigin Code = "state-checkpoint-origin"
	// StateLeavesMissing: leaves that the state log's checkpoint promises are not
	// there.
	StateLeavesMissing Code = "state-leaves-missing"
	// StateBundleMalformed: an entry bundle is not in its format.
	StateBundleMalformed Code = "state-bundle-malformed"
	// StateLeafMalformed: a leaf is not in its one form.
	StateLeafMalformed Code = "state-leaf-malformed"
	// StateOrder: a leaf is of no greater a log than an earlier one.
	StateOrder Code = "state-order"
	// StateLogRoot: the statements do not give the root of the log that a leaf has.
	StateLogRoot Code = "state-log-root"
	// StateRootMismatch: the events do not give the root of the map that a leaf has:
	// it says of some record what is not so. Later leaves are not compared.
	StateRootMismatch Code = "state-root-mismatch"
	// StateBehind: no leaf is of the log's checkpoint.
	StateBehind Code = "state-behind"
	// StateTreeMismatch: the leaves do not give the root of the state log.
	StateTreeMismatch Code = "state-tree-mismatch"
	// StateTileMismatch: a hash tile is not the one that the leaves give.
	StateTileMismatch Code = "state-tile-mismatch"
	// StateTileMissing: a hash tile is not there.
	StateTileMissing Code = "state-tile-missing"
	// StateKeptFork: the state log does not extend the kept checkpoint.
	StateKeptFork Code = "state-kept-fork"
	// StateKeptMismatch: the leaves are neither those of the kept checkpoint nor
	// those of the state log's own.
	StateKeptMismatch Code = "state-kept-mismatch"
	// StateKeptLarger: the kept checkpoint covers more leaves than the state log.
	StateKeptLarger Code = "state-kept-larger"
)

// Finding is something false, with the evidence for it.
type Finding struct {
	// What is false.
	What Code
	// Located says whether Index has a meaning.
	Located bool
	// Index is the log index of the event, or of the first event concerned; of a
	// finding about the state log (OfState) the index of a leaf there.
	Index uint64
	// Event is the id that the statement at Index says it has; zero if it is
	// not known.
	Event events.ID
	// Type is the type that it says it has, or "".
	Type events.Type
	// Why says in words what is false.
	Why string
	// Evidence is what shows it.
	Evidence []Exhibit
}

// Exhibit is a piece of evidence: a signed note as it is, a statement in
// base64, a hash in base64.
type Exhibit struct {
	Name string
	Text string
}

func (f Finding) String() string {
	if !f.Located {
		return fmt.Sprintf("%s: %s", f.What, f.Why)
	}
	return fmt.Sprintf("%s at index %d: %s", f.What, f.Index, f.Why)
}

// DefectError is how a Source returns what it found false itself.
type DefectError struct {
	Finding Finding
	Err     error // the cause, or nil
}

func (e *DefectError) Error() string { return e.Finding.String() }

// Unwrap returns the cause.
func (e *DefectError) Unwrap() error { return e.Err }

// defectIn returns the finding of the DefectError that err wraps, if it wraps one.
// Any other error says that something could not be checked.
func defectIn(err error) (Finding, bool) {
	var defect *DefectError
	if errors.As(err, &defect) {
		return defect.Finding, true
	}
	return Finding{}, false
}

// badCheckpoint explains a checkpoint that does not verify.
func badCheckpoint(signed []byte, v note.Verifier, err error) Finding {
	f := Finding{What: CheckpointMalformed, Why: err.Error(), Evidence: []Exhibit{{"checkpoint", string(signed)}}}
	key := fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash())
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &invalid):
		f.What = CheckpointSignature
		f.Why = fmt.Sprintf("the signature that names the key %s does not verify: whoever made it does not have the key", key)
	case errors.As(err, &unverified):
		f.What = CheckpointSignature
		if c, err := proof.ParseCheckpoint(unverified.Note.Text); err == nil && c.Origin != v.Name() {
			f.What = CheckpointOrigin
		}
		f.Why = fmt.Sprintf("it is not signed by the key %s, but by %s", key, signers(unverified.Note))
	case errors.Is(err, proof.ErrOrigin):
		f.What = CheckpointOrigin
	}
	return f
}

// signers lists the keys that a note says it is signed by.
func signers(n *note.Note) string {
	var list string
	for i, s := range n.UnverifiedSigs {
		if i == 3 {
			return list + " and others"
		}
		if i > 0 {
			list += ", "
		}
		list += fmt.Sprintf("%.64q (%08x)", s.Name, s.Hash)
	}
	if list == "" {
		return "nobody"
	}
	return list
}

// bad explains a leaf whose form, key or signature is false.
func (it *item) bad(index uint64) Finding {
	f := it.finding(index, StatementMalformed, it.err.Error())
	switch {
	case errors.Is(it.err, events.ErrUnknownType), errors.Is(it.err, events.ErrUnknownVersion):
		f.What = EventUnknown
		f.Why += "; if a newer medledger wrote the log, verify it with the newer medverify"
	case errors.Is(it.err, statement.ErrAnnouncement):
		f.What = AnnouncementBroken
	case errors.Is(it.err, statement.ErrSignature):
		f.What = StatementSignature
		f.Why = fmt.Sprintf("the signature by key %v does not verify: the statement was changed, or made without the key", it.statement.KeyID)
	case errors.Is(it.err, statement.ErrUnknownKey):
		f.What = StatementKey
		f.Why = fmt.Sprintf("it names key %v, which the log had not announced", it.statement.KeyID)
		if it.retired != nil {
			f.What = StatementRetiredKey
			f.Why = fmt.Sprintf("it names key %v, which the announcement at index %d had replaced", it.statement.KeyID, *it.retired)
		}
	case errors.Is(it.err, statement.ErrOrigin):
		f.What = StatementOrigin
	}
	return f
}

// finding makes a finding about the statement of an item.
func (it *item) finding(index uint64, what Code, why string) Finding {
	f := Finding{What: what, Located: true, Index: index, Why: why, Evidence: []Exhibit{
		{"leaf hash", it.hash.String()},
		{"statement", base64.StdEncoding.EncodeToString(it.raw)},
	}}
	if it.statement != nil {
		f.Event, f.Type = it.statement.Event.ID, it.statement.Event.Type
	}
	return f
}

// illegal explains an event that life.State refuses.
func (it *item) illegal(index uint64, err error) Finding {
	f := it.finding(index, EventIllegal, err.Error())
	var broken *life.IllegalError
	if errors.As(err, &broken) {
		f.Why = fmt.Sprintf("it breaks the rule %q: %s", broken.Rule, broken.Why)
	}
	return f
}
