package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/medledger/medledger/ledger/custody"
)

// ServerConfig says what is served, and to whom.
type ServerConfig struct {
	// Custody is what is served. Who calls Listen closes it after Serve.
	Custody custody.Custody
	// Socket is the absolute path of the socket. Its folder should be the helper's
	// own; it is made with mode 0700 if it is missing.
	Socket string
	// AllowUIDs are the users who are served besides root and the helper's own.
	AllowUIDs []uint32
	// Group is a group whose members the file system lets through to the socket; 0
	// is none, and then only the helper's own user and root get there. Who is
	// served is decided by AllowUIDs all the same.
	Group uint32
	// Log has what happens. nil means slog.Default().
	Log *slog.Logger
	// MaxConnections bounds the connections of those who are served; 0 means 32.
	MaxConnections int
	// Idle is how long a connection may be without a request; 0 means 10 minutes.
	Idle time.Duration
	// Patience is how long a request may take to arrive once it began, an answer
	// to be taken, and running requests to end after a stop; 0 means 5 seconds.
	Patience time.Duration
}

// overflowUID is how a kernel names users whom it cannot name: those of another user
// namespace. Allowing it would allow all of them.
const overflowUID = 65534

// Server is the helper's end of the socket.
type Server struct {
	config ServerConfig
	log    *slog.Logger
	place  *place
	// changes is held by the one request that makes or destroys a key.
	changes sync.Mutex

	mu       sync.Mutex // guards what follows
	stopping bool
	open     map[*net.UnixConn]struct{}
	running  sync.WaitGroup // one for each of open
}

// Listen begins to listen. Nobody is answered before Serve.
func Listen(c ServerConfig) (*Server, error) {
	if c.Custody == nil {
		return nil, errors.New("there is no custody to serve")
	}
	if slices.Contains(c.AllowUIDs, overflowUID) || slices.Contains(c.AllowUIDs, ^uint32(0)) {
		return nil, fmt.Errorf("user %d cannot be allowed: it stands for every user whom the kernel cannot name; give the ledger a user of its own", overflowUID)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 32
	}
	if c.Idle == 0 {
		c.Idle = 10 * time.Minute
	}
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	p, err := take(c.Socket, c.Group)
	if err != nil {
		return nil, err
	}
	return &Server{config: c, log: c.Log, place: p, open: make(map[*net.UnixConn]struct{})}, nil
}

// Serve answers until ctx ends; then it takes no more requests, lets those that run
// end within Patience, and removes the socket. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	working, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() { _ = s.place.listener.Close() })()
	err := s.accept(working)
	if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
		err = nil
	}
	s.stop()
	ended := make(chan struct{})
	go func() { s.running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(s.config.Patience):
		s.log.WarnContext(ctx, "requests still ran when the helper stopped, and were cut off")
		abandon()
		s.cut()
		<-ended
	}
	return errors.Join(err, s.place.close())
}

// Close stops listening without having served.
func (s *Server) Close() error { return s.place.close() }

// accept takes connections until the listener is closed.
func (s *Server) accept(ctx context.Context) error {
	for {
		c, err := s.place.listener.AcceptUnix()
		if err != nil {
			return fmt.Errorf("accepting connections: %w", err)
		}
		if !s.admit(ctx, c) {
			_ = c.Close() // nobody is there to tell
		}
	}
}

// admit looks who is there before a byte is read, and begins to serve them if it may.
func (s *Server) admit(ctx context.Context, c *net.UnixConn) bool {
	uid, err := peerUID(c)
	if err != nil {
		s.log.WarnContext(ctx, "a connection was refused, because it is not known whose it is", "error", err)
		return false
	}
	if uid != 0 && uid != uint32(os.Geteuid()) && !slices.Contains(s.config.AllowUIDs, uid) {
		s.log.WarnContext(ctx, "a connection was refused", "uid", uid)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	if len(s.open) >= s.config.MaxConnections {
		s.log.WarnContext(ctx, "a connection was refused, because there are too many", "uid", uid, "connections", len(s.open))
		return false
	}
	s.open[c] = struct{}{}
	s.running.Go(func() { s.serve(ctx, c) })
	return true
}

// stop has every connection end after the request that it works on.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for c := range s.open {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

// cut closes every connection.
func (s *Server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.Close()
	}
}

