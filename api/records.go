package api

import (
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/vault"
)

// MaxContentType is the longest media type of a content in bytes.
const MaxContentType = vault.MaxContentType

// checkContentType checks a media type that the vault keeps and readers are
// answered with.
func checkContentType(text string) error {
	if text == "" || len(text) > MaxContentType || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return &problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("a content needs a Content-Type of %d bytes at most", MaxContentType)}
	}
	if kind, _, err := mime.ParseMediaType(text); err != nil || !strings.Contains(kind, "/") {
		return &problem{Status: http.StatusBadRequest, Detail: "the Content-Type is malformed"}
	}
	return nil
}

// content checks the content that a call brings and bounds its body.
func (c *call) content() (contentType string, err error) {
	contentType = c.Header.Get("Content-Type")
	if err := checkContentType(contentType); err != nil {
		return "", err
	}
	if c.Header.Get("Content-Encoding") != "" {
		return "", &problem{Status: http.StatusUnsupportedMediaType, Detail: "send the content without a Content-Encoding"}
	}
	limit := c.h.Limits.Content
	if c.ContentLength > limit {
		return "", bodyProblem(&http.MaxBytesError{Limit: limit})
	}
	c.Body = http.MaxBytesReader(c.w, c.Body, limit)
	return contentType, nil
}

func (c *call) createRecord() error {
	contentType, err := c.content()
	if err != nil {
		return err
	}
	o := ledger.Origination{ContentType: contentType}
	if o.Patient, err = c.id("patient"); err != nil {
		return err
	}
	if o.Kind, err = code[events.Kind]("kind", c.query["kind"]); err != nil {
		return err
	}
	if o.Confidentiality, err = code[events.Confidentiality]("confidentiality", c.query["confidentiality"]); err != nil {
		return err
	}
	result, err := c.h.Ledger.Originate(c.Context(), c.command, o, c.Body)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/v1/records/"+result.Event.Subject.String()+"/content")
	return c.version(http.StatusCreated, result, 1)
}

// version answers a command that made a version of a record.
func (c *call) version(status int, r *ledger.Result, version uint32) error {
	proved, err := r.Receipt(c.Context())
	if err != nil {
		return fmt.Errorf("proving an event: %w", err)
	}
	name(c.w, r)
	c.w.Header().Set("ETag", etag(version))
	a := answers.Get().(*answer)
	defer answers.Put(a)
	a.body = a.appendVersion(append(a.body[:0], '{'), r, version, proved)
	a.body = append(a.body, '}', '\n')
	sendBytes(c.w, status, a.body)
	return nil
}

// answer is a buffer for an answer with a receipt, and what the last one in it had
// in common with the next.
type answer struct {
	receipts
	body []byte
}

// answers are such buffers: made anew for each answer, they would be a fifth of what
// an append allocates.
var answers = sync.Pool{New: func() any { return &answer{body: make([]byte, 0, 8<<10)} }}

// etag names a version of a record.
func etag(version uint32) string { return `"v` + strconv.FormatUint(uint64(version), 10) + `"` }

// replaces reads If-Match: the version that must be the newest, zero if any may be.
func (c *call) replaces() (uint32, error) {
	text := c.Header.Get("If-Match")
	if text == "" || text == "*" {
		return 0, nil
	}
	number, found := strings.CutPrefix(strings.TrimSuffix(text, `"`), `"v`)
	version, err := strconv.ParseUint(number, 10, 32)
	if !found || err != nil || version == 0 || text != etag(uint32(version)) {
		return 0, &problem{Status: http.StatusPreconditionFailed, Detail: "no version of a record has this ETag"}
	}
	return uint32(version), nil
}

func (c *call) amendRecord() error {
	contentType, err := c.content()
	if err != nil {
		return err
	}
	a := ledger.Amendment{Record: c.path["record"], ContentType: contentType}
	if a.Replaces, err = c.replaces(); err != nil {
		return err
	}
	result, err := c.h.Ledger.Amend(c.Context(), c.command, a, c.Body)
	if err != nil {
		return err
	}
	return c.version(http.StatusOK, result, result.Event.Data.(*events.RecordAmended).Version)
}

func (c *call) refileRecord() error {
	var in client.Refiling
	if err := c.json(&in); err != nil {
		return err
	}
	return c.finish(c.h.Ledger.Refile(c.Context(), c.command, c.path["record"], in.Patient))
}
