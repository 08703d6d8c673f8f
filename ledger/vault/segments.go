package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/medledger/medledger/events/store/disk"
)

// openHandles bounds how many segments are kept open for reading.
const openHandles = 64

// segments is the folder of segment files. The fields of the first group belong
// to the committing goroutine (and, while it waits, to the one that writes for
// it); handles is guarded by mu.
type segments struct {
	fsys  disk.FS
	dir   string
	limit int64

	number uint32 // of the segment being written
	offset int64  // where its next record goes
	file   disk.File
	fresh  bool   // the segment is yet to be created
	staged []byte // the last stage's data, whose memory the next one uses again

	mu      sync.Mutex
	handles map[uint32]*handle
}

// handle is a segment open for reading.
type handle struct {
	file disk.File
	refs int
	gone bool // close it with the last reference
}

// openSegments finds where writing goes on: at the end of the last segment, or
// in a new one if that is full or ends in the torn tail of a crash.
func openSegments(fsys disk.FS, dir string, limit int64, log *slog.Logger) (*segments, error) {
	s := &segments{fsys: fsys, dir: dir, limit: limit, number: 1, fresh: true, offset: segmentHeaderSize, handles: map[uint32]*handle{}}
	numbers, err := s.list()
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return s, nil
	}
	// Whoever made the last segment may have ended before its name was durable,
	// and what is acknowledged from now on may lie in it.
	if err := fsys.SyncDir(dir); err != nil {
		return nil, fmt.Errorf("syncing the folder of vault segments: %w", err)
	}
	last := numbers[len(numbers)-1]
	f, err := fsys.OpenFile(s.path(last), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the last vault segment: %w", err)
	}
	end, whole, err := scanSegment(f, last)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", s.path(last), err), f.Close())
	}
	if whole && end < limit {
		s.number, s.offset, s.file, s.fresh = last, end, f, false
		return s, nil
	}
	if !whole {
		log.Warn("vault segment ends in a torn tail; writing goes on in the next one", "segment", last, "offset", end)
	}
	s.number = last + 1
	return s, f.Close()
}

// scanSegment returns where the records of a segment end and whether the file
// ends there too.
func scanSegment(f disk.File, number uint32) (end int64, whole bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	r := io.NewSectionReader(f, 0, info.Size())
	b := make([]byte, segmentRecordHeader+maxSegmentPayload)
	if _, err := io.ReadFull(r, b[:segmentHeaderSize]); err != nil {
		return 0, false, ignoreEOF(err)
	}
	if n, err := parseSegmentHeader(b[:segmentHeaderSize]); err != nil || n != number {
		return 0, false, nil // torn when it was created
	}
	for end = segmentHeaderSize; end < info.Size(); {
		n, err := r.ReadAt(b[:min(int64(len(b)), info.Size()-end)], end)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, false, err
		}
		for buf := b[:n]; len(buf) > 0; {
			_, size, err := parseSegmentRecord(buf)
			if err != nil && len(buf) == n {
				return end, false, nil
			}
			if err != nil {
				break // perhaps cut by the buffer: read again from here
			}
			buf = buf[size:]
			end += int64(size)
		}
	}
	return end, true, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// stage gives the next records their places. It belongs to the committing
// goroutine.
func (s *segments) stage(puts []*request) (data []byte, err error) {
	if s.offset >= s.limit {
		if s.file != nil {
			// Every byte of it is synced.
			if err := s.file.Close(); err != nil {
				return nil, fmt.Errorf("closing a vault segment: %w", err)
			}
		}
		s.file, s.fresh = nil, true
		s.number, s.offset = s.number+1, segmentHeaderSize
	}
	data = s.staged[:0]
	at := s.offset
	for _, p := range puts {
		p.at = location{segment: s.number, offset: at, length: int64(len(p.sealed))}
		data = append(data, p.sealed...)
		at += int64(len(p.sealed))
	}
	s.staged = data
	return data, nil
}

// write makes staged data durable.
func (s *segments) write(data []byte) error {
	if s.fresh {
		// Crash: no file, or one with a torn header or tail; nothing that lies
		// in it was acknowledged, and the next Open leaves it behind.
		f, err := s.fsys.OpenFile(s.path(s.number), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("creating a vault segment: %w", err)
		}
		s.file = f
		if _, err := f.WriteAt(segmentHeader(s.number), 0); err != nil {
			return fmt.Errorf("writing a vault segment: %w", err)
		}
	}
	// Crash before the sync: some, all or none of the records are there, torn
	// at the end. Crash after it: all of them. Without their row in SQLite they
	// are dead bytes.
	if _, err := s.file.WriteAt(data, s.offset); err != nil {
		return fmt.Errorf("writing a vault segment: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("syncing a vault segment: %w", err)
	}
	if s.fresh {
		if err := s.fsys.SyncDir(s.dir); err != nil {
			return fmt.Errorf("syncing the folder of vault segments: %w", err)
		}
		s.fresh = false
	}
	s.offset += int64(len(data))
	return nil
}

// read returns the bytes at a place. Missing ones are an error that wraps
// fs.ErrNotExist, io.EOF or io.ErrUnexpectedEOF.
func (s *segments) read(at location) ([]byte, error) {
	if at.length < segmentRecordHeader || at.length > segmentRecordHeader+maxSegmentPayload || at.offset < 0 {
		return nil, fmt.Errorf("%d bytes at %d: %w", at.length, at.offset, errSegment)
	}
	h, err := s.acquire(at.segment)
	if err != nil {
		return nil, err
	}
	b := make([]byte, at.length)
	n, err := h.file.ReadAt(b, at.offset)
	if n == len(b) {
		err = nil
	}
	return b, errors.Join(err, s.release(h))
}

func (s *segments) acquire(number uint32) (*handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.handles[number]; h != nil {
		h.refs++
		return h, nil
	}
	f, err := s.fsys.OpenFile(s.path(number), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if len(s.handles) >= openHandles {
		for n := range s.handles {
			if err := s.drop(n); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			break
		}
	}
	h := &handle{file: f, refs: 1}
	s.handles[number] = h
	return h, nil
}

func (s *segments) release(h *handle) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.refs--
	if h.gone && h.refs == 0 {
		return h.file.Close()
	}
	return nil
}

// drop forgets a handle; the caller holds mu.
func (s *segments) drop(number uint32) error {
	h := s.handles[number]
	if h == nil {
		return nil
	}
	delete(s.handles, number)
	h.gone = true
	if h.refs == 0 {
		return h.file.Close()
	}
	return nil
}

// remove removes a segment that nothing refers to, unless another Collect has.
func (s *segments) remove(number uint32) error {
	s.mu.Lock()
	err := s.drop(number)
	s.mu.Unlock()
	if e := s.fsys.Remove(s.path(number)); !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

// list returns the numbers of the segments there are, ascending.
func (s *segments) list() ([]uint32, error) {
	entries, err := s.fsys.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("listing vault segments: %w", err)
	}
	var numbers []uint32
	for _, e := range entries {
		if n, ok := parseSegmentName(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil // ReadDir sorts, and names have a fixed width
}

func (s *segments) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for n := range s.handles {
		errs = append(errs, s.drop(n))
	}
	if s.file != nil {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}

func (s *segments) path(number uint32) string {
	return filepath.Join(s.dir, segmentName(number))
}

func segmentName(number uint32) string { return fmt.Sprintf("%010d.seg", number) }

func parseSegmentName(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || segmentName(uint32(n)) != name {
		return 0, false
	}
	return uint32(n), true
}

// missing reports whether err says that bytes are not there, as opposed to that
// they could not be read.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errSegment)
}
