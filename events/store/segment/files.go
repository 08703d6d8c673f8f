package segment

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/segment"
)

// digester computes the digest of the active file as it grows.
type digester struct{ h hash.Hash }

func (d *digester) reset() { d.h = sha256.New() }

// sum is the digest of what was written so far.
func (d *digester) sum() [sha256.Size]byte { return [sha256.Size]byte(d.h.Sum(nil)) }

// openFiles opens all segments, cuts a torn tail off the last one and makes it,
// or a new one, the active file.
func (s *Store) openFiles() error {
	names, err := s.names()
	if err != nil {
		return err
	}
	for i, name := range names {
		f, err := s.openFile(name, i == len(names)-1)
		if err != nil {
			return err
		}
		base, _ := segment.ParseFileName(name)
		switch {
		case base != s.count:
			return &segment.CorruptError{File: name, Err: fmt.Errorf("record %d comes next: %w", s.count, segment.ErrMalformed)}
		case f == nil: // a last file without its header: it is made again
			continue
		case f.Base != base:
			return &segment.CorruptError{File: name, Err: fmt.Errorf("header names record %d as the first: %w", f.Base, segment.ErrMalformed)}
		case i < len(names)-1 && !f.Sealed():
			return &segment.CorruptError{File: name, Offset: f.End(), Err: fmt.Errorf("it is not sealed, and another file follows: %w", errors.Join(segment.ErrMalformed, f.Tail()))}
		}
		s.files = append(s.files, f)
		s.count += uint64(f.Len())
	}
	if s.count < s.config.KeepRecords {
		return fmt.Errorf("the event store has %d events, the log has signed %d%s: %w", s.count, s.config.KeepRecords, s.tailNote(), ErrLost)
	}
	return s.activate()
}

// activate makes the last file, or a new one, the active file.
//
// What is read from the last file need not be on the disk: if the process before
// this one stopped because a sync failed, the system's cache may have what it
// wrote and have given up writing it. So the last thing that was written to the
// file, which alone can be meant, is written again before anything builds on it.
func (s *Store) activate() error {
	if len(s.files) == 0 {
		return s.begin()
	}
	view, file := s.files[len(s.files)-1], s.opened[len(s.files)-1]
	switch {
	case view.Sealed():
		if err := again(file, view.End()); err != nil {
			return fmt.Errorf("sealing a segment: %w", err)
		}
		return s.begin()
	case view.Len() == 0 && view.Tail() == nil:
		s.files = s.files[:len(s.files)-1]
		return s.begin()
	}
	return s.resume(view, file)
}

// again writes what a file has from an offset to its end once more, durably. A
// crash in the middle leaves the same bytes.
func again(f disk.File, from int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(b, from); err != nil && err != io.EOF {
		return err
	}
	if _, err := f.WriteAt(b, from); err != nil {
		return err
	}
	return f.Sync()
}

func (s *Store) tailNote() string {
	if len(s.files) == 0 || s.files[len(s.files)-1].Tail() == nil {
		return ""
	}
	return fmt.Sprintf(" (%v)", s.files[len(s.files)-1].Tail())
}

func (s *Store) names() ([]string, error) {
	entries, err := s.config.FS.ReadDir(s.config.Dir)
	if err != nil {
		return nil, fmt.Errorf("reading the event store's folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, ok := segment.ParseFileName(e.Name()); ok {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// openFile opens a segment. It returns nil for a last file that a crash left
// without a whole header.
func (s *Store) openFile(name string, last bool) (*segment.File, error) {
	opened, err := s.config.FS.OpenFile(filepath.Join(s.config.Dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a segment: %w", err)
	}
	s.opened = append(s.opened, opened)
	info, err := opened.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening a segment: %w", err)
	}
	f, err := segment.OpenFile(opened, info.Size(), name)
	if last && segment.IsBegun(f, err) {
		return nil, nil
	}
	return f, err
}

// begin makes the next file and makes it the active one. A crash before the
// folder is synced leaves no file, or one whose header is torn: then the next
// Open is here again. One after it leaves an empty file.
func (s *Store) begin() error {
	name := segment.FileName(s.count)
	path := filepath.Join(s.config.Dir, name)
	f, err := s.config.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("making a segment: %w", err)
	}
	header := segment.AppendHeader(nil, s.count)
	if _, err := f.WriteAt(header, 0); err != nil {
		return errors.Join(fmt.Errorf("making a segment: %w", err), f.Close())
	}
	if err := errors.Join(f.Sync(), s.config.FS.SyncDir(s.config.Dir)); err != nil {
		return errors.Join(fmt.Errorf("making a segment: %w", err), f.Close())
	}
	view, err := segment.OpenFile(f, int64(len(header)), name)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.active, s.written = f, int64(len(header))
	s.digest.reset()
	s.digest.h.Write(header)
	s.mu.Lock()
	s.opened = append(s.opened, f)
	s.files = append(s.files, view)
	s.mu.Unlock()
	return nil
}

// resume goes on with the last file, without what is behind its last whole
// group. A crash before the sync leaves the tail for the next Open to cut.
func (s *Store) resume(view *segment.File, file disk.File) error {
	s.active, s.written = file, view.End()
	if tail := view.Tail(); errors.Is(tail, segment.ErrDamaged) {
		return fmt.Errorf("an event that was durable is damaged; restore the event store from a backup: %w", tail)
	} else if tail != nil {
		s.config.Logger.Warn("cutting off what a crash left of a write that nobody was told of", "found", tail)
		if err := file.Truncate(s.written); err != nil {
			return fmt.Errorf("cutting off a torn write: %w", err)
		}
		s.files[len(s.files)-1] = view.Grown(nil, s.written)
	}
	if err := again(file, view.LastWrite()); err != nil {
		return fmt.Errorf("writing the last events again: %w", err)
	}
	if err := s.config.FS.SyncDir(s.config.Dir); err != nil {
		return fmt.Errorf("syncing the event store's folder: %w", err)
	}
	s.digest.reset()
	if _, err := io.Copy(s.digest.h, io.NewSectionReader(file, 0, s.written)); err != nil {
		return fmt.Errorf("reading the last segment: %w", err)
	}
	return nil
}

// seal writes the footer of the active file and begins the next one. A crash
// before the sync leaves a file that is not sealed, which Open cuts and fills
// on; one after it a sealed last file, behind which Open begins the next.
func (s *Store) seal() error {
	view := s.files[len(s.files)-1]
	footer := segment.AppendFooter(nil, view.Offsets(), s.digest.sum())
	if _, err := s.active.WriteAt(footer, s.written); err != nil {
		return fmt.Errorf("sealing a segment: %w", err)
	}
	if err := s.active.Sync(); err != nil {
		return fmt.Errorf("sealing a segment: %w", err)
	}
	sealed, err := segment.OpenFile(s.active, s.written+int64(len(footer)), view.Name)
	if err != nil {
		return fmt.Errorf("sealing a segment: %w", err)
	}
	s.mu.Lock()
	s.files[len(s.files)-1] = sealed
	s.mu.Unlock()
	return s.begin()
}
