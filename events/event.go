// Package events says what can happen: the types of event in a medledger, one
// family a file, with their versions and upcasters. It holds data and its
// bounds, and decides nothing.
//
// An event is a CloudEvents 1.0 event. Its canonical bytes and its signature
// are the business of verifier/statement, its place in a life of
// verifier/life.
//
// # What may stand in an event
//
// Events become leaves of a log that nobody can shorten and that others read, so
// an event holds nothing personal and nothing that came from outside: only ids that
// the ledger issued, codes from closed sets, positions, counts, times, keys and
// salted commitments. Free text, names, foreign identifiers, URLs and header
// values belong in the vault. Check enforces it: every field is of a type whose
// values cannot carry anything else.
//
// # Versions
//
// The type of an event ends in its version. A version's fields never change
// once a release has written it; a changed event is a new version, and the old
// one stays readable for ever: Upcast turns it into the newest on reading,
// after the signature over the old bytes was checked. Nothing stored is ever
// rewritten.
package events

import (
	"errors"
	"fmt"
	"strings"
)

// Type is the CloudEvents type of an event, for instance
// "medledger.record.accessed.v1".
type Type string

// The newest version of every event type, and the older ones that can still be
// read.
const (
	TypeLedgerOpened         Type = "medledger.ledger.opened.v1"
	TypeLedgerRestored       Type = "medledger.ledger.restored.v1"
	TypeKeyRotated           Type = "medledger.ledger.key-rotated.v1"
	TypeStateLogOpened       Type = "medledger.ledger.state-log-opened.v1"
	TypeLogRead              Type = "medledger.ledger.log-read.v1"
	TypeActorRegistered      Type = "medledger.actor.registered.v2"
	TypeActorRegisteredV1    Type = "medledger.actor.registered.v1"
	TypeTokenIssued          Type = "medledger.actor.token-issued.v1"
	TypeTokenRevoked         Type = "medledger.actor.token-revoked.v1"
	TypePatientRegistered    Type = "medledger.patient.registered.v1"
	TypePatientMerged        Type = "medledger.patient.merged.v1"
	TypePatientErased        Type = "medledger.patient.erased.v1"
	TypePatientQueried       Type = "medledger.patient.queried.v1"
	TypeCareOpened           Type = "medledger.patient.care-opened.v1"
	TypeCareClosed           Type = "medledger.patient.care-closed.v1"
	TypeProxyAppointed       Type = "medledger.patient.proxy-appointed.v1"
	TypeProxyDismissed       Type = "medledger.patient.proxy-dismissed.v1"
	TypeConsentGranted       Type = "medledger.patient.consent-granted.v1"
	TypeConsentWithdrawn     Type = "medledger.patient.consent-withdrawn.v1"
	TypeRecordOriginated     Type = "medledger.record.originated.v1"
	TypeRecordAmended        Type = "medledger.record.amended.v1"
	TypeRecordAccessed       Type = "medledger.record.accessed.v1"
	TypeRecordRefiled        Type = "medledger.record.refiled.v1"
	TypeHistoryRead          Type = "medledger.record.history-read.v1"
	TypeDeliveryFailed       Type = "medledger.record.delivery-failed.v1"
	TypeAccessRefused        Type = "medledger.access.refused.v1"
	TypeRecordDisclosed      Type = "medledger.record.disclosed.v1"
	TypeRecordReceived       Type = "medledger.record.received.v1"
	TypeShareAcknowledged    Type = "medledger.share.acknowledged.v1"
	TypeShareEnded           Type = "medledger.share.ended.v1"
	TypeDestructionRequested Type = "medledger.destruction.requested.v1"
	TypeDestructionStarted   Type = "medledger.destruction.started.v1"
	TypeRecordDestroyed      Type = "medledger.record.destroyed.v1"
)

var (
	// ErrUnknownType says that no version of an event type is known.
	ErrUnknownType = errors.New("unknown event type")
	// ErrUnknownVersion says that the event type is known, but not in this
	// version: the event was written by a newer medledger.
	ErrUnknownVersion = errors.New("unknown version of an event type")
	// ErrInvalid is wrapped by every error of a Check.
	ErrInvalid = errors.New("invalid event")
)

