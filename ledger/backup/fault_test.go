package backup

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medledger/medledger/events/store/disk/disktest"
)

// TestFaults fails every call to the file system of a run in turn, in every way, and
// crashes: what was there before can be restored, or the new backup; no key side can be
// restored from that custody knows as retired; the register has what living epochs could
// bring back; and the next run succeeds, after which it has nothing of retired ones.
//
// The runs are the first one, one more, one that makes an epoch, one that retires one,
// and one that begins a chain.
func TestFaults(t *testing.T) {
	steps := []struct {
		name  string
		days  int
		full  bool
		prior int // runs before, a week apart
	}{{"first", 0, false, 0}, {"next", 1, false, 1}, {"epoch", 7, false, 1}, {"retire", 7, false, 5}, {"chain", 1, true, 2}}
	stride := 3
	if os.Getenv("MEDLEDGER_LONG") != "" {
		stride = 1
	}
	random := rand.New(rand.NewPCG(1, 1))
	for _, step := range steps {
		tried := 0
		for e, effect := range disktest.Effects {
			for n := 1 + e%stride; ; n += stride {
				h := newHouse(t)
				for i := range step.prior {
					h.source.add(2)
					h.must(h.source.destroy())
					h.run()
					if i < step.prior-1 {
						h.now = h.now.Add(7 * day)
					}
				}
				before := len(h.source.leaves)
				h.source.add(2)
				h.must(h.source.destroy())
				h.now = h.now.AddDate(0, 0, step.days)
				h.fsys.FailCall(n, effect)
				_, err := h.Run(t.Context(), h.source, h.plan, step.full)
				failed, failure := h.fsys.Failed(), h.fsys.Failure()
				h.fsys.FailNone()
				h.fsys.Crash(disktest.Losses[random.IntN(len(disktest.Losses))], random)
				tried++
				what := step.name + ": " + failure + ", " + string(effect)
				h.survives(what, before, err == nil)
				if _, err := h.Run(t.Context(), h.source, h.plan, false); err != nil {
					t.Fatalf("%s: the next run: %v", what, err)
				}
				h.survives(what+", again", len(h.source.leaves), true)
				h.trimmed(what)
				if !failed {
					break
				}
			}
		}
		t.Logf("%s: %d faults", step.name, tried)
	}
}

// survives holds what is on the two sides to what must be: at least so many events, and
// all of them if the run said that it succeeded.
func (h *house) survives(what string, least int, whole bool) {
	h.t.Helper()
	h.remembers(what)
	r, err := h.read()
	if err != nil && least == 0 && !whole {
		return // the first one never came to be
	}
	if err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
	n := len(r.leaves)
	if !slices.Equal(r.leaves, h.source.leaves[:n]) || n < least || whole && n < len(h.source.leaves) || r.vault != strings.Join(h.source.contents[:n], "") {
		h.t.Fatalf("%s: %d events are left, and %q", what, n, r.vault)
	}
	k, err := OpenKeySide(h.elsewhere(), keysDir)
	if err != nil {
		if least == 0 && !whole {
			return
		}
		h.t.Fatalf("%s: the key side: %v", what, err)
	}
	tree, err := k.Tree()
	if err != nil {
		h.t.Fatalf("%s: the tree: %v", what, err)
	}
	sealed, err := io.ReadAll(tree)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		h.t.Error(err)
	}
	plain, err := h.box.Open(h.t.Context(), k.Key(), sealed, nil)
	if err != nil || !strings.HasPrefix(string(plain), "tree of ") {
		h.t.Fatalf("%s: the tree opens as %q, %v", what, plain, err)
	}
}

// remembers holds the register to what the epochs whose key lives could bring back.
func (h *house) remembers(what string) {
	h.t.Helper()
	e, err := h.config.readEpochs()
	h.must(err)
	list, err := h.source.registered()
	h.must(err)
	for _, epoch := range e.Epochs {
		if h.box.keys[epoch.key()] == nil || epoch.FirstDestroyed == nil {
			continue
		}
		for g := *epoch.FirstDestroyed + 2; g <= h.source.destroyed+1; g++ {
			if !slices.Contains(list, g) {
				h.t.Fatalf("%s: epoch %d could bring back what generation %d destroyed, and the register has only %v", what, epoch.Number, g, list)
			}
		}
	}
}

// trimmed holds the register to have nothing up to the newest snapshot that was retired.
func (h *house) trimmed(what string) {
	h.t.Helper()
	list, err := h.source.registered()
	h.must(err)
	if retired := h.source.destroyed + 1 - uint64(len(h.box.keys)); len(h.box.keys) == 5 && list[0] <= retired {
		h.t.Fatalf("%s: the register has %v, of which nobody needs those up to %d", what, list, retired)
	}
}

// TestFaultsInUnpack fails every call while secrets are unpacked: they are there whole, or
// not at all, and the next call makes them.
func TestFaultsInUnpack(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	h := newHouse(t)
	h.source.add(1)
	h.run()
	for _, effect := range disktest.Effects {
		for n := 1; ; n++ {
			folder := "there" + string(effect) + strings.Repeat("x", n)
			h.fsys.FailCall(n, effect)
			_, err := UnpackSecrets(h.fsys, keysDir, h.identity, folder, "log.key")
			failed := h.fsys.Failed()
			h.fsys.FailNone()
			h.fsys.Crash(disktest.Losses[random.IntN(len(disktest.Losses))], random)
			if _, statErr := h.fsys.Stat(filepath.Join(folder, "log.key")); statErr != nil {
				if err == nil {
					t.Fatalf("call %d, %s: the secrets are gone", n, effect)
				}
				h.unpack(h.identity, folder)
			}
			entries, err := h.fsys.ReadDir(folder)
			if err != nil || len(entries) != 2 {
				t.Errorf("call %d, %s: %v, %v", n, effect, entries, err)
			}
			if !failed {
				break
			}
		}
	}
}
