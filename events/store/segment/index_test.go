package segment_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/events/store/storetest"
)

// changeIndex runs a statement on the index of a store that is closed, or is not.
func changeIndex(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "index.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// filled makes a store of so many events in a new folder and closes it.
func filled(t *testing.T, count int) string {
	t.Helper()
	dir := t.TempDir()
	s := openDir(t, dir)
	more(t, s, 0, count)
	shut(t, s)
	return dir
}

// more appends the events from number first on, to seven streams in turn.
func more(t *testing.T, s *segment.Store, first, count int) {
	t.Helper()
	for n := first; n < first+count; {
		var batch []store.Append
		for ; n < first+count && len(batch) < 1000; n++ {
			batch = append(batch, storetest.Append(fmt.Sprint("stream ", n%7), store.Expected(n/7)-1, storetest.Event(n)))
		}
		if _, err := s.AppendBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
}

// exact checks that the index of a store knows the events that more has appended,
// and no others.
func exact(t *testing.T, s *segment.Store, count int) {
	t.Helper()
	if s.Len() != uint64(count) {
		t.Fatalf("%d records, want %d", s.Len(), count)
	}
	for n := range count {
		r, err := s.Lookup(t.Context(), storetest.Event(n).ID)
		if err != nil || r.Position != s.Cursor(uint64(n+1)) || r.Revision != uint64(n/7) {
			t.Fatalf("event %d: %+v, %v", n, r, err)
		}
	}
	for n := count; n < count+100; n++ {
		if _, err := s.Lookup(t.Context(), storetest.Event(n).ID); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("event %d, which was never appended: %v", n, err)
		}
	}
	for stream := range 7 {
		n := stream
		for r, err := range s.Read(t.Context(), fmt.Sprint("stream ", stream), 0) {
			if err != nil || r.ID != storetest.Event(n).ID {
				t.Fatalf("stream %d: %v, %v", stream, r.ID, err)
			}
			n += 7
		}
		if n < count {
			t.Fatalf("stream %d ends before event %d", stream, n)
		}
	}
}

// TestIndexIsMadeAgain breaks the index in every way that may happen to it.
func TestIndexIsMadeAgain(t *testing.T) {
	const count = 300
	name := func(dir string) string { return filepath.Join(dir, "index.sqlite") }
	cases := []struct {
		what string
		harm func(t *testing.T, dir string) error
	}{
		{"nothing", func(*testing.T, string) error { return nil }},
		{"missing", func(_ *testing.T, dir string) error { return os.Remove(name(dir)) }},
		{"empty", func(_ *testing.T, dir string) error { return os.Truncate(name(dir), 0) }},
		{"no database", func(_ *testing.T, dir string) error { return os.WriteFile(name(dir), []byte("none"), 0o600) }},
		{"cut off", func(_ *testing.T, dir string) error { return os.Truncate(name(dir), 5000) }},
		{"another version", func(t *testing.T, dir string) error {
			changeIndex(t, dir, "UPDATE meta SET version = version + 1")
			return nil
		}},
		{"a table too few", func(t *testing.T, dir string) error {
			changeIndex(t, dir, "DROP TABLE event")
			return nil
		}},
		{"a column too few", func(t *testing.T, dir string) error {
			changeIndex(t, dir, "ALTER TABLE entry DROP COLUMN number")
			return nil
		}},
		{"a filter of another size", func(t *testing.T, dir string) error {
			changeIndex(t, dir, "UPDATE layer SET bits = x'00'")
			return nil
		}},
		{"ahead", func(t *testing.T, dir string) error {
			changeIndex(t, dir, "UPDATE meta SET covered = covered + 1")
			return nil
		}},
		{"of another store", func(t *testing.T, dir string) error {
			other := t.TempDir()
			s := openDir(t, other)
			for n := range 200 {
				if _, err := s.Append(t.Context(), storetest.Append("other", store.Any, storetest.Event(10_000+n))); err != nil {
					t.Fatal(err)
				}
			}
			shut(t, s)
			return os.Rename(name(other), name(dir))
		}},
		{"behind what it says", func(t *testing.T, dir string) error {
			changeIndex(t, dir, "UPDATE meta SET covered = 100")
			changeIndex(t, dir, "DELETE FROM entry WHERE number >= 50")
			return nil
		}},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			dir := filled(t, count)
			if err := c.harm(t, dir); err != nil {
				t.Fatal(err)
			}
			for range 2 { // and what was made again is kept
				s := openDir(t, dir)
				exact(t, s, count)
				shut(t, s)
			}
			s := openDir(t, dir)
			more(t, s, count, 100)
			exact(t, s, count+100)
			shut(t, s)
		})
	}
}

