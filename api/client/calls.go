package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/medledger/medledger/events"
)

// RegisterActor registers an actor and gives them a token.
func (c *Client) RegisterActor(ctx context.Context, r Registration, options ...Option) (*Registered, error) {
	return command[Registered](ctx, c, http.MethodPost, "/v1/actors", r, options)
}

// IssueToken gives an actor a token; expires may be zero.
func (c *Client) IssueToken(ctx context.Context, actor events.ID, expires time.Time, options ...Option) (*IssuedToken, error) {
	return command[IssuedToken](ctx, c, http.MethodPost, "/v1/actors/"+actor.String()+"/tokens", TokenRequest{expires}, options)
}

// ListTokens lists an actor's tokens, without their secrets.
func (c *Client) ListTokens(ctx context.Context, actor events.ID, options ...Option) ([]Token, error) {
	out, err := command[Tokens](ctx, c, http.MethodGet, "/v1/actors/"+actor.String()+"/tokens", nil, options)
	if err != nil {
		return nil, err
	}
	return out.Tokens, nil
}

// RevokeToken makes a token worthless.
func (c *Client) RevokeToken(ctx context.Context, actor, token events.ID, options ...Option) error {
	path := "/v1/actors/" + actor.String() + "/tokens/" + token.String()
	return c.decode(ctx, call{method: http.MethodDelete, path: path, options: options}, nil)
}

// RegisterPatient makes a patient known.
func (c *Client) RegisterPatient(ctx context.Context, identifiers []Identifier, options ...Option) (*Created, error) {
	return command[Created](ctx, c, http.MethodPost, "/v1/patients", NewPatient{identifiers}, options)
}

// FindPatient finds the patient whom an identifier belongs to. Purpose may be "".
func (c *Client) FindPatient(ctx context.Context, id Identifier, purpose events.Purpose, options ...Option) (events.ID, error) {
	query := url.Values{"system": {id.System}, "value": {id.Value}}
	set(query, "purpose", string(purpose))
	var found FoundPatient
	err := c.decode(ctx, call{method: http.MethodGet, path: "/v1/patients", query: query, options: options}, &found)
	return found.ID, err
}

// MergePatients says that a patient is the same person as another, who stays.
func (c *Client) MergePatients(ctx context.Context, patient, into events.ID, options ...Option) (*Done, error) {
	return command[Done](ctx, c, http.MethodPost, ofPatient(patient, "merge"), Merge{into}, options)
}

// OpenCare opens a care relationship.
func (c *Client) OpenCare(ctx context.Context, patient events.ID, care Care, options ...Option) (*Created, error) {
	return command[Created](ctx, c, http.MethodPost, ofPatient(patient, "care-relationships"), care, options)
}

// CloseCare closes a care relationship.
func (c *Client) CloseCare(ctx context.Context, patient, relationship events.ID, options ...Option) (*Done, error) {
	return command[Done](ctx, c, http.MethodDelete, ofPatient(patient, "care-relationships/"+relationship.String()), nil, options)
}

// AppointProxy lets an actor act for a patient.
func (c *Client) AppointProxy(ctx context.Context, patient events.ID, a Appointment, options ...Option) (*Created, error) {
	return command[Created](ctx, c, http.MethodPost, ofPatient(patient, "proxies"), a, options)
}

// DismissProxy ends an appointment.
func (c *Client) DismissProxy(ctx context.Context, patient, appointment events.ID, options ...Option) (*Done, error) {
	return command[Done](ctx, c, http.MethodDelete, ofPatient(patient, "proxies/"+appointment.String()), nil, options)
}

// GrantConsent says that a patient agrees to a use.
func (c *Client) GrantConsent(ctx context.Context, patient events.ID, purpose events.Purpose, options ...Option) (*Created, error) {
	return command[Created](ctx, c, http.MethodPost, ofPatient(patient, "consents"), Consent{purpose}, options)
}

// WithdrawConsent withdraws a consent that was granted.
func (c *Client) WithdrawConsent(ctx context.Context, patient, consent events.ID, options ...Option) (*Done, error) {
	return command[Done](ctx, c, http.MethodDelete, ofPatient(patient, "consents/"+consent.String()), nil, options)
}

// WithdrawImplied withdraws the consent to a use that was only implied.
func (c *Client) WithdrawImplied(ctx context.Context, patient events.ID, purpose events.Purpose, options ...Option) (*Done, error) {
	path := ofPatient(patient, "consents") + "?" + url.Values{"purpose": {string(purpose)}}.Encode()
	return command[Done](ctx, c, http.MethodDelete, path, nil, options)
}

