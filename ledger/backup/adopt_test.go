package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger/custody"
)

// twoMedia is a ledger with its keys in a token and its key side on two media in turn, and
// the configuration of a new machine with that token. The first medium has epoch 1, the
// other one epoch 2 alone, and so it is on the day on which epoch 2 was made.
func twoMedia(t *testing.T) (h *house, other Plan, c Config) {
	h = newHouse(t)
	h.config.Custody = token{h.box}
	h.source.custody, h.Backups = h.config.Custody, New(h.config)
	h.source.add(1)
	h.must(h.source.destroy())
	h.run()
	other = h.plan
	other.Keys = "keys2"
	h.now = h.now.Add(7 * day)
	_, err := h.Run(t.Context(), h.source, other, false)
	h.must(err)
	c = h.elsewhere()
	c.Custody = token{h.box}
	return h, other, c
}

// restore makes the epochs anew of the first medium.
func (h *house) restore(c Config) error {
	if err := disk.MakeDir(h.fsys, c.Secrets, 0o700); err != nil {
		return err
	}
	k, err := OpenKeySide(c, keysDir)
	if err != nil {
		return err
	}
	if err := k.ImportKeys(h.t.Context(), h.identity); err != nil {
		return err
	}
	return k.Adopt(h.t.Context())
}

// TestAdopted restores from one medium in the token in which the key of an epoch lives that
// only another medium has: it is known, its number is not used again, its key lives until its
// day and no longer, and the other medium is of use for as long.
func TestAdopted(t *testing.T) {
	h, other, c := twoMedia(t)
	h.must(h.source.destroy())
	sealed := slices.Clone(h.box.keys["epoch-0002"])
	h.must(h.restore(c))
	h.Backups = New(c)
	s := h.status()
	if len(s.Epochs) != 2 || s.Epochs[0].Adopted || !s.Epochs[1].Adopted {
		t.Fatalf("restored: %+v", s.Epochs)
	}
	found := s.Epochs[1]
	if found.Number != 2 || found.Custody != custody.Token || !found.Made.Equal(h.now) || !found.Closes.Equal(h.now) ||
		!found.Retires.Equal(h.now.Add(DefaultKeep)) || found.Snapshot != nil || len(found.Media) != 0 || found.Revivable != 2 {
		t.Errorf("it is %+v", found)
	}
	if _, err := h.Run(t.Context(), h.source, other, false); err == nil || !strings.Contains(err.Error(), "older than this key side") {
		t.Errorf("a key side that is newer than all that is known: %v", err)
	}
	if r := h.run(); r.Epoch != 3 {
		t.Errorf("the next epoch is %d", r.Epoch)
	}
	if _, err := h.Run(t.Context(), h.source, other, false); err != nil {
		t.Errorf("the other medium: %v", err)
	}
	h.now = h.now.Add(DefaultKeep - time.Second)
	h.must(h.Retire(t.Context()))
	if !slices.Equal(h.box.keys["epoch-0002"], sealed) {
		t.Error("its key was destroyed before its day")
	}
	if _, err := h.fsys.Stat("keys2/epoch-0002/snapshot"); err != nil {
		t.Errorf("its snapshot, before its day: %v", err)
	}
	h.now = h.now.Add(time.Second)
	if s := h.status(); !s.Epochs[slices.IndexFunc(s.Epochs, func(e EpochStatus) bool { return e.Adopted })].Due {
		t.Errorf("on its day: %+v", s.Epochs)
	}
	h.must(h.Retire(t.Context()))
	if h.box.keys["epoch-0002"] != nil {
		t.Error("its key is there after its day")
	}
	if s := h.status(); slices.ContainsFunc(s.Epochs, func(e EpochStatus) bool { return e.Adopted }) {
		t.Errorf("it is remembered: %+v", s.Epochs)
	}
	if _, err := h.Run(t.Context(), h.source, other, false); err != nil {
		t.Errorf("the other medium, after the day: %v", err)
	}
	if _, err := h.fsys.Stat("keys2/epoch-0002"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its snapshot is on the other medium still: %v", err)
	}
}

