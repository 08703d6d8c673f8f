// Package disktest is a file system in memory that fails and crashes on
// command: what the fault tables of everything that writes durably run on.
//
// # What it promises
//
// As little as a disk does. What a crash keeps for certain is
//
//   - the bytes of a file as they were at its last successful Sync, and
//   - the entries of a folder as they were at its last successful SyncDir: a
//     file that was synced in a folder that was not is gone, and so is
//     everything in a folder whose own entry was not made durable in its parent.
//
// Of everything later a crash keeps nothing, or some of it (Loss). A Sync that
// failed loses for good the bytes that it was to make durable, although reading
// still returns them and a second Sync succeeds, as Linux does: a program that
// tries again, or one that is started again and believes what it reads, is found
// out by the next crash.
//
// # A fault table
//
// A table runs a workload once for every call that it makes and every Effect,
// fails that call, crashes, opens again and looks:
//
//	for _, effect := range disktest.Effects {
//		for n, done := 1, false; !done; n++ {
//			fsys := disktest.New()
//			fsys.FailCall(n, effect)
//			acknowledged := workload(fsys) // goes as far as it can
//			done = !fsys.Failed()          // the workload makes fewer than n calls
//			fsys.FailNone()
//			fsys.Crash(disktest.LoseAll, nil)
//			check(fsys, acknowledged)
//		}
//	}
//
// Calls that change something or open a file are counted; reading is not.
package disktest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/medledger/medledger/events/store/disk"
)

var (
	// ErrInjected is wrapped by the error of a call that was told to fail.
	ErrInjected = errors.New("injected fault")
	// ErrCrashed is wrapped by the errors of files that were open at a crash.
	ErrCrashed = errors.New("the file was open when the machine crashed")
)

// Effect says what a failing call does before it returns its error.
type Effect string

const (
	// NoEffect fails without having done anything. A Sync that fails so also
	// gives up what it was to make durable.
	NoEffect Effect = "no effect"
	// FullEffect does all that was asked, and reports failure nevertheless.
	FullEffect Effect = "full effect"
	// ShortWrite writes the first half. Calls other than writes have no effect.
	ShortWrite Effect = "short write"
)

// Effects are all effects, for fault tables.
var Effects = [...]Effect{NoEffect, FullEffect, ShortWrite}

// FS is a file system in memory. It is a disk.FS; all methods may be called
// from several goroutines at once. All paths, absolute or not, lie below one
// root folder, which is durable.
type FS struct {
	mu    sync.Mutex
	root  *node
	age   int // counts crashes; files of an earlier age are dead
	space int64

	calls   int
	failAt  int // number of the call to fail; 0 for none
	onward  bool
	effect  Effect
	failed  bool
	failure string
}

var _ disk.FS = (*FS)(nil)

// New returns an empty file system without faults.
func New() *FS { return &FS{root: newFolder(), space: -1} }

// FailCall makes the n-th call from now on fail; the first is 1. Calls after it
// work.
func (f *FS) FailCall(n int, effect Effect) { f.arm(n, effect, false) }

// FailFrom makes the n-th call from now on fail with the effect, and all after
// it without any: the disk is gone.
func (f *FS) FailFrom(n int, effect Effect) { f.arm(n, effect, true) }

// FailNone takes back what FailCall and FailFrom have asked for.
func (f *FS) FailNone() { f.arm(0, NoEffect, false) }

func (f *FS) arm(n int, effect Effect, onward bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.failAt, f.effect, f.onward = 0, n, effect, onward
	f.failed, f.failure = false, ""
}

// Failed reports whether a call was made to fail since FailCall or FailFrom.
func (f *FS) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// Failure names the first call that was made to fail, for messages of tests.
func (f *FS) Failure() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure
}

// Calls returns how many calls were counted since the last FailCall, FailFrom
// or FailNone.
func (f *FS) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// LimitSpace makes writes fail with syscall.ENOSPC where they would make the
// files larger than the given number of bytes together. As much of a write as
// still fits is written. A negative number takes the limit away.
func (f *FS) LimitSpace(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space = bytes
}

