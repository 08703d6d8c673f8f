package segment

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
)

// File is one segment, open for reading. It may be read by several goroutines at
// once.
type File struct {
	// Base is the number of the first record.
	Base uint64
	// Name is what errors call the file.
	Name string

	r       io.ReaderAt
	end     int64 // where the whole groups end
	size    int64 // of the file
	offsets []uint32
	footer  *Footer
	tail    error // why reading stopped at end, if not at the file's end
	write   int64 // where the write begins that the last whole group belongs to
}

// CorruptError is evidence: what is wrong with which bytes of which file.
type CorruptError struct {
	File   string
	Offset int64
	Err    error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s at byte %d: %v", e.File, e.Offset, e.Err)
}

// Unwrap returns what is wrong.
func (e *CorruptError) Unwrap() error { return e.Err }

// OpenFile opens a file of the given size. Of a sealed file it reads header and
// footer; any other is read as far as whole groups of good records go, and Tail
// says what is beyond. The error is a *CorruptError, or wraps one of r's; with
// one the file is good for IsBegun only.
func OpenFile(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{Name: name, r: r, size: size}
	header := make([]byte, HeaderSize)
	n, err := r.ReadAt(header, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if f.Base, err = ParseHeader(header[:n]); err != nil {
		return f, f.corrupt(0, err)
	}
	if sealed, err := f.readFooter(); sealed || err != nil {
		return f, err
	}
	return f, f.scan()
}

func (f *File) corrupt(at int64, err error) *CorruptError {
	return &CorruptError{File: f.Name, Offset: at, Err: err}
}

// readFooter reads the footer if the file ends in one.
func (f *File) readFooter() (sealed bool, err error) {
	if f.size < HeaderSize+footerFixed {
		return false, nil
	}
	trailer := make([]byte, 16)
	if _, err := f.r.ReadAt(trailer, f.size-16); err != nil && err != io.EOF {
		return false, fmt.Errorf("reading %s: %w", f.Name, err)
	}
	length := int64(binary.BigEndian.Uint32(trailer))
	if string(trailer[8:]) != sealMagic || length < footerFixed || length > f.size-HeaderSize {
		return false, nil
	}
	raw := make([]byte, length)
	if _, err := f.r.ReadAt(raw, f.size-length); err != nil && err != io.EOF {
		return false, fmt.Errorf("reading %s: %w", f.Name, err)
	}
	footer, err := ParseFooter(raw)
	if err != nil {
		// The end of a statement can look like a trailer by chance. Scanning
		// the records finds out.
		return false, nil
	}
	if !plausible(footer.Offsets[len(footer.Offsets)-1], f.size-length) {
		return false, f.corrupt(f.size-length, fmt.Errorf("footer with offsets that no records have: %w", ErrMalformed))
	}
	f.footer, f.offsets, f.end = footer, footer.Offsets, f.size-length
	return true, nil
}

// scan finds the records of a file that is not sealed.
func (f *File) scan() error {
	if f.size > math.MaxUint32 {
		return f.corrupt(math.MaxUint32, fmt.Errorf("file of %d bytes: %w", f.size, ErrMalformed))
	}
	f.end = HeaderSize
	whole := 0 // records in whole groups
	at, write := int64(HeaderSize), int64(HeaderSize)
	err := eachRecord(io.NewSectionReader(f.r, at, f.size-at), func(r Record, size int) error {
		if err := f.inPlace(r, len(f.offsets)); err != nil {
			return err
		}
		f.offsets = append(f.offsets, uint32(at))
		if r.Write {
			write = at
		}
		at += int64(size)
		if !r.More {
			f.end, f.write, whole = at, write, len(f.offsets)
		}
		return nil
	})
	next := f.Base + uint64(len(f.offsets))
	f.offsets = f.offsets[:whole]
	switch {
	case err == nil && at == f.end:
		return nil
	case err == nil:
		f.tail = f.corrupt(f.end, fmt.Errorf("a group of records: %w", ErrTorn))
		return nil
	case !errors.Is(err, ErrTorn) && !errors.Is(err, ErrMalformed) && !errors.Is(err, errEnd):
		return fmt.Errorf("reading %s: %w", f.Name, err)
	}
	later, readErr := f.writeFollows(at+1, next)
	if later {
		err = fmt.Errorf("%w (%w): %w", err, ErrMalformed, ErrDamaged)
	}
	f.tail = f.corrupt(at, err)
	return readErr
}

// inPlace returns an error unless a record is the i-th of the file.
func (f *File) inPlace(r Record, i int) error {
	if want := f.Base + uint64(i); r.Number != want {
		return fmt.Errorf("record number %d where %d belongs: %w", r.Number, want, ErrMalformed)
	}
	return nil
}

// writeFollows reports whether a whole record that begins a write starts at any
// byte from an offset on. The damage before it hit at least record number hit.
func (f *File) writeFollows(from int64, hit uint64) (bool, error) {
	const window = 1 << 20
	b := make([]byte, window+MaxRecord)
	most := hit + uint64(max(0, f.size-from))/minRecord + 1
	for ; from < f.size; from += window {
		n, err := f.r.ReadAt(b[:min(int64(len(b)), f.size-from)], from)
		if err != nil && err != io.EOF {
			return false, fmt.Errorf("reading %s: %w", f.Name, err)
		}
		for i := range min(n, window) {
			if startsWrite(b[i:n], hit+1, most) {
				return true, nil
			}
		}
	}
	return false, nil
}

// eachRecord calls yield for the records of r up to its end. The statement is
// valid until yield returns.
func eachRecord(r io.Reader, yield func(Record, int) error) error {
	buf := make([]byte, 0, 1<<20)
	for ended := false; ; {
		record, size, err := Parse(buf)
		if errors.Is(err, ErrTorn) && !ended {
			if buf, ended, err = refill(r, buf); err != nil {
				return err
			}
			continue
		}
		if ended && len(buf) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if err := yield(record, size); err != nil {
			return err
		}
		buf = buf[size:]
	}
}

// refill moves what is left of buf to the front of a full-sized buffer and reads
// more behind it.
func refill(r io.Reader, buf []byte) (_ []byte, ended bool, err error) {
	next := make([]byte, len(buf), 1<<20)
	copy(next, buf)
	n, err := io.ReadFull(r, next[len(buf):cap(next)])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		ended, err = true, nil
	}
	return next[:len(buf)+n], ended, err
}

