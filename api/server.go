package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// MaxHeaderBytes bounds a request's header.
const MaxHeaderBytes = 16 << 10

// maxStreams is how many requests a client may have open on an HTTP/2 connection.
const maxStreams = 50

// The times that a client gets, besides Patience.
const (
	headerTimeout = 10 * time.Second // for the TLS handshake, and for a request's header
	idleTimeout   = 2 * time.Minute  // between requests on a connection
	cutTimeout    = time.Second      // for handlers to end once their requests were cut off
)

// The defaults of ServerConfig.
const (
	DefaultGrace          = 10 * time.Second
	DefaultMaxInFlight    = 1024
	DefaultMaxConnections = 12000
)

// ServerConfig says how a server listens and what it bears. Address and Logger
// must be set.
type ServerConfig struct {
	// Address is a TCP address (host:port; port 0 takes a free one).
	Address string
	// Certificate turns TLS on, at least version 1.2, and HTTP/2. Without it
	// the server speaks plain HTTP, and warns of it if others can listen.
	Certificate *Certificate
	// MaxConnections is how many connections are open at a time at most.
	// Others wait. Zero is DefaultMaxConnections.
	MaxConnections int
	// MaxInFlight is how many requests are worked on at a time at most. Others
	// are answered 429, but for those of /healthz and /readyz, and a few of
	// /metrics. A quarter of them may be for what needs no token. Zero is
	// DefaultMaxInFlight.
	MaxInFlight int
	// Patience is for slow clients.
	Patience Patience
	// Grace is how long a stopping server waits for running requests. Zero is
	// DefaultGrace.
	Grace time.Duration
	// Logger gets what goes wrong with connections.
	Logger *slog.Logger
	// Clock measures how long clients take; time.Now if nil.
	Clock func() time.Time
}

func (c ServerConfig) withDefaults() (ServerConfig, error) {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return c, fmt.Errorf("listening on %q, want host:port: %w", c.Address, err)
	}
	if c.Logger == nil {
		return c, errors.New("a server needs a logger")
	}
	if c.MaxConnections < 0 || c.MaxInFlight < 0 || c.Grace < 0 || c.Patience.Body < 0 || c.Patience.Write < 0 {
		return c, errors.New("a server's limits are zero or more")
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	c.Patience = c.Patience.withDefaults()
	return c, nil
}

// Server is an HTTP server on an address. Listen makes one, Run serves, Close
// releases the address. The address is held from Listen on, so that a program
// learns that it is taken before it does anything else; clients that come before
// Run wait.
//
// What Run serves sees bodies and writers that follow Patience: a handler may
// take any time, and reads ErrTooSlow when its client stalls.
type Server struct {
	config    ServerConfig
	listener  *limited
	admission *admission
	patience  *patience
	metrics   []prometheus.Collector
}

// Listen takes the address.
func Listen(ctx context.Context, c ServerConfig) (*Server, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", c.Address, err)
	}
	s := &Server{
		config:    c,
		listener:  limit(listener, c.MaxConnections),
		admission: newAdmission(c.MaxInFlight),
		patience:  &patience{Patience: c.Patience, clock: c.Clock},
	}
	s.newMetrics()
	if tcp, ok := listener.Addr().(*net.TCPAddr); c.Certificate == nil && (!ok || !tcp.IP.IsLoopback()) {
		c.Logger.Warn("plain HTTP where others can listen: bearer tokens and contents travel in the clear; " +
			"set tls-certificate and tls-key, or listen on 127.0.0.1")
	}
	return s, nil
}

// Addr is the address that is listened on, with the real port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is where a client on this machine reaches the server: the address, or
// 127.0.0.1 if the server listens on all addresses.
func (s *Server) URL() string {
	scheme := "http://"
	if s.config.Certificate != nil {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil { // not a TCP address, which Listen excludes
		return scheme + s.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + net.JoinHostPort(host, port)
}

// Run serves until ctx ends. Then /readyz answers 503 on connections that are
// open, no more are taken, and running requests have the server's grace to end,
// after which they are cut off: their connections are closed and their contexts
// end. It returns nil, or an error if requests were cut off or serving failed
// before. It runs once.
func (s *Server) Run(ctx context.Context, h http.Handler) error {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := s.newServer(requests, h)
	served := make(chan error, 1)
	go func() {
		if s.config.Certificate != nil {
			served <- server.ServeTLS(s.listener, "", "")
		} else {
			served <- server.Serve(s.listener)
		}
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	closed := s.stopTaking()
	<-served
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Grace)
	defer cancel()
	// Shutdown answers nothing that comes while it waits, so it comes last.
	err := s.awaitHandlers(stopping)
	if err == nil {
		err = server.Shutdown(stopping)
	}
	if err == nil {
		return closed
	}
	cut()
	cutting, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutTimeout)
	defer cancel()
	return errors.Join(closed,
		fmt.Errorf("clients were not done %v after the server was told to stop and were cut off", s.config.Grace),
		server.Close(), s.awaitHandlers(cutting))
}

// stopTaking makes /readyz answer 503, open connections end with their next
// answer, and clients that connect go elsewhere.
func (s *Server) stopTaking() error {
	s.admission.stopping.Store(true)
	return s.Close()
}

func (s *Server) newServer(requests context.Context, h http.Handler) *http.Server {
	server := &http.Server{
		Handler:           s.patience.wrap(s.admission.wrap(h)),
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: MaxHeaderBytes,
		ErrorLog:       log.New(connectionErrors{s.config.Logger}, "", 0),
		// HTTP/2 frames that belong to no request have no Patience. Few streams
		// a connection: MaxConnections bounds all of them together.
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      s.config.Patience.Body, PingTimeout: headerTimeout, WriteByteTimeout: s.config.Patience.Write,
		},
		// OPTIONS * is answered like everything else.
		DisableGeneralOptionsHandler: true,
	}
	if s.config.Certificate != nil {
		server.TLSConfig = s.config.Certificate.config()
	}
	return server
}

// awaitHandlers waits until no request is worked on, or until ctx ends. What
// handlers work on must not be closed under them.
func (s *Server) awaitHandlers(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.admission.inside.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d requests still run", s.admission.inside.Load())
		}
	}
	return nil
}

// Close releases the address. After Run it does nothing.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// connectionErrors passes on what net/http has to say of connections. Most of
// it names the client's address, which identifies a person, so only failures to
// accept connections at all are passed on word for word.
type connectionErrors struct{ logger *slog.Logger }

var _ io.Writer = connectionErrors{}

func (c connectionErrors) Write(line []byte) (int, error) {
	if text := strings.TrimSpace(string(line)); strings.HasPrefix(text, "http: Accept error") {
		c.logger.Error("connections cannot be accepted", "error", text)
	} else {
		c.logger.Warn("a connection failed")
	}
	return len(line), nil
}
