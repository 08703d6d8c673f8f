package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/medledger/medledger/ledger/custody"
)

// Config says where the helper is.
type Config struct {
	// Socket is the path of the helper's socket.
	Socket string
	// ServerUIDs are the users whose helper is believed, besides root's and the
	// caller's own: who took the path of a helper that is down would be given every
	// key that is sealed.
	ServerUIDs []uint32
	// Patience is how long a call waits for a helper that does not answer, because
	// it is being restarted say; 0 means 5 seconds.
	Patience time.Duration
	// Timeout is how long the helper may work on one request; 0 means 30 seconds.
	Timeout time.Duration
	// Connections bounds how many requests are made at once; 0 means 4.
	Connections int
}

// Client is custody in what the helper serves, its keys being wherever that says.
type Client struct {
	config Config
	kind   custody.Kind
	slots  chan struct{} // one for each request under way

	mu     sync.Mutex // guards what follows
	idle   []*net.UnixConn
	closed bool
}

var _ custody.Custody = (*Client)(nil)

// Dial greets the helper. The error wraps custody.ErrUnavailable if none answers.
func Dial(ctx context.Context, c Config) (*Client, error) {
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Connections == 0 {
		c.Connections = 4
	}
	client := &Client{config: c, slots: make(chan struct{}, c.Connections)}
	a, _, err := client.call(ctx, &request{op: opHello})
	if err != nil {
		return nil, err
	}
	client.kind = a.kind
	return client, nil
}

// Kind implements custody.Custody.
func (c *Client) Kind() custody.Kind { return c.kind }

// Close implements custody.Custody. Requests under way end as they would have.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.drop()
	return nil
}

// Create implements custody.Custody. If the answer is lost, the request is made
// again: there was no key of the name before, and nobody else makes one at the same
// time, so that what exists then is what the lost request made. If the helper stays
// away the error wraps custody.ErrUnavailable, and the key may be there.
func (c *Client) Create(ctx context.Context, name string) error {
	if err := custody.CheckName(name); err != nil {
		return err
	}
	names, err := c.Names(ctx)
	if err != nil {
		return err
	}
	if _, found := slices.BinarySearch(names, name); found {
		return fmt.Errorf("%w: %s", custody.ErrExists, name)
	}
	_, lost, err := c.call(ctx, &request{op: opCreate, name: name})
	if lost && errors.Is(err, custody.ErrExists) {
		return nil
	}
	return err
}

// Seal implements custody.Custody.
func (c *Client) Seal(ctx context.Context, name string, plain, bound []byte) ([]byte, error) {
	if err := custody.CheckName(name); err != nil {
		return nil, err
	}
	if len(plain) > custody.MaxPlain {
		return nil, fmt.Errorf("%w: %d bytes", custody.ErrTooLong, len(plain))
	}
	if len(bound) > maxContext {
		return nil, fmt.Errorf("a context has %d bytes and at most %d cross the helper's socket", len(bound), maxContext)
	}
	a, _, err := c.call(ctx, &request{op: opSeal, name: name, context: bound, data: plain})
	if err != nil {
		return nil, err
	}
	return a.data, nil
}

// Open implements custody.Custody.
func (c *Client) Open(ctx context.Context, name string, sealed, bound []byte) ([]byte, error) {
	if err := custody.CheckName(name); err != nil {
		return nil, err
	}
	if len(sealed) > custody.MaxSealed || len(bound) > maxContext {
		return nil, fmt.Errorf("%w: Seal never made it", custody.ErrSealed)
	}
	a, _, err := c.call(ctx, &request{op: opOpen, name: name, context: bound, data: sealed})
	if err != nil {
		return nil, err
	}
	return a.data, nil
}

// Destroy implements custody.Custody.
func (c *Client) Destroy(ctx context.Context, name string) error {
	if err := custody.CheckName(name); err != nil {
		return err
	}
	_, _, err := c.call(ctx, &request{op: opDestroy, name: name})
	return err
}

// Names implements custody.Custody.
func (c *Client) Names(ctx context.Context) ([]string, error) {
	var names []string
	for more, after := true, ""; more; {
		a, _, err := c.call(ctx, &request{op: opNames, name: after})
		if err != nil {
			return nil, err
		}
		if more = a.more; more && len(a.names) == 0 || len(a.names) > 0 && a.names[0] <= after {
			return nil, fmt.Errorf("%w: the helper's list of names does not go on", errMalformed)
		}
		names = append(names, a.names...)
		if more {
			after = names[len(names)-1]
		}
	}
	return names, nil
}

