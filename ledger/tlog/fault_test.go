package tlog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events/store/disk/disktest"
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

// life is a log on a file system that fails, and what it told.
type life struct {
	*world
	fsys         *disktest.FS
	signer       *recorder
	acknowledged uint64 // the size of the last checkpoint that was answered with
}

func newLife(t *testing.T) *life {
	w := newWorld(t)
	f := &life{world: w, fsys: disktest.New(), signer: &recorder{Signer: w.config.Signer}}
	w.config.FS, w.config.Dir, w.config.Signer = f.fsys, "/data/log", f.signer
	return f
}

func (f *life) stored() uint64 { return f.store.(*dense).Len() }

// live opens the log twice and lets it grow, until something fails.
func (f *life) live(t *testing.T) error {
	for _, turns := range [][]int{{200, 56}, {44, 700, 1}} {
		l, err := tlog.Open(t.Context(), f.config)
		if err != nil {
			return err
		}
		f.acknowledged = l.Published().Checkpoint.Size
		for _, n := range turns {
			p, err := l.IntegrateHashes(t.Context(), f.append(int(f.stored()), n))
			if err != nil {
				if !errors.Is(err, tlog.ErrStopped) || !errors.Is(l.Err(), tlog.ErrStopped) {
					t.Errorf("failed write does not stop the log: %v, %v", err, l.Err())
				}
				if _, again := l.IntegrateHashes(t.Context(), nil); !errors.Is(again, tlog.ErrStopped) {
					t.Errorf("stopped log takes another turn: %v", again)
				}
				return errors.Join(err, l.Close())
			}
			f.acknowledged = p.Checkpoint.Size
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// judge opens the log again, without faults. It must know every checkpoint that
// it answered with, extend every one that it ever signed, and have all of the
// store's events; and it must grow.
func (f *life) judge(t *testing.T, thoroughly bool) {
	last, err := tlog.LastSigned(f.fsys, f.config.Dir, f.config.Verifier)
	if err != nil || (last == nil && f.acknowledged > 0) || (last != nil && last.Checkpoint.Size < f.acknowledged) {
		t.Errorf("last signed is %+v, %v; %d was acknowledged", last, err, f.acknowledged)
	}
	if last == nil && f.stored() > 0 {
		t.Errorf("events were stored before the first checkpoint was")
	}
	l, err := tlog.Open(t.Context(), f.config)
	if err != nil {
		t.Errorf("opening again: %v", err)
		return
	}
	defer func() { _ = l.Close() }()
	now := f.grow(l, 300).Checkpoint
	f.acknowledged = now.Size
	if now.Size != f.stored() {
		t.Errorf("log has %d leaves, store %d", now.Size, f.stored())
	}
	for _, text := range f.signer.signed {
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
	if thoroughly {
		judge(t, l, f.config.Verifier)
	}
}

// TestFaults fails every call on the file system in turn, in every way, and then
// has the process end or the machine crash. The machine crashes once more after
// that, so that a log which was opened again and believed what was never on the
// disk is found out. Unless MEDLEDGER_LONG is set only some of the calls are
// tried.
func TestFaults(t *testing.T) {
	stride := 5
	if os.Getenv("MEDLEDGER_LONG") != "" {
		stride = 1
	}
	random := rand.New(rand.NewPCG(1, 1))
	tried := 0
	for e, effect := range disktest.Effects {
		for first, end := range append([]disktest.Loss{""}, disktest.Losses[:]...) { // "": only the process
			for n, done := 1+(e+first)%stride, false; !done && !t.Failed(); n += stride {
				f := newLife(t)
				f.fsys.FailCall(n, effect)
				err := f.live(t)
				done = !f.fsys.Failed()
				what := fmt.Sprintf("call %d (%s), %s, then %q", n, f.fsys.Failure(), effect, end)
				f.fsys.FailNone()
				// Some calls may fail without a consequence: removing what is left over.
				if err != nil && !errors.Is(err, disktest.ErrInjected) {
					t.Errorf("failed with %v", err)
				}
				if end != "" {
					f.fsys.Crash(end, random)
				}
				f.judge(t, n%16 == 0)
				f.fsys.Crash(disktest.Losses[n%len(disktest.Losses)], random)
				f.judge(t, n%16 == 0)
				if tried++; t.Failed() {
					t.Log(what)
				}
			}
		}
	}
	t.Logf("%d faults", tried)
}
