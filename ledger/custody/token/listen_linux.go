package token

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPath is how long the path of a Unix socket may be.
const maxPath = 107

// place is a socket that this process alone listens on.
type place struct {
	listener *net.UnixListener
	lock     *os.File
}

// take begins to listen. The folder is made if it is missing. With a group, 0 for
// none, its members reach the socket, too.
//
// Two helpers on one socket are kept apart by a lock on a file beside it: by looking
// whether anybody answers alone, two that start at once would each take the other's
// fresh socket for a stale one. A helper that crashed leaves its socket and no lock.
// The lock's file stays for ever; if it were removed, two could hold one each.
func take(socket string, group uint32) (*place, error) {
	if len(socket) > maxPath || !filepath.IsAbs(socket) {
		return nil, fmt.Errorf("the socket's path %s must be absolute and at most %d bytes long; name one such as /run/medledger-token/socket", socket, maxPath)
	}
	folderMode, socketMode := fs.FileMode(0o700), fs.FileMode(0o600)
	if group != 0 {
		folderMode, socketMode = 0o750, 0o660
	}
	if err := enclose(filepath.Dir(socket), folderMode, group); err != nil {
		return nil, err
	}
	held, err := os.OpenFile(socket+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the socket's lock: %w", err)
	}
	p := &place{lock: held}
	if err := lockFile(held); err != nil {
		return nil, errors.Join(fmt.Errorf("another helper serves %s (%w); stop it first, or name another socket", socket, err), p.close())
	}
	if err := clearStale(socket); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if p.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"}); err != nil {
		return nil, errors.Join(fmt.Errorf("listening on the socket: %w", err), p.close())
	}
	// Until here nobody else reaches it, because of the folder.
	if err := own(socket, socketMode, group); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// close stops listening, removes the socket and then lets go of the lock.
func (p *place) close() error {
	var err error
	if p.listener != nil {
		if err = p.listener.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	return errors.Join(err, p.lock.Close())
}

// enclose makes the folder of the socket, or sees that the one that is there lets in
// nobody but those whom it must.
func enclose(folder string, mode fs.FileMode, group uint32) error {
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the socket's folder: %w", err)
	}
	info, err := os.Lstat(folder)
	if err != nil {
		return fmt.Errorf("looking at the socket's folder: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm()&^mode != 0 || !ownedByUs(info) {
		return fmt.Errorf("the socket's folder %s must be a folder of this user (id %d) and of mode %o or less, and is %v; name one that others do not write to", folder, os.Geteuid(), mode, info.Mode())
	}
	if group == 0 {
		return nil
	}
	return own(folder, mode, group)
}

// own sets the mode and, if there is one, the group.
func own(name string, mode fs.FileMode, group uint32) error {
	if group != 0 {
		if err := os.Chown(name, -1, int(group)); err != nil {
			return fmt.Errorf("giving %s to group %d: %w; the helper's user must be one of its members", name, group, err)
		}
	}
	if err := os.Chmod(name, mode); err != nil {
		return fmt.Errorf("closing %s to others: %w", name, err)
	}
	return nil
}

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == uint32(os.Geteuid())
}

// lockFile takes the lock of a file for as long as it is open; the system lets go of
// it when the process ends, however it ends.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// clearStale removes the socket of a helper that crashed: one on which nobody
// answers. What is no socket is not removed.
func clearStale(socket string) error {
	info, err := os.Lstat(socket)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and no socket; move it away, or name another", socket)
	}
	c, err := net.Dial("unix", socket)
	if err == nil {
		return errors.Join(fmt.Errorf("somebody answers on %s; stop that helper first, or name another socket", socket), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("looking whether anybody answers on the socket: %w", err)
	}
	if err := os.Remove(socket); err != nil {
		return fmt.Errorf("removing a stale socket: %w", err)
	}
	return nil
}