// TestAdoptedAsLongAs: an adopted epoch lives as long as the newest one that is known was to.
func TestAdoptedAsLongAs(t *testing.T) {
	h := newHouse(t)
	h.plan.Keep = 90 * day
	h.source.add(1)
	h.run()
	h.must(h.box.Create(t.Context(), "epoch-0005"))
	h.must(h.box.Create(t.Context(), "epoch-0007"))
	h.now = h.now.Add(day)
	h.must(New(h.config).Retire(t.Context()))
	s := h.status()
	if len(s.Epochs) != 3 || !s.Epochs[1].Retires.Equal(h.now.Add(90*day)) || !s.Epochs[2].Retires.Equal(h.now.Add(90*day)) {
		t.Errorf("%+v", s.Epochs)
	}
	if r := h.run(); r.Epoch != 8 {
		t.Errorf("the next epoch is %d", r.Epoch)
	}
	// A clock that is set back makes no adopted epoch one to be used.
	h.must(h.box.Create(t.Context(), "epoch-0009"))
	h.must(New(h.config).Retire(t.Context()))
	h.now = h.now.Add(-time.Hour)
	if r := h.run(); r.Epoch != 10 {
		t.Errorf("the clock was set back: epoch %d", r.Epoch)
	}
}

// TestNotAdopted: names that are no epoch's, and numbers after which there is none.
func TestNotAdopted(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	names := []string{"root-0011-1", "epoch-5", "epoch-0000", "epoch-00005", "epoch-0005-x", "epoch-18446744073709551615", fmt.Sprint("epoch-", maxNumber+1)}
	for _, name := range names {
		h.must(h.box.Create(t.Context(), name))
	}
	h.must(h.Retire(t.Context()))
	h.now = h.now.Add(7 * day)
	if r := h.run(); r.Epoch != 2 || len(h.status().Epochs) != 2 {
		t.Errorf("%+v, %+v", r, h.status().Epochs)
	}
	h.now = h.now.Add(365 * day)
	h.must(h.Retire(t.Context()))
	for _, name := range names {
		if h.box.keys[name] == nil {
			t.Errorf("%s was destroyed", name)
		}
	}
}

// TestAdoptedInTheOtherCustody: a token has a key of a number that an epoch in the folder has.
// Both live, each until its day, and the ledger leaves the token only without it.
func TestAdoptedInTheOtherCustody(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	in := &box{keys: map[string][]byte{}}
	h.must(in.Create(t.Context(), "epoch-0001"))
	moved := h.config
	moved.Custody, moved.Elsewhere = token{in}, h.box
	b := New(moved)
	if living, err := b.LivingIn(t.Context(), custody.Token); err != nil || !slices.Equal(living, []uint64{1}) {
		t.Errorf("before it is adopted there live %v, %v", living, err)
	}
	h.now = h.now.Add(day)
	h.source.custody, h.Backups = moved.Custody, b
	if r := h.run(); r.Epoch != 2 {
		t.Errorf("%+v", r)
	}
	if s := h.status(); len(s.Epochs) != 3 || s.Epochs[0].Adopted || !s.Epochs[1].Adopted || s.Epochs[1].Number != 1 {
		t.Errorf("%+v", s.Epochs)
	}
	h.now = h.now.Add(34 * day) // that of the one in the folder
	h.must(h.Retire(t.Context()))
	if h.box.keys["epoch-0001"] != nil || in.keys["epoch-0001"] == nil {
		t.Error("the key of the wrong one was destroyed")
	}
	h.must(in.Create(t.Context(), "epoch-0009"))
	h.must(h.RetireIn(t.Context(), custody.Token))
	if len(in.keys) != 0 {
		t.Errorf("keys are left in the token: %v", in.keys)
	}
}

// TestNotTrimmedForAdopted: what an adopted epoch could bring back is not known, so the
// register has everything while one lives.
func TestNotTrimmedForAdopted(t *testing.T) {
	h := newHouse(t)
	for range 2 { // epochs 1 and 2
		h.source.add(1)
		h.must(h.source.destroy())
		h.run()
		h.now = h.now.Add(7 * day)
	}
	h.must(h.box.Create(t.Context(), "epoch-0007"))
	h.must(h.source.destroy())
	h.run()                           // epoch 8
	h.now = h.now.Add(28*day + 1*day) // epochs 1 and 2 have had their day
	h.run()
	if list, err := h.source.registered(); err != nil || !slices.Equal(list, []uint64{2, 3, 4}) {
		t.Errorf("while it lives the register has %v, %v", list, err)
	}
	h.now = h.now.Add(35 * day)
	h.run()
	h.now = h.now.Add(35 * day)
	h.must(h.Retire(t.Context()))
	if list, err := h.source.registered(); err != nil || len(list) != 0 {
		t.Errorf("after all had their day: %v, %v", list, err)
	}
}

