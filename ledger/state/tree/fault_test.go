package tree

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// faults is the sqlite driver on a disk that fails one call on command: before it has an
// effect, or after, as when the answer is lost.
type faults struct {
	driver.Driver

	mu     sync.Mutex
	calls  int // since arm
	fail   int // the call that fails; 0 is none
	after  bool
	failed bool
}

var errDisk = errors.New("the disk fails")

// theDisk is registered once: database/sql knows drivers by name.
var theDisk = sync.OnceValue(func() *faults {
	db, err := sql.Open("sqlite", "")
	if err != nil {
		panic(err)
	}
	f := &faults{Driver: db.Driver()}
	sql.Register("faulty sqlite", f)
	return f
})

func (f *faults) arm(call int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.fail, f.after, f.failed = 0, call, after, false
}

func (f *faults) did() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// call makes a call, unless it is the one that fails.
func (f *faults) call(do func() error) error {
	f.mu.Lock()
	f.calls++
	fails, after := f.calls == f.fail, f.after
	f.failed = f.failed || fails
	f.mu.Unlock()
	if fails && !after {
		return errDisk
	}
	if err := do(); err != nil || !fails {
		return err
	}
	return errDisk
}

func (f *faults) Open(name string) (driver.Conn, error) {
	c, err := f.Driver.Open(name)
	return &faultyConn{c, f}, err
}

type faultyConn struct {
	driver.Conn
	faults *faults
}

func (c *faultyConn) BeginTx(ctx context.Context, o driver.TxOptions) (tx driver.Tx, err error) {
	begun := false
	err = c.faults.call(func() error {
		tx, err = c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
		begun = err == nil
		return err
	})
	if err != nil && begun {
		return nil, errors.Join(err, tx.Rollback())
	}
	return &faultyTx{tx, c.faults}, err
}

func (c *faultyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Result, err error) {
	err = c.faults.call(func() error {
		r, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
		return err
	})
	return r, err
}

func (c *faultyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Rows, err error) {
	asked := false
	err = c.faults.call(func() error {
		r, err = c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
		asked = err == nil
		return err
	})
	if err != nil && asked {
		return nil, errors.Join(err, r.Close())
	}
	return r, err
}

type faultyTx struct {
	driver.Tx
	faults *faults
}

func (tx *faultyTx) Commit() error { return tx.faults.call(tx.Tx.Commit) }

// patient is small without the flushes of its own.
func patient(path string) Config {
	c := small(path)
	c.DirtyBytes, c.FlushEvery = 1<<30, 1<<40
	return c
}