// call does what a counted call is to do: all of it, or what a fault leaves of
// it. half is what a short write does; nil if the call is no write. mu is held.
func (f *FS) call(op, name string, all, half func() error) error {
	f.calls++
	switch {
	case f.failAt == 0, f.calls < f.failAt, f.calls > f.failAt && !f.onward:
		return all()
	case f.calls > f.failAt:
		return &fs.PathError{Op: op, Path: name, Err: ErrInjected}
	}
	f.failed, f.failure = true, op+" "+name
	failure := error(&fs.PathError{Op: op, Path: name, Err: ErrInjected})
	switch {
	case f.effect == FullEffect:
		return errors.Join(failure, all())
	case f.effect == ShortWrite && half != nil:
		return errors.Join(failure, half())
	}
	return failure
}

// parts returns the elements of a path below the root.
func parts(name string) []string {
	name = filepath.ToSlash(filepath.Clean(name)[len(filepath.VolumeName(name)):])
	return slices.DeleteFunc(strings.Split(name, "/"), func(s string) bool { return s == "" || s == "." })
}

// find returns the node at a path.
func (f *FS) find(op, name string) (*node, error) {
	at := f.root
	for _, part := range parts(name) {
		next, ok := at.entries[part]
		if !at.folder {
			return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		}
		if !ok {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		at = next
	}
	return at, nil
}

// parent returns the folder that the last element of a path lies in.
func (f *FS) parent(op, name string) (dir *node, base string, err error) {
	elements := parts(name)
	if len(elements) == 0 {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	dir, err = f.find(op, filepath.Dir(name))
	if err == nil && !dir.folder {
		err = &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return dir, elements[len(elements)-1], err
}

// OpenFile implements disk.FS. The permissions are not enforced.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var opened *file
	err := f.call("open", name, func() (err error) {
		opened, err = f.open(name, flag, perm)
		return err
	}, nil)
	if err != nil {
		return nil, err
	}
	return opened, nil
}

func (f *FS) open(name string, flag int, perm fs.FileMode) (*file, error) {
	dir, base, err := f.parent("open", name)
	if err != nil {
		return nil, err
	}
	n, exists := dir.entries[base]
	switch {
	case !exists && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case exists && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case exists && n.folder:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	case !exists:
		n = &node{mode: perm}
		dir.change(change{base, n})
	}
	if flag&os.O_TRUNC != 0 {
		n.truncate(0)
	}
	return &file{fs: f, node: n, age: f.age, name: name, flag: flag}, nil
}

// Rename implements disk.FS.
func (f *FS) Rename(oldName, newName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.call("rename", oldName, func() error {
		from, oldBase, err := f.parent("rename", oldName)
		if err != nil {
			return err
		}
		to, newBase, err := f.parent("rename", newName)
		if err != nil {
			return err
		}
		n, ok := from.entries[oldBase]
		if !ok {
			return &fs.PathError{Op: "rename", Path: oldName, Err: fs.ErrNotExist}
		}
		if old, ok := to.entries[newBase]; ok && (old.folder || n.folder) {
			return &fs.PathError{Op: "rename", Path: newName, Err: fs.ErrExist}
		}
		if from == to {
			from.change(change{oldBase, nil}, change{newBase, n})
			return nil
		}
		to.change(change{newBase, n})
		from.change(change{oldBase, nil})
		return nil
	}, nil)
}

// Remove implements disk.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.call("remove", name, func() error {
		dir, base, err := f.parent("remove", name)
		if err != nil {
			return err
		}
		n, ok := dir.entries[base]
		if !ok {
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
		}
		if len(n.entries) > 0 {
			return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
		dir.change(change{base, nil})
		return nil
	}, nil)
}

// MkdirAll implements disk.FS.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.call("mkdir", name, func() error {
		at := f.root
		for _, part := range parts(name) {
			next, ok := at.entries[part]
			if !ok {
				next = newFolder()
				next.mode |= perm
				at.change(change{part, next})
			}
			if !next.folder {
				return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
			}
			at = next
		}
		return nil
	}, nil)
}

// SyncDir implements disk.FS.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.call("syncdir", name, func() error {
		n, err := f.find("syncdir", name)
		if err != nil {
			return err
		}
		n.syncEntries()
		return nil
	}, nil)
}

// ReadDir implements disk.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find("readdir", name)
	if err == nil && !n.folder {
		err = &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	if err != nil {
		return nil, err
	}
	var entries []fs.DirEntry
	for base, child := range n.entries {
		entries = append(entries, fs.FileInfoToDirEntry(info{base, int64(len(child.data)), child.mode}))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Stat implements disk.FS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find("stat", name)
	if err != nil {
		return nil, err
	}
	return info{filepath.Base(name), int64(len(n.data)), n.mode}, nil
}

// info is a fs.FileInfo. There is no clock here, so files have no times.
type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
