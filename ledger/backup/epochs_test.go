package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
)

const day = 24 * time.Hour

func (h *house) status() *Status {
	h.t.Helper()
	s, err := h.Status(h.t.Context(), h.source, h.plan)
	h.must(err)
	return s
}

// living lists the epochs that are not retired.
func (s *Status) living() (list []uint64) {
	for _, e := range s.Epochs {
		if !e.Retired {
			list = append(list, e.Number)
		}
	}
	return list
}

// TestSchedule lets a hundred days pass: epochs are made and retired in their time, and
// of those that are retired neither key nor folder is left.
func TestSchedule(t *testing.T) {
	h := newHouse(t)
	for n := range 100 {
		h.source.add(1)
		r := h.run()
		if want := uint64(n/7 + 1); r.Epoch != want {
			t.Fatalf("day %d: epoch %d, want %d", n, r.Epoch, want)
		}
		s := h.status()
		names, _ := h.box.Names(t.Context())
		folders, err := keySide{h.fsys, keysDir}.epochs()
		h.must(err)
		if want := min(n/7+1, 5); len(s.living()) != want || len(names) != want || len(folders) != want || len(s.Overdue) != 0 {
			t.Fatalf("day %d: living %v, keys %v, folders %v, overdue %v; want %d", n, s.living(), names, folders, s.Overdue, want)
		}
		if until := h.now.Add(35*day - time.Duration(n%7)*day); !s.Until().Equal(until) {
			t.Fatalf("day %d: what is destroyed now can come back until %v, want %v", n, s.Until(), until)
		}
		h.now = h.now.Add(day)
	}
}

// TestWhatCouldComeBack counts what each epoch could bring back.
func TestWhatCouldComeBack(t *testing.T) {
	h := newHouse(t)
	h.source.add(10)
	if s := h.status(); len(s.Overdue) != 1 || s.Last != nil || !s.Until().IsZero() || s.Data != nil {
		t.Errorf("before the first backup: %+v", s)
	}
	h.run()
	h.source.destroyed = 2
	h.now = h.now.Add(7 * day)
	h.run() // epoch 2
	h.source.destroyed = 5
	s := h.status()
	if len(s.Epochs) != 2 || s.Epochs[0].Revivable != 5 || s.Epochs[1].Revivable != 3 || s.Data == nil || s.Data.Size != 10 {
		t.Errorf("%+v", s)
	}
	h.run() // the snapshot of epoch 2 is a newer one now, and the first may have been copied
	second := h.plan
	second.Keys = "keys2"
	_, err := h.Run(t.Context(), h.source, second, false) // on another medium, under the same key
	h.must(err)
	if s := h.status(); s.Epochs[0].Revivable != 5 || s.Epochs[1].Revivable != 3 {
		t.Errorf("%+v", s)
	}
	// A restored ledger knows it too.
	c := h.elsewhere()
	h.must(disk.MakeDir(h.fsys, c.Secrets, 0o700))
	k, err := OpenKeySide(c, "keys2")
	h.must(err)
	h.must(k.ImportKeys(t.Context(), h.identity))
	h.must(k.Adopt(t.Context()))
	if s, err := New(c).Status(t.Context(), h.source, second); err != nil || len(s.Epochs) != 1 || s.Epochs[0].Revivable != 3 {
		t.Errorf("restored: %+v, %v", s, err)
	}
	// Of an epoch from before format 2 it is not known.
	e, err := c.readEpochs()
	h.must(err)
	e.Format, e.Epochs[0].FirstDestroyed = 1, nil
	h.must(c.saveEpochs(e))
	if s, err := New(c).Status(t.Context(), h.source, second); err != nil || s.Epochs[0].Revivable != 5 {
		t.Errorf("format 1: %+v, %v", s, err)
	}
	h.now = h.now.Add(2*day + time.Hour)
	if s := h.status(); len(s.Overdue) != 1 || !strings.Contains(s.Overdue[0], "no backup") {
		t.Errorf("after two days without a backup: %v", s.Overdue)
	}
	h.now = h.now.Add(35 * day)
	if s := h.status(); len(s.Overdue) != 2 && len(s.Overdue) != 3 || !s.Epochs[0].Due {
		t.Errorf("after the day of retirement: %+v", s)
	}
	h.must(h.Retire(t.Context()))
	if s := h.status(); !s.Epochs[0].Retired || s.Epochs[0].Revivable != 0 {
		t.Errorf("retired: %+v", s)
	}
}

// TestOldSnapshotsGo: of an epoch there is one snapshot, the newest.
func TestOldSnapshotsGo(t *testing.T) {
	h := newHouse(t)
	for range 4 {
		h.source.add(1)
		h.run()
		entries, err := h.fsys.ReadDir("keys/epoch-0001")
		h.must(err)
		if len(entries) != 3 {
			t.Errorf("the epoch's folder has %v", entries)
		}
	}
}