// Data is what an event of one type and version says. It is implemented by
// pointers to the structs of this package.
type Data interface {
	// EventType returns the type and version that the data belongs to.
	EventType() Type
	// Check returns an error that wraps ErrInvalid if a field is out of bounds.
	Check() error
}

// Event is one thing that happened.
type Event struct {
	// ID identifies the event, also across retries of the command it came from.
	ID ID
	// Source is the origin of the log, its name in checkpoints.
	Source string
	// Type is the type of Data.
	Type Type
	// Subject is what the event happened to: a record, a patient, an actor, or for
	// events of the ledger itself the ledger's own id.
	Subject ID
	// Time is the ledger's clock at the decision. It never runs backwards along
	// the log.
	Time Timestamp
	// Correlation joins the events of one request; zero when there is only one.
	Correlation ID
	// Causation is the event that led to this one; zero when a request did.
	Causation ID
	// Data is what happened.
	Data Data
}

// MaxOrigin is the longest origin of a log in bytes.
const MaxOrigin = 200

// CheckOrigin returns an error if origin cannot name a log: C2SP checkpoints
// and note keys want a name without spaces and plus signs, and the CloudEvents
// source a URI reference without a scheme (a host name and a path, such as
// clinic.example/ledger). It is narrower than proof.ValidOrigin, which takes every
// name that C2SP allows: it judges only names that medledger gives, and these are
// also a CloudEvents source, and need no escaping in JSON or in a URI.
func CheckOrigin(origin string) error {
	if origin == "" || len(origin) > MaxOrigin {
		return fmt.Errorf("origin of %d bytes, want 1 to %d: %w", len(origin), MaxOrigin, ErrInvalid)
	}
	for i := range len(origin) {
		c := origin[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_', c == '/':
		default:
			return fmt.Errorf("origin has %q at byte %d, want lower-case letters, digits and . - _ /: %w", c, i, ErrInvalid)
		}
	}
	return nil
}

// Check returns an error that wraps ErrInvalid if the event is out of bounds.
func (e Event) Check() error {
	if e.Data == nil {
		return invalid("event has no data")
	}
	if e.Type != e.Data.EventType() {
		return invalid("event type %q with data of %q", e.Type, e.Data.EventType())
	}
	if err := CheckOrigin(e.Source); err != nil {
		return err
	}
	if e.ID.IsZero() || e.Subject.IsZero() {
		return invalid("event without an id or a subject")
	}
	if err := e.Time.check("time"); err != nil {
		return err
	}
	if opened, ok := e.Data.(*LedgerOpened); ok && (opened.Origin != e.Source || opened.Created != e.Time) {
		return invalid("ledger opened with an origin or a creation time other than the event's own")
	}
	if err := e.Data.Check(); err != nil {
		return fmt.Errorf("%s: %w", e.Type, err)
	}
	return nil
}

// Stream names the stream of an event store that the event belongs to: its
// subject's. A refusal belongs to the record or the patient, or to the actor if it
// is about nothing that exists.
func (e Event) Stream() string {
	switch e.about() {
	case aboutLedger:
		return "ledger-" + e.Subject.String()
	case aboutActor:
		return ActorStream(e.Subject)
	case aboutPatient:
		return PatientStream(e.Subject)
	}
	return RecordStream(e.Subject)
}

// OnRecord reports whether the event belongs to the stream of a record.
func (e Event) OnRecord() bool { return e.about() == aboutRecord }

// subjectKind is what a subject is.
type subjectKind int

const (
	aboutRecord subjectKind = iota
	aboutPatient
	aboutActor
	aboutLedger
)

