package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events/store/disk"
)

// Upgrade makes the vault of an earlier program, whose keys lie under the root key in
// a file, one of this program; of a vault that is one already it does nothing.
// Nobody else may use the folder meanwhile. The old key database and then the old
// root key are overwritten and removed, so that what is destroyed later is not found
// with them in older copies of the folder; backups of the earlier program cannot be
// restored after that.
//
// Crash, at any moment: the folder as it was, or one that Open refuses with
// ErrOldFormat and another Upgrade completes, or an upgraded one.
func Upgrade(ctx context.Context, cfg Config, rootKeyFile string) error {
	return upgrade(ctx, cfg, rootKeyFile, noHook)
}

func upgrade(ctx context.Context, cfg Config, rootKeyFile string, hook stepHook) (err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return err
	}
	u := upgrading{cfg: cfg, rootKeyFile: rootKeyFile, hook: hook, files: databaseFiles{cfg.Dir}}
	if err := u.run(ctx); err != nil {
		return fmt.Errorf("upgrading the vault, which can be repeated: %w", err)
	}
	return nil
}

type upgrading struct {
	cfg         Config
	rootKeyFile string
	hook        stepHook
	files       databaseFiles
}

func (u *upgrading) run(ctx context.Context) error {
	aside, err := u.files.exist(asideFile)
	if err != nil {
		return err
	}
	if !aside {
		old, err := u.build(ctx)
		if err != nil {
			return err
		}
		if !old {
			return u.finish()
		}
		// A log that was left behind would be taken for the new database's.
		if log, err := u.files.exist(keysFile + "-wal"); err != nil || log {
			return errors.Join(err, fmt.Errorf("the write-ahead log of %s is in use; end the process that has it open", u.files.path(keysFile)))
		}
		// Crash before: two databases, of which the old one counts. Crash after:
		// no database of this name, which Open refuses, and the new one, whole.
		if err := u.hook.do(stepAside, func() error { return u.files.rename(keysFile, asideFile) }); err != nil {
			return err
		}
	}
	there, err := u.files.exist(keysFile)
	if err != nil {
		return err
	}
	if !there {
		// Crash before: as above. Crash after: the new database has its name,
		// but Open refuses it until the old one is gone.
		if err := u.hook.do(stepSwap, func() error { return u.files.rename(newFile, keysFile) }); err != nil {
			return err
		}
	}
	// Crash before: as above. Crash after: the mark, and the old root key perhaps.
	if err := u.hook.do(stepErase, func() error { return u.files.erase(asideFile) }); err != nil {
		return err
	}
	return u.finish()
}

// finish destroys the old root key and removes the mark, if there is one: without it
// nothing was upgraded.
func (u *upgrading) finish() error {
	fsys, mark := u.cfg.FS, filepath.Join(u.cfg.Dir, upgradingFile)
	if _, err := fsys.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := eraseFile(fsys, u.rootKeyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("destroying the old root key: %w", err)
	}
	if err := fsys.SyncDir(filepath.Dir(u.rootKeyFile)); err != nil {
		return fmt.Errorf("destroying the old root key: %w", err)
	}
	// Crash before: as above, without the key. Crash after: an upgraded vault.
	if err := fsys.Remove(mark); err != nil {
		return err
	}
	return fsys.SyncDir(u.cfg.Dir)
}

