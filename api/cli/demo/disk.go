package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/vault"
)

// copyDisks copies the data folder of the running service, and the folder of its
// secrets.
func (s *story) copyDisks() error {
	if err := errors.Join(copyFolder(s.old.Data, s.copied.Data), copyFolder(s.old.Secrets, s.copied.Secrets)); err != nil {
		return err
	}
	s.done("before that, somebody copies the disk and the secrets", "unnoticed")
	return nil
}

// copyFolder copies a folder so that only its owner reads the copy. What is removed
// meanwhile is left out.
func copyFolder(from, to string) error {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != from {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		if err := copyFile(path, filepath.Join(to, name)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("copying a folder: %w", err)
	}
	return nil
}

// copyFile copies a file so that only its owner reads the copy.
func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

// What comes of opening a vault past the service.
const (
	noKey     = "no key, no content"
	noRootKey = "no: its root key is destroyed"
)

// look is the scene in which vaults are opened past the service: the one of now, and
// the one that was copied before the destructions.
func (s *story) look(ctx context.Context) error {
	s.scene("The disk that somebody copied before the destruction")
	today := ledger.FolderAt(filepath.Join(s.scratch, "today"))
	if err := errors.Join(copyFolder(s.old.Data, today.Data), copyFolder(s.old.Secrets, today.Secrets)); err != nil {
		return err
	}
	joined := ledger.Folder{Data: filepath.Join(s.scratch, "joined"), Secrets: today.Secrets}
	if err := join(joined.Vault(), s.copied.Vault(), today.Vault()); err != nil {
		return err
	}
	if err := s.lookInto(ctx, "today's disk and secrets", today, noKey); err != nil {
		return err
	}
	err := openVault(ctx, ledger.Folder{Data: s.copied.Data, Secrets: today.Secrets}, func(func(*record) string) {})
	s.expect("the copied disk, today's secrets", noRootKey, refusedRoot(err))
	if err := s.lookInto(ctx, "copied contents, today's keys", joined, noKey); err != nil {
		return err
	}
	if err := s.lookInto(ctx, "copied disk and copied secrets", s.copied, released); err != nil {
		return err
	}
	s.expect("the event says where its keys were kept", "custody: "+events.CustodyFile, s.custodyOf(s.final))
	s.say("With the keys in a file, a destruction is worth the clinic's word that nobody copied that small file. With a token, a device that gives no key away (deploy/token), it holds against every copy of every disk. A backup of the keys from before opens it until that backup's epoch is retired.")
	return nil
}

// lookInto opens a vault, which must have one record that lives, and come to want with
// the one that was destroyed.
func (s *story) lookInto(ctx context.Context, what string, at ledger.Folder, want string) error {
	return openVault(ctx, at, func(read func(*record) string) {
		s.expect(what+": the destroyed one", want, read(s.first))
		s.expect("… one that lives", released, read(s.visit))
	})
}

// openVault opens a vault, and lets do read from it.
func openVault(ctx context.Context, at ledger.Folder, do func(read func(*record) string)) (err error) {
	keys, err := custody.OpenFolder(custody.FolderConfig{Dir: at.RootKeys(), Random: rand.Reader})
	if err != nil {
		return fmt.Errorf("opening the custody of the root key: %w", err)
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	v, err := vault.Open(ctx, vault.Config{
		Dir: at.Vault(), Custody: keys, Register: at.Register(), Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	do(func(r *record) string {
		content, err := v.Get(ctx, r.id, 1)
		switch {
		case errors.Is(err, vault.ErrDestroyed), errors.Is(err, vault.ErrNotFound):
			return noKey
		case err != nil:
			return outcome(err, "")
		}
		return compareBytes(content.Reader, r.original)
	})
	return nil
}

func refusedRoot(err error) string {
	if errors.Is(err, vault.ErrRootKey) {
		return noRootKey
	}
	return outcome(err, "it opens")
}

// join makes a vault of the contents of one, and the keys of another.
func join(to, contents, keys string) error {
	if err := copyFolder(contents, to); err != nil {
		return err
	}
	const database = "keys.sqlite*" // with what SQLite keeps beside it
	old, err1 := filepath.Glob(filepath.Join(to, database))
	present, err2 := filepath.Glob(filepath.Join(keys, database))
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("joining two vaults: %w", err)
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("joining two vaults: %w", err)
		}
	}
	for _, file := range present {
		if err := copyFile(file, filepath.Join(to, filepath.Base(file))); err != nil {
			return fmt.Errorf("joining two vaults: %w", err)
		}
	}
	return nil
}

// custodyOf returns where the keys were that a destruction destroyed, as its event
// says.
func (s *story) custodyOf(index uint64) string {
	raw, err := os.ReadFile(s.file("receipts", receiptName(index)))
	if err != nil {
		return outcome(err, "")
	}
	v, err := s.check(raw)
	if err != nil {
		return outcome(err, "")
	}
	d, ok := v.Event.Data.(*events.RecordDestroyed)
	if !ok {
		return "no event of a destruction"
	}
	return "custody: " + d.Custody
}
