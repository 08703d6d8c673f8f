package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk/disktest"
)

// swapStory is a vault in which some records are destroyed while something fails.
type swapStory struct {
	*story
	custody *faultyCustody
	keys    map[events.ID][keySize]byte
	slots   map[events.ID]slot
	doomed  []events.ID
	attempt uint64 // the generation before
	fault   func(s step, after bool) error
}

// newSwapStory makes a vault whose tree has several levels, with a discarded slot.
func newSwapStory(t *testing.T, doomed int) (*swapStory, *Vault) {
	s := &swapStory{story: newStory(t), keys: map[events.ID][keySize]byte{}, slots: map[events.ID]slot{}}
	s.custody = &faultyCustody{Custody: s.cfg.Custody}
	s.cfg.Custody, s.cfg.fanOut, s.records = s.custody, 3, nil
	v, err := open(ctx, s.cfg, s.hook)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 14 {
		id := events.ID{byte(i + 1), 7}
		s.records = append(s.records, id)
		mustPut(t, v, id, 1, pattern(100+i))
		if s.slots[id], s.keys[id], err = v.keys.recordKey(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	gone := s.records[13]
	if err := v.Discard(ctx, gone, 1); err != nil {
		t.Fatal(err)
	}
	s.records = s.records[:13]
	for i := range doomed {
		s.doomed = append(s.doomed, s.records[i*5%13])
	}
	s.attempt = v.keys.tree.state.generation
	return s, v
}

func (s *swapStory) hook(at step, after bool) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(at, after)
}

// destroy destroys what is doomed in one commit, and returns its error.
func (s *swapStory) destroy(v *Vault) error {
	batch := make([]*request, len(s.doomed))
	for i, id := range s.doomed {
		v.shut(recordName(id))
		batch[i] = &request{op: opDestroy, name: recordName(id), done: make(chan struct{})}
	}
	_ = v.commit(batch) // the committing goroutine waits; each request has the error
	return batch[0].err
}

// openAgain opens the vault after a crash, as often as it takes.
func (s *swapStory) openAgain(tries int) *Vault {
	s.t.Helper()
	for {
		v, err := open(ctx, s.cfg, s.hook)
		if err == nil {
			return v
		}
		if tries--; tries < 0 {
			s.t.Fatalf("does not open again: %v", err)
		}
	}
}

// judgeSwap holds the vault to all or nothing: what is doomed is destroyed or as
// before, everything else opens, no root key is left over.
func (s *swapStory) judgeSwap(v *Vault, acknowledged bool) {
	t := s.t
	t.Helper()
	dead := map[events.ID]bool{}
	for _, id := range s.doomed {
		_, err := v.Get(ctx, id, 1)
		dead[id] = errors.Is(err, ErrDestroyed)
		if err != nil && !dead[id] || acknowledged && !dead[id] {
			t.Errorf("the destroyed record %v answers %v", id, err)
		}
		if dead[id] != dead[s.doomed[0]] {
			t.Error("half of what was destroyed together is destroyed")
		}
	}
	living := map[slot][keySize]byte{}
	err := walkTree(ctx, v.keys.reader, s.custody, func(at slot, key *[keySize]byte) error { living[at] = *key; return nil })
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range s.records {
		if dead[id] {
			if key, there := living[s.slots[id]]; there || key == s.keys[id] {
				t.Errorf("the slot of the destroyed record %v has a key", id)
			}
			continue
		}
		mustRead(t, v, id, 1, pattern(100+i))
	}
	for at, key := range living {
		for id := range dead {
			if dead[id] && key == s.keys[id] {
				t.Errorf("a destroyed key is in slot %d", at)
			}
		}
	}
	s.judgeRoots(v, dead[s.doomed[0]])
	s.judgeRegister(dead)
}

func (s *swapStory) judgeRoots(v *Vault, destroyed bool) {
	t := s.t
	t.Helper()
	wantRoots(t, s.custody, 1)
	stats, err := v.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if destroyed && stats.Generation <= s.attempt || stats.Generation < s.attempt || destroyed && stats.Doomed > 0 {
		t.Errorf("generation %d after %d, %d slots doomed", stats.Generation, s.attempt, stats.Doomed)
	}
	var staged int
	if err := v.keys.reader.QueryRowContext(ctx, "SELECT count(*) FROM staged").Scan(&staged); err != nil || staged > 0 {
		t.Errorf("%d nodes are staged, %v", staged, err)
	}
}

func (s *swapStory) judgeRegister(dead map[events.ID]bool) {
	t := s.t
	t.Helper()
	list, err := ReadRegister(s.fsys, s.cfg.Register)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, id := range s.records {
		there := slices.ContainsFunc(list, func(d Destroyed) bool { return slot(d.Slot) == s.slots[id] })
		if there != dead[id] {
			t.Errorf("record %v is in the register: %v; destroyed: %v", id, there, dead[id])
		}
	}
}

// run destroys with a fault, ends the vault's life, and judges what the next one is.
func (s *swapStory) run(v *Vault, n int) {
	t := s.t
	t.Helper()
	err := s.destroy(v)
	random := rand.New(rand.NewPCG(uint64(n), 5))
	s.fault = nil
	s.custody.fail(0, false)
	s.fsys.FailNone()
	s.end(v, []ending{process, power, closed}[n%3], disktest.Losses[random.IntN(len(disktest.Losses))], random)
	v = s.openAgain(0)
	s.judgeSwap(v, err == nil)
	if err := s.destroy(v); err != nil {
		t.Fatalf("destroyed again: %v", err)
	}
	s.judgeSwap(v, true)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = s.openAgain(0)
	defer v.Close()
	s.judgeSwap(v, true)
	mustPut(t, v, events.MustNewID(), 1, pattern(10))
}

// TestFaultsOfSwap fails every step of a destruction, of one record and of several
// together, before and after it.
func TestFaultsOfSwap(t *testing.T) {
	steps := []step{stepWrite, stepCommit, stepRoot, stepStage, stepVerify, stepRegister, stepGeneration, stepRetire, stepTruncate}
	for n, at := range slices.Repeat(steps, 12) {
		doomed, after := []int{1, 4}[n/len(steps)%2], n/len(steps)/2%2 == 0
		if n/len(steps) >= 4 && !long() {
			return // in the long run with every ending
		}
		t.Run(fmt.Sprintf("step%d/after=%v/%d/%d", at, after, doomed, n), func(t *testing.T) {
			s, v := newSwapStory(t, doomed)
			hit := false
			s.fault = func(now step, isAfter bool) error {
				if now != at || isAfter != after {
					return nil
				}
				hit = true
				return errFault
			}
			s.run(v, n)
			if !hit {
				t.Error("the step does not happen")
			}
		})
	}
}

// TestFaultsOfSwapCustody fails every call of custody's in a destruction, and in the
// opening after it.
func TestFaultsOfSwapCustody(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n, done := 1, false; !done && !t.Failed(); n++ {
			t.Run(fmt.Sprintf("call%d/after=%v", n, after), func(t *testing.T) {
				s, v := newSwapStory(t, 2)
				s.custody.fail(n, after)
				s.fault = func(step, bool) error {
					done = !s.custody.failed()
					return nil
				}
				s.run(v, n)
			})
		}
		for n, done := 1, false; !done && !t.Failed(); n++ {
			t.Run(fmt.Sprintf("opening/call%d/after=%v", n, after), func(t *testing.T) {
				s, v := newSwapStory(t, 2)
				s.fault = func(at step, isAfter bool) error {
					if at == stepRetire && isAfter == after { // before or after the root key dies
						return errFault
					}
					return nil
				}
				err := s.destroy(v)
				wantErr(t, err, errFault)
				s.fault = nil
				s.end(v, process, disktest.LoseAll, nil)
				s.custody.fail(n, after)
				opened, err := Open(ctx, s.cfg)
				done = !s.custody.failed()
				s.custody.fail(0, false)
				if err == nil {
					if err := opened.Close(); err != nil {
						t.Fatal(err)
					}
				} else {
					wantErr(t, err, errFault)
				}
				v = s.openAgain(0)
				defer v.Close()
				s.judgeSwap(v, true)
			})
		}
	}
}

