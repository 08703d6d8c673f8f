package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/medledger/medledger/ledger/custody"
)

// KeySide is a key side, to be restored from.
type KeySide struct {
	side keySide
	c    *Config
	// found are the manifests of the epochs that are not retired, by rising number.
	found []manifest
	// known is the latest generation of a snapshot in the folder of the secrets.
	known uint64
}

// OpenKeySide reads what epochs a key side has. An epoch that the secrets say is retired
// is none: what was destroyed in it must not come back.
func OpenKeySide(c Config, dir string) (*KeySide, error) {
	k := &KeySide{side: keySide{c.FS, dir}, c: &c}
	e, err := c.readEpochs()
	if err != nil {
		return nil, err
	}
	for _, epoch := range e.Epochs {
		if epoch.Snapshot != nil {
			k.known = max(k.known, epoch.Snapshot.Generation)
		}
	}
	numbers, err := k.side.epochs()
	if err != nil {
		return nil, err
	}
	var unusable error // the newest one that is
	for _, n := range numbers {
		m, err := k.manifest(e, n)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a crash left an epoch without a snapshot
		}
		if err == nil {
			k.found = append(k.found, *m)
		}
		unusable = err
	}
	// An older one may be damaged: a crash leaves a retired one like that.
	if unusable != nil {
		return nil, fmt.Errorf("the newest epoch: %w", unusable)
	}
	if len(k.found) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNone)
	}
	return k, nil
}

// manifest reads what an epoch's folder has.
func (k *KeySide) manifest(e *epochs, number uint64) (*manifest, error) {
	path := k.side.path(epochKey(number), manifestFile)
	if known := e.find(number); number <= e.Last && (known == nil || known.Retired) {
		return nil, fmt.Errorf("%s: %w", filepath.Dir(path), ErrRetired)
	}
	var m manifest
	if err := readAuthenticated(k.c.FS, path, k.c.Secret, "epoch", &m); err != nil {
		return nil, err
	}
	if m.Origin != k.c.Origin || m.Key != k.c.VerifierKey {
		return nil, fmt.Errorf("%s holds keys of %q: %w", k.side.dir, m.Origin, ErrOther)
	}
	if m.Format < 1 || m.Format > manifestFormat || m.Number != number || m.Tree != treePrefix+"1" && m.Tree != treePrefix+"2" {
		return nil, fmt.Errorf("%s: %w", path, ErrAltered)
	}
	return &m, nil
}

func (k *KeySide) newest() *manifest { return &k.found[len(k.found)-1] }

// Snapshot says what the newest snapshot has.
func (k *KeySide) Snapshot() Snapshot { return k.newest().Snapshot }

// Generation is the latest generation of the key tree that the snapshots here and the
// epochs in the folder of the secrets tell of.
func (k *KeySide) Generation() (latest uint64) {
	for _, m := range k.found {
		latest = max(latest, m.Snapshot.Generation)
	}
	return max(latest, k.known)
}

// Checkpoint is the signed checkpoint of the log that the newest snapshot was taken with:
// the log has that many events at least.
func (k *KeySide) Checkpoint() []byte { return k.newest().Checkpoint }

// Key is the name in custody of the key that opens the newest snapshot.
func (k *KeySide) Key() string { return epochKey(k.newest().Number) }

// Holder is the custody that has the key of the newest snapshot, once ImportKeys has
// succeeded.
func (k *KeySide) Holder(ctx context.Context) (custody.Custody, error) {
	in, err := k.holder(ctx, k.newest())
	if err == nil && in == nil {
		err = fmt.Errorf("the key of epoch %d: %w", k.newest().Number, custody.ErrNoKey)
	}
	return in, err
}

// holder is the custody that has an epoch's key; nil if none has. A key of the same name
// in a custody of another kind is another key.
func (k *KeySide) holder(ctx context.Context, m *manifest) (custody.Custody, error) {
	for _, in := range []custody.Custody{k.c.Custody, k.c.Elsewhere} {
		if in == nil || in.Kind() != m.Custody {
			continue
		}
		there, err := keysIn(ctx, in)
		if err != nil {
			return nil, err
		}
		if there[epochKey(m.Number)] {
			return in, nil
		}
	}
	return nil, nil
}

