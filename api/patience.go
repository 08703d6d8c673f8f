package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Patience is how long the server waits for a client that does not move. A whole
// upload or download may take any time: what is bounded is the time between two
// steps of it. Fields that are zero have the defaults below.
type Patience struct {
	// Body is the time in which the next bytes of a request must come.
	Body time.Duration
	// Write is the time in which the next bytes of an answer must be taken.
	Write time.Duration
	// Rate is how many bytes a second a body must bring on average, once the
	// server has waited for it for RateAfter in all. It is for clients that send
	// a byte now and then to hold a place. The server's own work does not count.
	Rate      int64
	RateAfter time.Duration
}

// The defaults of Patience.
const (
	DefaultPatience = 30 * time.Second // Body and Write
	defaultRate     = 1 << 10
	rateAfter       = time.Minute
)

func (p Patience) withDefaults() Patience {
	if p.Body == 0 {
		p.Body = DefaultPatience
	}
	if p.Write == 0 {
		p.Write = DefaultPatience
	}
	if p.Rate == 0 {
		p.Rate = defaultRate
	}
	if p.RateAfter == 0 {
		p.RateAfter = rateAfter
	}
	return p
}

// ErrTooSlow is what reading a request's body returns when the client has tried
// the server's patience. What was read is not the whole body.
var ErrTooSlow = errors.New("the client sends too slowly")

// piece is how much of an answer must be taken within Patience.Write. With
// sendBuffer it makes the slowest reader that is waited for: the system asks for
// more when a third of its buffer is free.
const (
	piece      = 16 << 10
	sendBuffer = 256 << 10
)

// patience is Patience as a middleware.
type patience struct {
	Patience
	clock func() time.Time
	cut   *prometheus.CounterVec // by direction
}

const (
	fromClient = "body"
	toClient   = "answer"
)

// wrap gives a handler bodies and writers with deadlines that move when bytes do.
// A deadline is set for each read and write and lifted after it: on HTTP/2 one
// that passes while the handler is busy would end the stream, and on HTTP/1 it
// would look as if the client had gone.
func (p *patience) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := &patientWriter{ResponseWriter: w, patience: p, control: http.NewResponseController(w)}
		if r.Body != nil && r.Body != http.NoBody {
			client.body = &patientBody{ReadCloser: r.Body, patience: p, control: client.control}
			// A copy: net/http looks into its own request to see what of the
			// body is left.
			patient := *r
			patient.Body = client.body
			r = &patient
		}
		// The request before on this connection has left its last deadline.
		_ = client.control.SetWriteDeadline(time.Time{})
		defer client.finish()
		next.ServeHTTP(client, r)
	})
}

// patientBody is a request's body.
type patientBody struct {
	io.ReadCloser
	patience *patience
	control  *http.ResponseController
	got      int64
	waited   time.Duration
	err      error // what every further Read returns
}

func (b *patientBody) Read(into []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	started := b.patience.clock()
	if b.err = b.control.SetReadDeadline(started.Add(b.patience.Body)); b.err != nil {
		return 0, fmt.Errorf("bounding the wait for a body: %w", b.err)
	}
	n, err := b.ReadCloser.Read(into)
	b.got += int64(n)
	b.waited += b.patience.clock().Sub(started)
	if tooSlow := b.tooSlow(err); tooSlow != nil {
		b.patience.cut.WithLabelValues(fromClient).Inc()
		err = tooSlow
	}
	// An error here means that the connection has gone; the next Read says so.
	_ = b.control.SetReadDeadline(time.Time{})
	b.err = err
	return n, err
}

// Close may read what is left of the body, or a part of it.
func (b *patientBody) Close() error {
	if b.err != nil {
		return b.ReadCloser.Close()
	}
	b.err = http.ErrBodyReadAfterClose
	_ = b.control.SetReadDeadline(b.patience.clock().Add(b.patience.Body))
	defer func() { _ = b.control.SetReadDeadline(time.Time{}) }()
	return b.ReadCloser.Close()
}

func (b *patientBody) tooSlow(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: nothing came for %v", ErrTooSlow, b.patience.Body)
	}
	if err == nil && b.waited > b.patience.RateAfter && float64(b.got) < float64(b.patience.Rate)*b.waited.Seconds() {
		return fmt.Errorf("%w: under %d bytes a second on average", ErrTooSlow, b.patience.Rate)
	}
	return nil
}

// patientWriter is a response. It goes out in pieces, each of which must be taken
// in time.
type patientWriter struct {
	http.ResponseWriter
	patience *patience
	control  *http.ResponseController
	body     *patientBody // nil if the request has none
}

func (w *patientWriter) Write(b []byte) (n int, err error) {
	for first := true; err == nil && (first || n < len(b)); first = false {
		var m int
		err = w.bounded(func() error {
			var err error
			m, err = w.ResponseWriter.Write(b[n:min(n+piece, len(b))])
			return err
		})
		n += m
	}
	return n, err
}

// FlushError is for http.ResponseController.
func (w *patientWriter) FlushError() error { return w.bounded(w.control.Flush) }

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bounded calls f, which writes, with deadlines. Before net/http sends a header
// it reads what is left of the body, so there is one for reading too, and that
// for writing is later by as much.
func (w *patientWriter) bounded(f func() error) error {
	started, wait := w.patience.clock(), w.patience.Write
	if w.unread() {
		wait += w.patience.Body
		_ = w.control.SetReadDeadline(started.Add(w.patience.Body))
		defer func() { _ = w.control.SetReadDeadline(time.Time{}) }()
	}
	if err := w.control.SetWriteDeadline(started.Add(wait)); err != nil {
		return fmt.Errorf("bounding the wait for a client: %w", err)
	}
	err := f()
	if err != nil && w.patience.clock().Sub(started) >= wait {
		w.patience.cut.WithLabelValues(toClient).Inc()
	}
	_ = w.control.SetWriteDeadline(time.Time{})
	return err
}

// unread reports whether there may be more of the body.
func (w *patientWriter) unread() bool { return w.body != nil && w.body.err == nil }

// finish bounds what net/http does after the handler: it sends what it still has
// and reads a little of what the handler left, once, without extension.
func (w *patientWriter) finish() {
	now, wait := w.patience.clock(), w.patience.Write
	switch {
	case w.unread():
		wait += w.patience.Body
		_ = w.control.SetReadDeadline(now.Add(w.patience.Body))
	case w.body != nil && errors.Is(w.body.err, ErrTooSlow):
		_ = w.control.SetReadDeadline(now) // it has been waited for enough
	}
	_ = w.control.SetWriteDeadline(now.Add(wait))
}