// TestFaults is the fault table of the copy: each call of a flush fails, before or after
// its effect. What is in memory is right all along. What the next start finds, at once
// and after a later flush, is what was written at some position; after a flush that
// succeeded, at that one.
//
//	call             failed before                 failed after
//	BEGIN            the old copy                  the old copy
//	write of pages   the old copy                  the old copy: no commit
//	write of head    the old copy                  the old copy: no commit
//	COMMIT           the old copy                  the new copy; all is written again
//	checkpoint       the new copy, from the WAL    the new copy
func TestFaults(t *testing.T) {
	disk := theDisk()
	for _, after := range []bool{false, true} {
		for call := 1; ; call++ {
			name := fmt.Sprintf("call %d, after its effect: %t", call, after)
			h, path := newHistory(uint64(call)), filepath.Join(t.TempDir(), "tree.sqlite")
			disk.arm(0, false)
			tree, err := open(t.Context(), patient(path), "faulty sqlite")
			if err != nil {
				t.Fatal(err)
			}
			h.turn(t, 800)
			h.feed(t, tree)
			if err := tree.flush(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			old := h.position()
			h.turn(t, 500)
			h.feed(t, tree)
			disk.arm(call, after)
			flushErr := tree.flush(t.Context(), nil)
			failed := disk.did()
			disk.arm(0, false)
			if failed != (flushErr != nil) {
				t.Errorf("%s: the flush said %v", name, flushErr)
			}
			h.check(t, tree, 50)
			found := reopened(t, h, path)
			if found != old && found != h.position() || (flushErr == nil || tree.Stats().Written == h.position()) && found != h.position() {
				t.Errorf("%s: the next start is at %d, of %d and %d; the flush said %v", name, found, old, h.position(), flushErr)
			}
			h.turn(t, 300) // changes some of the pages, and not others
			h.feed(t, tree)
			if err := tree.flush(t.Context(), nil); err != nil {
				t.Errorf("%s: the next flush: %v", name, err)
			}
			if found := reopened(t, h, path); found != h.position() {
				t.Errorf("%s: after the next flush the start is at %d of %d", name, found, h.position())
			}
			h.check(t, tree, 50)
			mustClose(t, tree)
			if !failed {
				if call < 8 { // BEGIN, two of pages, two of the head, COMMIT, checkpoint
					t.Errorf("a flush makes %d calls", call-1)
				}
				break
			}
		}
	}
}

// reopened opens what a crash would leave now, feeds it what it lacks, and returns the
// position it was at.
func reopened(t *testing.T, h *history, path string) uint64 {
	t.Helper()
	tree := mustOpen(t, small(copyOf(t, path)))
	defer mustClose(t, tree)
	position := tree.Position()
	h.feed(t, tree)
	h.check(t, tree, 20)
	return position
}

// TestFaultsOfReading fails each call of an Open and of the reading of pages.
func TestFaultsOfReading(t *testing.T) {
	disk := theDisk()
	h, path := newHistory(2), filepath.Join(t.TempDir(), "tree.sqlite")
	disk.arm(0, false)
	tree := mustOpen(t, small(path))
	h.turn(t, 800)
	h.feed(t, tree)
	mustClose(t, tree)
	for call := 1; ; call++ {
		path := copyOf(t, path)
		disk.arm(call, false)
		tree, err := open(t.Context(), small(path), "faulty sqlite")
		failed := disk.did()
		disk.arm(0, false)
		if err != nil {
			t.Fatalf("call %d: %v", call, err)
		}
		h.feed(t, tree)
		h.check(t, tree, 50)
		mustClose(t, tree)
		if !failed {
			break
		}
	}
}

// TestFullDisk lets the file grow by a page less than it needs, and by fewer.
func TestFullDisk(t *testing.T) {
	for room := range 30 {
		h, path := newHistory(5), filepath.Join(t.TempDir(), "tree.sqlite")
		tree := mustOpen(t, patient(path))
		h.turn(t, 300)
		h.feed(t, tree)
		if err := tree.flush(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		limit(t, tree, 3+room)
		h.turn(t, 1500)
		h.feed(t, tree)
		full := tree.flush(t.Context(), nil)
		h.check(t, tree, 20)
		if found := reopened(t, h, path); (found == h.position()) != (full == nil) {
			t.Errorf("room for %d: at %d of %d; the flush said %v", room, found, h.position(), full)
		}
		limit(t, tree, 1<<20)
		mustClose(t, tree)
		if found := reopened(t, h, path); found != h.position() {
			t.Errorf("room for %d: with more room at %d of %d", room, found, h.position())
		}
		if full == nil {
			if room < 3 {
				t.Error("the disk was not full")
			}
			return
		}
	}
	t.Error("the disk was always full")
}

func limit(t *testing.T, tree *Tree, pages int) {
	t.Helper()
	if _, err := tree.db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedFiles cuts and alters the copy, and its WAL, at many places. The next start
// has a right tree, at some position or empty, and is fed the rest.
func TestDamagedFiles(t *testing.T) {
	h, path := newHistory(6), filepath.Join(t.TempDir(), "tree.sqlite")
	tree := mustOpen(t, patient(path))
	for range 2 {
		h.turn(t, 250)
		h.feed(t, tree)
		if err := tree.flush(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	open := copyOf(t, path) // with a WAL
	mustClose(t, tree)
	thrown := 0
	for _, path := range []string{path, open, open + "-wal"} {
		original, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(original); at += 1 + h.rng.IntN(2*len(original)/40) {
			altered := bytes.Clone(original)
			altered[at] ^= 1 << h.rng.IntN(8)
			for _, damaged := range [][]byte{altered, original[:at]} {
				main := path[:len(path)-len("-wal")]
				if path != open+"-wal" {
					main = path
				}
				to := copyOf(t, main)
				if err := os.WriteFile(to+path[len(main):], damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				found := mustOpen(t, small(to))
				if found.Position() == 0 {
					thrown++
				}
				h.feed(t, found)
				h.check(t, found, 3)
				mustClose(t, found)
			}
		}
	}
	if thrown < 50 {
		t.Errorf("only %d copies of many were thrown away", thrown)
	}
}