// TestMediumAway: an epoch that is retired while its medium is away is removed from it when
// it is seen again, and cannot be restored from in between.
func TestMediumAway(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run() // on the first medium
	away := h.plan
	h.plan.Keys, h.plan.Data = "keys2", "data2"
	h.now = h.now.Add(7 * day)
	h.run()
	for range 6 {
		h.now = h.now.Add(7 * day)
		h.run()
	}
	s := h.status()
	if first := s.Epochs[0]; first.Number != 1 || !first.Retired || len(first.Media) != 1 {
		t.Errorf("the first epoch is %+v", first)
	}
	if _, err := OpenKeySide(h.config, away.Keys); !errors.Is(err, ErrRetired) {
		t.Errorf("a key side of a retired epoch: %v", err)
	}
	// Elsewhere nobody knows, but the day has come.
	c := h.elsewhere()
	k, err := OpenKeySide(c, away.Keys)
	h.must(err)
	if err := k.ImportKeys(t.Context(), h.identity); !errors.Is(err, ErrRetired) {
		t.Errorf("the key of a retired epoch was imported: %v", err)
	}
	h.plan = away
	h.run()
	for _, e := range h.status().Epochs {
		if e.Number == 1 {
			t.Error("the first epoch is still remembered")
		}
	}
	if _, err := h.fsys.Stat("keys/epoch-0001"); err == nil {
		t.Error("the retired epoch is still on its medium")
	}
}

// TestRetiredWhateverFails: a backup that cannot be taken does not keep an epoch alive.
func TestRetiredWhateverFails(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	h.now = h.now.Add(35 * day)
	h.plan.Keys = secretsDir // none that can be written
	if _, err := h.Run(t.Context(), h.source, h.plan, false); err == nil {
		t.Error("a backup into a folder with something else")
	}
	if names, _ := h.box.Names(t.Context()); len(names) != 0 {
		t.Errorf("keys %v are left", names)
	}
	// Nor does a plan that makes no sense, or an epoch whose custody is away.
	h = newHouse(t)
	h.source.add(1)
	h.run()
	e, err := h.config.readEpochs()
	h.must(err)
	e.Last, e.Epochs = 2, append(e.Epochs, e.Epochs[0])
	e.Epochs[0].Custody, e.Epochs[1].Number = custody.Token, 2
	h.must(h.config.saveEpochs(e))
	h.must(h.box.Create(t.Context(), "epoch-0002"))
	h.now = h.now.Add(35 * day)
	if s := h.status(); len(s.Overdue) != 3 {
		t.Errorf("on the day itself: overdue %v", s.Overdue)
	}
	if _, err := h.Run(t.Context(), h.source, Plan{Recipients: []string{"age1nonsense"}}, false); !errors.Is(err, custody.ErrUnavailable) {
		t.Error(err)
	}
	if h.box.keys["epoch-0002"] != nil {
		t.Error("a retired epoch's key is left")
	}
	// And custody that fails is said.
	h = newHouse(t)
	h.source.add(1)
	h.run()
	h.now = h.now.Add(35 * day)
	h.box.down = custody.ErrUnavailable
	if _, err := h.Run(t.Context(), h.source, h.plan, false); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("custody away: %v", err)
	}
	if s := h.status(); !s.Epochs[0].Due {
		t.Errorf("%+v", s)
	}
}

// TestEpochsLost: a folder of secrets that has lost its epochs, or has older ones than the
// key side, is refused.
func TestEpochsLost(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	path := filepath.Join(secretsDir, EpochsFile)
	old, err := disk.ReadFile(h.fsys, path)
	h.must(err)
	h.now = h.now.Add(8 * day)
	h.run()
	h.must(disk.WriteFile(h.fsys, path, old, 0o600))
	if _, err := h.Run(t.Context(), h.source, h.plan, false); err == nil || !strings.Contains(err.Error(), "older than this key side") {
		t.Errorf("older epochs: %v", err)
	}
	h.must(disk.WriteFile(h.fsys, path, bytes.Replace(old, []byte(`"last":1`), []byte(`"last":2`), 1), 0o600))
	if _, err := h.Run(t.Context(), h.source, h.plan, false); !errors.Is(err, ErrAltered) {
		t.Errorf("altered epochs: %v", err)
	}
	h.must(h.fsys.Remove(path))
	if _, err := h.Run(t.Context(), h.source, h.plan, false); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("no epochs: %v", err)
	}
	if names, _ := h.box.Names(t.Context()); len(names) != 2 {
		t.Errorf("keys %v are left", names)
	}
}

