package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// Log is the part of a transparency log that is read from outside. Its methods
// are called from many goroutines at once. What they return is not modified.
type Log interface {
	// Published returns the newest checkpoint, or nil if none was signed yet.
	// Whatever it covers can be read.
	Published() *tlog.Published
	// Tile returns a hash tile, and an error that wraps tlog.ErrNotFound if the
	// newest checkpoint does not cover it.
	Tile(ctx context.Context, t proof.Tile) ([]byte, error)
	// Entries returns the n-th entry bundle, under the same conditions.
	Entries(ctx context.Context, n uint64, width int) ([]byte, error)
}

// Config says what is served. Ledger, Logger and Clock must be set.
type Config struct {
	// Ledger is what is served.
	Ledger *ledger.Ledger
	// Log is served under /log/; the ledger's if nil. State is its state log, served
	// under /state/; the ledger's if nil.
	Log, State Log
	// Stopped returns why the ledger accepts no more commands, or nil while it
	// does; the ledger's Err if nil. Callers learn only that it stopped.
	Stopped func() error
	// Logger gets a line a request and the causes of errors.
	Logger *slog.Logger
	// Clock tells the time; it measures how long requests take.
	Clock func() time.Time
	// Random is where the ids of requests come from; crypto/rand if nil.
	Random io.Reader
	// Version is the program's, for the metric medledger_build_info.
	Version string
	// Metrics are shown at /metrics beside the handler's own: those of a Server.
	Metrics []prometheus.Collector
	// Limits bound what clients send.
	Limits Limits
	// TokenLifetime is for how long a token is good unless something else is asked
	// for; DefaultTokenLifetime if zero.
	TokenLifetime time.Duration
}

// DefaultTokenLifetime is for how long a token is good unless the configuration or
// whoever asks for it says something else.
const DefaultTokenLifetime = 365 * 24 * time.Hour

// Limits bound what clients send. Zeros are replaced by the defaults.
type Limits struct {
	// Content is the largest content in bytes.
	Content int64
	// JSON is the largest request in JSON in bytes, BatchJSON that of a batch.
	JSON, BatchJSON int64
	// Batch is how many records one batch has at most.
	Batch int
}

// The limits that hold unless others are set.
const (
	DefaultMaxContent   = 4 << 30
	DefaultMaxJSON      = 64 << 10
	DefaultMaxBatchJSON = 64 << 20
	DefaultMaxBatch     = 1000
)

func (c Config) withDefaults() (Config, error) {
	if c.Ledger == nil || c.Logger == nil || c.Clock == nil {
		return c, errors.New("the handler needs a Ledger, a Logger and a Clock")
	}
	l := &c.Limits
	if l.Content < 0 || l.JSON < 0 || l.BatchJSON < 0 || l.Batch < 0 {
		return c, errors.New("a limit is negative")
	}
	l.Content, l.JSON = cmp.Or(l.Content, DefaultMaxContent), cmp.Or(l.JSON, DefaultMaxJSON)
	l.BatchJSON, l.Batch = cmp.Or(l.BatchJSON, DefaultMaxBatchJSON), cmp.Or(l.Batch, DefaultMaxBatch)
	c.TokenLifetime = cmp.Or(c.TokenLifetime, DefaultTokenLifetime)
	if c.Log == nil {
		c.Log = c.Ledger.Log()
	}
	if c.State == nil {
		c.State = c.Ledger.StateLog()
	}
	if c.Stopped == nil {
		c.Stopped = c.Ledger.Err
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c, nil
}

// handler is what the endpoints share.
type handler struct {
	Config
	metrics *metrics
	router  *mux.Router
	batches room
	gzips   sync.Pool // of *gzip.Writer
}

// endpoint answers a request, or returns an error that has not been answered.
type endpoint func(w http.ResponseWriter, r *http.Request) error

// New returns the handler of all endpoints. It may be called several times in a
// process: handlers share nothing.
func New(c Config) (http.Handler, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &handler{Config: c, metrics: newMetrics(c)}
	h.batches.left = batchesOfLimit * max(c.Limits.BatchJSON, leastBatch)
	// Without SkipClean the router would answer paths like /log//checkpoint with
	// a redirect, and without UseEncodedPath it would take %2f for a slash.
	h.router = mux.NewRouter().SkipClean(true).UseEncodedPath()
	log, state := treeOf{h, c.Log, logPrefix}, treeOf{h, c.State, statePrefix}
	h.get(logPrefix+"checkpoint", log.checkpoint)
	h.getBelow(entriesPath, entriesPath+"{N}", log.statements)
	h.getBelow(logPrefix+"tile/", logPrefix+"tile/{L}/{N}", log.tile)
	h.get(statePrefix+"checkpoint", state.checkpoint)
	h.getBelow(statePrefix+"tile/entries/", statePrefix+"tile/entries/{N}", state.leaves)
	h.getBelow(statePrefix+"tile/", statePrefix+"tile/{L}/{N}", state.tile)
	for i := range routes {
		rt := &routes[i]
		h.router.Handle(rt.path, h.observed(rt.path, h.guarded(rt))).Methods(rt.method)
	}
	h.get("/openapi.json", h.openAPI)
	h.get("/healthz", h.healthz)
	h.get("/readyz", h.readyz)
	h.get("/metrics", h.metrics.serve)
	h.router.NotFoundHandler = h.observed(unmatched, h.notFound)
	h.router.MethodNotAllowedHandler = h.observed(unmatched, h.methodNotAllowed)
	return h.router, nil
}

// unmatched is the route, in logs and metrics, of requests that have none.
const unmatched = "none"

func (h *handler) get(path string, e endpoint) {
	h.router.Handle(path, h.observed(path, e)).Methods(http.MethodGet, http.MethodHead)
}

// getBelow serves all paths that begin with prefix.
func (h *handler) getBelow(prefix, route string, e endpoint) {
	h.router.PathPrefix(prefix).Handler(h.observed(route, e)).Methods(http.MethodGet, http.MethodHead)
}

func (h *handler) notFound(http.ResponseWriter, *http.Request) error {
	return &problem{Status: http.StatusNotFound, Detail: "nothing is served at this path"}
}

func (h *handler) methodNotAllowed(w http.ResponseWriter, r *http.Request) error {
	allowed := strings.Join(h.allowed(r), ", ")
	w.Header().Set("Allow", allowed)
	return &problem{Status: http.StatusMethodNotAllowed, Detail: "this path allows " + allowed}
}

// allowed finds the methods that have a route at the request's path: the router
// only says that there are some.
func (h *handler) allowed(r *http.Request) []string {
	var allowed []string
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	} {
		other := *r
		other.Method = method
		var match mux.RouteMatch
		if h.router.Match(&other, &match) && match.MatchErr == nil {
			allowed = append(allowed, method)
		}
	}
	return allowed
}

// send answers with a body. The headers of an answer to HEAD are those to GET.
func send(w http.ResponseWriter, r *http.Request, contentType string, body []byte) error {
	w.Header().Set("Content-Type", contentType)
	setLength(w, len(body))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	// An error means that the client has gone; there is nobody left to tell.
	_, _ = w.Write(body)
	return nil
}
