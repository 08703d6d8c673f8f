package custody

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/medledger/medledger/events/store/disk"
)

// FolderConfig says where a Folder lies.
type FolderConfig struct {
	// Dir is the folder, made if missing. It lies outside the data folder, best on
	// another disk.
	Dir string
	// FS is the file system; the operating system's if nil.
	FS disk.FS
	// Random yields keys and nonces; crypto/rand if nil. It must be safe for
	// concurrent use.
	Random io.Reader
}

// Folder is custody of kind File: a folder of mode 0700 with a file of mode 0600 for
// each key,
//
//	NAME.key    64 hex digits and a line feed
//
// which is read for every use and kept nowhere. What it seals is
//
//	0x01 || nonce (12) || AES-256-GCM(key, nonce, plaintext, context)
//
// A key is destroyed by overwriting its file with zeros, syncing and removing it. A
// file with a zero byte is that of a key whose destruction a crash interrupted: Names
// lists it, nothing opens with it, and Destroy removes it.
type Folder struct {
	cfg    FolderConfig
	mu     sync.RWMutex // held for reading by every call while it runs
	closed bool         // guarded by mu
}

const (
	keySuffix    = ".key"
	keyFileSize  = 2*KeySize + 1
	folderFormat = 1
	nonceSize    = 12
	tagSize      = 16
)

// OpenFolder opens the folder, or makes it. It refuses one that others may look
// into, and says what to do.
func OpenFolder(cfg FolderConfig) (*Folder, error) {
	if cfg.FS == nil {
		cfg.FS = disk.OS{}
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Dir == "" {
		return nil, errors.New("custody wants a folder for its keys")
	}
	// Crash: some of the folders, empty, which the next OpenFolder uses.
	if err := disk.MakeDir(cfg.FS, cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of keys: %w: %w", ErrUnavailable, err)
	}
	info, err := cfg.FS.Stat(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("looking for the folder of keys: %w: %w", ErrUnavailable, err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %v, others may look into it: run chmod 700 on it: %w", cfg.Dir, info.Mode(), ErrUnavailable)
	}
	return &Folder{cfg: cfg}, nil
}

// Kind implements Custody.
func (f *Folder) Kind() Kind { return File }

// enter is called first by every method; leave must follow if it succeeds.
func (f *Folder) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.RLock()
	if f.closed {
		f.mu.RUnlock()
		return fmt.Errorf("it was closed: %w", ErrUnavailable)
	}
	return nil
}

func (f *Folder) leave() { f.mu.RUnlock() }

func (f *Folder) path(name string) string { return filepath.Join(f.cfg.Dir, name+keySuffix) }

// Create implements Custody. Crash before the file has its name: no key, perhaps a
// temporary file with one that nobody was given, which the next Create of the name
// overwrites. Crash after: the key, once the folder is synced.
func (f *Folder) Create(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
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
	var key [KeySize]byte
	defer clear(key[:])
	if _, err := io.ReadFull(f.cfg.Random, key[:]); err != nil {
		return fmt.Errorf("reading randomness for a key: %w", err)
	}
	text := append(hex.AppendEncode(make([]byte, 0, keyFileSize), key[:]), '\n')
	defer clear(text)
	if err := disk.WriteFile(f.cfg.FS, f.path(name), text, 0o600); err != nil {
		return fmt.Errorf("writing a key: %w: %w", ErrUnavailable, err)
	}
	return nil
}

// Seal implements Custody.
func (f *Folder) Seal(ctx context.Context, name string, plain, context []byte) ([]byte, error) {
	if len(plain) > MaxPlain {
		return nil, fmt.Errorf("%d bytes: %w", len(plain), ErrTooLong)
	}
	aead, err := f.use(ctx, name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 1+nonceSize, 1+nonceSize+len(plain)+tagSize)
	b[0] = folderFormat
	if _, err := io.ReadFull(f.cfg.Random, b[1:]); err != nil {
		return nil, fmt.Errorf("reading randomness for a nonce: %w", err)
	}
	return aead.Seal(b, b[1:], plain, context), nil
}

// Open implements Custody.
func (f *Folder) Open(ctx context.Context, name string, sealed, context []byte) ([]byte, error) {
	aead, err := f.use(ctx, name)
	if err != nil {
		return nil, err
	}
	if n := len(sealed) - 1 - nonceSize - tagSize; n < 0 || n > MaxPlain || sealed[0] != folderFormat {
		return nil, fmt.Errorf("%d bytes of another format: %w", len(sealed), ErrSealed)
	}
	plain, err := aead.Open(nil, sealed[1:1+nonceSize], sealed[1+nonceSize:], context)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// use reads a key.
func (f *Folder) use(ctx context.Context, name string) (cipher.AEAD, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := f.enter(ctx); err != nil {
		return nil, err
	}
	defer f.leave()
	info, err := f.cfg.FS.Stat(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNoKey)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a key: %w: %w", ErrUnavailable, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %v, others may read it: run chmod 600 on it, and if others could have read it, destroy nothing before the vault has moved to another key: %w", f.path(name), info.Mode(), ErrUnavailable)
	}
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
	defer clear(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// parseKeyFile is strict: it accepts only what Create writes.
func parseKeyFile(text []byte) (key [KeySize]byte, err error) {
	if bytes.IndexByte(text, 0) >= 0 {
		return key, fmt.Errorf("was being destroyed: %w", ErrNoKey)
	}
	n, err := hex.Decode(key[:], text[:min(len(text), 2*KeySize)])
	if err != nil || n != KeySize || len(text) != keyFileSize || text[keyFileSize-1] != '\n' || bytes.ContainsAny(text, "ABCDEF") {
		clear(key[:])
		return key, fmt.Errorf("does not hold 64 hex digits; no copy of it should exist: restore the ledger from a backup: %w", ErrUnavailable)
	}
	return key, nil
}

// Destroy implements Custody. Crash before the zeros are synced: the key, or some of
// it, or nothing. Crash after: no key, and perhaps a file of zeros, which another
// Destroy removes. What a disk or a file system keeps of overwritten blocks is beyond
// it, as are images of the disk: see File.
func (f *Folder) Destroy(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := f.enter(ctx); err != nil {
		return err
	}
	defer f.leave()
	// What a Create that a crash interrupted may have left of the name goes too.
	for _, path := range []string{f.path(name) + ".tmp", f.path(name)} {
		if err := f.erase(path); err != nil {
			return fmt.Errorf("destroying a key: %w: %w", ErrUnavailable, err)
		}
	}
	// Also if there was none: an earlier Destroy may have failed here.
	if err := f.cfg.FS.SyncDir(f.cfg.Dir); err != nil {
		return fmt.Errorf("destroying a key: %w: %w", ErrUnavailable, err)
	}
	return nil
}

// erase overwrites a file and removes it, if it is there.
func (f *Folder) erase(path string) error {
	file, err := f.cfg.FS.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteAt(make([]byte, keyFileSize), 0)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return f.cfg.FS.Remove(path)
}

// Names implements Custody.
func (f *Folder) Names(ctx context.Context) ([]string, error) {
	if err := f.enter(ctx); err != nil {
		return nil, err
	}
	defer f.leave()
	entries, err := f.cfg.FS.ReadDir(f.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("listing keys: %w: %w", ErrUnavailable, err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), keySuffix); ok && CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names) // ReadDir sorts with the suffix
	return names, nil
}

// Close implements Custody. It waits for running calls.
func (f *Folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}