// TestKeySideAltered: an altered tree, manifest or key is refused.
func TestKeySideAltered(t *testing.T) {
	for _, name := range []string{"tree-1", manifestFile, keyFile} {
		h := newHouse(t)
		h.source.add(1)
		h.run()
		path := filepath.Join(keysDir, "epoch-0001", name)
		raw, err := disk.ReadFile(h.fsys, path)
		h.must(err)
		raw[len(raw)/2] ^= 1
		h.must(disk.WriteFile(h.fsys, path, raw, 0o600))
		err = func() error {
			k, err := OpenKeySide(h.elsewhere(), keysDir)
			if err != nil {
				return err
			}
			if err := k.ImportKeys(t.Context(), h.identity); err != nil {
				return err
			}
			tree, err := k.Tree()
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, tree)
			return errors.Join(err, tree.Close())
		}()
		if err == nil {
			t.Errorf("%s was altered, and nobody said so", name)
		}
	}
}

// TestSecretsFollow: the key side has the secrets and recipients of now.
func TestSecretsFollow(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	read := func() []byte {
		raw, err := disk.ReadFile(h.fsys, filepath.Join(keysDir, secretsFile))
		h.must(err)
		return raw
	}
	first := read()
	h.run()
	if !bytes.Equal(read(), first) {
		t.Error("secrets that did not change were written again")
	}
	h.must(disk.WriteFile(h.fsys, filepath.Join(secretsDir, "statement-1.pem"), []byte("new"), 0o600))
	h.run()
	if bytes.Equal(read(), first) {
		t.Error("a new secret was not written")
	}
	identity, recipient, err := NewIdentity()
	h.must(err)
	h.plan.Recipients = append(h.plan.Recipients, recipient)
	h.run()
	second, err := ParseIdentities([]byte(identity))
	h.must(err)
	h.unpack(second, "there")
	k, err := OpenKeySide(h.elsewhere(), keysDir)
	h.must(err)
	h.must(k.ImportKeys(t.Context(), second))
}

// token is a box that gives nothing away.
type token struct{ custody.Custody }

func (token) Kind() custody.Kind { return custody.Token }

// TestMovedCustody moves the ledger to a token: the next backup begins an epoch there, of
// which no copy of the key is on the key side; the keys of those before die in the folder,
// on their day; and what is in a token that is there no longer is said.
func TestMovedCustody(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	moved := h.config
	in := &box{keys: map[string][]byte{}}
	moved.Custody, moved.Elsewhere = token{in}, h.box
	h.source.custody, h.Backups = moved.Custody, New(moved)
	if r := h.run(); r.Epoch != 2 {
		t.Errorf("the epoch after the move: %+v", r)
	}
	if _, err := h.fsys.Stat("keys/epoch-0002/key.age"); err == nil {
		t.Error("a token's key is on the key side")
	}
	k, err := OpenKeySide(h.elsewhere(), keysDir)
	h.must(err)
	if err := k.ImportKeys(t.Context(), h.identity); !errors.Is(err, custody.ErrNoKey) {
		t.Errorf("restored without the token: %v", err)
	}
	h.now = h.now.Add(35 * day)
	back := h.config
	h.source.custody, h.Backups = back.Custody, New(back)
	if err := h.Retire(t.Context()); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("the token is away: %v", err)
	}
	h.Backups = New(moved)
	h.must(h.Retire(t.Context()))
	if len(h.box.keys)+len(in.keys) != 0 {
		t.Errorf("keys are left: %v, %v", h.box.keys, in.keys)
	}
}

