package vault

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/medledger/medledger/events/store/disk"
)

const (
	copyBuffer = 256 << 10
	// copySync is how much is copied between two syncs: everybody else's wait for
	// one that takes long.
	copySync = 8 << 20
)

// copier copies ciphertexts.
type copier struct {
	ctx  context.Context // of the one call that copier lives in
	fsys disk.FS
	buf  []byte
}

// bring makes dst a copy of src and returns its length; fs.ErrNotExist if there is no
// src. The caller syncs the folder of dst. Crash: some of the copy.
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
	return info.Size(), c.copy(from, info.Size(), dst)
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
	}
	return nil
}
