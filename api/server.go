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
)

// MaxHeaderBytes bounds a request's header.
const MaxHeaderBytes = 16 << 10

// The times that a client gets. Requests have no bodies yet; the largest answer
// is an entry bundle of 16 MiB.
const (
	readTimeout  = 10 * time.Second // for a request
	writeTimeout = 2 * time.Minute  // for an answer
	idleTimeout  = 2 * time.Minute  // between requests on a connection
)

// DefaultGrace is how long a stopping server waits for running requests.
const DefaultGrace = 10 * time.Second

// Server is an HTTP server on an address. Listen makes one, Run serves, Close
// releases the address. The address is held from Listen on, so that a program
// learns that it is taken before it does anything else; clients that come before
// Run wait.
type Server struct {
	listener net.Listener
	logger   *slog.Logger
	grace    time.Duration
}

// Listen takes a TCP address (host:port; port 0 takes a free one). Logger gets
// what goes wrong with connections. A grace of zero is DefaultGrace.
func Listen(ctx context.Context, address string, logger *slog.Logger, grace time.Duration) (*Server, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("listening on %q, want host:port: %w", address, err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	if grace == 0 {
		grace = DefaultGrace
	}
	return &Server{listener: listener, logger: logger, grace: grace}, nil
}

// Addr is the address that is listened on, with the real port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is where a client on this machine reaches the server: the address, or
// 127.0.0.1 if the server listens on all addresses.
func (s *Server) URL() string {
	host, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil { // not a TCP address, which Listen excludes
		return "http://" + s.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Run serves until ctx ends, then takes no more requests, waits for the running
// ones for the server's grace at most, and returns nil. If requests had to be cut
// off or serving failed before, it returns an error. It runs once.
func (s *Server) Run(ctx context.Context, h http.Handler) error {
	server := &http.Server{
		Handler:     h,
		ReadTimeout: readTimeout, ReadHeaderTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: MaxHeaderBytes,
		ErrorLog:       log.New(connectionErrors{s.logger}, "", 0),
		// OPTIONS * is answered like everything else.
		DisableGeneralOptionsHandler: true,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
	defer cancel()
	err := server.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(fmt.Errorf("requests ran for more than %v after the server was told to stop and were cut off", s.grace), server.Close())
	}
	<-served
	return err
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