// TestOnlyTheNewestKeyCounts moves the ledger to a token and out of it again. Restored is
// with the key of the newest epoch, whatever became of the earlier ones; and those whose
// key is elsewhere are alive, there, for nobody has destroyed it.
func TestOnlyTheNewestKeyCounts(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	in := &box{keys: map[string][]byte{}}
	moved := h.config
	moved.Custody, moved.Elsewhere = token{in}, h.box
	h.source.custody, h.Backups = moved.Custody, New(moved)
	h.run() // epoch 2, in the token
	folders := 0
	adopted := func(c Config) []Epoch {
		t.Helper()
		folders++
		c.Secrets = fmt.Sprint("elsewhere-", folders)
		h.must(disk.MakeDir(h.fsys, c.Secrets, 0o700))
		k, err := OpenKeySide(c, keysDir)
		h.must(err)
		h.must(k.ImportKeys(t.Context(), h.identity))
		if holder, err := k.Holder(t.Context()); err != nil || holder.Kind() != h.source.custody.Kind() {
			t.Errorf("the newest key is in %v, %v", holder, err)
		}
		h.must(k.Adopt(t.Context()))
		e, err := c.readEpochs()
		h.must(err)
		for _, epoch := range e.Epochs {
			if epoch.Retired {
				t.Errorf("epoch %d counts as retired, and its key lives", epoch.Number)
			}
		}
		return e.Epochs
	}
	with := h.elsewhere()
	with.Custody, with.Elsewhere = token{in}, nil
	if e := adopted(with); len(e) != 2 || e[0].Custody != custody.File || e[1].Custody != custody.Token {
		t.Errorf("restored with the token: %+v", e)
	}
	// A scratch custody takes nothing of the token's.
	scratch := h.elsewhere()
	scratch.Elsewhere = token{in}
	adopted(scratch)
	if names, _ := scratch.Custody.Names(t.Context()); len(names) != 1 || len(in.keys) != 1 {
		t.Errorf("keys %v in the scratch custody, %d in the token", names, len(in.keys))
	}
	h.source.custody, h.Backups = h.box, New(h.config)
	h.run() // epoch 3, in the folder again
	path := filepath.Join(keysDir, "epoch-0001", keyFile)
	h.must(disk.WriteFile(h.fsys, path, []byte("damaged"), 0o600))
	if e := adopted(h.elsewhere()); len(e) != 3 || e[1].Custody != custody.Token || e[2].Custody != custody.File {
		t.Errorf("restored without the token: %+v", e)
	}
}

// TestRegisterIsTrimmed: what only retired epochs could bring back the register drops when
// they are retired; what a living one could it keeps, and an epoch that is retired before an
// earlier one waits for that.
func TestRegisterIsTrimmed(t *testing.T) {
	h := newHouse(t)
	has := func(what string, want ...uint64) {
		t.Helper()
		if got, err := h.source.registered(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: the register has %v, want %v, %v", what, got, want, err)
		}
	}
	for range 3 { // epochs 1 to 3, with snapshots of generations 2 to 4
		h.source.add(1)
		h.must(h.source.destroy())
		h.run()
		h.now = h.now.Add(7 * day)
	}
	h.must(h.source.destroy())
	has("while all live", 2, 3, 4, 5)
	e, err := h.config.readEpochs()
	h.must(err)
	h.must(h.config.retireThose(t.Context(), e, func(epoch *Epoch) bool { return epoch.Number == 2 }))
	has("the second is retired before the first", 2, 3, 4, 5)
	h.now = h.now.Add(14 * day)
	// The register cannot be written: the backup is taken, the medium is cleaned, and the
	// epochs that tell what to drop are remembered.
	h.source.trimFails = errors.New("damaged")
	h.run()
	has("it could not be written", 2, 3, 4, 5)
	if s := h.status(); len(s.Epochs) != 4 || !s.Epochs[0].Retired || len(s.Epochs[0].Media)+len(s.Epochs[1].Media) != 0 {
		t.Errorf("the epochs that tell what to drop are forgotten: %+v", s.Epochs)
	}
	// Nor does a retirement without a vault forget them: a move of custody.
	closed := h.config
	closed.Trim = nil
	h.must(New(closed).RetireIn(t.Context(), custody.Token))
	if s := h.status(); len(s.Epochs) != 4 {
		t.Errorf("forgotten without a vault: %+v", s.Epochs)
	}
	h.source.trimFails = nil
	h.must(h.Retire(t.Context()))
	has("the first two are retired", 4, 5)
	if s := h.status(); len(s.Epochs) != 2 || s.Epochs[0].Number != 3 {
		t.Errorf("remembered still: %+v", s.Epochs)
	}
	h.must(h.RetireIn(t.Context(), custody.File))
	has("all are retired", []uint64{}...)
	if s := h.status(); len(s.Epochs) != 2 || !s.Until().IsZero() {
		t.Errorf("%+v", s.Epochs)
	}
}

// TestGenerationThatWas: whoever restores learns of the latest generation that a snapshot
// had, also of one that is not on this medium: the register is trimmed by them.
func TestGenerationThatWas(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	h.run()
	other := h.plan
	other.Keys = "keys2"
	h.must(h.source.destroy())
	_, err := h.Run(t.Context(), h.source, other, false)
	h.must(err)
	k, err := OpenKeySide(h.config, keysDir)
	h.must(err)
	if g := k.Generation(); k.Snapshot().Generation != 1 || g != 2 {
		t.Errorf("with the secrets: generation %d of snapshot %+v", g, k.Snapshot())
	}
	if k, err = OpenKeySide(h.elsewhere(), "keys2"); err != nil || k.Generation() != 2 {
		t.Errorf("without: %+v, %v", k, err)
	}
}
