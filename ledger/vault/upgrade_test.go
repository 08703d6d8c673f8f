package vault

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events"
)

// oldFolder unpacks a vault that a program of an earlier schema wrote: three records
// with two versions each that live, and three that were destroyed; of schema 2 with
// documents of six patients, two of whom were destroyed, one with its account.
func oldFolder(t *testing.T, schema int) (cfg Config, rootKeyFile string) {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(fmt.Sprintf("testdata/schema%d.tar.gz", schema))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg = newConfig(t)
	cfg.Dir = filepath.Join(dir, "vault")
	return cfg, filepath.Join(dir, "keys", "vault.key")
}

// oldVault is what an old vault held.
type oldVault struct {
	versions  []versionName
	wrapped   [][]byte // keys, under the root key
	destroyed []events.ID
	documents []Place
	buried    int // patients and accounts
	keys      int // that went with each of destroyed
}

// oldRows reads the database of an old folder.
func oldRows(t *testing.T, cfg Config, schema int) (old oldVault) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(cfg.Dir, keysFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	each := func(query string, scan func(*sql.Rows) error) {
		t.Helper()
		if err := eachRow(ctx, db, query, scan); err != nil {
			t.Fatal(err)
		}
	}
	join, records := "v.slot", ""
	old.keys = 2 // of two versions; in schema 2 the record's own too
	if schema == schema2 {
		join, records, old.keys = "v.key", " WHERE kind = 1", 3
		each("SELECT space, owner, id FROM documents", func(rows *sql.Rows) error {
			var p Place
			err := rows.Scan(&p.Space, (*idColumn)(&p.Owner), (*idColumn)(&p.ID))
			old.documents = append(old.documents, p)
			return err
		})
		each("SELECT count(*) FROM destroyed WHERE kind > 1", func(rows *sql.Rows) error { return rows.Scan(&old.buried) })
		if len(old.documents) != 15 || old.buried != 3 {
			t.Fatal(len(old.documents), old.buried)
		}
	}
	each("SELECT record, version, wrapped FROM versions v JOIN keys k ON k.slot = "+join, func(rows *sql.Rows) error {
		var n versionName
		var b []byte
		err := rows.Scan((*idColumn)(&n.record), &n.version, &b)
		old.versions, old.wrapped = append(old.versions, n), append(old.wrapped, b)
		return err
	})
	column := map[int]string{schema1: "record", schema2: "owner"}[schema]
	each("SELECT "+column+" FROM destroyed"+records, func(rows *sql.Rows) error {
		var id events.ID
		err := rows.Scan((*idColumn)(&id))
		old.destroyed = append(old.destroyed, id)
		return err
	})
	if len(old.versions) != 6 || len(old.destroyed) != 3 {
		t.Fatal(len(old.versions), len(old.destroyed))
	}
	return old
}

