package api

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/decision"
)

// call is a request to /v1 that has passed what all of them have to pass.
type call struct {
	*http.Request
	h       *handler
	w       http.ResponseWriter
	who     ledger.Identity
	command ledger.Command
	query   map[string]string
	path    map[string]events.ID // the ids in the path, by their names
}

// singular are the headers that a request has at most once: of two, a proxy
// before us might have looked at the other.
var singular = []string{"Authorization", "Content-Type", "Idempotency-Key", "If-Match"}

// authenticated finds out who makes a request.
func (h *handler) authenticated(w http.ResponseWriter, r *http.Request) (*call, error) {
	for _, header := range singular {
		if len(r.Header[header]) > 1 {
			return nil, &problem{Status: http.StatusBadRequest, Detail: "the request has the header " + header + " more than once"}
		}
	}
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, &problem{Status: http.StatusUnauthorized, Detail: "send a token: Authorization: Bearer mlt_..."}
	}
	who, err := h.Ledger.Authenticate(secret)
	if err != nil {
		return nil, err
	}
	key, err := idempotencyKey(r.Header["Idempotency-Key"])
	if err != nil {
		return nil, err
	}
	c := &call{Request: r, h: h, w: w, who: who}
	c.command = ledger.Command{Actor: who.ActorID, Token: who.Token, IdempotencyKey: key}
	if recorded, ok := w.(*recorder); ok {
		c.command.Correlation = recorded.id
	}
	return c, nil
}

// guarded makes an endpoint of a route: nothing gets to it that the route does not
// describe.
func (h *handler) guarded(rt *route) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := h.authenticated(w, r)
		if err != nil {
			return err
		}
		if c.query, err = queryOf(r.URL, rt.query); err != nil {
			return err
		}
		if c.path, err = idsOf(r); err != nil {
			return err
		}
		if rt.body == nil {
			if err := emptyBody(r); err != nil {
				return err
			}
		}
		return c.explain(rt.serve(c))
	}
}

// explain turns a refusal into what the caller may know of it.
func (c *call) explain(err error) error {
	refusal := new(ledger.RefusedError)
	if !errors.As(err, &refusal) {
		return err
	}
	if e, ok := refusal.Result.Event.Data.(*events.AccessRefused); ok {
		c.h.metrics.refused.WithLabelValues(string(e.Action)).Inc()
	}
	return refused(refusal, c.who.Role)
}

// mayAsk reports whether the caller's role may ask for an action at all. Whoever
// may not is refused by the ledger; this is for what comes before.
func (c *call) mayAsk(a events.Action) bool { return slices.Contains(decision.Roles(a), c.who.Role) }

// queryOf reads a query string: parameters that the route knows, each once.
func queryOf(u *url.URL, known []parameter) (map[string]string, error) {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, &problem{Status: http.StatusBadRequest, Detail: "the query string is malformed"}
	}
	query := make(map[string]string, len(values))
	for _, p := range known {
		switch got := values[p.name]; {
		case len(got) > 1:
			return nil, &problem{Status: http.StatusBadRequest, Detail: "the parameter " + p.name + " stands more than once"}
		case len(got) == 1 && got[0] == "":
			return nil, &problem{Status: http.StatusBadRequest, Detail: "the parameter " + p.name + " is empty"}
		case len(got) == 1:
			query[p.name] = got[0]
		case p.required:
			return nil, &problem{Status: http.StatusBadRequest, Detail: "the parameter " + p.name + " is missing"}
		}
	}
	if len(query) != len(values) {
		return nil, &problem{Status: http.StatusBadRequest, Detail: "the query string has a parameter that is not known here"}
	}
	return query, nil
}

// idsOf reads the ids of a path. A malformed one names nothing that exists.
func idsOf(r *http.Request) (map[string]events.ID, error) {
	vars := mux.Vars(r)
	ids := make(map[string]events.ID, len(vars))
	for name, text := range vars {
		id, err := events.ParseID(text)
		if err != nil {
			return nil, absent()
		}
		ids[name] = id
	}
	return ids, nil
}

// emptyBody checks that a request has no body where none belongs.
func emptyBody(r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	n, err := io.ReadFull(r.Body, make([]byte, 1))
	if n > 0 {
		return &problem{Status: http.StatusBadRequest, Detail: "this request has no body"}
	}
	if err != io.EOF {
		return bodyProblem(err)
	}
	return nil
}