// TestCrashInMaking crashes between an epoch's key and its being written: the key is adopted,
// and the next epoch has another number.
func TestCrashInMaking(t *testing.T) {
	for _, prior := range []uint64{0, 1} {
		h := newHouse(t)
		h.source.add(1)
		if prior > 0 {
			h.run()
			h.now = h.now.Add(7 * day)
		}
		// What is there when the key was made and backup-epochs was not written.
		h.must(h.box.Create(t.Context(), epochKey(prior+1)))
		left := slices.Clone(h.box.keys[epochKey(prior+1)])
		r := h.run()
		if s := h.status(); r.Epoch != prior+2 || len(s.Epochs) != int(prior)+2 || !s.Epochs[prior].Adopted {
			t.Errorf("after %d epochs: epoch %d, %+v", prior, r.Epoch, s.Epochs)
		}
		if !slices.Equal(h.box.keys[epochKey(prior+1)], left) {
			t.Errorf("after %d epochs: the key that a crash left is another one, or none", prior)
		}
	}
}

// TestAdoptWhateverFails: a custody that cannot be looked into keeps no epoch of another one
// alive, and is looked into again.
func TestAdoptWhateverFails(t *testing.T) {
	h, _, c := twoMedia(t)
	h.must(h.restore(c))
	h.must(h.box.Create(t.Context(), "epoch-0005"))
	away := &box{keys: map[string][]byte{}, down: custody.ErrUnavailable}
	c.Elsewhere = away
	h.Backups = New(c)
	if err := h.Retire(t.Context()); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("the folder is away: %v", err)
	}
	if s := h.status(); len(s.Epochs) != 3 || s.Epochs[2].Number != 5 {
		t.Errorf("the token's was not adopted: %+v", s.Epochs)
	}
	h.now = h.now.Add(40 * day)
	if err := h.Retire(t.Context()); !errors.Is(err, custody.ErrUnavailable) || len(h.box.keys) != 0 {
		t.Errorf("on their day: %v, keys %v", err, h.box.keys)
	}
	away.down = nil
	away.keys["epoch-0006"] = make([]byte, custody.KeySize)
	h.must(h.Retire(t.Context()))
	if s := h.status(); !slices.ContainsFunc(s.Epochs, func(e EpochStatus) bool { return e.Number == 6 && e.Custody == custody.File }) {
		t.Errorf("once it is there again: %+v", s.Epochs)
	}
}

// TestFaultsInAdoption fails every call of a restoration and of the first run after it, in
// every way, and crashes. Whatever is left, the key that nobody knows is not destroyed, and
// once both were repeated it is an epoch, whose number is not used.
func TestFaultsInAdoption(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	steps := map[string]func(h *house, c Config) error{
		"restoring": func(h *house, c Config) error { return h.restore(c) },
		"retiring":  func(h *house, c Config) error { return New(c).Retire(h.t.Context()) },
		"running": func(h *house, c Config) error {
			_, err := New(c).Run(h.t.Context(), h.source, h.plan, false)
			return err
		},
	}
	for name, step := range steps {
		tried := 0
		for _, effect := range disktest.Effects {
			for n := 1; ; n++ {
				h, _, c := twoMedia(t)
				if name != "restoring" {
					h.must(h.restore(c))
					h.must(h.box.Create(t.Context(), "epoch-0004"))
				}
				h.fsys.FailCall(n, effect)
				_ = step(h, c) // whatever it says
				failed, failure := h.fsys.Failed(), h.fsys.Failure()
				h.fsys.FailNone()
				h.fsys.Crash(disktest.Losses[random.IntN(len(disktest.Losses))], random)
				tried++
				what := fmt.Sprintf("%s: %s, %s", name, failure, effect)
				known := slices.Sorted(maps.Keys(h.box.keys))
				h.must(h.restore(c))
				r, err := New(c).Run(t.Context(), h.source, h.plan, false)
				if err != nil {
					t.Fatalf("%s: the run after it: %v", what, err)
				}
				e, err := c.readEpochs()
				h.must(err)
				for _, key := range known {
					number, _ := parseEpochKey(key)
					if h.box.keys[key] == nil || !e.has(number, custody.Token) || key == "epoch-0002" && !e.find(2).Adopted {
						t.Fatalf("%s: %s was destroyed, or is not known: %+v", what, key, e.Epochs)
					}
				}
				if current := e.find(r.Epoch); current.Adopted || r.Epoch != e.made() || r.Epoch < 3 {
					t.Fatalf("%s: epoch %d of %+v", what, r.Epoch, e.Epochs)
				}
				if !failed {
					break
				}
			}
		}
		t.Logf("%s: %d faults", name, tried)
	}
}