// judgeUpgraded opens an upgraded vault and holds it to what the old one had.
func judgeUpgraded(t *testing.T, cfg Config, rootKeyFile string, old oldVault) {
	t.Helper()
	files := everyFile(t, cfg.Dir)
	for _, b := range old.wrapped {
		if found := where(files, b); len(found) > 0 {
			t.Errorf("a key wrapped under the root key is in %v", found)
		}
	}
	v := openVault(t, cfg)
	for _, n := range old.versions {
		b, err := read(v, n.record, n.version)
		if err != nil || len(b) < 100 {
			t.Errorf("%+v: %d bytes, %v", n, len(b), err)
		}
	}
	for _, id := range old.destroyed {
		_, err := v.Get(ctx, id, 1)
		wantErr(t, err, ErrDestroyed)
		if keys, err := v.Destroy(ctx, id); err != nil || keys != old.keys {
			t.Errorf("destroyed before: %d keys, %v", keys, err)
		}
	}
	for _, p := range old.documents {
		mustDocument(t, v, p, pattern(199+int(p.Space)))
		wantFind(t, v, Term{"id", p.ID.String()}, p)
	}
	var buried int
	if err := v.keys.reader.QueryRowContext(ctx, "SELECT count(*) FROM destroyed WHERE kind > 1").Scan(&buried); err != nil || buried != old.buried {
		t.Errorf("%d patients and accounts are remembered as destroyed, %v", buried, err)
	}
	if n := idleKeys(t, v); n != 0 {
		t.Errorf("%d keys that nothing lies under", n)
	}
	record := old.versions[0].record
	mustPut(t, v, record, 9, pattern(100))
	mustPutDocument(t, v, identity(record), []byte("x"), Term{"a", "b"})
	var asked int
	if n, err := v.Collect(ctx, keepVersions(func(events.ID, uint32) bool { asked++; return true })); err != nil || n != 0 || asked != 6 {
		t.Errorf("Collect removed %d, asked about %d, %v", n, asked, err)
	}
	if keys, err := v.Destroy(ctx, record); err != nil || keys != 4 {
		t.Errorf("%d keys, %v", keys, err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	wantRoots(t, cfg.Custody, 1)
	for _, path := range []string{
		filepath.Join(cfg.Dir, asideFile), filepath.Join(cfg.Dir, newFile), filepath.Join(cfg.Dir, keysFile+"-wal"),
		filepath.Join(cfg.Dir, upgradingFile), rootKeyFile,
	} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestUpgrade(t *testing.T) {
	for _, schema := range []int{schema1, schema2} {
		t.Run(fmt.Sprint("schema", schema), func(t *testing.T) { testUpgrade(t, schema) })
	}
}

func testUpgrade(t *testing.T, schema int) {
	cfg, rootKeyFile := oldFolder(t, schema)
	old := oldRows(t, cfg, schema)
	if len(where(everyFile(t, cfg.Dir), old.wrapped[0])) == 0 {
		t.Fatal("the search does not find a wrapped key that is there")
	}
	_, err := Open(ctx, cfg)
	wantErr(t, err, ErrOldFormat)
	if !bytes.Contains([]byte(err.Error()), []byte("medledger upgrade")) {
		t.Errorf("the error does not say what to do: %v", err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.key")
	if err := os.WriteFile(wrong, bytes.Repeat([]byte("ab"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	wantErr(t, Upgrade(ctx, cfg, wrong), ErrRootKey)
	wantErr(t, Upgrade(ctx, cfg, wrong+".none"), ErrRootKey)
	for range 2 {
		if err := Upgrade(ctx, cfg, rootKeyFile); err != nil {
			t.Fatal(err)
		}
	}
	judgeUpgraded(t, cfg, rootKeyFile, old)

	// Newer ones stay refused, and a missing one is not made.
	db, err := sql.Open("sqlite", filepath.Join(cfg.Dir, keysFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 4"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(ctx, cfg); err == nil || errors.Is(err, ErrOldFormat) {
		t.Errorf("a newer format: %v", err)
	}
	if Upgrade(ctx, cfg, rootKeyFile) == nil {
		t.Error("a newer format was upgraded")
	}
	wantErr(t, Upgrade(ctx, newConfig(t), rootKeyFile), fs.ErrNotExist)
}

// TestFaultsOfUpgrade stops an upgrade before and after each step: the folder is
// refused as what it is, and another upgrade completes it.
func TestFaultsOfUpgrade(t *testing.T) {
	for n := range 16 {
		after, schema := n%2 == 0, schema1+n/2%2
		for _, s := range []step{stepBuild, stepAside, stepSwap, stepErase}[n/4:][:1] {
			t.Run(fmt.Sprintf("schema%d/step%d/after=%v", schema, s, after), func(t *testing.T) {
				cfg, rootKeyFile := oldFolder(t, schema)
				old := oldRows(t, cfg, schema)
				err := upgrade(ctx, cfg, rootKeyFile, func(now step, isAfter bool) error {
					if now == s && isAfter == after {
						return errFault
					}
					return nil
				})
				wantErr(t, err, errFault)
				if there, err := Exists(cfg.Dir); err != nil || !there {
					t.Errorf("there is no vault any more: %v", err)
				}
				if s != stepErase || !after {
					_, err = Open(ctx, cfg)
					wantErr(t, err, ErrOldFormat)
				}
				if s == stepBuild { // also of what was half built
					if err := os.WriteFile(filepath.Join(cfg.Dir, newFile), pattern(9000), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if err := Upgrade(ctx, cfg, rootKeyFile); err != nil {
					t.Fatal(err)
				}
				judgeUpgraded(t, cfg, rootKeyFile, old)
			})
		}
	}
}
