package token

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peerUID returns the user who is at the other end, as the kernel noted it: of a
// client when it connected, of a server when it began to listen. Nothing that a
// process sends changes it.
func peerUID(c *net.UnixConn) (uint32, error) {
	var credentials *unix.Ucred
	err := control(c, func(fd int) (err error) {
		credentials, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("asking who is at the other end of a socket: %w", err)
	}
	return credentials.Uid, nil
}

// peerGone tells whether the other end was closed and nothing is left to be read.
func peerGone(c *net.UnixConn) bool {
	n := 0
	err := control(c, func(fd int) (err error) {
		n, _, err = unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err
	})
	return err == nil && n == 0 || err != nil && !errors.Is(err, unix.EAGAIN)
}

func control(c *net.UnixConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	if err := raw.Control(func(fd uintptr) { done = f(int(fd)) }); err != nil {
		return err
	}
	return done
}
