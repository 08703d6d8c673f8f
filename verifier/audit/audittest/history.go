// Package audittest makes logs for tests of the auditor's side: legal histories
// of a small clinic, signed with known keys, and what a ledger would serve of
// them. Tests then tell lies in them. Nothing here is random: the same calls
// give the same bytes.
package audittest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/statement"
)

// Origin is the name of every log that New makes.
const Origin = "clinic.example/ledger"

// History is a log that is being written. Its methods panic on what only a
// wrong test can cause.
type History struct {
	LogSigner  note.Signer
	Verifier   note.Verifier
	VKey       string // the verifier key as text
	Signer     *statement.Signer
	Events     []events.Event
	Statements [][]byte

	origin  string
	seed    string
	ids     uint64
	now     events.Timestamp
	rotated uint64 // index of the last announcement

	destroyed map[events.ID]bool
	requested map[events.ID]events.ID // record -> destruction
	signers   []*statement.Signer     // of the events

	Ledger                                      events.ID
	Admin, Clinician, Patient, Clerk, Recipient events.ID
	Organisation, Person                        events.ID
	Care                                        events.ID // between Clinician and Person
}

// New returns an empty history. Histories of the same seed have the same keys.
func New(seed string) *History { return NewOf(Origin, seed) }

// NewOf is New for a log of another name.
func NewOf(origin, seed string) *History {
	h := &History{
		origin: origin, seed: seed, destroyed: make(map[events.ID]bool), requested: make(map[events.ID]events.ID),
		now: events.At(time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)),
	}
	h.LogSigner, h.Verifier, h.VKey = LogKey(origin, seed)
	h.Signer = StatementKey(seed)
	for _, id := range []*events.ID{&h.Ledger, &h.Admin, &h.Clinician, &h.Patient, &h.Clerk, &h.Recipient, &h.Organisation, &h.Person, &h.Care} {
		*id = h.ID()
	}
	return h
}

// LogKey makes the key that signs checkpoints.
func LogKey(origin, seed string) (note.Signer, note.Verifier, string) {
	random := &stream{seed: "log key " + seed}
	private, public, err := note.GenerateKey(random, origin)
	must(err)
	signer, err := note.NewSigner(private)
	must(err)
	verifier, err := note.NewVerifier(public)
	must(err)
	return signer, verifier, public
}

// StatementKey makes a key that signs statements.
func StatementKey(seed string) *statement.Signer {
	digest := sha256.Sum256([]byte("statement key " + seed))
	return statement.NewSigner(ed25519.NewKeyFromSeed(digest[:]))
}

// stream is endless bytes that depend on a seed alone.
type stream struct {
	seed string
	n    uint64
}

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		digest := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.seed), s.n))
		p[i] = digest[0]
		s.n++
	}
	return len(p), nil
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("making a log for a test: %v", err))
	}
}

// ID returns an id that this history has not used.
func (h *History) ID() events.ID {
	h.ids++
	digest := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("id"), h.ids))
	return events.DerivedID(digest[:])
}

// Decision returns a decision by the given rule on the state before the next
// event.
func (h *History) Decision(rule string) events.Decision {
	return events.Decision{Position: uint64(len(h.Events)), Rule: rule, Rules: decision.Version}
}

// Event makes the next event without adding it.
func (h *History) Event(subject events.ID, data events.Data) events.Event {
	h.now = h.now.Add(time.Second)
	if opened, ok := data.(*events.LedgerOpened); ok {
		opened.Created = h.now
	}
	return events.Event{
		ID: h.ID(), Source: h.origin, Type: data.EventType(), Subject: subject, Time: h.now, Data: data,
	}
}

// Add makes the next event and signs it.
func (h *History) Add(subject events.ID, data events.Data) events.Event {
	e := h.Event(subject, data)
	h.Put(e, h.Signer)
	return e
}