func (e Event) about() subjectKind {
	switch d := e.Data.(type) {
	case *LedgerOpened, *LedgerRestored, *KeyRotated, *StateLogOpened, *LogRead:
		return aboutLedger
	case *ActorRegistered, *ActorRegisteredV1, *TokenIssued, *TokenRevoked:
		return aboutActor
	case *PatientRegistered, *PatientMerged, *PatientErased, *PatientQueried, *CareOpened, *CareClosed,
		*ProxyAppointed, *ProxyDismissed, *ConsentGranted, *ConsentWithdrawn:
		return aboutPatient
	case *AccessRefused:
		switch {
		case e.Subject == d.Actor:
			return aboutActor
		case d.Action.OnPatient():
			return aboutPatient
		}
	}
	return aboutRecord
}

// ActorStream names the stream of the events about an actor.
func ActorStream(actor ID) string { return "actor-" + actor.String() }

// PatientStream names the stream of the events about a patient.
func PatientStream(patient ID) string { return "patient-" + patient.String() }

// RecordStream names the stream of the events about a record.
func RecordStream(record ID) string { return "record-" + record.String() }

// Schema returns the dataschema of the type, a URN that names type and version.
func (t Type) Schema() string {
	return "urn:medledger:schema:" + strings.TrimPrefix(string(t), "medledger.")
}

// makers makes empty data of every type, in the order of Types.
var makers = []func() Data{
	func() Data { return new(LedgerOpened) },
	func() Data { return new(LedgerRestored) },
	func() Data { return new(KeyRotated) },
	func() Data { return new(StateLogOpened) },
	func() Data { return new(LogRead) },
	func() Data { return new(ActorRegistered) },
	func() Data { return new(ActorRegisteredV1) },
	func() Data { return new(TokenIssued) },
	func() Data { return new(TokenRevoked) },
	func() Data { return new(PatientRegistered) },
	func() Data { return new(PatientMerged) },
	func() Data { return new(PatientErased) },
	func() Data { return new(PatientQueried) },
	func() Data { return new(CareOpened) },
	func() Data { return new(CareClosed) },
	func() Data { return new(ProxyAppointed) },
	func() Data { return new(ProxyDismissed) },
	func() Data { return new(ConsentGranted) },
	func() Data { return new(ConsentWithdrawn) },
	func() Data { return new(RecordOriginated) },
	func() Data { return new(RecordAmended) },
	func() Data { return new(RecordAccessed) },
	func() Data { return new(RecordRefiled) },
	func() Data { return new(HistoryRead) },
	func() Data { return new(DeliveryFailed) },
	func() Data { return new(AccessRefused) },
	func() Data { return new(RecordDisclosed) },
	func() Data { return new(RecordReceived) },
	func() Data { return new(ShareAcknowledged) },
	func() Data { return new(ShareEnded) },
	func() Data { return new(DestructionRequested) },
	func() Data { return new(DestructionStarted) },
	func() Data { return new(RecordDestroyed) },
}

var makerOf = func() map[Type]func() Data {
	byType := make(map[Type]func() Data, len(makers))
	for _, m := range makers {
		byType[m().EventType()] = m
	}
	return byType
}()

// New returns empty data for a type, or an error that wraps ErrUnknownType or
// ErrUnknownVersion.
func New(t Type) (Data, error) {
	if m := makerOf[t]; m != nil {
		return m(), nil
	}
	if name, _, ok := cutVersion(t); ok {
		for known := range makerOf {
			if knownName, _, _ := cutVersion(known); knownName == name {
				return nil, fmt.Errorf("%q: %w; a newer medledger wrote it, use that to read it", t, ErrUnknownVersion)
			}
		}
	}
	return nil, fmt.Errorf("%q: %w", clip(string(t)), ErrUnknownType)
}

// Types returns every type that New knows.
func Types() []Type {
	types := make([]Type, len(makers))
	for i, m := range makers {
		types[i] = m().EventType()
	}
	return types
}

// cutVersion splits "medledger.record.accessed.v1" before ".v1".
func cutVersion(t Type) (name, version string, ok bool) {
	i := strings.LastIndex(string(t), ".v")
	if i < 0 {
		return string(t), "", false
	}
	version = string(t)[i+2:]
	if version == "" || len(version) > 4 || strings.Trim(version, "0123456789") != "" {
		return string(t), "", false
	}
	return string(t)[:i], version, true
}

// clip shortens what came from outside for an error message.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrInvalid)...)
}
