package client

import (
	"encoding/json"
	"time"

	"github.com/medledger/medledger/events"
)

// Problem is an error (RFC 9457, application/problem+json). Type is always
// about:blank: the status says what kind of error it is, the detail what to do.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Reason is why a command was refused (a reason of verifier/decision), where
	// that tells the caller nothing that they may not know.
	Reason string `json:"reason,omitempty"`
}

// Done is the answer to a command: its event, with the proof.
type Done struct {
	Event events.ID `json:"event"`
	Index uint64    `json:"index"` // of the event in the log
	// Receipt is a receipt as verifier/receipt reads it.
	Receipt json.RawMessage `json:"receipt"`
}

// Created is the answer to a command that made something: a patient, a care
// relationship, an appointment, a consent, a share, a request.
type Created struct {
	ID events.ID `json:"id"`
	Done
}

// Registration is a new actor: POST /v1/actors. An organisation or a department is
// an id that the ledger issued or a name, for which it issues one.
type Registration struct {
	Role         events.Role `json:"role"`
	Organisation string      `json:"organisation,omitempty"` // the registrar's if left out
	Department   string      `json:"department,omitempty"`
	Patient      events.ID   `json:"patient,omitzero"` // for a patient's account only
	Expires      time.Time   `json:"expires,omitzero"` // of the token; in a year if left out, unless the server is set otherwise
}

// Registered is a registered actor with their first token, which is shown this
// once: a repeated command answers TokenShown instead.
type Registered struct {
	ID           events.ID `json:"id"`
	Organisation events.ID `json:"organisation"`
	Department   events.ID `json:"department,omitzero"`
	Token        string    `json:"token,omitempty"`
	TokenShown   bool      `json:"tokenShown,omitempty"`
	TokenID      events.ID `json:"tokenId"`
	Expires      time.Time `json:"expires"`
	Done
}

// TokenRequest asks for a token: POST /v1/actors/{actor}/tokens.
type TokenRequest struct {
	Expires time.Time `json:"expires,omitzero"` // in a year if left out, unless the server is set otherwise
}

// IssuedToken is a token, which is shown this once as in Registered. ID names it.
type IssuedToken struct {
	ID         events.ID `json:"id"`
	Token      string    `json:"token,omitempty"`
	TokenShown bool      `json:"tokenShown,omitempty"`
	Expires    time.Time `json:"expires"`
	Done
}

// Token is a token in a list, without its secret.
type Token struct {
	ID      events.ID `json:"id"`
	Expires time.Time `json:"expires"`
	Revoked bool      `json:"revoked"`
}

// Tokens answers GET /v1/actors/{actor}/tokens, oldest first.
type Tokens struct {
	Tokens []Token `json:"tokens"`
}

// Identifier is a name that others have for a patient.
type Identifier struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

// NewPatient is POST /v1/patients. The answer is Created.
type NewPatient struct {
	Identifiers []Identifier `json:"identifiers"`
}

// FoundPatient answers GET /v1/patients.
type FoundPatient struct {
	ID events.ID `json:"id"`
}

// Merge is POST /v1/patients/{patient}/merge. The answer is Done.
type Merge struct {
	Into events.ID `json:"into"` // the patient who stays
}

// Care is POST /v1/patients/{patient}/care-relationships: with one actor or with a
// department. The answer is Created.
type Care struct {
	Member     events.ID `json:"member,omitzero"`
	Department events.ID `json:"department,omitzero"`
	Until      time.Time `json:"until,omitzero"` // closed by hand if left out
}

// Appointment is POST /v1/patients/{patient}/proxies. The answer is Created.
type Appointment struct {
	Proxy events.ID           `json:"proxy"`
	Scope []events.ProxyScope `json:"scope"`
	Until time.Time           `json:"until,omitzero"` // ended by hand if left out
}

// Consent is POST /v1/patients/{patient}/consents. The answer is Created.
type Consent struct {
	Purpose events.Purpose `json:"purpose"`
}

// Rights answers GET /v1/patients/{patient}/rights: relationships, appointments and
// consents in the order in which they began, ended ones included.
type Rights struct {
	CareRelationships []CareRelationship `json:"careRelationships"`
	Proxies           []Proxy            `json:"proxies"`
	Consents          []GivenConsent     `json:"consents"`
}

// CareRelationship is one with an actor or with a department.
type CareRelationship struct {
	ID         events.ID `json:"id"`
	Member     events.ID `json:"member,omitzero"`
	Department events.ID `json:"department,omitzero"`
	Until      time.Time `json:"until,omitzero"`
	Closed     bool      `json:"closed"`
}

// Proxy is the appointment of one.
type Proxy struct {
	ID        events.ID           `json:"id"`
	Proxy     events.ID           `json:"proxy"`
	Scope     []events.ProxyScope `json:"scope"`
	Until     time.Time           `json:"until,omitzero"`
	Dismissed bool                `json:"dismissed"`
}

// GivenConsent is a consent; one without an id was only implied, and is withdrawn.
type GivenConsent struct {
	ID        events.ID      `json:"id,omitzero"`
	Purpose   events.Purpose `json:"purpose"`
	Withdrawn bool           `json:"withdrawn"`
}

// Refiling is PUT /v1/records/{record}/patient. The answer is Done.
type Refiling struct {
	Patient events.ID `json:"patient"`
}

// RecordVersion answers POST /v1/records and PUT /v1/records/{record}/content.
type RecordVersion struct {
	Record  events.ID `json:"record"`
	Version uint32    `json:"version"`
	Done
}

