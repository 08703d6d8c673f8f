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
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
)

// chain is increments of a vault, and where the last one ended.
type chain struct {
	parts [][]byte
	at    Position
}

func (c *chain) add(t testing.TB, v *Vault) {
	t.Helper()
	var b bytes.Buffer
	at, err := v.Increment(ctx, c.at, &b)
	if err != nil {
		t.Fatal(err)
	}
	c.parts, c.at = append(c.parts, b.Bytes()), at
}

// unpack unpacks a chain into a folder.
func (c *chain) unpack(fsys disk.FS, dst string) (*Unpacker, error) {
	u, err := NewUnpacker(ctx, fsys, dst)
	if err != nil {
		return nil, err
	}
	for _, p := range c.parts {
		if err := u.Add(bytes.NewReader(p)); err != nil {
			return nil, errors.Join(err, u.Close())
		}
	}
	return u, errors.Join(u.Finish(), u.Close())
}

// backUpContents unpacks an increment of everything into a folder.
func backUpContents(v *Vault, dst string) error {
	var b bytes.Buffer
	if _, err := v.Increment(ctx, Position{}, &b); err != nil {
		return err
	}
	_, err := (&chain{parts: [][]byte{b.Bytes()}}).unpack(v.cfg.FS, dst)
	return err
}

