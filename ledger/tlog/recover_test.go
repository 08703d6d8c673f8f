package tlog_test

import (
	"bytes"
	"errors"
	"maps"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// TestRecover damages a closed log of 70,000 leaves in many ways. Each time it
// must open, or be refused with the right error, and serve and keep the tiles
// that it had, which tessera's fsck found whole.
func TestRecover(t *testing.T) {
	const size = 70_000
	w := newWorld(t)
	w.config.FS, w.config.Dir = disktest.New(), "/data/log"
	l := w.open()
	w.append(0, size)
	if _, err := l.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	judge(t, l, w.config.Verifier)
	w.close(l)
	signed := l.Published().Checkpoint
	whole := filesBelow(t, w.config.FS, w.config.Dir)

	remove := func(name string) func(files) {
		return func(f files) {
			maps.DeleteFunc(f, func(p string, _ []byte) bool { return p == name || strings.HasPrefix(p, name+"/") })
		}
	}
	flip := func(at int, name string) func(files) {
		return func(f files) { f[name] = bytes.Clone(f[name]); f[name][at] ^= 1 }
	}
	cut := func(to int, name string) func(files) {
		return func(f files) { f[name] = f[name][:to] }
	}
	write := func(name, data string) func(files) {
		return func(f files) { f[name] = []byte(data) }
	}
	all := func(damages ...func(files)) func(files) {
		return func(f files) {
			for _, d := range damages {
				d(f)
			}
		}
	}
	for name, c := range map[string]struct {
		damage func(files)
		want   error // nil: it opens
	}{
		"nothing":                    {func(files) {}, nil},
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
			damaged := maps.Clone(whole)
			c.damage(damaged)
			w := &world{t: t, store: w.store, config: w.config}
			w.config.FS = damaged.write(t, w.config.Dir)
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
			serves(t, l, whole)
			w.close(l)
			checkSameTiles(t, filesBelow(t, w.config.FS, w.config.Dir), whole)
			if last, err := tlog.LastSigned(w.config.FS, w.config.Dir, w.config.Verifier); err != nil || last.Checkpoint != signed {
				t.Errorf("last signed: %+v, %v", last, err)
			}
		})
	}
}

// files are the contents of a folder, by slash-separated paths below it.
type files map[string][]byte

// filesBelow reads all files below a folder.
func filesBelow(t *testing.T, fsys disk.FS, dir string) files {
	t.Helper()
	f := make(files)
	var walk func(below string)
	walk = func(below string) {
		entries, err := fsys.ReadDir(filepath.Join(dir, below))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := path.Join(below, e.Name())
			if e.IsDir() {
				walk(name)
			} else if f[name], err = disk.ReadFile(fsys, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	walk("")
	return f
}

// write returns a file system that has the files in a folder.
func (f files) write(t *testing.T, dir string) *disktest.FS {
	t.Helper()
	fsys := disktest.New()
	for name, data := range f {
		to := filepath.Join(dir, name)
		if err := fsys.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := disk.WriteFile(fsys, to, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return fsys
}

// checkSameTiles compares the tiles of two folders.
func checkSameTiles(t *testing.T, got, want files) {
	t.Helper()
	for name, data := range want {
		if b, there := got[name]; strings.HasPrefix(name, "tile/") && (!there || !bytes.Equal(b, data)) {
			t.Errorf("%s is missing or different", name)
		}
	}
	for name := range got {
		if strings.HasPrefix(name, "tile/") && want[name] == nil {
			t.Errorf("%s should not be there", name)
		}
	}
}

// serves compares the tiles that a log serves with files.
func serves(t *testing.T, l *tlog.Log, want files) {
	t.Helper()
	for level := range proof.MaxLevel + 1 {
		for tile := range proof.TilesOf(l.Published().Checkpoint.Size, level) {
			name := proof.FormatPath(tile)
			got, err := l.Tile(t.Context(), tile)
			if err != nil || !bytes.Equal(got, want[name]) {
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
	if _, err := l.IntegrateHashes(t.Context(), w.append(3, 1)); !errors.Is(err, tlog.ErrClosed) {
		t.Error(err)
	}
	if _, err := l.CatchUp(t.Context()); !errors.Is(err, tlog.ErrClosed) {
		t.Error(err)
	}
}
