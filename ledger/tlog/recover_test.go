package tlog_test

import (
	"bytes"
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// TestRecover damages a closed log of 70,000 leaves in many ways. Each time it
// must open, or be refused with the right error, and serve and keep the tiles
// that it had, which tessera's fsck found whole.
func TestRecover(t *testing.T) {
	const size = 70_000
	w := newWorld(t)
	whole := newFaulty("/", "/data")
	w.config.FS, w.config.Dir = whole, "/data/log"
	l := w.open()
	w.append(0, size)
	if _, err := l.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	judge(t, l, w.config.Verifier)
	w.close(l)
	signed := l.Published().Checkpoint

	path := func(name string) string { return filepath.Join(w.config.Dir, filepath.FromSlash(name)) }
	remove := func(name string) func(*faulty) {
		return func(f *faulty) {
			maps.DeleteFunc(f.live, func(p string, _ *node) bool { return p == path(name) || strings.HasPrefix(p, path(name)+"/") })
		}
	}
	flip := func(at int, name string) func(*faulty) {
		return func(f *faulty) { f.live[path(name)].data[at] ^= 1 }
	}
	cut := func(to int, name string) func(*faulty) {
		return func(f *faulty) { f.live[path(name)].data = f.live[path(name)].data[:to] }
	}
	write := func(name, data string) func(*faulty) {
		return func(f *faulty) { f.live[path(name)] = &node{data: []byte(data)} }
	}
	all := func(damages ...func(*faulty)) func(*faulty) {
		return func(f *faulty) {
			for _, d := range damages {
				d(f)
			}
		}
	}
	for name, c := range map[string]struct {
		damage func(*faulty)
		want   error // nil: it opens
	}{
		"nothing":                    {func(*faulty) {}, nil},
		"all tiles lost":             {remove("tile"), nil},
		"all tiles and mark lost":    {all(remove("tile"), remove("synced")), nil},
		"mark lost":                  {remove("synced"), nil},
		"mark unreadable":            {write("synced", "x"), nil},
		"mark too far":               {write("synced", "9000000\n"), nil},
		"a full tile lost":           {remove("tile/0/100"), nil},
		"a full tile lost, edge":     {remove("tile/0/270"), nil},
		"a full tile flipped":        {flip(77, "tile/0/100"), nil},
		"a full tile flipped, edge":  {flip(77, "tile/0/270"), nil},
		"a full tile truncated":      {cut(8191, "tile/0/100"), nil},
		"a full tile emptied":        {cut(0, "tile/0/270"), nil},
		"level 1 flipped":            {flip(77, "tile/1/000"), nil},
		"level 1 lost, 0 flipped":    {all(remove("tile/1/000"), flip(9, "tile/0/007")), nil},
		"level 1 flipped, 0 lost":    {all(flip(9, "tile/1/000"), remove("tile/0/007")), nil},
		"level 2 lost":               {remove("tile/2"), nil},
		"partial tile lost":          {remove("tile/0/273.p"), nil},
		"partial tile flipped":       {flip(77, "tile/0/273.p/112"), nil},
		"old partial tiles left":     {write("tile/0/273.p/5", ""), nil},
		"checkpoint lost, kept":      {remove("checkpoint"), nil},
		"checkpoint torn, kept":      {cut(60, "checkpoint"), nil},
		"checkpoint emptied, kept":   {cut(0, "checkpoint"), nil},
		"kept lost":                  {remove("signed"), nil},
		"kept emptied":               {cut(0, "signed"), nil},
		"one slot damaged":           {flip(40, "signed"), nil},
		"the other slot damaged":     {flip(4096+40, "signed"), nil},
		"checkpoint lost everywhere": {all(remove("checkpoint"), remove("signed")), tlog.ErrNoCheckpoint},
		"checkpoint torn everywhere": {all(cut(60, "checkpoint"), remove("signed")), tlog.ErrNoCheckpoint},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := whole.clone()
			c.damage(damaged)
			w := &world{t: t, store: w.store, config: w.config}
			w.config.FS = damaged
			l, err := tlog.Open(t.Context(), w.config)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if c.want != nil { // rebuilding helps
				if p, err := tlog.Rebuild(t.Context(), w.config); err != nil || p.Checkpoint != signed {
					t.Fatalf("rebuilt: %+v, %v, want %+v", p, err, signed)
				}
				l = w.open()
			}
			if l.Published().Checkpoint != signed {
				t.Errorf("opened at %+v, want %+v", l.Published().Checkpoint, signed)
			}
			serves(t, l, whole, path)
			w.close(l)
			checkSame(t, damaged, whole, path("tile"))
			if last, err := tlog.LastSigned(w.config.FS, w.config.Dir, w.config.Verifier); err != nil || last.Checkpoint != signed {
				t.Errorf("last signed: %+v, %v", last, err)
			}
		})
	}
}