// await gives the next read of a connection some time, unless the server stops.
func (s *Server) await(c *net.UnixConn, d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.stopping && c.SetReadDeadline(time.Now().Add(d)) == nil
}

// serve answers the requests of a connection, one after the other.
func (s *Server) serve(ctx context.Context, c *net.UnixConn) {
	defer func() {
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
		_ = c.Close() // what was to be said was written
	}()
	greeted := false
	for s.await(c, s.wait(greeted)) {
		q, message, err := s.next(c)
		if err != nil {
			clear(message)
			s.complain(ctx, c, err)
			return
		}
		greeted = greeted || q.op == opHello
		var a *response
		if !greeted {
			a = &response{op: q.op, status: statusMalformed, text: "a connection begins with hello"}
		} else {
			a = s.answer(ctx, c, q)
		}
		clear(message)
		frame := a.frame()
		clear(a.data)
		err = write(c, frame, s.config.Patience)
		clear(frame)
		if err != nil || !greeted {
			return
		}
	}
}

// wait is how long the next request may take to begin.
func (s *Server) wait(greeted bool) time.Duration {
	if greeted {
		return s.config.Idle
	}
	return s.config.Patience
}

// next reads a request: its first byte may take as long as await said, the rest no
// longer than Patience.
func (s *Server) next(c *net.UnixConn) (*request, []byte, error) {
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		return nil, nil, io.EOF // gone, idle, or stopping: nothing was begun
	}
	if !s.await(c, s.config.Patience) {
		return nil, nil, io.EOF
	}
	message, err := readFrame(io.MultiReader(bytes.NewReader(first[:]), c))
	if err != nil {
		return nil, message, err
	}
	q, err := parseRequest(message)
	return q, message, err
}

// complain tells a client why its connection ends, if it can know.
func (s *Server) complain(ctx context.Context, c *net.UnixConn, err error) {
	a := &response{op: opHello, status: statusMalformed, text: "the request is malformed"}
	switch {
	case errors.Is(err, errVersion):
		a.status, a.text = statusVersion, errVersion.Error()
	case !errors.Is(err, errMalformed):
		return
	}
	s.log.WarnContext(ctx, "a connection ended with a request that is none", "error", err)
	_ = write(c, a.frame(), s.config.Patience) // the connection ends either way
}

// answer does what is asked for.
func (s *Server) answer(ctx context.Context, c *net.UnixConn, q *request) *response {
	a := &response{op: q.op}
	var err error
	switch q.op {
	case opHello:
		a.kind = s.config.Custody.Kind()
	case opCreate:
		err = s.change(c, func() error { return s.config.Custody.Create(ctx, q.name) })
	case opDestroy:
		err = s.change(c, func() error { return s.config.Custody.Destroy(ctx, q.name) })
	case opSeal:
		a.data, err = s.config.Custody.Seal(ctx, q.name, q.data, q.context)
	case opOpen:
		a.data, err = s.config.Custody.Open(ctx, q.name, q.data, q.context)
	case opNames:
		a.names, a.more, err = s.namesAfter(ctx, q.name)
	}
	if err == nil && len(a.data) > custody.MaxSealed {
		err = errors.New("the answer does not fit into the protocol")
	}
	if err != nil {
		clear(a.data)
		return failure(q.op, err)
	}
	return a
}

// change makes or destroys a key, one at a time, and only while its client is there:
// a client that gave up a request and made it anew must not have the old one carried
// out after what it asked for since. It closes the old connection first.
func (s *Server) change(c *net.UnixConn, f func() error) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	if peerGone(c) {
		return errors.New("the client is gone")
	}
	return f()
}

// namesAfter is a page of the names.
func (s *Server) namesAfter(ctx context.Context, after string) (names []string, more bool, err error) {
	if names, err = s.config.Custody.Names(ctx); err != nil {
		return nil, false, err
	}
	from, found := slices.BinarySearch(names, after)
	if found {
		from++
	}
	names = names[from:]
	if len(names) > maxNames {
		return names[:maxNames], true, nil
	}
	return names, false, nil
}

func write(c *net.UnixConn, frame []byte, patience time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.Write(frame)
	return err
}
