package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/medledger/medledger/events/store/disk"
)

const (
	// copySuffix marks a copy that is not whole yet.
	copySuffix = ".copying"
	copyBuffer = 256 << 10
	// copySync is how much is copied between two syncs: everybody else's wait for
	// one that takes long.
	copySync = 8 << 20
	// tailSize is how many bytes at the end of two ciphertexts of one length say
	// that they are the same: they hold an authentication tag, which is another
	// one for every key.
	tailSize = tagSize
)

// copier copies ciphertexts for backups, slowly: appends go on beside it.
type copier struct {
	ctx  context.Context // of the one call that copier lives in
	fsys disk.FS
	pace disk.Pace
	buf  []byte
}

// bring makes dst a copy of src as long as src is at this moment, unless it is
// one, and returns that length; fs.ErrNotExist if there is no src. The caller
// syncs the folder of dst. Crash before the copy has its name: what dst was, and
// a file that the next Backup removes. Crash after: the copy, once its folder is
// synced.
func (c *copier) bring(src, dst string) (size int64, err error) {
	from, err := c.fsys.OpenFile(src, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	info, err := from.Stat()
	if err != nil {
		return 0, err
	}
	size = info.Size()
	if same, err := c.isCopy(from, size, dst); err != nil || same {
		return size, err
	}
	if err := c.copy(from, size, dst+copySuffix); err != nil {
		return 0, err
	}
	return size, c.fsys.Rename(dst+copySuffix, dst)
}

// isCopy reports whether dst has the length and the last bytes of a file.
func (c *copier) isCopy(from disk.File, size int64, dst string) (same bool, err error) {
	f, err := c.fsys.OpenFile(dst, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil || info.Size() != size {
		return false, err
	}
	n := min(size, tailSize)
	tails := make([]byte, 2*n)
	for i, file := range []disk.File{from, f} {
		if m, err := file.ReadAt(tails[int64(i)*n:int64(i+1)*n], size-n); int64(m) < n {
			return false, fmt.Errorf("comparing a copy: %w", err)
		}
	}
	return bytes.Equal(tails[:n], tails[n:]), nil
}

// copy writes the first size bytes of a file to another one and syncs it.
func (c *copier) copy(from disk.File, size int64, dst string) (err error) {
	to, err := c.fsys.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = to.Sync()
		}
		err = errors.Join(err, to.Close())
	}()
	if c.buf == nil {
		c.buf = make([]byte, copyBuffer)
	}
	r := io.NewSectionReader(from, 0, size)
	for at := int64(0); at < size; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		c.pace.Begin()
		n := min(size-at, copyBuffer)
		if _, err := io.ReadFull(r, c.buf[:n]); err != nil {
			return err
		}
		if _, err := to.Write(c.buf[:n]); err != nil {
			return err
		}
		if at += n; at%copySync == 0 {
			if err := to.Sync(); err != nil {
				return err
			}
		}
		c.pace.Rest()
	}
	return nil
}
