package backup

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events/store/disk"
)

// What can be wrong with a backup.
var (
	// ErrNone says that a folder holds no backup.
	ErrNone = errors.New("the folder holds no backup; make one with 'medledger backup run'")
	// ErrIncomplete says that a file of a backup is missing, or is none of its own.
	ErrIncomplete = errors.New("the backup is not whole; bring the missing file back, or use another backup")
	// ErrOther says that a backup is of another ledger.
	ErrOther = errors.New("it is of another ledger; choose another folder")
	// ErrIdentity says that something is encrypted to other recipients.
	ErrIdentity = errors.New("it is not encrypted to this identity; give the file with the right one")
	// ErrAltered says that a small file of a backup is damaged or was altered.
	ErrAltered = errors.New("the file is damaged, or was altered")
	// ErrRetired says that the epoch of a key side was retired.
	ErrRetired = errors.New("the epoch was retired: its key is destroyed, and nothing can be restored from it")
)

// authenticated is a small file that says what a folder holds: canonical JSON, a
// newline, HMAC-SHA256 of both in hex, a newline. The label keeps files of different
// kinds apart.
func authenticated(secret []byte, label string, value any) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	raw = append(raw, '\n')
	return append(hex.AppendEncode(raw, sum(secret, label, raw)), '\n'), nil
}

func sum(secret []byte, label string, raw []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("medledger/backup/" + label + "\x00"))
	mac.Write(raw)
	return mac.Sum(nil)
}

// parseAuthenticated is strict: it takes only what authenticated writes.
func parseAuthenticated(secret []byte, label string, raw []byte, to any) error {
	line, rest, found := bytes.Cut(raw, []byte("\n"))
	if !found {
		return ErrAltered
	}
	signed := raw[:len(line)+1]
	want := append(hex.AppendEncode(nil, sum(secret, label, signed)), '\n')
	if !hmac.Equal(rest, want) {
		return ErrAltered
	}
	if err := strictJSON(signed, to); err != nil {
		return fmt.Errorf("%w: %w", ErrAltered, err)
	}
	return nil
}

// readAuthenticated reads such a file; fs.ErrNotExist if there is none.
func readAuthenticated(fsys disk.FS, path string, secret []byte, label string, to any) error {
	raw, err := disk.ReadFile(fsys, path)
	if err != nil {
		return err
	}
	if err := parseAuthenticated(secret, label, raw, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeAuthenticated(fsys disk.FS, path string, secret []byte, label string, value any) error {
	raw, err := authenticated(secret, label, value)
	if err != nil {
		return err
	}
	return disk.WriteFile(fsys, path, raw, 0o600)
}

// syncEvery is how many bytes are written in the background between two syncs:
// everybody else's wait for one that takes long.
const syncEvery = 8 << 20

// output is a new file that is written beside its name, in the background: its hash
// is made on the way, and making what is written takes half a core at most.
type output struct {
	fsys     disk.FS
	path     string
	f        disk.File
	pace     disk.Pace
	hash     hash.Hash
	size     int64
	unsynced int
}

const (
	temporary = ".tmp"
	// stepSize is how much is written between two rests.
	stepSize = 128 << 10
)

func create(fsys disk.FS, path string) (*output, error) {
	f, err := fsys.OpenFile(path+temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	o := &output{fsys: fsys, path: path, f: f, hash: sha256.New()}
	o.pace.Begin()
	return o, nil
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.f.Write(p)
	o.hash.Write(p[:n])
	o.size += int64(n)
	if o.unsynced += n; err == nil && o.unsynced >= syncEvery {
		o.unsynced = 0
		err = o.f.Sync()
	}
	o.pace.Rest()
	return n, err
}

// commit gives the file its name, durably, and returns its SHA-256. Crash before the
// renaming: a temporary file, which the next one of the name overwrites. Crash after:
// the file.
func (o *output) commit() (string, error) {
	if err := errors.Join(o.f.Sync(), o.f.Close()); err != nil {
		return "", err
	}
	if err := o.fsys.Rename(o.path+temporary, o.path); err != nil {
		return "", err
	}
	return hex.EncodeToString(o.hash.Sum(nil)), o.fsys.SyncDir(filepath.Dir(o.path))
}

// abandon gives the file up.
func (o *output) abandon() error {
	err := errors.Join(o.f.Close(), o.fsys.Remove(o.path+temporary))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// write makes a file of what fill writes, durably, and returns its SHA-256 and size.
func write(fsys disk.FS, path string, fill func(io.Writer) error) (sum string, size int64, err error) {
	o, err := create(fsys, path)
	if err != nil {
		return "", 0, err
	}
	steps := bufio.NewWriterSize(o, stepSize)
	if err := errors.Join(fill(steps), steps.Flush()); err != nil {
		return "", 0, errors.Join(err, o.abandon())
	}
	sum, err = o.commit()
	return sum, o.size, err
}

// wipe overwrites a file with zeros and removes it. A crash leaves it, in whole or in
// part, and the next call goes on. What a disk keeps of blocks that were overwritten is
// beyond this package.
func wipe(fsys disk.FS, path string) (err error) {
	f, err := fsys.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	zeros := make([]byte, 64<<10)
	for at := int64(0); err == nil && at < info.Size(); {
		var n int
		n, err = f.WriteAt(zeros[:min(int64(len(zeros)), info.Size()-at)], at)
		at += int64(n)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("overwriting %s: %w", path, err)
	}
	return fsys.Remove(path)
}