// Put adds an event, whatever it says, signed by whomever.
func (h *History) Put(e events.Event, signer *statement.Signer) {
	raw, err := signer.Sign(e)
	must(err)
	h.Events = append(h.Events, e)
	h.Statements = append(h.Statements, raw)
	h.signers = append(h.signers, signer)
}

// Signed returns the signer of the i-th event.
func (h *History) Signed(i int) *statement.Signer { return h.signers[i] }

// Resign signs the i-th event again after change has changed it.
func (h *History) Resign(i int, signer *statement.Signer, change func(*events.Event)) {
	change(&h.Events[i])
	raw, err := signer.Sign(h.Events[i])
	must(err)
	h.Statements[i] = raw
}

// Opened is how many events Open makes.
const Opened = 8

// Open opens the ledger, registers its people and the patient, and has the patient
// admitted to the clinician.
func (h *History) Open() *History {
	h.open()
	return h.people()
}

func (h *History) open() {
	h.Add(h.Ledger, &events.LedgerOpened{Origin: h.origin, StatementKeys: []events.StatementKey{h.Signer.JWK()}})
}

func (h *History) people() *History {
	h.register(h.Admin, events.RoleAdmin, events.ID{})
	h.register(h.Clinician, events.RoleClinician, events.ID{})
	h.register(h.Patient, events.RolePatient, h.Person)
	h.register(h.Clerk, events.RoleClerk, events.ID{})
	h.register(h.Recipient, events.RoleRecipient, events.ID{})
	h.Register(h.Person)
	h.Admit(h.Person, h.Care)
	return h
}

// Register makes a patient known.
func (h *History) Register(patient events.ID) {
	h.Add(patient, &events.PatientRegistered{
		Actor: h.Clerk, Commitment: sha256.Sum256(patient[:]), Decision: h.Decision("staff-registers"), Organisation: h.Organisation,
	})
}

// Admit opens a care relationship of the clinician.
func (h *History) Admit(patient, relationship events.ID) {
	h.Add(patient, &events.CareOpened{Actor: h.Clerk, Decision: h.Decision("admission"), Member: h.Clinician, Relationship: relationship})
}

// Discharge closes the care relationship that Open opened.
func (h *History) Discharge() {
	h.Add(h.Person, &events.CareClosed{Actor: h.Clerk, Decision: h.Decision("admission"), Relationship: h.Care})
}

// Withdraw withdraws the patient's consent to a use.
func (h *History) Withdraw(purpose events.Purpose) {
	h.Add(h.Person, &events.ConsentWithdrawn{Actor: h.Patient, Decision: h.Decision("own-consent"), Purpose: purpose})
}

// Token gives an actor a token.
func (h *History) Token(actor events.ID) events.ID {
	token := h.ID()
	h.Add(actor, &events.TokenIssued{
		By: h.Admin, Decision: h.Decision("administrator"), Digest: sha256.Sum256(token[:]), Expires: h.now.Add(time.Hour), Token: token,
	})
	return token
}

func (h *History) register(actor events.ID, role events.Role, patient events.ID) {
	d := &events.ActorRegistered{By: h.Admin, Decision: h.Decision("administrator"), Organisation: h.Organisation, Role: role, Patient: patient}
	if actor == h.Admin {
		d.By, d.Decision.Rule = events.ID{}, decision.Founding
	}
	h.Add(actor, d)
}

// Originate makes a record.
func (h *History) Originate() events.ID {
	record := h.ID()
	h.Add(record, &events.RecordOriginated{
		Actor: h.Clinician, Commitment: sha256.Sum256(record[:]), Confidentiality: events.Normal,
		Decision: h.Decision("staff-originates"), Kind: events.KindChart, Organisation: h.Organisation, Patient: h.Person, Size: 1024,
	})
	return record
}

