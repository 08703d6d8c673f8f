package tlog_test

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/medledger/medledger/events/store/disk"
)

var errInjected = errors.New("injected fault")

// fault is what happens to one call.
type fault int

const (
	fails     fault = iota // it has no effect and returns an error
	failsLate              // it has its effect and returns an error
	fallShort              // a write writes half; other calls fail
)

// faulty is a file system in memory that fails its N-th changing call and can
// lose what was not synced.
type faulty struct {
	mu      sync.Mutex
	live    map[string]*node
	durable map[string]*node // entries as of the last SyncDir of their folder
	calls   int
	failAt  int // 0: never
	kind    fault
}

// node is a file or a folder.
type node struct {
	folder bool
	data   []byte
	synced []byte
}

func newFaulty(folders ...string) *faulty {
	f := &faulty{live: map[string]*node{}, durable: map[string]*node{}}
	for _, name := range folders {
		f.live[name] = &node{folder: true}
		f.durable[name] = f.live[name]
	}
	return f
}

// crash turns the machine off and on: what was not synced is gone.
func (f *faulty) crash() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live = map[string]*node{}
	for _, name := range slices.Sorted(maps.Keys(f.durable)) {
		if dir := filepath.Dir(name); len(f.live) > 0 && f.live[dir] == nil {
			continue // its folder is gone
		}
		n := f.durable[name]
		f.live[name] = &node{n.folder, slices.Clone(n.synced), n.synced}
	}
	f.durable = maps.Clone(f.live)
}

// clone returns a copy that has no faults.
func (f *faulty) clone() *faulty {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := newFaulty()
	for name, n := range f.live {
		c.live[name] = &node{n.folder, slices.Clone(n.data), slices.Clone(n.synced)}
	}
	c.durable = maps.Clone(c.live)
	return c
}

// do counts a changing call and does it, or not.
func (f *faulty) do(effect func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.calls != f.failAt {
		return effect()
	}
	if f.kind == failsLate {
		return errors.Join(effect(), errInjected)
	}
	return errInjected
}

func (f *faulty) OpenFile(name string, flag int, _ fs.FileMode) (disk.File, error) {
	var n *node
	open := func() error {
		if n = f.live[name]; n == nil {
			if flag&os.O_CREATE == 0 || f.live[filepath.Dir(name)] == nil {
				return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			n = &node{}
			f.live[name] = n
		}
		if flag&os.O_TRUNC != 0 {
			n.data = nil
		}
		return nil
	}
	var err error
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		err = f.do(open)
	} else {
		f.mu.Lock()
		err = open()
		f.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	return &faultyFile{fs: f, node: n, name: name}, nil
}

func (f *faulty) Rename(from, to string) error {
	return f.do(func() error {
		n := f.live[from]
		if n == nil || f.live[filepath.Dir(to)] == nil {
			return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
		}
		if n.folder && len(f.children(from)) > 0 {
			return errors.New("renaming a full folder is not modelled")
		}
		delete(f.live, from)
		f.live[to] = n
		return nil
	})
}

func (f *faulty) Remove(name string) error {
	return f.do(func() error {
		if f.live[name] == nil {
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
		}
		if len(f.children(name)) > 0 {
			return &fs.PathError{Op: "remove", Path: name, Err: errors.New("folder not empty")}
		}
		delete(f.live, name)
		return nil
	})
}

func (f *faulty) MkdirAll(name string, _ fs.FileMode) error {
	return f.do(func() error {
		for f.live[name] == nil {
			f.live[name] = &node{folder: true}
			name = filepath.Dir(name)
		}
		return nil
	})
}

func (f *faulty) SyncDir(name string) error {
	return f.do(func() error {
		if f.live[name] == nil {
			return &fs.PathError{Op: "sync", Path: name, Err: fs.ErrNotExist}
		}
		maps.DeleteFunc(f.durable, func(path string, _ *node) bool { return filepath.Dir(path) == name })
		for _, path := range f.children(name) {
			f.durable[path] = f.live[path]
		}
		return nil
	})
}

// children returns the paths in a folder.
func (f *faulty) children(folder string) []string {
	var paths []string
	for path := range f.live {
		if filepath.Dir(path) == folder && path != folder {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

func (f *faulty) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live[name] == nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for _, path := range f.children(name) {
		entries = append(entries, fs.FileInfoToDirEntry(info{path, f.live[path]}))
	}
	return entries, nil
}

func (f *faulty) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live[name] == nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return info{name, f.live[name]}, nil
}

type info struct {
	path string
	node *node
}

func (i info) Name() string       { return filepath.Base(i.path) }
func (i info) Size() int64        { return int64(len(i.node.data)) }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.node.folder }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.node.folder {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// faultyFile is an open file.
type faultyFile struct {
	fs   *faulty
	node *node
	name string
	at   int64
}

func (f *faultyFile) Read(b []byte) (int, error) {
	n, err := f.ReadAt(b, f.at)
	f.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *faultyFile) ReadAt(b []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return strings.NewReader(string(f.node.data)).ReadAt(b, at)
}

func (f *faultyFile) Write(b []byte) (int, error) {
	n, err := f.WriteAt(b, f.at)
	f.at += int64(n)
	return n, err
}

func (f *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	short := f.fs.kind == fallShort
	err := f.fs.do(func() error { short = false; f.write(b, at); return nil })
	if err == nil {
		return len(b), nil
	}
	if short {
		f.fs.mu.Lock()
		defer f.fs.mu.Unlock()
		f.write(b[:len(b)/2], at)
		return len(b) / 2, errors.Join(err, io.ErrShortWrite)
	}
	return 0, err
}

func (f *faultyFile) write(b []byte, at int64) {
	data := slices.Clone(f.node.data)
	if end := int(at) + len(b); len(data) < end {
		data = append(data, make([]byte, end-len(data))...)
	}
	copy(data[at:], b)
	f.node.data = data
}

func (f *faultyFile) Sync() error {
	return f.fs.do(func() error { f.node.synced = slices.Clone(f.node.data); return nil })
}

func (f *faultyFile) Truncate(size int64) error {
	return f.fs.do(func() error { f.node.data = slices.Clone(f.node.data[:size]); return nil })
}

func (f *faultyFile) Stat() (fs.FileInfo, error) { return info{f.name, f.node}, nil }

func (f *faultyFile) Close() error { return nil }