// call makes a request until it is answered, for at most Patience: every request but
// create can be made twice, and lost says that an earlier one may have been carried
// out. The error is what the helper answered, or wraps custody.ErrUnavailable, or is
// the context's. The response is the caller's own.
func (c *Client) call(ctx context.Context, q *request) (a *response, lost bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	until := time.Now().Add(c.config.Patience)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		var sent bool
		if a, sent, err = c.once(ctx, q); err == nil {
			return a, lost, a.err()
		}
		lost = lost || sent
		switch {
		case ctx.Err() != nil:
			return nil, lost, ctx.Err()
		case !away(err):
			return nil, lost, fmt.Errorf("%w: %w", custody.ErrUnavailable, err)
		case time.Now().After(until):
			return nil, lost, fmt.Errorf("%w: no helper answers on %s (%w); start medledger-token, and see in its log why it ended", custody.ErrUnavailable, c.config.Socket, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, lost, ctx.Err()
		}
	}
}

// away tells whether an error says that the helper is not there, as it may be again
// in a moment.
func away(err error) bool {
	for _, gone := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ENOENT, syscall.ECONNREFUSED,
		syscall.ECONNRESET, syscall.EPIPE, syscall.EAGAIN,
	} {
		if errors.Is(err, gone) {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
	return false
}

// once makes a request once. sent says that the helper may have read it.
func (c *Client) once(ctx context.Context, q *request) (a *response, sent bool, err error) {
	conn, err := c.take(ctx)
	if err != nil {
		return nil, false, err
	}
	a, err = c.exchange(ctx, conn, q)
	if err != nil {
		// The helper must see that this connection is gone before it sees the
		// request again: Server.change relies on it. The idle ones are most likely
		// as dead.
		_ = conn.Close()
		c.drop()
		return nil, true, err
	}
	c.give(conn)
	return a, true, nil
}

// take returns a connection that was greeted.
func (c *Client) take(ctx context.Context) (*net.UnixConn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errors.New("custody was closed")
	}
	if n := len(c.idle); n > 0 {
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return conn, nil
	}
	c.mu.Unlock()
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	a, err := c.exchange(ctx, conn, &request{op: opHello})
	if err == nil {
		err = a.err()
	}
	if err == nil && c.kind != "" && a.kind != c.kind {
		err = fmt.Errorf("the helper has custody of kind %s now and had %s when the ledger was opened; start it as it was", a.kind, c.kind)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// connect connects to a helper whose user is believed. Nothing is sent to another.
func (c *Client) connect(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	dialled, err := d.DialContext(ctx, "unix", c.config.Socket)
	if err != nil {
		return nil, err
	}
	conn := dialled.(*net.UnixConn) // what the network "unix" has
	uid, err := peerUID(conn)
	if err == nil && uid != 0 && uid != uint32(os.Geteuid()) && (uid == overflowUID || !slices.Contains(c.config.ServerUIDs, uid)) {
		err = fmt.Errorf("user %d answers on %s, who is not to have the token's helper; see who that is, or allow that user", uid, c.config.Socket)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// give keeps a connection for the next request.
func (c *Client) give(conn *net.UnixConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

// drop closes the connections that are not used.
func (c *Client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.idle {
		_ = conn.Close()
	}
	c.idle = nil
}

// exchange sends a request and reads its response, until ctx ends or Timeout is over.
// After an error, and only then, the connection is of no use any more.
func (c *Client) exchange(ctx context.Context, conn *net.UnixConn, q *request) (*response, error) {
	if err := conn.SetDeadline(time.Now().Add(c.config.Timeout)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	a, err := exchange(conn, q)
	if !stop() {
		if a != nil {
			clear(a.data)
		}
		return nil, ctx.Err()
	}
	return a, err
}

func exchange(conn *net.UnixConn, q *request) (*response, error) {
	frame := q.frame()
	_, err := conn.Write(frame)
	clear(frame)
	if err != nil {
		return nil, err
	}
	message, err := readFrame(conn)
	if err != nil {
		return nil, err
	}
	defer clear(message)
	a, err := parseResponse(message)
	if err != nil {
		return nil, err
	}
	if a.op != q.op && a.status == statusOK {
		return nil, fmt.Errorf("%w: an answer to another request", errMalformed)
	}
	a.data = bytes.Clone(a.data)
	return a, nil
}
