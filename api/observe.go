package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/medledger/medledger/events"
)

// observed makes an http.Handler of an endpoint: it answers errors and panics,
// counts and logs. The route is a constant text, never the request's path.
func (h *handler) observed(route string, e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := h.Clock()
		recorded := &recorder{ResponseWriter: w, id: h.requestID()}
		w.Header().Set(requestIDHeader, recorded.id.String())
		h.metrics.inFlight.Inc()
		defer func() {
			h.metrics.inFlight.Dec()
			h.account(r, route, recorded, h.Clock().Sub(started))
		}()
		h.answer(recorded, r, route, e)
	})
}

func (h *handler) account(r *http.Request, route string, w *recorder, took time.Duration) {
	h.metrics.requests.WithLabelValues(route, fmt.Sprintf("%dxx", w.status/100)).Inc()
	h.metrics.duration.WithLabelValues(route).Observe(took.Seconds())
	h.Logger.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("method", knownMethod(r.Method)), slog.String("route", route),
		slog.Int("status", w.status), slog.Duration("duration", took), slog.Int64("bytes", w.bytes),
		slog.String("request", w.id.String()))
}

// knownMethod keeps what a client made up out of the log.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	}
	return "other"
}

func (h *handler) answer(w *recorder, r *http.Request, route string, e endpoint) {
	defer func() {
		if v := recover(); v != nil {
			h.recovered(w, r, route, v)
		}
	}()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	err := e(w, r)
	if err == nil {
		return
	}
	p, internal := problemOf(err)
	if internal {
		h.Logger.ErrorContext(r.Context(), "a request failed", "route", route, "request", w.id, "error", err)
	}
	if p.Status == http.StatusUnauthorized {
		h.metrics.unauthenticated.Inc()
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	p.write(w, r)
}

// recovered answers a request whose endpoint panicked. A response that has begun
// cannot be taken back, so its connection is cut: the client must not take half
// of an answer for a whole one.
func (h *handler) recovered(w *recorder, r *http.Request, route string, v any) {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	h.Logger.ErrorContext(r.Context(), "a request panicked",
		"route", route, "panic", describe(v), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	clear(w.Header())
	w.Header().Set(requestIDHeader, w.id.String())
	p, _ := problemOf(fmt.Errorf("panic: %s", describe(v)))
	p.write(w, r)
}

// describe says what a panic was about without what it may say of a person: the
// text of a runtime error is the program's own, that of other values need not be.
func describe(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", v)
}

const requestIDHeader = "X-Request-Id"

// requestID is a new one for each request, which its events, its log line and its
// answer have. The client's is not taken: sixteen bytes of their choice, say of a
// name, would stand in the log for ever.
func (h *handler) requestID() events.ID {
	id, err := events.NewID(h.Random)
	if err != nil { // a request without an id is better than none
		return events.ID{}
	}
	return id
}

// recorder remembers what was answered. Zero status means nothing yet.
type recorder struct {
	http.ResponseWriter
	id     events.ID // of the request
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