// NewRecord says what a record is. ContentType is that of its content.
type NewRecord struct {
	Patient         events.ID
	Kind            events.Kind
	Confidentiality events.Confidentiality
	ContentType     string
}

// CreateRecord stores a record. The content is streamed.
func (c *Client) CreateRecord(ctx context.Context, r NewRecord, content io.Reader, options ...Option) (*RecordVersion, error) {
	out := new(RecordVersion)
	return out, c.decode(ctx, call{
		method: http.MethodPost, path: "/v1/records", contentType: r.ContentType, body: content, options: options,
		query: url.Values{
			"patient": {r.Patient.String()}, "kind": {string(r.Kind)}, "confidentiality": {string(r.Confidentiality)},
		},
	}, out)
}

// CreateRecords stores many records at once; each has its own outcome.
func (c *Client) CreateRecords(ctx context.Context, items []BatchItem, options ...Option) ([]BatchResult, error) {
	out, err := command[BatchResults](ctx, c, http.MethodPost, "/v1/records:batch", Batch{items}, options)
	if err != nil {
		return nil, err
	}
	return out.Results, nil
}

// Amend adds a version to a record. The content is streamed.
func (c *Client) Amend(ctx context.Context, record events.ID, contentType string, content io.Reader, options ...Option) (*RecordVersion, error) {
	out := new(RecordVersion)
	return out, c.decode(ctx, call{
		method: http.MethodPut, path: ofRecord(record, "content"), contentType: contentType, body: content, options: options,
	}, out)
}

// Refile files a record under another patient.
func (c *Client) Refile(ctx context.Context, record, patient events.ID, options ...Option) (*Done, error) {
	return command[Done](ctx, c, http.MethodPut, ofRecord(record, "patient"), Refiling{patient}, options)
}

// Content is a content that was released. Body must be closed; only when it has
// ended with io.EOF was the content whole.
type Content struct {
	Body        io.ReadCloser
	ContentType string
	Size        int64 // in bytes; -1 if not known
	ETag        string
	Event       events.ID // that released it
	Index       uint64
}

// Content reads a record. Version zero is the newest.
func (c *Client) Content(ctx context.Context, record events.ID, version uint32, purpose events.Purpose, options ...Option) (*Content, error) {
	query := url.Values{"purpose": {string(purpose)}}
	if version > 0 {
		query.Set("version", strconv.FormatUint(uint64(version), 10))
	}
	return c.content(ctx, call{method: http.MethodGet, path: ofRecord(record, "content"), query: query, options: options})
}

