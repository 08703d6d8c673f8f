package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/medledger/medledger/ledger/tlog"
)

// problem is an error as callers see it (RFC 9457), of type about:blank: the
// status says what kind of error it is, the detail what to do.
type problem struct {
	Title  string `json:"title"` // set by write
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return p.Detail }

// write answers with the problem. No cache keeps it: what is missing now may be
// there in a moment.
func (p problem) write(w http.ResponseWriter, r *http.Request) {
	p.Title = http.StatusText(p.Status)
	body, _ := json.Marshal(p) // two strings and a number have a JSON form
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

func setLength(w http.ResponseWriter, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(n))
}

// problemOf is the one place where errors become statuses. It reports whether
// the operator should hear of the error.
func problemOf(err error) (p *problem, internal bool) {
	switch {
	case errors.As(err, &p):
		return p, false
	case errors.Is(err, tlog.ErrNotFound):
		return &problem{
			Status: http.StatusNotFound,
			Detail: "the newest checkpoint does not cover this; get /log/checkpoint and ask for what its size implies",
		}, false
	case errors.Is(err, ErrTooSlow):
		return &problem{Status: http.StatusRequestTimeout, Detail: "the request came too slowly; send it again over a better connection"}, false
	case errors.Is(err, context.Canceled): // the client has gone, or the server is stopping
		return &problem{Status: http.StatusServiceUnavailable, Detail: "the request was given up; repeat it"}, false
	case errors.Is(err, tlog.ErrClosed):
		return &problem{Status: http.StatusServiceUnavailable, Detail: "the server is stopping; try again in a moment"}, false
	}
	return &problem{
		Status: http.StatusInternalServerError,
		Detail: "the server could not answer; its operator finds the cause in its log",
	}, true
}