// TestFaultsOfSwapFiles fails every call on the file system, which has the custody and
// the register, in a destruction.
func TestFaultsOfSwapFiles(t *testing.T) {
	for e, effect := range disktest.Effects {
		for n, done := 1, false; !done && !t.Failed(); n++ {
			if !long() && n%len(disktest.Effects) != e && n > 3 {
				continue
			}
			t.Run(fmt.Sprintf("%s/call%d", effect, n), func(t *testing.T) {
				s, v := newSwapStory(t, 1+n%4)
				s.fsys.FailCall(n, effect)
				s.fault = func(step, bool) error {
					done = !s.fsys.Failed()
					return nil
				}
				s.run(v, n)
			})
			if t.Failed() {
				return
			}
		}
	}
}

// TestUnverified alters what was staged before it is read back: nothing is destroyed,
// the vault stops, and the next Open begins anew.
func TestUnverified(t *testing.T) {
	for name, query := range map[string]string{
		"node missing":   "DELETE FROM staged WHERE id = (SELECT max(id) FROM staged)",
		"former node":    "UPDATE staged SET blob = (SELECT blob FROM nodes WHERE id = staged.id)",
		"altered":        "UPDATE staged SET blob = zeroblob(length(blob)) WHERE id = (SELECT min(id) FROM staged)",
		"one too many":   "INSERT INTO staged SELECT id, blob FROM nodes WHERE id NOT IN (SELECT id FROM staged) LIMIT 1",
		"another state":  "UPDATE meta SET value = (SELECT value FROM meta WHERE name = 'tree') WHERE name = 'staged-tree'",
		"another top":    "UPDATE meta SET value = substr(value, 1, length(value) - 1) || x'00' WHERE name = 'staged-tree'",
		"nothing at all": "DELETE FROM meta WHERE name = 'staged-tree'",
	} {
		t.Run(name, func(t *testing.T) {
			s, v := newSwapStory(t, 2)
			s.fault = func(at step, after bool) error {
				if at != stepVerify || after {
					return nil
				}
				_, err := v.keys.conn.ExecContext(ctx, query)
				return err
			}
			err := s.destroy(v)
			wantErr(t, err, ErrUnverified)
			wantErr(t, err, ErrStopped)
			wantRoots(t, s.custody, 2)
			for i, id := range s.records {
				if !slices.Contains(s.doomed, id) {
					mustRead(t, v, id, 1, pattern(100+i))
				}
			}
			s.fault = nil
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			v = s.openAgain(0)
			defer v.Close()
			s.judgeSwap(v, true)
		})
	}
}

