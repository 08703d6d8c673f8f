package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/custody"
)

const (
	mediumFile   = "medium"
	manifestFile = "snapshot"
	keyFile      = "key.age"
	treePrefix   = "tree-"
	mediumFormat = 1
	// manifestFormat is what is written. Format 1 is read still: it had no FirstDestroyed.
	manifestFormat = 2
)

// medium says whose key side a folder is.
type medium struct {
	Format     int    `json:"format"`
	Origin     string `json:"origin"`
	Key        string `json:"key"` // the log's verifier key
	ID         string `json:"id"`
	Secrets    string `json:"secrets"`    // a keyed digest of what is in secrets.age
	Recipients string `json:"recipients"` // a digest of whom that is encrypted to
}

// manifest says what an epoch's folder has.
type manifest struct {
	Format     int          `json:"format"`
	Origin     string       `json:"origin"`
	Key        string       `json:"key"`
	Number     uint64       `json:"number"`
	Made       time.Time    `json:"made"`
	Closes     time.Time    `json:"closes"`
	Retires    time.Time    `json:"retires"`
	Custody    custody.Kind `json:"custody"`    // where its key is
	Recipients string       `json:"recipients"` // of key.age; "" if there is none
	Snapshot   Snapshot     `json:"snapshot"`
	Tree       string       `json:"tree"`       // the file of the tree
	SHA256     string       `json:"sha256"`     // of that
	Checkpoint []byte       `json:"checkpoint"` // the log's, signed, as in the data side of the same run
	// FirstDestroyed is the epoch's.
	FirstDestroyed *uint64 `json:"first_destroyed,omitempty"`
}

// keySide is a folder of epochs.
type keySide struct {
	fsys disk.FS
	dir  string
}

func (k keySide) path(elem ...string) string {
	return filepath.Join(append([]string{k.dir}, elem...)...)
}

// open makes sure that the folder is a key side of this ledger, and makes it one if it
// is empty. Crash before the medium's file is there: an empty folder.
func (k keySide) open(c *Config) (*medium, error) {
	var m medium
	err := readAuthenticated(k.fsys, k.path(mediumFile), c.Secret, "medium", &m)
	if errors.Is(err, ErrAltered) {
		return nil, fmt.Errorf("%w; if it is a key side of another ledger choose another folder, else remove that file", err)
	}
	if err == nil {
		if m.Origin != c.Origin || m.Key != c.VerifierKey {
			return nil, fmt.Errorf("%s holds keys of %q: %w", k.dir, m.Origin, ErrOther)
		}
		if m.Format != mediumFormat {
			return nil, fmt.Errorf("%s has format %d, this program knows %d: use the medledger that wrote it", k.path(mediumFile), m.Format, mediumFormat)
		}
		return &m, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking into the key side: %w", err)
	}
	found, err := k.epochs()
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		if err := refuseNonEmpty(k.fsys, k.dir); err != nil {
			return nil, err
		}
	}
	if err := disk.MakeDir(k.fsys, k.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the key side's folder: %w", err)
	}
	id := make([]byte, 8)
	if _, err := io.ReadFull(c.Random, id); err != nil {
		return nil, fmt.Errorf("naming the medium: %w", err)
	}
	m = medium{Format: mediumFormat, Origin: c.Origin, Key: c.VerifierKey, ID: hex.EncodeToString(id)}
	return &m, k.saveMedium(c, &m)
}

func (k keySide) saveMedium(c *Config, m *medium) error {
	if err := writeAuthenticated(k.fsys, k.path(mediumFile), c.Secret, "medium", m); err != nil {
		return fmt.Errorf("writing what the key side is: %w", err)
	}
	return nil
}

