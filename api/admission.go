package api

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// admission lets a number of requests in at a time and tells the others to come
// again. A request that waited inside would hold memory and a deadline that its
// client may have given up on; one that is turned away costs next to nothing, so
// it is counted and has no line in the log.
type admission struct {
	places   chan struct{} // holds one value a request inside
	rejected prometheus.Counter
	stopping atomic.Bool
	inside   atomic.Int64 // every request, also those that are always let in
}

// Requests that come while the server is full are told to wait this long.
const retryAfter = "1" // second

// alwaysAdmitted are the paths that an operator needs most when the server is full.
var alwaysAdmitted = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

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
		select {
		case a.places <- struct{}{}:
			defer func() { <-a.places }()
			next.ServeHTTP(w, r)
		default:
			a.rejected.Inc()
			w.Header().Set("Retry-After", retryAfter)
			(&problem{
				Status: http.StatusTooManyRequests,
				Detail: "the server works on as many requests as it takes at a time; repeat this one after the time in Retry-After",
			}).write(w, r)
		}
	})
}