// Batch is POST /v1/records:batch. The answer is BatchResults.
type Batch struct {
	Records []BatchItem `json:"records"`
}

// BatchItem is a new record. Its content is in base64, or a text.
type BatchItem struct {
	Patient         events.ID              `json:"patient"`
	Kind            events.Kind            `json:"kind"`
	Confidentiality events.Confidentiality `json:"confidentiality"`
	ContentType     string                 `json:"contentType"`
	Content         []byte                 `json:"content,omitempty"`
	Text            string                 `json:"text,omitempty"`
}

// BatchResults are in the order of the items.
type BatchResults struct {
	Results []BatchResult `json:"results"`
}

// BatchResult is what became of an item: with status 201 a record, with any other
// a problem.
type BatchResult struct {
	Status  int             `json:"status"`
	Record  events.ID       `json:"record,omitzero"`
	Version uint32          `json:"version,omitempty"`
	Event   events.ID       `json:"event,omitzero"`
	Index   uint64          `json:"index,omitempty"`
	Receipt json.RawMessage `json:"receipt,omitempty"`
	Problem *Problem        `json:"problem,omitempty"`
}

// Record is a record in a list.
type Record struct {
	Record           events.ID              `json:"record"`
	Kind             events.Kind            `json:"kind"`
	Confidentiality  events.Confidentiality `json:"confidentiality"`
	Versions         uint32                 `json:"versions"`
	Originated       time.Time              `json:"originated"`
	Organisation     events.ID              `json:"organisation"`
	OrganisationName string                 `json:"organisationName,omitempty"`
	Department       events.ID              `json:"department,omitzero"`
	State            string                 `json:"state"` // active, destroying, destroyed
}

// Records is a page of a list: GET /v1/patients/{patient}/records. Cursor is where
// the next page begins; it is left out on the last.
type Records struct {
	Records []Record `json:"records"`
	Cursor  string   `json:"cursor,omitempty"`
}

// Entry is an event in a history or in an account of accesses, with its receipt.
type Entry struct {
	Event            events.ID      `json:"event"`
	Index            uint64         `json:"index"`
	Time             time.Time      `json:"time"`
	Type             events.Type    `json:"type"`
	Actor            events.ID      `json:"actor,omitzero"` // the ledger itself if left out
	Role             events.Role    `json:"role,omitempty"`
	Organisation     events.ID      `json:"organisation,omitzero"`
	OrganisationName string         `json:"organisationName,omitempty"`
	Purpose          events.Purpose `json:"purpose,omitempty"`
	Record           events.ID      `json:"record,omitzero"`
	Version          uint32         `json:"version,omitempty"`
	Recipient        events.ID      `json:"recipient,omitzero"`
	RecipientName    string         `json:"recipientName,omitempty"` // of its organisation, when it was disclosed
	Share            events.ID      `json:"share,omitzero"`
	Action           events.Action  `json:"action,omitempty"` // that was refused
	Query            events.Query   `json:"query,omitempty"`
	Release          events.ID      `json:"release,omitzero"` // that was not delivered
	// Outcome is released, disclosed, answered, refused or not-delivered for an
	// access, and done for anything else.
	Outcome string          `json:"outcome"`
	Reason  string          `json:"reason,omitempty"` // of a refusal or a failed delivery
	Receipt json.RawMessage `json:"receipt"`
}

// The outcomes of an Entry.
const (
	OutcomeReleased     = "released"  // the content was
	OutcomeDisclosed    = "disclosed" // the record was shared
	OutcomeAnswered     = "answered"  // a question about the patient or the record was
	OutcomeRefused      = "refused"
	OutcomeNotDelivered = "not-delivered"
	OutcomeDone         = "done"
)

// Accesses is a page of GET /v1/patients/{patient}/accesses, in the order of the
// log.
type Accesses struct {
	Accesses []Entry `json:"accesses"`
	Cursor   string  `json:"cursor,omitempty"`
}

// RecordEvents is a page of GET /v1/records/{record}/events, oldest first.
type RecordEvents struct {
	Record events.ID `json:"record"`
	Events []Entry   `json:"events"`
	Cursor string    `json:"cursor,omitempty"`
}

// ShareRequest is POST /v1/records/{record}/shares. The answer is Created.
type ShareRequest struct {
	Recipient events.ID      `json:"recipient"`
	Purpose   events.Purpose `json:"purpose"`
	Until     time.Time      `json:"until"`
	Version   uint32         `json:"version,omitempty"` // the newest if left out
}

// DestructionRequest is POST /v1/records/{record}/destruction-requests. Patients and
// proxies may leave the ground out: it is patient-request. The answer is Created.
type DestructionRequest struct {
	Ground events.Ground `json:"ground,omitempty"`
}

// Destroyed answers POST /v1/destruction-requests/{destruction}/approval.
type Destroyed struct {
	Record events.ID `json:"record"`
	Keys   uint32    `json:"keys"` // that were destroyed
	// Custody is where their root key was, "file" or "token", and with it what the
	// destruction withstands.
	Custody string `json:"custody"`
	Done
}

// PendingDestruction is a destruction that waits for approval.
type PendingDestruction struct {
	ID        events.ID     `json:"id"`
	Record    events.ID     `json:"record"`
	Kind      events.Kind   `json:"kind"`
	Requester events.ID     `json:"requester"`
	Ground    events.Ground `json:"ground"`
}

// PendingDestructions answers GET /v1/destruction-requests.
type PendingDestructions struct {
	Requests []PendingDestruction `json:"requests"`
}
