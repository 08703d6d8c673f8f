package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"syscall"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/ledger/vault"
)

// problem is an error as callers see it (RFC 9457), of type about:blank: the
// status says what kind of error it is, the detail what to do. Type and Title are
// set when it is written.
type problem client.Problem

func (p *problem) Error() string { return p.Detail }

// write answers with the problem. No cache keeps it: what is missing now may be
// there in a moment.
func (p problem) write(w http.ResponseWriter, r *http.Request) {
	body, _ := json.Marshal(p.whole()) // strings and a number have a JSON form
	body = append(body, '\n')
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	setLength(w, len(body))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // an error means that the client has gone
	}
}

// whole returns the problem with all its members.
func (p problem) whole() *client.Problem {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	return (*client.Problem)(&p)
}

func setLength(w http.ResponseWriter, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(n))
}

// given answers what the ledger says of commands as such.
var given = []struct {
	err    error
	status int
}{
	{ledger.ErrUnauthenticated, http.StatusUnauthorized},
	{ledger.ErrUnknownActor, http.StatusUnauthorized},
	{ledger.ErrUnknownPatient, http.StatusUnprocessableEntity},
	{ledger.ErrIdentifier, http.StatusBadRequest},
	{ledger.ErrIdentifierTaken, http.StatusConflict},
	{ledger.ErrName, http.StatusBadRequest},
	{ledger.ErrLifetime, http.StatusUnprocessableEntity},
	{ledger.ErrConflict, http.StatusConflict},
	{ledger.ErrVersion, http.StatusPreconditionFailed},
	{ledger.ErrKeyReused, http.StatusUnprocessableEntity},
	{ledger.ErrBadKey, http.StatusBadRequest},
	{ledger.ErrUnknownOutcome, http.StatusServiceUnavailable},
}

// problemOf is the one place where errors become statuses. It reports whether
// the operator should hear of the error.
func problemOf(err error) (p *problem, internal bool) {
	if errors.As(err, &p) {
		return p, false
	}
	for _, g := range given {
		if errors.Is(err, g.err) {
			return &problem{Status: g.status, Detail: g.err.Error()}, false
		}
	}
	if p := bodyProblem(err); errors.As(p, new(*problem)) {
		return problemOf(p)
	}
	switch {
	case errors.Is(err, tlog.ErrNotFound):
		return &problem{
			Status: http.StatusNotFound,
			Detail: "the newest checkpoint does not cover this; get /log/checkpoint and ask for what its size implies",
		}, false
	case errors.Is(err, ErrTooSlow):
		return &problem{Status: http.StatusRequestTimeout, Detail: "the request came too slowly; send it again over a better connection"}, false
	case errors.Is(err, store.ErrNotFound):
		return absent(), false
	case errors.Is(err, vault.ErrDestroyed), errors.Is(err, ledger.ErrRightEnded):
		return &problem{Status: http.StatusGone, Detail: "this ended while it was being answered"}, false
	case errors.Is(err, events.ErrInvalid):
		return &problem{Status: http.StatusUnprocessableEntity, Detail: "a value of the request is out of its bounds; see /openapi.json"}, false
	case errors.Is(err, ledger.ErrStopped):
		return &problem{Status: http.StatusServiceUnavailable, Detail: "the ledger has stopped and accepts nothing until its operator starts it again"}, false
	case errors.Is(err, syscall.ENOSPC):
		return &problem{Status: http.StatusServiceUnavailable, Detail: "the server's disk is full; its operator must make room"}, true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded): // the client has gone, or the server is stopping
		return &problem{Status: http.StatusServiceUnavailable, Detail: "the request was given up; repeat it"}, false
	case errors.Is(err, tlog.ErrClosed), errors.Is(err, vault.ErrClosed):
		return &problem{Status: http.StatusServiceUnavailable, Detail: "the server is stopping; try again in a moment"}, false
	}
	return &problem{
		Status: http.StatusInternalServerError,
		Detail: "the server could not answer; its operator finds the cause in its log",
	}, true
}
