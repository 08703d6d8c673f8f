package api

import (
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// admission lets a number of requests in at a time and tells the others to come
// again. A request that waited inside would hold memory and a deadline that its
// client may have given up on; one that is turned away costs next to nothing, so
// it is counted and has no line in the log.
//
// What is for everybody shares a quarter of the places: else a client without a token
// that asks for many large answers and takes them slowly would keep everybody out. A
// request that needs a token and has none is answered without waiting for its client.
type admission struct {
	places   chan struct{} // holds one value a request inside
	public   chan struct{} // and one a request inside for what is for everybody
	scrapes  chan struct{} // holds one value a request for the metrics
	rejected prometheus.Counter
	stopping atomic.Bool
	inside   atomic.Int64 // every request, also those that are always let in
}

// Requests that come while the server is full are told to wait this long.
const retryAfter = "1" // second

// publicShare is the part of the places that is for what is for everybody.
const publicShare = 4

func newAdmission(places int) *admission {
	return &admission{
		places: make(chan struct{}, places), public: make(chan struct{}, max(1, places/publicShare)),
		scrapes: make(chan struct{}, maxScrapes),
	}
}

// alwaysAdmitted are the paths that an operator needs most when the server is full.
// Their answers are a word.
var alwaysAdmitted = map[string]bool{"/healthz": true, "/readyz": true}

// The metrics are needed then too, and are long: they have places of their own.
const (
	metricsPath = "/metrics"
	maxScrapes  = 16
)

func (a *admission) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.inside.Add(1)
		defer a.inside.Add(-1)
		path := r.URL.EscapedPath() // as it was sent, as everywhere
		stopping := a.stopping.Load()
		if stopping {
			w.Header().Set("Connection", "close") // HTTP/2 makes a GOAWAY of it
		}
		if path == "/readyz" && stopping {
			(&problem{
				Status: http.StatusServiceUnavailable,
				Detail: "the server is stopping; try again in a moment",
			}).write(w, r)
			return
		}
		if alwaysAdmitted[path] {
			next.ServeHTTP(w, r)
			return
		}
		leave, admitted := a.enter(path)
		if !admitted {
			a.rejected.Inc()
			w.Header().Set("Retry-After", retryAfter)
			(&problem{
				Status: http.StatusTooManyRequests,
				Detail: "the server works on as many requests as it takes at a time; repeat this one after the time in Retry-After",
			}).write(w, r)
			return
		}
		defer leave()
		next.ServeHTTP(w, r)
	})
}

// enter takes a place for a request, if there is one, which leave gives back.
func (a *admission) enter(path string) (leave func(), admitted bool) {
	needed := []chan struct{}{a.places}
	switch {
	case path == metricsPath:
		needed = []chan struct{}{a.scrapes}
	case !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, entriesPath):
		needed = append(needed, a.public)
	}
	taken := 0
	leave = func() {
		for _, places := range needed[:taken] {
			<-places
		}
	}
	for _, places := range needed {
		select {
		case places <- struct{}{}:
			taken++
		default:
			leave()
			return nil, false
		}
	}
	return leave, true
}