// TestVerifyFindsWhatStageLeaves: a swap that leaves a doomed key, or renews too
// little, is found out.
func TestVerifyFindsWhatStageLeaves(t *testing.T) {
	for name, change := range map[string]func(s *swap){
		"doomed key left":  func(s *swap) { s.doomed = s.doomed[1:] },
		"one key too many": func(s *swap) { s.doomed = append(s.doomed, doomedSlot{slot: s.doomed[0].slot + 1}) },
		"another root key": func(s *swap) { s.topKey[0] ^= 1 },
	} {
		s, v := newSwapStory(t, 3)
		var doomed []doomedSlot
		for _, id := range s.doomed {
			doomed = append(doomed, doomedSlot{s.slots[id], true})
		}
		slices.SortFunc(doomed, func(a, b doomedSlot) int { return int(a.slot - b.slot) })
		w := swap{tree: v.keys.tree, doomed: doomed, to: s.custody, next: v.keys.tree.state}
		w.next.generation++
		w.root = w.id.rootName(w.next.generation)
		if err := errors.Join(createRoot(ctx, s.custody, w.root), w.transaction(ctx, w.stage)); err != nil {
			t.Fatal(err)
		}
		if err := w.verify(ctx); err != nil {
			t.Fatalf("what is right is refused: %v", err)
		}
		if name == "another root key" {
			sealed, err := s.custody.Seal(ctx, w.root, make([]byte, keySize), w.id.topContext(w.next.generation, w.next.height))
			if err != nil {
				t.Fatal(err)
			}
			w.next.top = sealed
			if err := w.setMeta(ctx, metaStaged, w.next.marshal()); err != nil {
				t.Fatal(err)
			}
		}
		change(&w)
		if err := w.verify(ctx); err == nil {
			t.Errorf("%s: not found out", name)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
