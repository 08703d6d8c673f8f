package segment_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/events/store/storetest"
	format "github.com/medledger/medledger/verifier/segment"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	_, err := segment.Open(t.Context(), segment.Config{Dir: dir})
	if !errors.Is(err, segment.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opening a store that is open: %v", err)
	}
	more(t, s, 0, 10) // the attempt did no harm
	shut(t, s)
	s = openDir(t, dir)
	exact(t, s, 10)
	shut(t, s)
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]segment.Config{
		"no folder":          {},
		"tiny segments":      {Dir: t.TempDir(), SegmentSize: 1},
		"negative segments":  {Dir: t.TempDir(), SegmentSize: -1},
		"segments too large": {Dir: t.TempDir(), SegmentSize: 1 << 40},
	} {
		if s, err := segment.Open(t.Context(), c); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// last returns the path of a store's last segment and its contents.
func last(t *testing.T, dir string) (string, []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	name := names[len(names)-1]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return name, b
}

// TestTornTail cuts the last segment at every byte of its last events.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	var ends []int // of the file after each event
	for n := range 6 {
		more(t, s, n, 1)
		_, b := last(t, dir)
		ends = append(ends, len(b))
	}
	shut(t, s)
	name, b := last(t, dir)
	step := 13
	if long() {
		step = 1
	}
	for cut := ends[2]; cut <= len(b); cut += step {
		whole := 0
		for whole < len(ends) && ends[whole] <= cut {
			whole++
		}
		if err := os.WriteFile(name, b[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		// Nothing is cut that was signed, and nothing is changed then.
		c := segment.Config{Dir: dir, KeepRecords: uint64(whole) + 1, Logger: quiet}
		if _, err := segment.Open(t.Context(), c); !errors.Is(err, segment.ErrLost) {
			t.Fatalf("cut at byte %d, below what was signed: %v", cut, err)
		}
		if _, after := last(t, dir); len(after) != cut {
			t.Fatalf("a store that was not opened has changed from %d to %d bytes", cut, len(after))
		}
		c.KeepRecords = uint64(whole)
		s, err := segment.Open(t.Context(), c)
		if err != nil {
			t.Fatalf("cut at byte %d: %v", cut, err)
		}
		exact(t, s, whole)
		more(t, s, whole, 3)
		exact(t, s, whole+3)
		shut(t, s)
	}
}

// TestDecay flips each byte of a last segment, one at a time. Where a later write
// shows that the damaged event was durable, the store must not be opened.
func TestDecay(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	more(t, s, 0, 2)
	more(t, s, 2, 2)
	_, b := last(t, dir)
	lastWrite := len(b)
	more(t, s, 4, 2)
	shut(t, s)
	name, b := last(t, dir)
	step := 7
	if long() {
		step = 1
	}
	for at := 0; at < len(b); at += step {
		harmed := append([]byte(nil), b...)
		harmed[at] ^= 0x10
		if err := os.WriteFile(name, harmed, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := segment.Open(t.Context(), segment.Config{Dir: dir, Logger: quiet})
		var corrupt *format.CorruptError
		switch {
		case at < lastWrite && !errors.As(err, &corrupt):
			t.Fatalf("byte %d of %d is wrong, the last write begins at %d: %v", at, len(b), lastWrite, err)
		case at < lastWrite && corrupt.File != filepath.Base(name):
			t.Fatalf("byte %d is wrong; the evidence: %v", at, corrupt)
		case at >= lastWrite && err != nil:
			t.Fatalf("byte %d of the last write is wrong: %v", at, err)
		}
		if err == nil {
			exact(t, s, 4)
			shut(t, s)
		} else if _, after := last(t, dir); string(after) != string(harmed) {
			t.Fatal("a store that was not opened has changed")
		}
	}
}

// TestMissingSegment takes away whole files.
func TestMissingSegment(t *testing.T) {
	dir := t.TempDir()
	c := segment.Config{Dir: dir, SegmentSize: 1000, Logger: quiet}
	s, err := segment.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 40 {
		more(t, s, n, 1)
	}
	shut(t, s)
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(names) < 4 {
		t.Fatal(names, err)
	}
	for i, name := range names {
		if err := os.Rename(name, name+".away"); err != nil {
			t.Fatal(err)
		}
		s, err := segment.Open(t.Context(), segment.Config{Dir: dir, KeepRecords: 40, Logger: quiet})
		var corrupt *format.CorruptError
		if i < len(names)-1 && !errors.As(err, &corrupt) || err == nil {
			t.Errorf("without segment %d: %v, %v", i, s, err)
		}
		if i == len(names)-1 && !errors.Is(err, segment.ErrLost) {
			t.Errorf("without the last segment: %v", err)
		}
		if err := os.Rename(name+".away", name); err != nil {
			t.Fatal(err)
		}
	}
	s, err = segment.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	exact(t, s, 40)
	shut(t, s)
}

func TestReadRange(t *testing.T) {
	dir := t.TempDir()
	s, err := segment.Open(t.Context(), segment.Config{Dir: dir, SegmentSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	const count = 40
	for n := range count {
		more(t, s, n, 1)
	}
	for first := range count + 3 {
		for _, n := range []int{0, 1, 2, 7, count, 1 << 40} {
			records, err := s.ReadRange(t.Context(), uint64(first), n)
			if err != nil {
				t.Fatal(err)
			}
			if want := max(0, min(n, count-first)); len(records) != want {
				t.Fatalf("%d records from %d on, want %d", len(records), first, want)
			}
			for i, r := range records {
				if r.ID != storetest.Event(first+i).ID || r.Position != s.Cursor(uint64(first+i+1)) {
					t.Fatalf("record %d is event %v at position %d", first+i, r.ID, r.Position)
				}
			}
		}
		for r, err := range s.ReadAll(t.Context(), s.Cursor(uint64(first))) {
			if err != nil || r.ID != storetest.Event(first).ID {
				t.Fatalf("behind the cursor of record %d: %v, %v", first, r.ID, err)
			}
			break
		}
	}
}

func TestBatchTooLarge(t *testing.T) {
	s := openDir(t, t.TempDir())
	defer shut(t, s)
	statement := make([]byte, store.MaxStatement)
	var batch []store.Append
	for n := 0; n <= segment.MaxBatch/store.MaxStatement; n++ {
		e := storetest.Event(n)
		e.Statement = statement
		batch = append(batch, storetest.Append("a", store.Any, e))
	}
	if _, err := s.AppendBatch(t.Context(), batch); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a batch over the limit: %v", err)
	}
	if n := s.Len(); n != 0 {
		t.Errorf("%d records of a batch that was refused", n)
	}
}

// TestCloseBeside closes a store that others use: each call works or says that
// the store is closed.
func TestCloseBeside(t *testing.T) {
	s := openDir(t, t.TempDir())
	more(t, s, 0, 50)
	var started, wg sync.WaitGroup
	use := func(f func(n int) error) {
		started.Add(1)
		wg.Go(func() {
			for n := 0; ; n++ {
				err := f(n)
				if n == 0 {
					started.Done()
				}
				if errors.Is(err, store.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("beside Close: %v", err)
					return
				}
			}
		})
	}
	use(func(n int) error {
		_, err := s.Append(t.Context(), storetest.Append("new", store.Any, storetest.Event(1000+n)))
		return err
	})
	use(func(n int) error {
		_, err := s.Lookup(t.Context(), storetest.Event(n%50).ID)
		return err
	})
	use(func(n int) (err error) {
		for _, err = range s.Read(t.Context(), "stream 0", 0) {
		}
		return err
	})
	use(func(n int) (err error) {
		for _, err = range s.ReadAll(t.Context(), 0) {
		}
		return err
	})
	use(func(n int) error {
		_, err := s.ReadRange(t.Context(), 0, 50)
		return err
	})
	started.Wait()
	shut(t, s)
	wg.Wait()
}