// rows lists the rows of an unpacked folder.
func rows(t testing.TB, dst string) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(dst, rowsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []string
	if err := readEntries(f, rowsFormat, func(e entry) error { list = append(list, string(e.append(nil))); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// TestIncrementsEqualAFullOne lives random lives: what increments of all ages unpack to is
// what one of everything does, row by row, and the same vault is restored from both. The
// vault is opened again in between, collects, and gives serials out.
func TestIncrementsEqualAFullOne(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { compareLives(t, seed) })
	}
}

func compareLives(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	cfg := smallSegments(t)
	cfg.SmallLimit = 2000
	v := openVault(t, cfg)
	l := &lives{t: t, v: v, random: random}
	var c chain
	for step := range 60 {
		l.step()
		if step%7 == 3 {
			c.add(t, l.v)
		}
		if random.IntN(12) == 0 {
			if err := l.v.Close(); err != nil {
				t.Fatal(err)
			}
			l.v = openVault(t, cfg)
		}
	}
	c.add(t, l.v)
	var full chain
	full.add(t, l.v)
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	ua, err := c.unpack(disk.OS{}, a)
	if err != nil {
		t.Fatal(err)
	}
	ub, err := full.unpack(disk.OS{}, b)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(rows(t, a), rows(t, b)) {
		t.Errorf("%d rows of %d increments, %d at once", len(rows(t, a)), len(c.parts), len(rows(t, b)))
	}
	if ua.LastSlot() < ub.LastSlot() {
		t.Errorf("slots up to %d, and %d at once", ua.LastSlot(), ub.LastSlot())
	}
	var keys bytes.Buffer
	if err := l.v.BackupKeys(ctx, &keys, epoch); err != nil {
		t.Fatal(err)
	}
	if info, err := InspectKeys(bytes.NewReader(keys.Bytes())); err != nil || info.Epoch != epoch || info.LastSlot < ua.LastSlot() || info.Generation == 0 {
		t.Errorf("%+v, %v", info, err)
	}
	for _, src := range []string{a, b} {
		to := elsewhere(t, cfg)
		if err := Restore(ctx, to, Source{Contents: src, Keys: bytes.NewReader(keys.Bytes())}); err != nil {
			t.Fatal(err)
		}
		back := openVault(t, to)
		l.judge(back)
		if back.Follows(c.at) {
			t.Error("increments of the restored vault go on from those of the old one")
		}
		if _, err := back.Increment(ctx, c.at, &bytes.Buffer{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("an increment since another vault's position: %v", err)
		}
	}
}

// lives is a vault to which things happen.
type lives struct {
	t         *testing.T
	v         *Vault
	random    *rand.Rand
	versions  []versionName
	contents  [][]byte
	documents []Place
}

func (l *lives) step() {
	t := l.t
	t.Helper()
	switch n := len(l.versions); {
	case n > 3 && l.random.IntN(5) == 0:
		i := l.random.IntN(n)
		id := l.versions[i].record
		if l.random.IntN(2) == 0 {
			if err := l.v.Discard(ctx, id, l.versions[i].version); err != nil {
				t.Fatal(err)
			}
			l.drop(func(n versionName) bool { return n == l.versions[i] })
			break
		}
		if _, err := l.v.Destroy(ctx, id); err != nil {
			t.Fatal(err)
		}
		l.drop(func(n versionName) bool { return n.record == id })
	case len(l.documents) > 3 && l.random.IntN(6) == 0:
		i := l.random.IntN(len(l.documents))
		p := l.documents[i]
		if p.Space != Identity {
			break
		}
		if _, err := l.v.DestroyPatient(ctx, p.Owner); err != nil {
			t.Fatal(err)
		}
		l.documents = slices.Delete(l.documents, i, i+1)
	case l.random.IntN(8) == 0:
		known := func(id events.ID, version uint32) bool { return slices.Contains(l.versions, versionName{id, version}) }
		if _, err := l.v.Collect(ctx, keepVersions(known)); err != nil {
			t.Fatal(err)
		}
	case l.random.IntN(3) == 0:
		for _, p := range []Place{identity(events.MustNewID()), directory()} {
			mustPutDocument(t, l.v, p, pattern(100), Term{"id", p.ID.String()})
			l.documents = append(l.documents, p)
		}
	default:
		n := versionName{events.MustNewID(), 1}
		if len(l.versions) > 0 && l.random.IntN(3) == 0 {
			last := l.versions[len(l.versions)-1]
			n = versionName{last.record, last.version + 1}
		}
		content := pattern([]int{0, 1, 700, 1500, 5000, 2*chunkSize + 1}[l.random.IntN(6)])
		mustPut(t, l.v, n.record, n.version, content)
		l.versions, l.contents = append(l.versions, n), append(l.contents, content)
	}
}

func (l *lives) drop(gone func(versionName) bool) {
	var versions []versionName
	var contents [][]byte
	for i, n := range l.versions {
		if !gone(n) {
			versions, contents = append(versions, n), append(contents, l.contents[i])
		}
	}
	l.versions, l.contents = versions, contents
}

func (l *lives) judge(v *Vault) {
	l.t.Helper()
	for i, n := range l.versions {
		mustRead(l.t, v, n.record, n.version, l.contents[i])
	}
	for _, p := range l.documents {
		mustDocument(l.t, v, p, pattern(100))
		wantFind(l.t, v, Term{"id", p.ID.String()}, p)
	}
	versions, documents, err := v.Verify(ctx)
	if err != nil || versions != len(l.versions) || documents != len(l.documents) {
		l.t.Errorf("%d versions and %d documents, want %d and %d; %v", versions, documents, len(l.versions), len(l.documents), err)
	}
}

// TestSerialsAreNotGivenOutAgain discards the newest rows, opens the vault again, and puts
// others: an increment that goes on from before has them.
func TestSerialsAreNotGivenOutAgain(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	kept, gone := events.MustNewID(), events.MustNewID()
	mustPut(t, v, kept, 1, pattern(10))
	mustPut(t, v, gone, 1, pattern(20))
	var c chain
	c.add(t, v)
	if _, err := v.Destroy(ctx, gone); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = openVault(t, cfg)
	next := events.MustNewID()
	mustPut(t, v, next, 1, pattern(30))
	c.add(t, v)
	dst := filepath.Join(t.TempDir(), "unpacked")
	if _, err := c.unpack(disk.OS{}, dst); err != nil {
		t.Fatal(err)
	}
	var full chain
	full.add(t, v)
	whole := filepath.Join(t.TempDir(), "unpacked")
	if _, err := full.unpack(disk.OS{}, whole); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(rows(t, dst), rows(t, whole)) {
		t.Error("the increment lacks what was put after the vault was opened again")
	}
}

// TestUnpackRefuses: increments that are damaged, or not in order.
func TestUnpackRefuses(t *testing.T) {
	cfg := smallSegments(t)
	v := openVault(t, cfg)
	var e estate
	var c chain
	for range 2 {
		e.add(t, v, 2)
		c.add(t, v)
	}
	refused := func(what string, parts ...[]byte) {
		t.Helper()
		dst := filepath.Join(t.TempDir(), "unpacked")
		_, err := (&chain{parts: parts}).unpack(disk.OS{}, dst)
		if !errors.Is(err, ErrBackup) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(filepath.Join(dst, rowsFile)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: rows were written", what)
		}
	}
	first, second := c.parts[0], c.parts[1]
	refused("only the second", second)
	refused("the second first", second, first)
	refused("the second twice", first, second, second)
	for _, cut := range []int{0, 3, 8, 12, 13, len(second) / 2, len(second) - 1} {
		refused(fmt.Sprintf("cut at %d", cut), first, second[:cut])
	}
	for _, at := range []int{0, 7, 8, 12, len(second) - 1, len(second) - 9} {
		b := bytes.Clone(second)
		b[at] ^= 0x40
		refused(fmt.Sprintf("byte %d", at), first, b)
	}
}

// TestFaultsOfUnpack fails every call while increments are unpacked, and loses the power:
// the folder has no rows, or is whole, and one that is made anew is whole.
func TestFaultsOfUnpack(t *testing.T) {
	fsys, v, e := faultyVault(t)
	var c chain
	c.add(t, v)
	e.add(t, v, 1)
	c.add(t, v)
	for i, effect := range disktest.Effects {
		for n, done := 1, false; !done; n++ {
			if !long() && n%len(disktest.Effects) != i {
				continue
			}
			dst := filepath.Join(filepath.Dir(v.cfg.Dir), fmt.Sprintf("unpacked-%d-%d", i, n))
			fsys.FailCall(n, effect)
			_, err := c.unpack(fsys, dst)
			done = !fsys.Failed()
			fsys.FailNone()
			fsys.Crash(disktest.LoseAll, nil)
			if _, statErr := fsys.Stat(filepath.Join(dst, rowsFile)); (err == nil) != (statErr == nil) && err == nil {
				t.Fatalf("call %d, %s: unpacked, and there are no rows: %v", n, effect, statErr)
			}
			if done && err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestIncrementBesideEverything takes increments while records come and go.
func TestIncrementBesideEverything(t *testing.T) {
	cfg := smallSegments(t)
	cfg.SmallLimit = 2000
	v := openVault(t, cfg)
	var e estate
	e.add(t, v, 5)
	stop := comeAndGo(t, v)
	var c chain
	for range 4 {
		c.add(t, v)
		var keys bytes.Buffer
		if err := v.BackupKeys(ctx, &keys, epoch); err != nil {
			t.Fatal(err)
		}
		dst, to := filepath.Join(t.TempDir(), "unpacked"), elsewhere(t, cfg)
		if _, err := c.unpack(disk.OS{}, dst); err != nil {
			t.Fatal(err)
		}
		if err := Restore(ctx, to, Source{Contents: dst, Keys: &keys}); err != nil {
			t.Fatal(err)
		}
		back := openVault(t, to)
		e.judge(t, back)
		judgeWhole(t, back)
	}
	stop()
}

// FuzzParts: what is accepted of an increment is what one can be.
func FuzzParts(f *testing.F) {
	v := openVault(f, smallSegments(f))
	var e estate
	e.add(f, v, 1)
	var c chain
	c.add(f, v)
	f.Add(c.parts[0])
	f.Add([]byte(incrementMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readParts(bytes.NewReader(b), func(p part) error {
			if p.offset < 0 || p.from < 0 || p.upTo < p.from || len(p.bytes) > pieceSize || len(p.row) > maxBackupEntry {
				t.Errorf("part of kind %d: %d bytes at %d, row of %d, serials %d to %d", p.kind, len(p.bytes), p.offset, len(p.row), p.from, p.upTo)
			}
			return nil
		})
	})
}