// ImportKeys takes the epochs' keys into custody that are in none. It can be repeated.
// Only the newest one is needed to restore. Of the others those are left out whose day has
// come, for their keys should be nowhere by now, and those that cannot be had: that a key
// is damaged, or in a token that is not here, makes the newest no worse.
func (k *KeySide) ImportKeys(ctx context.Context, identities []age.Identity) error {
	for i := range k.found {
		m := &k.found[i]
		err := k.obtainKey(ctx, m, identities)
		if err == nil {
			continue
		}
		if m == k.newest() || ctx.Err() != nil {
			return err
		}
		k.c.Logger.Info("the key of an earlier epoch is left out", "epoch", m.Number, "cause", err)
	}
	return nil
}

func (k *KeySide) obtainKey(ctx context.Context, m *manifest, identities []age.Identity) error {
	in, err := k.holder(ctx, m)
	if err != nil || in != nil {
		return err
	}
	if !k.c.now().Before(m.Retires) {
		return fmt.Errorf("epoch %d was to be retired on %s: %w", m.Number, m.Retires.Format(time.DateOnly), ErrRetired)
	}
	return k.importKey(ctx, m, identities)
}

func (k *KeySide) importKey(ctx context.Context, m *manifest, identities []age.Identity) error {
	to, ok := k.c.Custody.(Exporter)
	if !ok && m.Recipients != "" {
		return fmt.Errorf("the key of epoch %d is on the key side, and no token takes keys; restore with custody in a folder, and move to the token then: %w", m.Number, custody.ErrNoKey)
	}
	if m.Recipients == "" {
		return fmt.Errorf("the key of epoch %d is in the token that it was made in, and not here; restore with that token: %w", m.Number, custody.ErrNoKey)
	}
	key, err := readSealed(k.c.FS, k.side.path(epochKey(m.Number), keyFile), identities)
	if err != nil {
		return err
	}
	defer clear(key)
	if err := to.Import(ctx, epochKey(m.Number), key); err != nil {
		return fmt.Errorf("taking the key of epoch %d into custody: %w", m.Number, err)
	}
	return nil
}

// Tree opens the newest snapshot of the key tree, having read all of it once to see that
// it is the one that was written.
func (k *KeySide) Tree() (io.ReadSeekCloser, error) {
	m := k.newest()
	path := k.side.path(epochKey(m.Number), m.Tree)
	f, err := k.c.FS.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the key tree: %w", err)
	}
	hashed := sha256.New()
	_, err = io.Copy(hashed, f)
	if err == nil && hex.EncodeToString(hashed.Sum(nil)) != m.SHA256 {
		err = fmt.Errorf("%s: %w", path, ErrAltered)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{io.NewSectionReader(f, 0, info.Size()), f}, nil
}

// Adopt writes the epochs of the key side into the folder of the secrets, if that does not
// have them: the schedule goes on with them. Also those whose key is not here live until
// their day: nobody has destroyed it. And so do keys of epochs in custody that this key side
// does not tell of: another one may. Those in Elsewhere are left to the ledger that uses it. Crash before: no epochs, and the restoration is none.
func (k *KeySide) Adopt(ctx context.Context) error {
	var m medium
	if err := readAuthenticated(k.c.FS, k.side.path(mediumFile), k.c.Secret, "medium", &m); err != nil {
		return fmt.Errorf("reading what the key side is: %w", err)
	}
	e, err := k.c.readEpochs()
	if err != nil {
		return err
	}
	for i := range k.found {
		f := &k.found[i]
		if f.Number <= e.Last {
			continue
		}
		e.Last = f.Number
		e.Epochs = append(e.Epochs, Epoch{
			Number: f.Number, Made: f.Made, Closes: f.Closes, Retires: f.Retires, Custody: f.Custody,
			Media: []string{m.ID}, Snapshot: &f.Snapshot, FirstDestroyed: f.FirstDestroyed,
		})
		e.Run = &Run{Time: f.Snapshot.Time, Size: f.Snapshot.Size, Epoch: f.Number}
	}
	if _, err := k.c.adopt(ctx, e, k.c.Custody); err != nil {
		return err
	}
	return k.c.saveEpochs(e)
}
