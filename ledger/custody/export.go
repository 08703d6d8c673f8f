package custody

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/medledger/medledger/events/store/disk"
)

// Export returns a key, for a copy that must outlive this machine: those of backups.
// The caller wipes it. Custody of kind Token has no such method.
func (f *Folder) Export(ctx context.Context, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := f.enter(ctx); err != nil {
		return nil, err
	}
	defer f.leave()
	text, err := disk.ReadFile(f.cfg.FS, f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNoKey)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w: %w", ErrUnavailable, err)
	}
	defer clear(text)
	key, err := parseKeyFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", f.path(name), err)
	}
	return key[:], nil
}

// Import takes a key that was exported. It is durable when Import returns; a crash
// leaves it or nothing of it. ErrExists if the name is taken.
func (f *Folder) Import(ctx context.Context, name string, key []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(key) != KeySize {
		return fmt.Errorf("a key of %d bytes, want %d: %w", len(key), KeySize, ErrTooLong)
	}
	if err := f.enter(ctx); err != nil {
		return err
	}
	defer f.leave()
	if _, err := f.cfg.FS.Stat(f.path(name)); err == nil {
		return fmt.Errorf("%s: %w", name, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for a key: %w: %w", ErrUnavailable, err)
	}
	text := append(hex.AppendEncode(make([]byte, 0, keyFileSize), key), '\n')
	defer clear(text)
	if err := disk.WriteFile(f.cfg.FS, f.path(name), text, 0o600); err != nil {
		return fmt.Errorf("writing a key: %w: %w", ErrUnavailable, err)
	}
	return nil
}
