// Package storetest is the conformance suite of event stores: every sentence of
// the contract in events/store as a test. Each engine runs it from its own
// tests:
//
//	storetest.Run(t, open)         the contract of store.Store
//	storetest.RunBatcher(t, open)  what store.Batcher adds
//	storetest.RunDurable(t, open)  that what was appended is there after reopening
//
// open returns an empty store each time; the suite closes it.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
)

// Event returns the n-th of an endless row of different events. The same n
// always gives the same event. Statements have 1 to some hundred bytes, of any
// value.
func Event(n int) store.Event {
	digest := sha256.Sum256(fmt.Append(nil, "event ", n))
	size := 1 + int(digest[20])*2
	statement := bytes.Repeat(digest[:], size/len(digest)+1)[:size]
	return store.Event{ID: events.DerivedID(digest[:]), Statement: statement}
}

// Events returns the events of Event from the first-th on.
func Events(first, count int) []store.Event {
	list := make([]store.Event, count)
	for i := range list {
		list[i] = Event(first + i)
	}
	return list
}

// Append is a store.Append in one line.
func Append(stream string, expected store.Expected, list ...store.Event) store.Append {
	return store.Append{Stream: stream, Expected: expected, Events: list}
}

// Run holds a store to the contract of store.Store.
func Run(t *testing.T, open func(testing.TB) store.Store) {
	t.Helper()
	cases := []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"empty", testEmpty},
		{"append", testAppend},
		{"expected", testExpected},
		{"duplicates", testDuplicates},
		{"limits", testLimits},
		{"names and bytes", testBytes},
		{"copies", testCopies},
		{"read", testRead},
		{"read all", testReadAll},
		{"stop reading", testStopReading},
		{"cancelled", testCancelled},
		{"follow", testFollow},
		{"follow cancelled", testFollowCancelled},
		{"follow closed", testFollowClosed},
		{"closed", testClosed},
		{"many writers", testManyWriters},
		{"race for a revision", testRaceForRevision},
		{"race for an id", testRaceForID},
		{"readers beside writers", testReadersBesideWriters},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			defer closed(t, s)
			c.test(t, s)
		})
	}
}

// closed closes a store that the test may have closed itself.
func closed(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
		t.Errorf("closing the store: %v", err)
	}
}

// must appends and fails the test if the store refuses. Like list it may be
// called from any goroutine.
func must(t testing.TB, s store.Store, a store.Append) store.Position {
	t.Helper()
	at, err := s.Append(context.Background(), a)
	if err != nil {
		t.Errorf("appending to %q: %v", a.Stream, err)
	}
	return at
}

// list collects what a read returns and fails the test at an error.
func list(t testing.TB, records iter.Seq2[store.Record, error]) []store.Record {
	t.Helper()
	var all []store.Record
	for r, err := range records {
		if err != nil {
			t.Errorf("reading after %d records: %v", len(all), err)
			break
		}
		all = append(all, r)
	}
	return all
}

// all returns every record and checks what holds for each: growing positions,
// revisions without gaps, and that Lookup and Read agree.
func all(t testing.TB, s store.Store) []store.Record {
	t.Helper()
	ctx := context.Background()
	records := list(t, s.ReadAll(ctx, 0))
	streams := make(map[string][]store.Record)
	for i, r := range records {
		if i > 0 && r.Position <= records[i-1].Position || r.Position == 0 {
			t.Errorf("record %d has position %d, after %d", i, r.Position, records[max(0, i-1)].Position)
		}
		if want := uint64(len(streams[r.Stream])); r.Revision != want {
			t.Errorf("record %d of stream %q has revision %d, want %d", i, r.Stream, r.Revision, want)
		}
		streams[r.Stream] = append(streams[r.Stream], r)
		found, err := s.Lookup(ctx, r.ID)
		if err != nil {
			t.Errorf("looking up record %d: %v", i, err)
		}
		same(t, "Lookup", []store.Record{found}, []store.Record{r})
	}
	for stream, want := range streams {
		same(t, fmt.Sprintf("Read of %q", stream), list(t, s.Read(ctx, stream, 0)), want)
	}
	return records
}

// same fails the test unless two lists of records are equal.
func same(t testing.TB, what string, got, want []store.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d records, want %d", what, len(got), len(want))
		return
	}
	for i, w := range want {
		g := got[i]
		if g.Position != w.Position || g.Stream != w.Stream || g.Revision != w.Revision || g.ID != w.ID ||
			!bytes.Equal(g.Statement, w.Statement) {
			t.Errorf("%s: record %d is (%d %q %d %v, %d bytes), want (%d %q %d %v, %d bytes)", what, i,
				g.Position, g.Stream, g.Revision, g.ID, len(g.Statement),
				w.Position, w.Stream, w.Revision, w.ID, len(w.Statement))
			return
		}
	}
}

// holds fails the test unless the records are the given events of one stream
// each, in order.
func holds(t testing.TB, records []store.Record, want ...store.Event) {
	t.Helper()
	if len(records) != len(want) {
		t.Fatalf("the store holds %d events, want %d", len(records), len(want))
	}
	for i, w := range want {
		if records[i].ID != w.ID || !bytes.Equal(records[i].Statement, w.Statement) {
			t.Errorf("record %d is event %v of %d bytes, want %v of %d", i,
				records[i].ID, len(records[i].Statement), w.ID, len(w.Statement))
		}
	}
}

// refused fails the test unless an append ends in the wanted kind of error and
// leaves the store as it was.
func refused(t testing.TB, s store.Store, a store.Append, is func(error) bool) {
	t.Helper()
	before := all(t, s)
	if _, err := s.Append(context.Background(), a); !is(err) {
		t.Errorf("appending %d events to %.40q expecting %d: error %v", len(a.Events), a.Stream, a.Expected, err)
	}
	same(t, "after a refusal", all(t, s), before)
}

func isConflict(want store.ConflictError) func(error) bool {
	return func(err error) bool {
		var got *store.ConflictError
		return errors.As(err, &got) && *got == want
	}
}

func isDuplicate(id events.ID) func(error) bool {
	return func(err error) bool {
		var got *store.DuplicateError
		return errors.As(err, &got) && got.ID == id
	}
}

func isError(want error) func(error) bool {
	return func(err error) bool { return errors.Is(err, want) }
}