// checkSame compares the files beneath a folder in two file systems.
func checkSame(t *testing.T, got, want *faulty, folder string) {
	t.Helper()
	for path, n := range want.live {
		if strings.HasPrefix(path, folder) && !n.folder && (got.live[path] == nil || !bytes.Equal(got.live[path].data, n.data)) {
			t.Errorf("%s is missing or different", path)
		}
	}
	for path, n := range got.live {
		if strings.HasPrefix(path, folder) && !n.folder && want.live[path] == nil {
			t.Errorf("%s should not be there", path)
		}
	}
}

// serves compares the tiles that a log serves with those in a file system.
func serves(t *testing.T, l *tlog.Log, want *faulty, path func(string) string) {
	t.Helper()
	for level := range proof.MaxLevel + 1 {
		for tile := range proof.TilesOf(l.Published().Checkpoint.Size, level) {
			name := proof.FormatPath(tile)
			got, err := l.ReadTile(t.Context(), tile.Level, tile.Index, tile.Width)
			if err != nil || !bytes.Equal(got, want.live[path(name)].data) {
				t.Errorf("%s is served differently (%v)", name, err)
			}
		}
	}
}

// TestStoreBeyondCheckpoint opens a log whose store got ahead of it.
func TestStoreBeyondCheckpoint(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	w.grow(l, 300)
	before := l.Published().Checkpoint
	w.close(l)
	w.append(300, 5000)
	l = w.open()
	after := l.Published().Checkpoint
	hashes, err := l.ConsistencyProof(t.Context(), before.Size, after.Size)
	if err != nil || after.Size != 5300 {
		t.Fatalf("opened at %+v, %v", after, err)
	}
	if err := proof.VerifyConsistency(before, after, hashes); err != nil {
		t.Error(err)
	}
	judge(t, l, w.config.Verifier)
}

func TestLostEvents(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	w.grow(l, 300)
	w.close(l)
	w.store.cut(299)
	for name, open := range map[string]func() error{
		"open":    func() error { _, err := tlog.Open(t.Context(), w.config); return err },
		"rebuild": func() error { _, err := tlog.Rebuild(t.Context(), w.config); return err },
	} {
		var lost *tlog.LostEventsError
		if err := open(); !errors.As(err, &lost) || lost.Size != 300 || lost.Have != 299 {
			t.Errorf("%s: %v", name, err)
		} else if c, err := proof.VerifyCheckpoint(lost.Note, w.config.Verifier); err != nil || c.Size != 300 {
			t.Errorf("%s: evidence is %+v, %v", name, c, err)
		}
	}
}

func TestAlteredEvents(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	w.grow(l, 300)
	w.close(l)
	w.store.cut(270)
	w.append(271, 31) // 301 events, those from 270 on are others
	for name, open := range map[string]func() error{
		"open":    func() error { _, err := tlog.Open(t.Context(), w.config); return err },
		"rebuild": func() error { _, err := tlog.Rebuild(t.Context(), w.config); return err },
	} {
		var altered *tlog.HistoryError
		if err := open(); !errors.As(err, &altered) || altered.Size != 300 || altered.Computed == altered.Signed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestForeignFolder(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	w.grow(l, 3)
	w.close(l)
	same := w.config
	for name, change := range map[string]func(){
		"another origin": func() {
			w.config.Origin = "example.org/other"
			w.config.Signer, w.config.Verifier = newKey(t, w.config.Origin, 1)
		},
		"another key": func() { w.config.Signer, w.config.Verifier = newKey(t, origin, 2) },
	} {
		w.config = same
		change()
		if _, err := tlog.Open(t.Context(), w.config); !errors.Is(err, tlog.ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := tlog.Rebuild(t.Context(), w.config); !errors.Is(err, tlog.ErrForeign) {
			t.Errorf("%s, rebuilding: %v", name, err)
		}
	}
	for name, change := range map[string]func(){
		"origin without its key":  func() { w.config.Origin = "example.org/other" },
		"verifier of another key": func() { _, w.config.Verifier = newKey(t, origin, 2) },
		"no origin":               func() { w.config.Origin = "" },
		"no folder":               func() { w.config.Dir = "" },
	} {
		w.config = same
		change()
		if _, err := tlog.Open(t.Context(), w.config); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestClockStepsBack grows a log while its clock goes backwards, also across a
// restart.
func TestClockStepsBack(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	w.config.Clock = func() time.Time { now = now.Add(-time.Hour); return now }
	l := w.open()
	for range 5 {
		w.grow(l, 10)
	}
	w.close(l)
	l = w.open()
	if p := w.grow(l, 10); p.Checkpoint.Size != 60 {
		t.Errorf("grown to %+v", p.Checkpoint)
	}
	judge(t, l, w.config.Verifier)
}

func TestClosed(t *testing.T) {
	w := newWorld(t)
	l := w.open()
	w.grow(l, 3)
	w.close(l)
	w.close(l) // closing twice is fine
	if _, err := l.Integrate(t.Context(), w.append(3, 1)); !errors.Is(err, tlog.ErrClosed) {
		t.Error(err)
	}
	if _, err := l.CatchUp(t.Context()); !errors.Is(err, tlog.ErrClosed) {
		t.Error(err)
	}
}
