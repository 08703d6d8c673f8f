package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/state"
	stateformat "github.com/medledger/medledger/verifier/state"
)

// TestEveryCheckpointHasItsLeaf reads the folder as an auditor finds it.
func TestEveryCheckpointHasItsLeaf(t *testing.T) {
	c := newClinic(t)
	for range 3 {
		c.record("content")
		published, leaves := c.Log().Published().Checkpoint, c.leaves(c.config.Dir)
		last := leaves[len(leaves)-1]
		if last.Size != published.Size || last.Root != published.Root {
			t.Fatalf("the last leaf is of %d events, the checkpoint of %d", last.Size, published.Size)
		}
		if got := c.StateLog().Published().Checkpoint; got.Size != uint64(len(leaves)) || got.Origin != stateformat.Origin(origin) {
			t.Errorf("the state log's checkpoint is %+v, for %d leaves", got, len(leaves))
		}
	}
	for i, leaf := range c.leaves(c.config.Dir)[1:] {
		if before := c.leaves(c.config.Dir)[i]; leaf.Size <= before.Size {
			t.Errorf("leaf %d is of %d events, the one before of %d", i+1, leaf.Size, before.Size)
		}
	}
}

// leaves reads a data folder's file of leaves.
func (c *clinic) leaves(dir string) (list []stateformat.Leaf) {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "state", "leaves"))
	if err != nil {
		c.t.Fatal(err)
	}
	for ; len(raw) >= stateformat.RecordSize; raw = raw[stateformat.RecordSize:] {
		leaf, whole := stateformat.ParseRecord(raw[:stateformat.RecordSize])
		if !whole {
			break
		}
		list = append(list, leaf)
	}
	return list
}

// TestPartsOfDifferentMoments puts a folder together of parts from before and after
// some turns. What a crash can leave is put in order; what it cannot is refused.
func TestPartsOfDifferentMoments(t *testing.T) {
	c := newClinic(t)
	c.record("first")
	c.close()
	before := c.copy(t)
	c.reopen()
	c.record("second")
	c.record("third")
	c.close()
	after := c.copy(t)
	for _, test := range []struct {
		name string
		old  []string // parts from before
		want error    // of a ledger that has kept no checkpoints
		kept error    // of one that has
	}{
		{"nothing is old", nil, nil, nil},
		{"the state", []string{"state"}, state.ErrLost, ledger.ErrOlder},
		{"the log", []string{"log"}, nil, nil},
		{"the map", []string{"state/map.sqlite"}, nil, nil},
		// Whoever puts both back takes all that tells in here: kept checkpoints do.
		{"the log and the state", []string{"log", "state"}, nil, ledger.ErrOlder},
		{"the log and the map", []string{"log", "state/map.sqlite"}, nil, nil},
		{"the state log without its leaves", []string{"state/log"}, nil, nil},
		{"the leaves", []string{"state/leaves"}, state.ErrLost, ledger.ErrOlder},
		{"the events and the log", []string{"store", "log", "access.sqlite"}, state.ErrLost, ledger.ErrOlder},
		{"everything but the contents", []string{"store", "log", "state", "access.sqlite"}, nil, ledger.ErrOlder},
	} {
		for name, want := range map[string]error{", and no checkpoints are kept": test.want, "": test.kept} {
			t.Run(test.name+name, func(t *testing.T) {
				config := c.config
				config.Dir = t.TempDir()
				config.Secrets = copied(t, ledger.DefaultCustody(c.config.Dir))
				if err := os.CopyFS(config.Dir, os.DirFS(after.Dir)); err != nil {
					t.Fatal(err)
				}
				for _, part := range test.old {
					replacePart(t, filepath.Join(before.Dir, part), filepath.Join(config.Dir, part))
				}
				if name != "" {
					forgetKept(t, config)
				}
				c.opensInStep(t, config, want)
			})
		}
	}
}

// opensInStep opens a ledger, or is refused. A refused one has signed nothing. The last
// leaf of the state log of one that opens is of the log's last checkpoint.
func (c *clinic) opensInStep(t *testing.T, config ledger.Config, want error) {
	t.Helper()
	before, leavesBefore := signedIn(t, config), c.leaves(config.Dir)
	l, err := ledger.Open(t.Context(), config)
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
	leaves := c.leaves(config.Dir)
	if err != nil {
		if got := signedIn(t, config); got != before || len(leaves) != len(leavesBefore) {
			t.Errorf("it is refused, and signed %d events and %d leaves more", got-before, len(leaves)-len(leavesBefore))
		}
		return
	}
	published := l.Log().Published().Checkpoint
	if last := leaves[len(leaves)-1]; last.Size != published.Size || last.Root != published.Root {
		t.Errorf("the last leaf is of %d events, the checkpoint of %d", last.Size, published.Size)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func replacePart(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.RemoveAll(to + suffix); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.CopyFS(to, os.DirFS(from))
	} else {
		var raw []byte
		if raw, err = os.ReadFile(from); err == nil {
			err = os.WriteFile(to, raw, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamagedState damages what the state is kept in. What derives from the events
// is made again, what does not is missed.
func TestDamagedState(t *testing.T) {
	c := newClinic(t)
	c.record("content")
	c.close()
	for name, test := range map[string]struct {
		damage func(dir string) error
		want   string // in the error; "" if there is none
	}{
		"no map":         {func(dir string) error { return os.Remove(filepath.Join(dir, "map.sqlite")) }, ""},
		"another map":    {func(dir string) error { return os.WriteFile(filepath.Join(dir, "map.sqlite"), []byte("hello"), 0o600) }, ""},
		"no tiles":       {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "log", "tile")) }, ""},
		"no leaves":      {func(dir string) error { return os.Remove(filepath.Join(dir, "leaves")) }, "state log"},
		"no state":       {func(dir string) error { return os.RemoveAll(dir) }, "state log"},
		"no state log":   {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "log")) }, "checkpoint is lost"},
		"a leaf altered": {func(dir string) error { return flip(filepath.Join(dir, "leaves"), 5*stateformat.RecordSize+20) }, "leaf 5"},
		"the last leaf cut off": {func(dir string) error {
			n := len(c.leaves(filepath.Dir(dir)))
			return flip(filepath.Join(dir, "leaves"), int64(n-1)*stateformat.RecordSize)
		}, "state log"},
	} {
		t.Run(name, func(t *testing.T) {
			config := c.copy(t)
			if err := test.damage(filepath.Join(config.Dir, "state")); err != nil {
				t.Fatal(err)
			}
			l, err := ledger.Open(t.Context(), config)
			if err == nil {
				err = l.Close()
			}
			switch {
			case test.want == "" && err != nil:
				t.Errorf("it does not open: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("it opens with %v, want an error of %q", err, test.want)
			}
		})
	}
}

func flip(name string, offset int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [1]byte
	_, err1 := f.ReadAt(b[:], offset)
	b[0] ^= 1
	_, err2 := f.WriteAt(b[:], offset)
	return errors.Join(err1, err2, f.Close())
}
