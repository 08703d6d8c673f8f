package tlog_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// TestKnown opens a log with checkpoints that were kept elsewhere.
func TestKnown(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	older := w.grow(l, 300)
	w.close(l)
	before := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(w.config.Dir)); err != nil {
		t.Fatal(err)
	}
	l = w.open()
	newest := w.grow(l, 300)
	w.close(l)
	other := newWorld(t)
	var forks [2]*tlog.Published
	fork := other.open()
	other.append(5, 1)
	for i, n := range []int{299, 300} {
		other.append(6, n)
		p, err := fork.CatchUp(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		forks[i] = p
	}
	foreign := newWorld(t)
	foreign.config.Signer, foreign.config.Verifier = newKey(t, origin, 2)
	alien := foreign.grow(foreign.open(), 3)

	for name, test := range map[string]struct {
		dir    string // whose state is opened
		leaves int    // that are there
		known  []*tlog.Published
		want   error // nil: it opens
	}{
		"of the past":             {w.config.Dir, 600, []*tlog.Published{older}, nil},
		"of now":                  {w.config.Dir, 600, []*tlog.Published{newest, older}, nil},
		"newer than the folder":   {before, 600, []*tlog.Published{older, newest}, nil},
		"newer than the leaves":   {before, 300, []*tlog.Published{newest}, new(tlog.LostEventsError)},
		"of another past":         {w.config.Dir, 600, []*tlog.Published{newest, forks[0]}, new(tlog.HistoryError)},
		"of another present":      {w.config.Dir, 600, []*tlog.Published{forks[1]}, new(tlog.HistoryError)},
		"another, and newer":      {before, 600, []*tlog.Published{forks[1]}, new(tlog.HistoryError)},
		"of another log":          {w.config.Dir, 600, []*tlog.Published{alien}, tlog.ErrForeign},
		"no log, and no leaves":   {filepath.Join(before, "none"), 0, []*tlog.Published{older}, new(tlog.LostEventsError)},
		"no log, but its leaves":  {filepath.Join(before, "none"), 600, []*tlog.Published{newest}, tlog.ErrNoCheckpoint},
		"more leaves than signed": {before, 600, []*tlog.Published{older}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			opened := newWorld(t)
			if _, err := os.Stat(test.dir); err == nil {
				if err := os.CopyFS(opened.config.Dir, os.DirFS(test.dir)); err != nil {
					t.Fatal(err)
				}
			}
			opened.append(0, test.leaves)
			for _, p := range test.known {
				opened.config.Known = append(opened.config.Known, p.Note)
			}
			l, err := tlog.Open(t.Context(), opened.config)
			if err == nil {
				defer l.Close()
			}
			switch want := test.want.(type) {
			case *tlog.LostEventsError:
				if !errors.As(err, &want) {
					t.Errorf("opens with %v, want a LostEventsError", err)
				}
			case *tlog.HistoryError:
				if !errors.As(err, &want) {
					t.Errorf("opens with %v, want a HistoryError", err)
				}
			default:
				if !errors.Is(err, want) {
					t.Errorf("opens with %v, want %v", err, want)
				}
			}
			if err == nil && l.Published().Checkpoint != (proof.Checkpoint{Origin: origin, Size: 600, Root: newest.Checkpoint.Root}) {
				t.Errorf("it goes on at %+v", l.Published().Checkpoint)
			}
		})
	}
}

// TestKnownStandsIn rebuilds a log whose checkpoints are lost: a known one says what was
// signed.
func TestKnownStandsIn(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	signed := w.grow(l, 300)
	w.close(l)
	w.config.Known = [][]byte{signed.Note}
	for _, leaves := range []int{300, 299} {
		if err := os.RemoveAll(w.config.Dir); err != nil {
			t.Fatal(err)
		}
		w.store.cut(leaves)
		p, err := tlog.Rebuild(t.Context(), w.config)
		lost := new(tlog.LostEventsError)
		if leaves == 300 && (err != nil || p.Checkpoint != signed.Checkpoint) || leaves < 300 && !errors.As(err, &lost) {
			t.Errorf("rebuilt of %d leaves: %+v, %v", leaves, p, err)
		}
	}
}
