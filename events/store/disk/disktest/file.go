package disktest

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/medledger/medledger/events/store/disk"
)

func sorted(entries map[string]*node) []string { return slices.Sorted(maps.Keys(entries)) }

// file is an open file.
type file struct {
	fs     *FS
	node   *node
	age    int
	name   string
	flag   int
	at     int64
	closed bool
}

// alive returns why a call on the file cannot work; mu is held.
func (f *file) alive(op string) error {
	switch {
	case f.closed:
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	case f.age != f.fs.age:
		return &fs.PathError{Op: op, Path: f.name, Err: ErrCrashed}
	}
	return nil
}

func (f *file) writable(op string) error {
	if f.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrPermission}
	}
	return f.alive(op)
}

// Read implements disk.File.
func (f *file) Read(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.readAt("read", p, f.at)
	f.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// ReadAt implements disk.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.readAt("read", p, off)
}

func (f *file) readAt(op string, p []byte, off int64) (int, error) {
	if err := f.alive(op); err != nil {
		return 0, err
	}
	if off < 0 || f.flag&os.O_WRONLY != 0 {
		return 0, &fs.PathError{Op: op, Path: f.name, Err: fs.ErrInvalid}
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := copy(p, f.node.data[min(off, int64(len(f.node.data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements disk.File.
func (f *file) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.flag&os.O_APPEND != 0 {
		f.at = int64(len(f.node.data))
	}
	n, err := f.write(p, f.at)
	f.at += int64(n)
	return n, err
}

// WriteAt implements disk.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off < 0 || f.flag&os.O_APPEND != 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrInvalid}
	}
	return f.write(p, off)
}

func (f *file) write(p []byte, off int64) (n int, err error) {
	if err := f.writable("write"); err != nil {
		return 0, err
	}
	put := func(p []byte) error {
		fits := p[:f.fs.fits(f.node, off, len(p))]
		if n = len(fits); n > 0 {
			f.node.do(write{off, append([]byte(nil), fits...)})
		}
		if n < len(p) {
			return &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
		}
		return nil
	}
	err = f.fs.call("write", f.name, func() error { return put(p) }, func() error { return put(p[:len(p)/2]) })
	return n, err
}

// fits returns how many of the bytes to be written at an offset there is room for.
func (f *FS) fits(n *node, off int64, count int) int {
	if f.space < 0 {
		return count
	}
	room := max(0, f.space-f.root.size())
	return int(min(int64(count), max(0, int64(len(n.data))-off)+room))
}

// size returns how many bytes the files in and below a folder have, or a file.
func (n *node) size() int64 {
	size := int64(len(n.data))
	for _, child := range n.entries {
		size += child.size()
	}
	return size
}

// Sync implements disk.File.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.alive("sync"); err != nil {
		return err
	}
	err := f.fs.call("sync", f.name, func() error { f.node.sync(); return nil }, nil)
	if err != nil {
		f.node.giveUp()
	}
	return err
}

// Truncate implements disk.File.
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.writable("truncate"); err != nil {
		return err
	}
	if size < 0 {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: fs.ErrInvalid}
	}
	return f.fs.call("truncate", f.name, func() error { f.node.truncate(size); return nil }, nil)
}

// Stat implements disk.File.
func (f *file) Stat() (fs.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.alive("stat"); err != nil {
		return nil, err
	}
	return info{filepath.Base(f.name), int64(len(f.node.data)), f.node.mode}, nil
}

// Close implements disk.File. It makes nothing durable. A file that was open at
// a crash can be closed.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

// View returns a folder for reading, as verifiers take it. Its calls are not
// counted and do not fail.
func (f *FS) View(dir string) fs.FS { return view{f, dir} }

type view struct {
	fs  *FS
	dir string
}

// Open implements fs.FS for files.
func (v view) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	v.fs.mu.Lock()
	defer v.fs.mu.Unlock()
	opened, err := v.fs.open(filepath.Join(v.dir, filepath.FromSlash(name)), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return opened, nil
}

// ReadDir implements fs.ReadDirFS.
func (v view) ReadDir(name string) ([]fs.DirEntry, error) {
	return v.fs.ReadDir(filepath.Join(v.dir, filepath.FromSlash(name)))
}

var _ disk.File = (*file)(nil)