// Len returns how many records the file has.
func (f *File) Len() int { return len(f.offsets) }

// End returns where its records end: the file's size if it is not sealed and
// nothing is wrong with its tail.
func (f *File) End() int64 { return f.end }

// Grown returns the file after records were appended that begin at the given
// offsets and end at end. f itself stays as it is, so whoever reads it may go on.
// Only the latest Grown of a file may be grown.
func (f *File) Grown(offsets []uint32, end int64) *File {
	g := *f
	g.offsets = append(g.offsets, offsets...)
	g.end, g.size, g.tail = end, end, nil
	return &g
}

// LastWrite returns where the write begins that the last whole group belongs to,
// of a file that is not sealed.
func (f *File) LastWrite() int64 { return f.write }

// Sealed reports whether the file is sealed.
func (f *File) Sealed() bool { return f.footer != nil }

// Offsets returns where the records begin. The caller must not change it.
func (f *File) Offsets() []uint32 { return f.offsets }

// Tail returns what is wrong behind the last whole group of a file that is not
// sealed: a *CorruptError, or nil if nothing is behind it.
func (f *File) Tail() error { return f.tail }

// Read returns up to count records from the i-th of the file on, in one read of
// at most about limit bytes, and at least one record. The statements share one
// buffer of their own.
func (f *File) Read(i, count, limit int) ([]Record, error) {
	count = min(count, len(f.offsets)-i)
	if i < 0 || count <= 0 {
		return nil, nil
	}
	start := int64(f.offsets[i])
	// The last record that still ends within the limit; the first in any case.
	n := max(1, sort.Search(count, func(k int) bool { return f.endOf(i+k)-start > int64(limit) }))
	buf := make([]byte, f.endOf(i+n-1)-start)
	if _, err := f.r.ReadAt(buf, start); err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading %s: %w", f.Name, err)
	}
	records := make([]Record, n)
	for k := range records {
		at := int64(f.offsets[i+k])
		var size int
		var err error
		records[k], size, err = Parse(buf)
		if err == nil && at+int64(size) != f.endOf(i+k) {
			err = fmt.Errorf("record of %d bytes where the footer has %d: %w", size, f.endOf(i+k)-at, ErrMalformed)
		}
		if err == nil {
			err = f.inPlace(records[k], i+k)
		}
		if err != nil {
			return records[:k], f.corrupt(at, err)
		}
		buf = buf[size:]
	}
	return records, nil
}

func (f *File) endOf(i int) int64 {
	if i+1 < len(f.offsets) {
		return int64(f.offsets[i+1])
	}
	return f.end
}

// CheckDigest reads a sealed file to its end and holds it against its digest.
// The error is a *CorruptError, or wraps one of the file's.
func (f *File) CheckDigest() error {
	if f.footer == nil {
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f.r, 0, f.end)); err != nil {
		return fmt.Errorf("reading %s: %w", f.Name, err)
	}
	if [sha256.Size]byte(h.Sum(nil)) != f.footer.Digest {
		return f.corrupt(f.end, fmt.Errorf("the file does not have the digest it was sealed with: %w", ErrMalformed))
	}
	return nil
}