// epochs lists the numbers of the epochs that have a folder, in order.
func (k keySide) epochs() ([]uint64, error) {
	entries, err := k.fsys.ReadDir(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking into the key side: %w", err)
	}
	var list []uint64
	for _, e := range entries {
		if n, ok := parseEpochKey(e.Name()); ok && e.IsDir() {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

// putSecrets brings the secrets on the key side up to date. Crash before the medium's
// file is written: new secrets, which the next call writes again.
func (k keySide) putSecrets(c *Config, m *medium, p *Plan, recipients []age.Recipient) error {
	raw, err := c.readSecrets()
	if err != nil {
		return err
	}
	defer clear(raw)
	digest, to := c.digest(raw), recipientsDigest(p.Recipients)
	_, err = k.fsys.Stat(k.path(secretsFile))
	if err == nil && m.Secrets == digest && m.Recipients == to {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeSealed(k.fsys, k.path(secretsFile), recipients, raw); err != nil {
		return fmt.Errorf("writing the secrets to the key side: %w", err)
	}
	m.Secrets, m.Recipients = digest, to
	return k.saveMedium(c, m)
}

// snapshot takes a snapshot of the key tree into an epoch, and removes the one before.
// Crash before the manifest is written: the snapshot before, and files that the next call
// removes. Crash after: this one, and perhaps the file of the one before, likewise.
func (k keySide) snapshot(ctx context.Context, c *Config, src Source, e *Epoch, p *Plan, recipients []age.Recipient, data *position, checkpoint []byte) error {
	dir := k.path(e.key())
	before, err := k.before(c, e)
	if err != nil {
		return err
	}
	if err := disk.MakeDir(k.fsys, dir, 0o700); err != nil {
		return err
	}
	next := manifest{
		Format: manifestFormat, Origin: c.Origin, Key: c.VerifierKey, Number: e.Number, Made: e.Made, Closes: e.Closes, Retires: e.Retires,
		Custody:    e.Custody,
		Recipients: before.Recipients, Checkpoint: checkpoint, FirstDestroyed: e.FirstDestroyed,
	}
	if next.Recipients, err = k.putKey(ctx, c, e, p, recipients, before.Recipients); err != nil {
		return fmt.Errorf("writing the epoch's key: %w", err)
	}
	next.Tree = treePrefix + "1"
	if before.Tree == next.Tree {
		next.Tree = treePrefix + "2"
	}
	next.Snapshot = Snapshot{Time: c.now(), Size: data.Size}
	next.SHA256, _, err = write(k.fsys, filepath.Join(dir, next.Tree), func(w io.Writer) error {
		taken, err := src.Keys(ctx, w, e.key())
		next.Snapshot.Generation, next.Snapshot.Destroyed = taken.Generation, taken.Destroyed
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the key tree: %w", err)
	}
	if err := writeAuthenticated(k.fsys, filepath.Join(dir, manifestFile), c.Secret, "epoch", &next); err != nil {
		return err
	}
	e.Snapshot = &next.Snapshot
	return k.wipeTrees(dir, next.Tree)
}

// before reads what there is of an epoch. What is of another one of its number is removed, key
// and all: a ledger that was restored without this medium cannot know which numbers that has.
// Crash while it is: the rest of it, of which nothing can be restored and which the next call
// removes, or the epoch's own snapshot replaces.
func (k keySide) before(c *Config, e *Epoch) (*manifest, error) {
	var m manifest
	err := readAuthenticated(k.fsys, k.path(e.key(), manifestFile), c.Secret, "epoch", &m)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrAltered) {
		return new(manifest), nil
	}
	if err == nil && !m.Made.Equal(e.Made) {
		return new(manifest), k.remove(e.Number)
	}
	return &m, err
}

// wipeTrees overwrites and removes the snapshots of an epoch but one.
func (k keySide) wipeTrees(dir, but string) error {
	entries, err := k.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), treePrefix) && e.Name() != but {
			if err := wipe(k.fsys, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return k.fsys.SyncDir(dir)
}

// putKey writes the epoch's key for the recipients, if custody gives it away, unless it
// is there for the same ones. It returns whom it is for.
func (k keySide) putKey(ctx context.Context, c *Config, e *Epoch, p *Plan, recipients []age.Recipient, before string) (string, error) {
	from, ok := c.Custody.(Exporter)
	if !ok {
		return "", nil
	}
	to := recipientsDigest(p.Recipients)
	path := k.path(e.key(), keyFile)
	if _, err := k.fsys.Stat(path); err == nil && before == to {
		return to, nil
	}
	key, err := from.Export(ctx, e.key())
	if err != nil {
		return "", err
	}
	defer clear(key)
	return to, writeSealed(k.fsys, path, recipients, key)
}

// clean removes from a medium what is left of the epochs that are retired. Crash at any
// moment: the rest of them, which the next call removes.
func (k keySide) clean(c *Config, m *medium, e *epochs) error {
	numbers, err := k.epochs()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		epoch := e.find(n)
		living := epoch != nil && !epoch.Retired
		if n > e.Last || living && epoch.Adopted && n > e.made() {
			return fmt.Errorf("%s is of an epoch that the secrets here do not know: they are older than this key side; bring newer ones, or choose another folder", k.path(epochKey(n)))
		}
		if living {
			continue
		}
		if err := k.remove(n); err != nil {
			return fmt.Errorf("removing the retired epoch %d from the key side: %w", n, err)
		}
	}
	for i := range e.Epochs {
		if epoch := &e.Epochs[i]; epoch.Retired {
			epoch.Media = slices.DeleteFunc(epoch.Media, func(id string) bool { return id == m.ID })
		}
	}
	return c.forget(e)
}

// remove overwrites and removes the folder of an epoch.
func (k keySide) remove(number uint64) error {
	dir := k.path(epochKey(number))
	entries, err := k.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := wipe(k.fsys, filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := k.fsys.SyncDir(dir); err != nil {
		return err
	}
	if err := k.fsys.Remove(dir); err != nil {
		return err
	}
	return k.fsys.SyncDir(k.dir)
}
