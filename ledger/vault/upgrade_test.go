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

// oldFolder unpacks a vault that a program of schema 1 wrote: three records with
// two versions each that live, and three that were destroyed.
func oldFolder(t *testing.T) (cfg Config, rootKeyFile string) {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open("testdata/schema1.tar.gz")
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

// oldRows returns the versions, wrapped keys and destroyed records of an old
// folder.
func oldRows(t *testing.T, cfg Config) (versions []versionName, wrapped [][]byte, destroyed []events.ID) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(cfg.Dir, keysFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = eachRow(ctx, conn, "SELECT record, version, wrapped FROM versions v JOIN keys k ON k.slot = v.slot", func(rows *sql.Rows) error {
		var n versionName
		var b []byte
		err := rows.Scan((*idColumn)(&n.record), &n.version, &b)
		versions, wrapped = append(versions, n), append(wrapped, b)
		return err
	})
	if err == nil {
		err = eachRow(ctx, conn, "SELECT record FROM destroyed", func(rows *sql.Rows) error {
			var id events.ID
			err := rows.Scan((*idColumn)(&id))
			destroyed = append(destroyed, id)
			return err
		})
	}
	if err != nil || len(versions) != 6 || len(destroyed) != 3 {
		t.Fatal(len(versions), len(destroyed), err)
	}
	return versions, wrapped, destroyed
}

// judgeUpgraded opens an upgraded vault and holds it to what the old one had.
func judgeUpgraded(t *testing.T, cfg Config, rootKeyFile string, versions []versionName, wrapped [][]byte, destroyed []events.ID) {
	t.Helper()
	files := everyFile(t, cfg.Dir)
	for _, b := range wrapped {
		if found := where(files, b); len(found) > 0 {
			t.Errorf("a key wrapped under the root key is in %v", found)
		}
	}
	v := openVault(t, cfg)
	for _, n := range versions {
		b, err := read(v, n.record, n.version)
		if err != nil || len(b) < 100 {
			t.Errorf("%+v: %d bytes, %v", n, len(b), err)
		}
	}
	for _, id := range destroyed {
		_, err := v.Get(ctx, id, 1)
		wantErr(t, err, ErrDestroyed)
		if keys, err := v.Destroy(ctx, id); err != nil || keys != 2 {
			t.Errorf("destroyed before: %d keys, %v", keys, err)
		}
	}
	record := versions[0].record
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
	cfg, rootKeyFile := oldFolder(t)
	versions, wrapped, destroyed := oldRows(t, cfg)
	if len(where(everyFile(t, cfg.Dir), wrapped[0])) == 0 {
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
	judgeUpgraded(t, cfg, rootKeyFile, versions, wrapped, destroyed)

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
	for _, after := range []bool{false, true} {
		for _, s := range []step{stepBuild, stepAside, stepSwap, stepErase} {
			t.Run(fmt.Sprintf("step%d/after=%v", s, after), func(t *testing.T) {
				cfg, rootKeyFile := oldFolder(t)
				versions, wrapped, destroyed := oldRows(t, cfg)
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
				judgeUpgraded(t, cfg, rootKeyFile, versions, wrapped, destroyed)
			})
		}
	}
}
