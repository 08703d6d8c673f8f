package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// Folder is a store's folder, open for reading only. Nothing keeps the store
// from appending meanwhile: the folder has what was there when it was opened.
// It may be read by several goroutines at once.
type Folder struct {
	files   []*File
	tail    error // of a last file that is not there yet
	closers []io.Closer
}

// OpenFolder opens the segments of a folder. A torn tail of the last file is
// left out (Tail tells of it); anything else that is not as the format says is a
// *CorruptError.
func OpenFolder(fsys fs.FS) (_ *Folder, err error) {
	names, err := segmentNames(fsys)
	if err != nil {
		return nil, err
	}
	d := new(Folder)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	for i, name := range names {
		f, err := d.open(fsys, name)
		if i == len(names)-1 && IsBegun(f, err) {
			d.tail = err
			break
		}
		if err != nil {
			return nil, err
		}
		base, _ := ParseFileName(name)
		switch {
		case f.Base != base:
			return nil, f.corrupt(0, fmt.Errorf("header names record %d as the first: %w", f.Base, ErrMalformed))
		case f.Base != d.Len():
			return nil, f.corrupt(0, fmt.Errorf("record %d comes next: %w", d.Len(), ErrMalformed))
		case i < len(names)-1 && !f.Sealed():
			return nil, f.corrupt(f.end, fmt.Errorf("it is not sealed, and another file follows: %w", errors.Join(ErrMalformed, f.tail)))
		}
		d.files = append(d.files, f)
	}
	return d, nil
}

// IsBegun reports whether what OpenFile returned is a file that a crash, or a
// store that is making it, left without its header. It holds no records. Only the
// last file of a folder may be such a one.
func IsBegun(f *File, err error) bool {
	return f != nil && err != nil && f.size <= HeaderSize && (errors.Is(err, ErrTorn) || errors.Is(err, ErrMalformed))
}

func segmentNames(fsys fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("reading the folder of segments: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if _, ok := ParseFileName(entry.Name()); ok {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (d *Folder) open(fsys fs.FS, name string) (*File, error) {
	opened, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening a segment: %w", err)
	}
	d.closers = append(d.closers, opened)
	info, err := opened.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening a segment: %w", err)
	}
	r, ok := opened.(io.ReaderAt)
	size := info.Size()
	if !ok {
		all, err := io.ReadAll(opened)
		if err != nil {
			return nil, fmt.Errorf("reading a segment: %w", err)
		}
		r, size = bytes.NewReader(all), int64(len(all))
	}
	return OpenFile(r, size, name)
}

// Len returns how many records there are.
func (d *Folder) Len() uint64 {
	if len(d.files) == 0 {
		return 0
	}
	last := d.files[len(d.files)-1]
	return last.Base + uint64(last.Len())
}

// Tail returns what is wrong behind the last record, or nil.
func (d *Folder) Tail() error {
	if d.tail != nil || len(d.files) == 0 {
		return d.tail
	}
	return d.files[len(d.files)-1].Tail()
}

// Files returns the segments, in order.
func (d *Folder) Files() []*File { return d.files }

// Read returns up to count records from number first on, and at least one if
// there is one: fewer than count do not mean that there are no more. A damaged
// record is a *CorruptError; the good ones before it are returned with it.
func (d *Folder) Read(ctx context.Context, first uint64, count int) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	i, found := slices.BinarySearchFunc(d.files, first, func(f *File, n uint64) int {
		switch {
		case f.Base+uint64(f.Len()) <= n:
			return -1
		case f.Base > n:
			return 1
		}
		return 0
	})
	if !found {
		return nil, nil
	}
	return d.files[i].Read(int(first-d.files[i].Base), count, 4<<20)
}

// Close closes the files.
func (d *Folder) Close() error {
	var errs []error
	for _, c := range d.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