// build makes the new database beside the old one, and reports whether there is
// an old one. A crash leaves part of it, which another Upgrade makes anew.
func (u *upgrading) build(ctx context.Context) (old bool, err error) {
	if there, err := u.files.exist(keysFile); err != nil || !there {
		return false, errors.Join(err, fmt.Errorf("%s: %w", filepath.Join(u.cfg.Dir, keysFile), fs.ErrNotExist))
	}
	db, err := openSQLite(filepath.Join(u.cfg.Dir, keysFile), "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", 1)
	if err != nil {
		return false, err
	}
	// Closing removes the write-ahead log.
	defer func() { err = errors.Join(err, db.Close()) }()
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return false, err
	}
	if version == schemaVersion {
		return false, u.files.remove(newFile)
	}
	if version != schema1 && version != schema2 {
		return false, fmt.Errorf("its format is %d, this program knows %d to %d: use the program that wrote it", version, schema1, schemaVersion)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	c := conversion{cfg: u.cfg, version: version, from: conn}
	if err := c.openRoot(ctx, u.rootKeyFile); err != nil {
		return false, err
	}
	defer c.root.wipe()
	if busy, err := checkpoint(ctx, conn); err != nil || busy {
		return false, errors.Join(err, fmt.Errorf("the write-ahead log of %s is in use (%v); end the process that has it open", u.files.path(keysFile), busy))
	}
	// Crash before: nothing. Crash after: a mark, and a root key of the vault to be,
	// which the next Upgrade makes anew.
	if c.id, err = claimID(ctx, u.cfg, upgradingFile); err != nil {
		return false, err
	}
	return true, u.hook.do(stepBuild, func() error {
		if err := createRoot(ctx, u.cfg.Custody, c.id.rootName(firstGeneration)); err != nil {
			return err
		}
		if err := u.files.build(ctx, newFile, func(to *sql.Conn) error { return c.convert(ctx, to) }); err != nil {
			return err
		}
		return u.verify(ctx, c.keys)
	})
}

// verify opens every node of the new tree, from the custody down, before anything of
// the old vault goes.
func (u *upgrading) verify(ctx context.Context, want int) (err error) {
	db, err := openSQLite(u.files.path(newFile), "_pragma=query_only(ON)", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	keys := 0
	if err := walkTree(ctx, db, u.cfg.Custody, func(slot, *[keySize]byte) error { keys++; return nil }); err != nil {
		return fmt.Errorf("reading the new key tree back: %w", err)
	}
	if keys != want {
		return fmt.Errorf("the new key tree has %d keys instead of %d: %w", keys, want, errTree)
	}
	return nil
}

// databaseFiles are the files of key databases in a vault's folder, which are
// the operating system's as SQLite's are.
type databaseFiles struct{ dir string }

func (d databaseFiles) path(name string) string { return filepath.Join(d.dir, name) }

func (d databaseFiles) exist(name string) (bool, error) {
	_, err := os.Stat(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// rename is durable when it returns.
func (d databaseFiles) rename(from, to string) error {
	if err := os.Rename(d.path(from), d.path(to)); err != nil {
		return err
	}
	return disk.OS{}.SyncDir(d.dir)
}

// remove removes a database that nobody uses, if it is there.
func (d databaseFiles) remove(name string) error {
	for _, suffix := range []string{"-journal", "-wal", "-shm", ""} {
		if err := os.Remove(d.path(name + suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// erase overwrites a file with zeros, durably, and then removes it, with what SQLite
// may have left beside it.
func (d databaseFiles) erase(name string) error {
	if err := eraseFile(disk.OS{}, d.path(name)); err != nil {
		return err
	}
	if err := d.remove(name); err != nil {
		return err
	}
	return disk.OS{}.SyncDir(d.dir)
}

// eraseFile overwrites a file with zeros, durably, and then removes it. What a disk
// or file system keeps of overwritten blocks is beyond it.
func eraseFile(fsys disk.FS, path string) error {
	f, err := fsys.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	zeros := make([]byte, 1<<20)
	for at := int64(0); err == nil && at < info.Size(); at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), info.Size()-at)], at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("overwriting %s: %w", path, err)
	}
	return fsys.Remove(path)
}

// build makes a key database of one file, in one transaction that fill fills,
// and syncs it. It needs no journal: what a crash leaves has not its name yet.
func (d databaseFiles) build(ctx context.Context, name string, fill func(*sql.Conn) error) (err error) {
	if err := d.remove(name); err != nil {
		return err
	}
	if err := touch(d.path(name)); err != nil {
		return err
	}
	if err := d.fill(ctx, name, fill); err != nil {
		return err
	}
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", d.path(name), err)
	}
	return disk.OS{}.SyncDir(d.dir)
}

func (d databaseFiles) fill(ctx context.Context, name string, fill func(*sql.Conn) error) (err error) {
	db, err := openSQLite(d.path(name), "_pragma=cache_size(-32768)&_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=locking_mode(EXCLUSIVE)", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := fill(conn); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}
