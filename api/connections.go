package api

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// limited is a listener that holds a number of open connections at most. It
// accepts no more while it has them: further ones wait in the system's backlog
// until one is closed, and those for which that has no room are tried again by
// the client's system. They are not accepted and turned away, because under TLS
// telling them why takes the handshake that the limit is to save, and because a
// connection is free again soon: whoever sends no request is cut after
// headerTimeout, who sends no further one after idleTimeout.
type limited struct {
	net.Listener
	places chan struct{} // holds one value an open connection
	closed chan struct{}
	once   sync.Once
	open   atomic.Int64
}

func limit(l net.Listener, connections int) *limited {
	return &limited{Listener: l, places: make(chan struct{}, connections), closed: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		// A small buffer for sending is what Patience.Write is about, and what
		// bounds the memory of the system. Without it both are only worse.
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	l.open.Add(1)
	return &placed{Conn: c, listener: l}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// placed is a connection that gives its place back when it is closed.
type placed struct {
	net.Conn
	listener *limited
	once     sync.Once
}

func (p *placed) Close() error {
	err := p.Conn.Close()
	p.once.Do(func() {
		p.listener.open.Add(-1)
		<-p.listener.places
	})
	return err
}

// CloseWrite is for net/http: a client that is refused before it has sent all
// must get to read why.
func (p *placed) CloseWrite() error {
	half, ok := p.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