// idempotencyKey reads the header of that name: a string of RFC 9651 section
// 3.3.3, as draft-ietf-httpapi-idempotency-key-header has it, or for convenience
// the same without its quotes, if it has neither spaces nor commas.
func idempotencyKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	bad := &problem{Status: http.StatusBadRequest, Detail: "the Idempotency-Key is malformed; send a quoted string of " +
		strconv.Itoa(ledger.MaxIdempotencyKey) + " printable ASCII characters at most"}
	text := values[0]
	inner, quoted := strings.CutPrefix(text, `"`)
	if quoted {
		if inner, quoted = strings.CutSuffix(inner, `"`); !quoted {
			return "", bad
		}
	}
	var key []byte
	for i := 0; i < len(inner); i++ {
		ch := inner[i]
		switch {
		case ch < ' ' || ch > '~', ch == '"', !quoted && (ch == ' ' || ch == ',' || ch == '\\'):
			return "", bad
		case ch == '\\':
			if i++; i == len(inner) || inner[i] != '"' && inner[i] != '\\' {
				return "", bad
			}
			ch = inner[i]
		}
		key = append(key, ch)
	}
	if len(key) == 0 || len(key) > ledger.MaxIdempotencyKey {
		return "", bad
	}
	return string(key), nil
}

// step is the command of a step of a call that leads to several events. Its key
// begins with a byte that no client's key has, so that the steps of one call are
// never taken for another call.
func (c *call) step(name string) ledger.Command {
	command := c.command
	if command.IdempotencyKey != "" {
		digest := sha256.Sum256([]byte(command.IdempotencyKey))
		command.IdempotencyKey = "\x00" + base64.RawURLEncoding.EncodeToString(digest[:]) + "/" + name
	}
	return command
}

// json reads the body of the call.
func (c *call) json(out any) error { return c.h.readJSON(c.w, c.Request, out) }

// purpose is the parameter of that name, or what the caller's role implies.
func (c *call) purpose() (events.Purpose, error) {
	if text, ok := c.query["purpose"]; ok {
		return code[events.Purpose]("purpose", text)
	}
	switch c.who.Role {
	case events.RolePatient:
		return events.PurposePatient, nil
	case events.RoleProxy:
		return events.PurposeFamily, nil
	case events.RoleClinician, events.RoleNurse, events.RoleClerk:
		return events.PurposeTreatment, nil
	}
	return events.PurposeOperations, nil
}

// code reads a parameter that is a code.
func code[C interface {
	~string
	Valid() bool
}](name, text string) (C, error) {
	if !C(text).Valid() {
		return "", &problem{Status: http.StatusBadRequest, Detail: "the parameter " + name + " has a code that is not known"}
	}
	return C(text), nil
}

// id reads a parameter that is an id. Unlike one in the path, which names nothing if
// it is malformed, that is a bad request.
func (c *call) id(name string) (events.ID, error) {
	id, err := events.ParseID(c.query[name])
	if err != nil {
		return id, &problem{Status: http.StatusBadRequest, Detail: "the parameter " + name + " is not an id"}
	}
	return id, nil
}

// time reads a parameter that is a time; zero if it is left out.
func (c *call) time(name string) (events.Timestamp, error) {
	text, ok := c.query[name]
	if !ok {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, &problem{Status: http.StatusBadRequest, Detail: "the parameter " + name + " is not a time of RFC 3339"}
	}
	return moment(t)
}

// number reads a parameter that is a number from 1 to most; zero if it is left
// out.
func (c *call) number(name string, most uint64) (uint64, error) {
	text, ok := c.query[name]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n > most || strconv.FormatUint(n, 10) != text {
		return 0, &problem{Status: http.StatusBadRequest, Detail: "the parameter " + name + " is not a number from 1 to " + strconv.FormatUint(most, 10)}
	}
	return n, nil
}

// moment is a time as events have it; the zero time is zero.
func moment(t time.Time) (events.Timestamp, error) {
	if t.IsZero() {
		return 0, nil
	}
	if y := t.UTC().Year(); y < 2000 || y > 9999 {
		return 0, &problem{Status: http.StatusBadRequest, Detail: "a time lies outside the years 2000 to 9999"}
	}
	return events.At(t), nil
}
