// Package disk is the set of file operations that durable writes are built of.
// Everything in medledger that must survive a crash writes through FS, so that
// the fault tables can fail each call: disktest has the file system that does.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is a file system. Names are operating-system paths.
type FS interface {
	// OpenFile is os.OpenFile.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename replaces newName atomically. It is durable after SyncDir.
	Rename(oldName, newName string) error
	// Remove removes a file or an empty folder. It is durable after SyncDir.
	Remove(name string) error
	// MkdirAll is os.MkdirAll.
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir is os.ReadDir.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat is os.Stat.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the creation, renaming and removal of the folder's entries
	// durable.
	SyncDir(name string) error
}

// File is an open file.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	// Sync makes what was written durable. After an error nothing is known
	// about earlier writes, and a second Sync may lie: the caller must stop.
	Sync() error
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
}

// OS is the operating system's file system.
type OS struct{}

// OpenFile implements FS.
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Rename implements FS.
func (OS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// MkdirAll implements FS.
func (OS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Stat implements FS.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// ReadFile returns the contents of a file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// WriteFile replaces a file durably: the data is written to a temporary file
// beside it and synced, the file renamed over the old one and the folder
// synced. A crash before the rename leaves the old file (and perhaps the
// temporary one, which the next WriteFile overwrites), a crash after it the new.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	tmp := name + ".tmp"
	f, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", tmp, err)
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// MakeDir makes a folder, and those above it that are missing, durably: a crash
// leaves all of them, or the topmost ones. Of a folder that exists it syncs the
// entry: whoever made it may have ended before that. (Where the folder above may
// not be read somebody else made it.)
func MakeDir(fsys FS, name string, perm fs.FileMode) error {
	name = filepath.Clean(name)
	parent := filepath.Dir(name)
	if parent == name {
		return nil
	}
	_, err := fsys.Stat(name)
	if err == nil {
		if err = fsys.SyncDir(parent); errors.Is(err, fs.ErrPermission) {
			return nil
		}
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := MakeDir(fsys, parent, perm); err != nil {
		return err
	}
	if err := fsys.MkdirAll(name, perm); err != nil {
		return err
	}
	return fsys.SyncDir(parent)
}