// History reads the proof that a record's events are all (verifier/history), which the
// caller verifies and closes.
func (c *Client) History(ctx context.Context, record events.ID, options ...Option) (io.ReadCloser, error) {
	response, err := c.do(ctx, call{method: http.MethodGet, path: ofRecord(record, "history"), options: options})
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// Receive reads what is shared.
func (c *Client) Receive(ctx context.Context, share events.ID, options ...Option) (*Content, error) {
	return c.content(ctx, call{method: http.MethodGet, path: "/v1/shares/" + share.String() + "/content", options: options})
}

func (c *Client) content(ctx context.Context, q call) (*Content, error) {
	response, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	h := response.Header
	content := &Content{
		Body: response.Body, ContentType: h.Get("Content-Type"), Size: response.ContentLength, ETag: h.Get("ETag"),
	}
	// Headers that something between took away leave zeros.
	content.Event, _ = events.ParseID(h.Get("Medledger-Event"))
	content.Index, _ = strconv.ParseUint(h.Get("Medledger-Index"), 10, 64)
	return content, nil
}

// RecordQuery narrows a list of records. Its zero value is the first page of all.
type RecordQuery struct {
	Kind     events.Kind
	From, To time.Time // of their origination; From included, To not
	Purpose  events.Purpose
	Cursor   string
}

// ListRecords finds a patient's records.
func (c *Client) ListRecords(ctx context.Context, patient events.ID, q RecordQuery, options ...Option) (*Records, error) {
	query := url.Values{}
	set(query, "kind", string(q.Kind))
	set(query, "purpose", string(q.Purpose))
	set(query, "cursor", q.Cursor)
	for name, t := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !t.IsZero() {
			query.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	out := new(Records)
	return out, c.decode(ctx, call{method: http.MethodGet, path: ofPatient(patient, "records"), query: query, options: options}, out)
}

// Rights tells who stands in which relation to a patient. A purpose of "" is what the
// caller's role implies.
func (c *Client) Rights(ctx context.Context, patient events.ID, purpose events.Purpose, options ...Option) (*Rights, error) {
	query := url.Values{}
	set(query, "purpose", string(purpose))
	out := new(Rights)
	return out, c.decode(ctx, call{method: http.MethodGet, path: ofPatient(patient, "rights"), query: query, options: options}, out)
}

// ListAccesses tells who saw or received what of a patient. Purpose and cursor may
// be "".
func (c *Client) ListAccesses(ctx context.Context, patient events.ID, purpose events.Purpose, cursor string, options ...Option) (*Accesses, error) {
	query := url.Values{}
	set(query, "purpose", string(purpose))
	set(query, "cursor", cursor)
	out := new(Accesses)
	return out, c.decode(ctx, call{method: http.MethodGet, path: ofPatient(patient, "accesses"), query: query, options: options}, out)
}

// RecordEvents returns the events about a record. Cursor may be "".
func (c *Client) RecordEvents(ctx context.Context, record events.ID, cursor string, options ...Option) (*RecordEvents, error) {
	query := url.Values{}
	set(query, "cursor", cursor)
	out := new(RecordEvents)
	return out, c.decode(ctx, call{method: http.MethodGet, path: ofRecord(record, "events"), query: query, options: options}, out)
}

// Share discloses a record to a recipient.
func (c *Client) Share(ctx context.Context, record events.ID, s ShareRequest, options ...Option) (*Created, error) {
	return command[Created](ctx, c, http.MethodPost, ofRecord(record, "shares"), s, options)
}

// Acknowledge says that what was shared has arrived.
func (c *Client) Acknowledge(ctx context.Context, share events.ID, options ...Option) (*Done, error) {
	return command[Done](ctx, c, http.MethodPost, "/v1/shares/"+share.String()+"/acknowledgement", nil, options)
}

// EndShare ends a share before its time.
func (c *Client) EndShare(ctx context.Context, share events.ID, options ...Option) (*Done, error) {
	return command[Done](ctx, c, http.MethodDelete, "/v1/shares/"+share.String(), nil, options)
}

// RequestDestruction asks for the destruction of a record. Ground may be "" for
// patients and proxies.
func (c *Client) RequestDestruction(ctx context.Context, record events.ID, ground events.Ground, options ...Option) (*Created, error) {
	return command[Created](ctx, c, http.MethodPost, ofRecord(record, "destruction-requests"), DestructionRequest{ground}, options)
}

// PendingDestructions lists what waits for an administrator's approval.
func (c *Client) PendingDestructions(ctx context.Context, options ...Option) ([]PendingDestruction, error) {
	out, err := command[PendingDestructions](ctx, c, http.MethodGet, "/v1/destruction-requests", nil, options)
	if err != nil {
		return nil, err
	}
	return out.Requests, nil
}

// ApproveDestruction destroys what somebody else asked to be destroyed.
func (c *Client) ApproveDestruction(ctx context.Context, request events.ID, options ...Option) (*Destroyed, error) {
	return command[Destroyed](ctx, c, http.MethodPost, "/v1/destruction-requests/"+request.String()+"/approval", nil, options)
}

// Receipt returns the receipt of an event at the current checkpoint. If it is only
// promised yet, the server waits for the proof as long as said, in whole seconds
// (rounded up) and for 30 at most; zero does not wait.
func (c *Client) Receipt(ctx context.Context, event events.ID, wait time.Duration, options ...Option) (json.RawMessage, error) {
	path := "/v1/receipts/" + event.String()
	if wait > 0 {
		path += "?wait=" + strconv.Itoa(int(min((wait+time.Second-1)/time.Second, 30)))
	}
	out, err := command[json.RawMessage](ctx, c, http.MethodGet, path, nil, options)
	if err != nil {
		return nil, err
	}
	return *out, nil
}

// Log reads a file of the log, such as "checkpoint" or a tile (C2SP tlog-tiles).
// The caller closes it.
func (c *Client) Log(ctx context.Context, path string, options ...Option) (io.ReadCloser, error) {
	response, err := c.do(ctx, call{method: http.MethodGet, path: "/log/" + path, options: options})
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

func ofPatient(patient events.ID, rest string) string {
	return "/v1/patients/" + patient.String() + "/" + rest
}

func ofRecord(record events.ID, rest string) string {
	return "/v1/records/" + record.String() + "/" + rest
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}