// TestEpochsAreStrict: lists in which epochs are not in order, or twice, are refused.
func TestEpochsAreStrict(t *testing.T) {
	h := newHouse(t)
	epoch := func(n uint64, in custody.Kind, adopted bool) Epoch {
		return Epoch{Number: n, Custody: in, Adopted: adopted}
	}
	for name, c := range map[string]struct {
		last   uint64
		epochs []Epoch
		good   bool
	}{
		"in order":           {9, []Epoch{epoch(1, custody.File, false), epoch(2, custody.File, true), epoch(9, custody.File, false)}, true},
		"two custodies":      {1, []Epoch{epoch(1, custody.File, false), epoch(1, custody.Token, true)}, true},
		"both adopted":       {1, []Epoch{epoch(1, custody.File, true), epoch(1, custody.Token, true)}, true},
		"twice":              {1, []Epoch{epoch(1, custody.File, false), epoch(1, custody.File, true)}, false},
		"made twice":         {1, []Epoch{epoch(1, custody.File, false), epoch(1, custody.Token, false)}, false},
		"adopted goes first": {1, []Epoch{epoch(1, custody.File, true), epoch(1, custody.Token, false)}, false},
		"out of order":       {2, []Epoch{epoch(2, custody.File, false), epoch(1, custody.File, true)}, false},
		"beyond the last":    {1, []Epoch{epoch(2, custody.File, true)}, false},
		"no number":          {1, []Epoch{epoch(0, custody.File, true)}, false},
	} {
		e := &epochs{Format: epochsFormat, Origin: testOrigin, Last: c.last, Epochs: c.epochs}
		if err := e.check(&h.config); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What an earlier program wrote does not have the new word, and is read.
	raw, err := json.Marshal(epoch(1, custody.File, false))
	if err != nil || strings.Contains(string(raw), "adopted") {
		t.Errorf("%s, %v", raw, err)
	}
	h.must(h.config.saveEpochs(&epochs{Format: 2, Origin: testOrigin, Last: 1, Epochs: []Epoch{epoch(1, custody.File, false)}}))
	if e, err := h.config.readEpochs(); err != nil || len(e.Epochs) != 1 || e.Format != epochsFormat {
		t.Errorf("format 2: %+v, %v", e, err)
	}
}

// TestAnotherEpochOfTheNumber: with custody in a folder a restored ledger cannot know which
// numbers another medium has. What that has of an epoch of the same number gives way, its key
// too: it would not open what is written now. Whatever fails while it does, the next run
// makes the medium good.
func TestAnotherEpochOfTheNumber(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	for _, effect := range disktest.Effects {
		for n, failed := 1, true; failed; n++ {
			h := newHouse(t)
			h.source.add(1)
			h.run()
			other := h.plan
			other.Keys = "keys2"
			h.now = h.now.Add(7 * day)
			_, err := h.Run(t.Context(), h.source, other, false) // epoch 2, on the other medium
			h.must(err)
			c := h.elsewhere()
			h.must(h.restore(c))
			h.source.custody, h.Backups = c.Custody, New(c)
			h.now = h.now.Add(day)
			h.run() // another epoch 2
			h.source.add(1)
			h.fsys.FailCall(n, effect)
			_, _ = h.Run(t.Context(), h.source, other, false) // whatever it says
			failed = h.fsys.Failed()
			what := fmt.Sprintf("%s, %s", h.fsys.Failure(), effect)
			h.fsys.FailNone()
			h.fsys.Crash(disktest.Losses[random.IntN(len(disktest.Losses))], random)
			_, err = h.Run(t.Context(), h.source, other, false)
			h.must(err)
			c = h.elsewhere()
			c.Secrets = "third"
			k, err := OpenKeySide(c, other.Keys)
			h.must(err)
			h.must(k.ImportKeys(t.Context(), h.identity))
			tree, err := k.Tree()
			h.must(err)
			sealed, err := io.ReadAll(tree)
			h.must(errors.Join(err, tree.Close()))
			if plain, err := c.Custody.Open(t.Context(), k.Key(), sealed, nil); err != nil || string(plain) != "tree of 2" {
				t.Fatalf("%s: the other medium's tree is %q, %v", what, plain, err)
			}
		}
	}
}
