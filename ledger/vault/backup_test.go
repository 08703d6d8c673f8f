package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
)

// estate is what a vault holds that is backed up.
type estate struct {
	records   []events.ID // two versions each: small and large
	documents []Place     // each found by its id
	destroyed []events.ID
	patients  []events.ID // destroyed
}

func (e *estate) add(t testing.TB, v *Vault, n int) {
	t.Helper()
	for range n {
		id := events.MustNewID()
		mustPut(t, v, id, 1, pattern(300))
		mustPut(t, v, id, 2, pattern(2*chunkSize+5))
		e.records = append(e.records, id)
		for _, p := range []Place{identity(id), accounting(id), directory()} {
			mustPutDocument(t, v, p, pattern(200), Term{"id", p.ID.String()})
			e.documents = append(e.documents, p)
		}
	}
}

// destroy destroys the first record and the first patient.
func (e *estate) destroy(t testing.TB, v *Vault) {
	t.Helper()
	id := e.records[0]
	if _, err := v.Destroy(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := v.DestroyPatient(ctx, id); err != nil {
		t.Fatal(err)
	}
	e.records, e.destroyed, e.patients = e.records[1:], append(e.destroyed, id), append(e.patients, id)
	var left []Place
	for _, p := range e.documents {
		if p.Owner != id || p.Space != Identity {
			left = append(left, p)
		}
	}
	e.documents = left
}

// judge holds a vault to the estate.
func (e *estate) judge(t testing.TB, v *Vault) {
	t.Helper()
	for _, id := range e.records {
		mustRead(t, v, id, 1, pattern(300))
		mustRead(t, v, id, 2, pattern(2*chunkSize+5))
	}
	for _, p := range e.documents {
		mustDocument(t, v, p, pattern(200))
		wantFind(t, v, Term{"id", p.ID.String()}, p)
	}
	for _, id := range e.destroyed {
		_, err := v.Get(ctx, id, 1)
		wantErr(t, err, ErrDestroyed)
	}
	for _, id := range e.patients {
		_, err := v.Document(ctx, identity(id))
		wantErr(t, err, ErrDestroyed)
	}
}

func smallSegments(t testing.TB) Config {
	cfg := newConfig(t)
	cfg.SegmentSize = 1500
	return cfg
}

func TestBackupAndRestore(t *testing.T) {
	cfg := smallSegments(t)
	v := openVault(t, cfg)
	dst := filepath.Join(t.TempDir(), "deep", "backup")
	var e estate
	e.add(t, v, 5)
	e.destroy(t, v)
	for range 3 {
		mustBackup(t, v, dst)
		back := restored(t, cfg, dst)
		e.judge(t, back)
		// Nothing is left behind of what was destroyed, and the vault is a whole
		// one: it is written to, collected and destroys.
		id := e.records[0]
		mustPut(t, back, id, 3, pattern(50))
		mustRead(t, back, id, 3, pattern(50))
		if keys, err := back.Destroy(ctx, id); err != nil || keys != 4 {
			t.Errorf("%d keys, %v", keys, err)
		}
		if n, err := back.Collect(ctx, keepVersions(func(events.ID, uint32) bool { return true })); err != nil {
			t.Errorf("collected %d, %v", n, err)
		}
		if n := idleKeys(t, back); n != 0 {
			t.Errorf("%d keys that nothing lies under", n)
		}
		e.add(t, v, 2)
		e.destroy(t, v)
	}
	// A restored vault is asked about everything again.
	mustBackup(t, v, dst)
	back := restored(t, cfg, dst)
	if n, err := back.Collect(ctx, Keep{func(events.ID, uint32) bool { return false }, func(Place) bool { return false }}); err != nil || n < 2*len(e.records)+len(e.documents) {
		t.Errorf("collected %d, %v", n, err)
	}
}

// idleKeys counts the keys in a tree that nothing lies under.
func idleKeys(t testing.TB, v *Vault) (n int) {
	t.Helper()
	err := walkTree(ctx, v.keys.reader, v.cfg.Custody, func(s slot, _ *[keySize]byte) error {
		var used bool
		err := v.keys.reader.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM versions WHERE key = ?1) OR EXISTS (SELECT 1 FROM owners WHERE key = ?1)", int64(s)).Scan(&used)
		if !used {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBackupIsIncremental: what is there is not written again, what the vault no
// longer has goes, and another content of the same name and length is noticed.
func TestBackupIsIncremental(t *testing.T) {
	cfg := smallSegments(t)
	v := openVault(t, cfg)
	dst := t.TempDir()
	var e estate
	e.add(t, v, 6)
	mustBackup(t, v, dst)
	old := time.Now().Add(-time.Hour)
	for path := range everyFile(t, dst) {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	again := e.records[1]
	if err := v.Discard(ctx, again, 2); err != nil {
		t.Fatal(err)
	}
	mustPut(t, v, again, 2, pattern(2*chunkSize+5))
	e.destroy(t, v)
	gone := e.destroyed[0]
	if err := os.WriteFile(largePath(dst, e.records[2], 2)+copySuffix, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustBackup(t, v, dst)
	var written []string
	for path := range everyFile(t, dst) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().After(old.Add(time.Minute)) {
			written = append(written, filepath.Base(path))
		}
		if filepath.Ext(path) == copySuffix {
			t.Errorf("%s is left", path)
		}
	}
	if want := largeName(again, 2); len(written) != 2 {
		t.Errorf("written again: %v, want %s and %s", written, rowsFile, want)
	}
	if _, err := os.Stat(largePath(dst, gone, 2)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the large file of a destroyed record in the backup: %v", err)
	}
	e.judge(t, restored(t, cfg, dst))
}

// TestBackupBesideEverything backs up while records come and go: what was there
// before and stays is in every backup, whatever else happens.
func TestBackupBesideEverything(t *testing.T) {
	cfg := smallSegments(t)
	cfg.SmallLimit = 2000
	v := openVault(t, cfg)
	var e estate
	e.add(t, v, 10)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id, p := events.MustNewID(), identity(events.MustNewID())
				_, err := v.Put(ctx, id, 1, Meta{}, bytes.NewReader(pattern(1000+1500*(n%2))))
				if err == nil {
					_, err = v.PutDocument(ctx, p, pattern(100), Term{"id", p.ID.String()})
				}
				if err == nil && n%3 == 0 {
					_, err = v.Destroy(ctx, id)
				} else if err == nil && n%3 == 1 {
					err = v.Discard(ctx, id, 1)
				}
				if err == nil && n%2 == 0 {
					_, err = v.DestroyPatient(ctx, p.Owner)
				}
				if err == nil && n%10 == 0 {
					_, err = v.Collect(ctx, keepVersions(func(events.ID, uint32) bool { return true }))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	dst := t.TempDir()
	for range 5 {
		mustBackup(t, v, dst)
		back := restored(t, cfg, dst)
		e.judge(t, back)
		judgeWhole(t, back)
	}
	close(stop)
	wg.Wait()
}

// judgeWhole reads every version and document that a vault has rows of.
func judgeWhole(t *testing.T, v *Vault) {
	t.Helper()
	names, _, err := v.keys.listVersions(ctx, 0, v.opened)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if _, err := read(v, n.record, n.version); err != nil {
			t.Errorf("%+v: %v", n, err)
		}
	}
	places, _, err := v.keys.listDocuments(ctx, 0, v.opened)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		if doc, err := v.Document(ctx, p); err != nil || !bytes.Equal(doc, pattern(len(doc))) {
			t.Errorf("document %+v: %v", p, err)
		}
	}
	if len(names) == 0 || len(places) == 0 {
		t.Error("the restored vault is empty")
	}
	var both int
	if err := v.keys.conn.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM versions WHERE record IN (SELECT owner FROM destroyed WHERE kind = 1)) + (SELECT count(*) FROM owners o JOIN destroyed d ON d.kind = o.kind AND d.owner = o.owner)").Scan(&both); err != nil || both != 0 {
		t.Errorf("%d rows live and are destroyed, %v", both, err)
	}
}

func mustReadFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRestoreRefuses(t *testing.T) {
	cfg := smallSegments(t)
	v := openVault(t, cfg)
	src := t.TempDir()
	var e estate
	e.add(t, v, 2)
	mustBackup(t, v, src)
	wantErr(t, restoreOn(disk.OS{}, cfg, src, noHook), fs.ErrExist)
	mustRead(t, v, e.records[0], 1, pattern(300))

	other := newConfig(t)
	wantErr(t, restoreOn(disk.OS{}, other, src, noHook), custody.ErrSealed)
	if err := other.Custody.Destroy(ctx, epoch); err != nil {
		t.Fatal(err)
	}
	wantErr(t, restoreOn(disk.OS{}, other, src, noHook), custody.ErrNoKey)
	other = elsewhere(t, cfg)
	nothing := t.TempDir()
	if err := os.WriteFile(keysOf(nothing), mustReadFile(t, keysOf(src)), 0o600); err != nil {
		t.Fatal(err)
	}
	wantErr(t, restoreOn(disk.OS{}, other, nothing, noHook), ErrBackup)
	if there, err := Exists(other.Dir); there || err != nil {
		t.Errorf("a refused restoration left a vault: %v", err)
	}
	rows := filepath.Join(src, rowsFile)
	whole, err := os.ReadFile(rows)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string][]byte{"empty": nil, "cut": whole[:len(whole)-1], "without the end": whole[:len(whole)-17], "more": append(bytes.Clone(whole), 0)}
	for _, at := range []int{0, 7, 8, 12, 20, len(whole) / 2, len(whole) - 1} {
		b := bytes.Clone(whole)
		b[at] ^= 4
		damage[fmt.Sprint("byte ", at)] = b
	}
	for name, b := range damage {
		if err := os.WriteFile(rows, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := restoreOn(disk.OS{}, other, src, noHook); !errors.Is(err, ErrBackup) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(rows, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	// A content that is missing or cut: refused, and the folder stays unfinished
	// until the content is there.
	for name, path := range map[string]string{"large": largePath(src, e.records[1], 2), "segment": filepath.Join(segmentsDir(src), segmentName(1))} {
		put := rewrite(t, path, func(b []byte) []byte { return b[:len(b)-1] })
		wantErr(t, restoreOn(disk.OS{}, other, src, noHook), ErrBackup)
		put()
		moved := path + ".moved"
		if err := os.Rename(path, moved); err != nil {
			t.Fatal(err)
		}
		wantErr(t, restoreOn(disk.OS{}, other, src, noHook), ErrBackup)
		_, err := Open(ctx, other)
		wantErr(t, err, ErrUnfinished)
		if err := os.Rename(moved, path); err != nil {
			t.Fatal(err, name)
		}
	}
	if err := restoreOn(disk.OS{}, other, src, noHook); err != nil {
		t.Fatal(err)
	}
	e.judge(t, openVault(t, other))
}

// TestBackupLeavesOutWhatIsMissing warns of contents that the folder has lost,
// and backs up the rest.
func TestBackupLeavesOutWhatIsMissing(t *testing.T) {
	cfg := smallSegments(t)
	v := openVault(t, cfg)
	wantErr(t, v.Backup(ctx, cfg.Dir), ErrInvalid)
	var e estate
	e.add(t, v, 3)
	lost := e.records[0]
	if err := os.Remove(largePath(cfg.Dir, lost, 2)); err != nil {
		t.Fatal(err)
	}
	dst := t.TempDir()
	mustBackup(t, v, dst)
	back := restored(t, cfg, dst)
	mustRead(t, back, lost, 1, pattern(300))
	_, err := back.Get(ctx, lost, 2)
	wantErr(t, err, ErrNotFound)
	e.records = e.records[1:]
	e.judge(t, back)
}
