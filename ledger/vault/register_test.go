package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
)

func entryOf(generation uint64, slots ...slot) registered {
	return registered{vaultID{9}, generation, 5, slots}
}

func destroyedOf(entries ...registered) (list []Destroyed) {
	for _, e := range entries {
		for _, s := range e.slots {
			list = append(list, Destroyed{e.vault, e.generation, int64(s), s < e.own})
		}
	}
	return list
}

// TestRegisterIsStrict cuts and alters a register at every byte: what a crash can have
// left of the last entry is left out, anything else is refused.
func TestRegisterIsStrict(t *testing.T) {
	entries := []registered{entryOf(2, 3, 4, 5), entryOf(3, 9), entryOf(4, 7, 8)}
	whole := []byte(registerMagic)
	var ends []int
	for _, e := range entries {
		whole = e.append(whole)
		ends = append(ends, len(whole))
	}
	read := func(b []byte) ([]Destroyed, error) {
		fsys := disktest.New()
		if err := disk.WriteFile(fsys, "r", b, 0o600); err != nil {
			t.Fatal(err)
		}
		return ReadRegister(fsys, "r")
	}
	for n := range len(whole) + 1 {
		list, err := read(whole[:n])
		whole := 0
		for _, end := range ends {
			if n >= end {
				whole++
			}
		}
		if n < len(registerMagic) {
			wantErr(t, err, ErrRegister)
		} else if err != nil || !slices.Equal(list, destroyedOf(entries[:whole]...)) {
			t.Fatalf("cut to %d bytes: %v, %v", n, list, err)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x20
		list, err := read(b)
		tornBody := i >= ends[1]+registerHead // of the last entry
		if tornBody && (err != nil || !slices.Equal(list, destroyedOf(entries[:2]...))) || !tornBody && !errors.Is(err, ErrRegister) {
			t.Fatalf("byte %d of %d altered: %v, %v", i, len(whole), list, err)
		}
	}
	if list, err := read(append(bytes.Clone(whole), make([]byte, 700)...)); err != nil || len(list) != 6 {
		t.Errorf("sectors that were not written: %v, %v", list, err)
	}
	_, err := ReadRegister(disktest.New(), "none")
	wantErr(t, err, fs.ErrNotExist)
}

// TestFaultsOfRegister fails every call of an append and loses the power: what was
// answered is there, whole, and appending goes on.
func TestFaultsOfRegister(t *testing.T) {
	many := make([]slot, 400)
	for i := range many {
		many[i] = slot(i + 1)
	}
	first, second, third := entryOf(2, 3), entryOf(3, many...), entryOf(4, 8)
	for _, effect := range disktest.Effects {
		for turn := range 4 * len(disktest.Losses) {
			for n, done := 1, false; !done; n++ {
				loss := disktest.Losses[turn%len(disktest.Losses)]
				name := fmt.Sprintf("%s/%s/call%d/%d", effect, loss, n, turn)
				fsys := disktest.New()
				r := newRegister(fsys, "/secrets/register")
				if err := errors.Join(disk.MakeDir(fsys, "/secrets", 0o700), r.append(first)); err != nil {
					t.Fatal(err)
				}
				fsys.FailCall(n, effect)
				err := r.append(second)
				done = !fsys.Failed()
				fsys.FailNone()
				fsys.Crash(loss, rand.New(rand.NewPCG(uint64(n), uint64(turn))))
				list, readErr := ReadRegister(fsys, r.path)
				before, after := destroyedOf(first), destroyedOf(first, second)
				if readErr != nil || !slices.Equal(list, after) && (err == nil || !slices.Equal(list, before)) {
					t.Fatalf("%s: %d slots, %v; the append said %v", name, len(list), readErr, err)
				}
				if err := r.append(third); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				fsys.Crash(disktest.LoseAll, nil)
				again, err := ReadRegister(fsys, r.path)
				if err != nil || !slices.Equal(again, append(list, destroyedOf(third)...)) {
					t.Fatalf("%s: after another append %d slots, %v", name, len(again), err)
				}
			}
		}
	}
}

func TestTrimRegister(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	if err := v.TrimRegister(ctx, 9); err != nil { // there is none yet
		t.Fatal(err)
	}
	var ids []events.ID
	for range 3 {
		id := events.MustNewID()
		mustPut(t, v, id, 1, nil)
		ids = append(ids, id)
	}
	for _, id := range ids {
		if _, err := v.Destroy(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	generations := func() (list []uint64) {
		all, err := ReadRegister(disk.OS{}, cfg.Register)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			if d.Vault != v.keys.tree.id || d.Inherited {
				t.Errorf("%+v", d)
			}
			list = append(list, d.Generation)
		}
		return list
	}
	if got := generations(); !slices.Equal(got, []uint64{2, 3, 4}) {
		t.Errorf("the register has generations %v", got)
	}
	if err := v.TrimRegister(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if got := generations(); !slices.Equal(got, []uint64{4}) {
		t.Errorf("the trimmed register has generations %v", got)
	}
	if err := newRegister(disk.OS{}, cfg.Register).append(entryOf(7, 1)); err != nil {
		t.Error(err)
	}
}

// TestTrimIsIdle: where nothing is to be dropped nothing is written, and where that is
// known nothing is read either: every glance at the epochs of backups trims.
func TestTrimIsIdle(t *testing.T) {
	fsys := disktest.New()
	r := newRegister(fsys, "r")
	for g := range 3 {
		if err := r.append(entryOf(uint64(g+2), 1)); err != nil {
			t.Fatal(err)
		}
	}
	calls := func(generation uint64) int {
		t.Helper()
		fsys.FailNone()
		before := fsys.Calls()
		if err := r.trim(generation); err != nil {
			t.Fatal(err)
		}
		return fsys.Calls() - before
	}
	read := calls(1)
	if wrote := calls(3); read == 0 || wrote <= read {
		t.Errorf("%d calls to find nothing to drop, %d to drop two", read, wrote)
	}
	if again, less := calls(3), calls(2); again+less != 0 {
		t.Errorf("%d and %d calls to drop what was dropped", again, less)
	}
	list, err := ReadRegister(fsys, "r")
	if err != nil || !slices.Equal(list, destroyedOf(entryOf(4, 1))) {
		t.Errorf("%v, %v", list, err)
	}
}

// TestFaultsOfTrim fails every call of a trim and loses the power: the register is what it
// was or the shorter one, the next trim makes it that, and appending goes on.
func TestFaultsOfTrim(t *testing.T) {
	first, second, third, fourth := entryOf(2, 3), entryOf(3, 4, 5), entryOf(4, 8), entryOf(5, 9)
	for _, effect := range disktest.Effects {
		for turn, loss := range disktest.Losses {
			for n, done := 1, false; !done; n++ {
				name := fmt.Sprintf("%s/%s/call%d", effect, loss, n)
				fsys := disktest.New()
				r := newRegister(fsys, "/secrets/register")
				err := disk.MakeDir(fsys, "/secrets", 0o700)
				for _, e := range []registered{first, second, third} {
					err = errors.Join(err, r.append(e))
				}
				if err != nil {
					t.Fatal(err)
				}
				fsys.FailCall(n, effect)
				err = r.trim(3)
				done = !fsys.Failed()
				fsys.FailNone()
				if n%2 == 0 { // the process goes on, or ends
					fsys.Crash(loss, rand.New(rand.NewPCG(uint64(n), uint64(turn))))
					r = newRegister(fsys, r.path)
				}
				list, readErr := ReadRegister(fsys, r.path)
				before, after := destroyedOf(first, second, third), destroyedOf(third)
				if readErr != nil || !slices.Equal(list, after) && (err == nil || !slices.Equal(list, before)) {
					t.Fatalf("%s: %v, %v; the trim said %v", name, list, readErr, err)
				}
				if err := errors.Join(r.trim(3), r.append(fourth)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				fsys.Crash(disktest.LoseAll, nil)
				again, err := ReadRegister(fsys, r.path)
				if err != nil || !slices.Equal(again, destroyedOf(third, fourth)) {
					t.Fatalf("%s: the next trim leaves %v, %v", name, again, err)
				}
			}
		}
	}
}

// TestDamagedRegister: a register that cannot be continued is an
// error, which the operator can mend without opening the vault again.
func TestDamagedRegister(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	id, other := events.MustNewID(), events.MustNewID()
	mustPut(t, v, id, 1, nil)
	mustPut(t, v, other, 1, nil)
	if _, err := v.Destroy(ctx, id); err != nil {
		t.Fatal(err)
	}
	restore := rewrite(t, cfg.Register, func(b []byte) []byte { b[20] ^= 1; return b })
	// The clock of the file system may not have ticked since the vault wrote.
	if err := os.Chtimes(cfg.Register, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	_, err := v.Destroy(ctx, other)
	wantErr(t, err, ErrRegister)
	_, err = v.Get(ctx, other, 1)
	wantErr(t, err, ErrDestroyed)
	restore()
	if _, err := v.Destroy(ctx, other); err != nil {
		t.Fatal(err)
	}
	wantRoots(t, cfg.Custody, 1)
}

// countingFS counts what is read of files.
type countingFS struct {
	disk.FS
	read int
}

type countedFile struct {
	disk.File
	fs *countingFS
}

func (c *countingFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return countedFile{f, c}, nil
}

func (f countedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.fs.read += n
	return n, err
}

// TestRegisterIsReadOnce: an append reads nothing of a register that was verified, and
// all of one that somebody has touched.
func TestRegisterIsReadOnce(t *testing.T) {
	fsys := &countingFS{FS: disk.OS{}}
	path := filepath.Join(t.TempDir(), "register")
	appendTo := func(r *register, generation uint64) {
		t.Helper()
		if err := r.append(entryOf(generation, 1)); err != nil {
			t.Fatal(err)
		}
	}
	r := newRegister(fsys, path)
	if err := r.verify(); err != nil { // there is none
		t.Fatal(err)
	}
	appendTo(r, 2)
	r = newRegister(fsys, path)
	if err := r.verify(); err != nil || fsys.read == 0 {
		t.Fatalf("%d bytes were read: %v", fsys.read, err)
	}
	fsys.read = 0
	for g := range 5 {
		appendTo(r, uint64(3+g))
	}
	if fsys.read != 0 {
		t.Errorf("five appends read %d bytes", fsys.read)
	}
	appendTo(newRegister(fsys, path), 9) // somebody else
	fsys.read = 0
	appendTo(r, 10)
	if fsys.read == 0 {
		t.Error("what somebody else had written was not read")
	}
	if err := r.trim(9); err != nil {
		t.Fatal(err)
	}
	appendTo(r, 11)
	list, err := ReadRegister(fsys, path)
	if err != nil || !slices.Equal(list, destroyedOf(entryOf(10, 1), entryOf(11, 1))) {
		t.Errorf("%v, %v", list, err)
	}
}

// TestRegisterIsFull: at the limit the error says what to do, and that helps.
func TestRegisterIsFull(t *testing.T) {
	r := newRegister(disktest.New(), "r")
	r.limit = 200

	var err error
	generation := uint64(2)
	for ; err == nil; generation++ {
		err = r.append(entryOf(generation, 1))
	}
	wantErr(t, err, ErrRegisterFull)
	if !strings.Contains(err.Error(), "epoch is retired") || generation < 4 {
		t.Errorf("generation %d: %v", generation, err)
	}
	if err := r.trim(2); err != nil {
		t.Fatal(err)
	}
	if err := r.append(entryOf(9, 1)); err != nil {
		t.Error(err)
	}
}

// BenchmarkRegister appends to a register of a million destructions.
func BenchmarkRegister(b *testing.B) {
	path := filepath.Join(b.TempDir(), "register")
	whole := []byte(registerMagic)
	for i := range 1_000_000 {
		whole = entryOf(uint64(i+2), slot(i+1)).append(whole)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		b.Fatal(err)
	}
	for name, forget := range map[string]bool{"verified": false, "read anew": true} {
		b.Run(name, func(b *testing.B) {
			r := newRegister(disk.OS{}, path)
			if err := r.verify(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if forget {
					r.known = nil
				}
				if err := r.append(entryOf(1<<40, 1)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