// Amend makes a version of a record.
func (h *History) Amend(record events.ID, version uint32) {
	h.Add(record, &events.RecordAmended{
		Actor: h.Clinician, Commitment: sha256.Sum256(record[:]), Decision: h.Decision("staff-amends"), Size: 2048, Version: version,
	})
}

// Access reads a record.
func (h *History) Access(record events.ID) {
	h.Add(record, &events.RecordAccessed{Actor: h.Clinician, Decision: h.Decision("treatment"), Purpose: events.PurposeTreatment, Version: 1})
}

// Refuse refuses an access to a record: to the clerk because of the role, to the
// clinician because it is destroyed.
func (h *History) Refuse(record events.ID) {
	actor, reason := h.Clerk, decision.RefusedRole
	if h.destroyed[record] {
		actor, reason = h.Clinician, decision.RefusedDestroyed
	}
	h.Add(record, &events.AccessRefused{Action: events.ActionAccess, Actor: actor, Decision: h.Decision(reason), Purpose: events.PurposeTreatment})
}

// Share discloses a record and has it received.
func (h *History) Share(record events.ID) {
	share := h.ID()
	h.Add(record, &events.RecordDisclosed{
		Actor: h.Clinician, Decision: h.Decision("staff-discloses"), Purpose: events.PurposeTreatment, Recipient: h.Recipient,
		Share: share, Until: h.now.Add(24 * time.Hour), Version: 1,
	})
	h.Add(record, &events.RecordReceived{Actor: h.Recipient, Decision: h.Decision("shared"), Share: share, Version: 1})
}

// Request asks for the destruction of a record.
func (h *History) Request(record events.ID) {
	h.requested[record] = h.ID()
	h.Add(record, &events.DestructionRequested{
		Actor: h.Clerk, Decision: h.Decision("asks-destruction"), Destruction: h.requested[record], Ground: events.GroundPatientRequest,
	})
}

// Destroy destroys a record of so many versions, as was asked for.
func (h *History) Destroy(record events.ID, versions uint32) {
	destruction := h.requested[record]
	h.destroyed[record] = true
	h.Add(record, &events.DestructionStarted{
		Actor: h.Clerk, Approver: h.Admin, Decision: h.Decision("two-persons"), Destruction: destruction,
		Ground: events.GroundPatientRequest, Versions: versions,
	})
	h.Add(record, &events.RecordDestroyed{
		Custody: events.CustodyFile, Destruction: destruction, Keys: versions, Method: events.MethodCryptographicErase,
	})
}

// Rotate replaces the statement key by that of another seed.
func (h *History) Rotate(seed string) {
	next := StatementKey(seed)
	index := uint64(len(h.Events))
	h.Add(h.Ledger, &events.KeyRotated{Previous: h.rotated, StatementKeys: []events.StatementKey{next.JWK()}})
	h.rotated, h.Signer = index, next
}

// Restore puts the ledger back from a backup of all that it has.
func (h *History) Restore() {
	h.Add(h.Ledger, &events.LedgerRestored{Size: uint64(len(h.Events))})
}

// Story opens the ledger and lets lives pass: records are made, amended, read,
// refused, shared and destroyed, and the statement key is rotated. It has 25
// events, and their places do not change: tests name them. The record that is
// returned is alive at the end.
func (h *History) Story() events.ID {
	h.Open()
	return h.lives()
}

func (h *History) lives() events.ID {
	first, second := h.Originate(), h.Originate()
	h.Access(first)
	h.Refuse(second)
	h.Amend(first, 2)
	h.Share(first)
	h.Rotate("second")
	h.Access(second)
	h.Share(second)
	h.Request(first)
	h.Destroy(first, 2)
	h.Refuse(first)
	h.Amend(second, 2)
	h.Access(second)
	return second
}

// Fill lets events pass on new records until there are n.
func (h *History) Fill(n int) *History {
	for len(h.Events) < n {
		record := h.Originate()
		for range 4 {
			if len(h.Events) < n {
				h.Access(record)
			}
		}
	}
	return h
}
