package tlog_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// recorder is a signer that remembers all that it signed.
type recorder struct {
	note.Signer
	mu     sync.Mutex
	signed []string
}

func (r *recorder) Sign(text []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signed = append(r.signed, string(text))
	return r.Signer.Sign(text)
}

// live runs a log through its life on a file system that may fail, and returns
// the last checkpoint that was answered with.
func live(t *testing.T, w *world) (acknowledged proof.Checkpoint, err error) {
	acknowledged.Root = proof.EmptyRoot()
	for _, turns := range [][]int{{200, 56}, {44, 700, 1}} {
		l, err := tlog.Open(t.Context(), w.config)
		if err != nil {
			return acknowledged, err
		}
		acknowledged = l.Published().Checkpoint
		for _, n := range turns {
			have := w.store.(*dense).Len()
			p, err := l.Integrate(t.Context(), w.append(int(have), n))
			if err != nil {
				if !errors.Is(err, tlog.ErrStopped) || !errors.Is(l.Err(), tlog.ErrStopped) {
					t.Errorf("failed write does not stop the log: %v, %v", err, l.Err())
				}
				if _, again := l.Integrate(t.Context(), nil); !errors.Is(again, tlog.ErrStopped) {
					t.Errorf("stopped log takes another turn: %v", again)
				}
				return acknowledged, errors.Join(err, l.Close())
			}
			acknowledged = p.Checkpoint
		}
		if err := l.Close(); err != nil {
			return acknowledged, err
		}
	}
	return acknowledged, nil
}

// TestFaults fails every changing call on the file system in turn, in three ways,
// and then has the process or the machine crash. The log must open again, know
// every checkpoint that it answered with, extend every checkpoint that it ever
// signed, and have all of the store's events.
func TestFaults(t *testing.T) {
	for _, kind := range []fault{fails, failsLate, fallShort} {
		for _, machine := range []bool{false, true} {
			t.Run(fmt.Sprintf("kind %d, machine %t", kind, machine), func(t *testing.T) {
				for at, done := 1, false; !done; at++ {
					done = !faultAt(t, at, kind, machine)
					if t.Failed() {
						t.Fatalf("with a fault at call %d", at)
					}
				}
			})
		}
	}
}

// faultAt runs one case and reports whether the call was reached.
func faultAt(t *testing.T, at int, kind fault, machine bool) bool {
	w := newWorld(t)
	fsys := newFaulty("/", "/data")
	fsys.failAt, fsys.kind = at, kind
	signer := &recorder{Signer: w.config.Signer}
	w.config.FS, w.config.Dir, w.config.Signer = fsys, "/data/log", signer
	acknowledged, err := live(t, w)
	reached := fsys.calls >= at
	fsys.failAt = 0
	// Some calls may fail without a consequence: removing what is left over.
	if err != nil && !errors.Is(err, errInjected) {
		t.Errorf("failed with %v", err)
	}
	if machine {
		fsys.crash()
	}
	last, err := tlog.LastSigned(fsys, w.config.Dir, w.config.Verifier)
	if err != nil || (last == nil && acknowledged.Size > 0) || (last != nil && last.Checkpoint.Size < acknowledged.Size) {
		t.Errorf("last signed is %+v, %v; %d was acknowledged", last, err, acknowledged.Size)
	}
	if last == nil && w.store.(*dense).Len() > 0 {
		t.Errorf("events were stored before the first checkpoint was")
	}
	l, err := tlog.Open(t.Context(), w.config)
	if err != nil {
		t.Errorf("opening again: %v", err)
		return reached
	}
	w.grow(l, 300)
	now := l.Published().Checkpoint
	if want := w.store.(*dense).Len(); now.Size != want {
		t.Errorf("log has %d leaves, store %d", now.Size, want)
	}
	for _, text := range signer.signed {
		c, err := proof.ParseCheckpoint(text)
		if err != nil {
			t.Fatal(err)
		}
		hashes, err := l.ConsistencyProof(t.Context(), c.Size, now.Size)
		if err == nil {
			err = proof.VerifyConsistency(c, now, hashes)
		}
		if err != nil {
			t.Errorf("log does not extend the checkpoint of size %d that it signed: %v", c.Size, err)
		}
	}
	if at%16 == 0 {
		judge(t, l, w.config.Verifier)
	}
	w.close(l)
	return reached
}