// TestIndexBehind opens a store whose index is from earlier, as a crash leaves it.
func TestIndexBehind(t *testing.T) {
	for _, lag := range []int{1, 500, 20_000} {
		dir := filled(t, 300)
		old, err := os.ReadFile(filepath.Join(dir, "index.sqlite"))
		if err != nil {
			t.Fatal(err)
		}
		s := openDir(t, dir)
		more(t, s, 300, lag)
		shut(t, s)
		if err := os.WriteFile(filepath.Join(dir, "index.sqlite"), old, 0o600); err != nil {
			t.Fatal(err)
		}
		s = openDir(t, dir)
		exact(t, s, 300+lag)
		shut(t, s)
	}
}

func TestRebuild(t *testing.T) {
	dir := filled(t, 300)
	changeIndex(t, dir, "DELETE FROM event WHERE number = 100") // which Open does not see
	if err := segment.Rebuild(t.Context(), segment.Config{Dir: dir, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	s := openDir(t, dir)
	defer shut(t, s)
	exact(t, s, 300)
	if err := segment.Rebuild(t.Context(), segment.Config{Dir: dir}); !errors.Is(err, segment.ErrLocked) {
		t.Errorf("rebuilding the index of an open store: %v", err)
	}
}

func TestRebuildCancelled(t *testing.T) {
	dir := filled(t, 300)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := segment.Rebuild(ctx, segment.Config{Dir: dir, Logger: quiet}); !errors.Is(err, context.Canceled) {
		t.Errorf("rebuilding with a cancelled context: %v", err)
	}
	s := openDir(t, dir)
	defer shut(t, s)
	exact(t, s, 300)
}

// TestFlushes appends more than memory holds of the index, while others ask it.
func TestFlushes(t *testing.T) {
	const count = 70_000 // several flushes, and writers that wait for one
	s := openDir(t, t.TempDir())
	defer shut(t, s)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for reader := range 2 {
		wg.Go(func() {
			for i := reader; ; i += 7919 {
				select {
				case <-done:
					return
				default:
				}
				n := s.Len()
				if n == 0 {
					continue
				}
				want := uint64(i) % n
				r, err := s.Lookup(t.Context(), storetest.Event(int(want)).ID)
				if err != nil || r.Position != s.Cursor(want+1) {
					t.Errorf("event %d of %d: position %d, %v", want, n, r.Position, err)
					return
				}
				stream, from := fmt.Sprint("stream ", want%7), want/7
				for r, err := range s.Read(t.Context(), stream, from) {
					if err != nil || r.Revision != from || r.Position != s.Cursor(want+1) {
						t.Errorf("event %d of %s: revision %d, %v", from, stream, r.Revision, err)
					}
					break
				}
			}
		})
	}
	more(t, s, 0, count)
	close(done)
	wg.Wait()
	exact(t, s, count)
}

// TestIndexCannotBeWritten: the store goes on from memory for a while, then it
// stops; what it has can be read, and is there after the next Open.
func TestIndexCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	s, err := segment.Open(t.Context(), segment.Config{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	more(t, s, 0, 100)
	changeIndex(t, dir, "DROP TABLE entry")
	const most = 100_000
	n := 100
	for ; n < most; n += 1000 {
		batch := make([]store.Append, 1000)
		for i := range batch {
			batch[i] = storetest.Append(fmt.Sprint("stream ", (n+i)%7), store.Any, storetest.Event(n+i))
		}
		if _, err = s.AppendBatch(t.Context(), batch); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrStopped) || n < 10_000 {
		t.Fatalf("after %d events: %v", n, err)
	}
	exactIDs := func(s *segment.Store) {
		t.Helper()
		for i := 0; i < n; i += 97 {
			if r, err := s.Lookup(t.Context(), storetest.Event(i).ID); err != nil || r.Position != s.Cursor(uint64(i+1)) {
				t.Fatalf("event %d: %v", i, err)
			}
		}
	}
	exactIDs(s)
	if err := s.Close(); err == nil {
		t.Error("Close does not tell that the index could not be written")
	}
	s = openDir(t, dir)
	defer shut(t, s)
	exactIDs(s)
	exact(t, s, n)
}
