package backup

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/medledger/medledger/events/store/disk"
)

const (
	secretsFile   = "secrets.age"
	secretsFormat = 1
	// maxSecrets bounds what is read of a file of secrets, and of what is in it.
	maxSecrets = 1 << 20
)

// Secrets are the files of the folder of the secrets but for what must be able to die:
// the keys that sign and derive.
type Secrets struct {
	Format int      `json:"format"`
	Origin string   `json:"origin"`
	Files  []Secret `json:"files"` // by rising names
}

// Secret is one of them.
type Secret struct {
	Name    string `json:"name"`
	Content []byte `json:"content"`
}

// readSecrets reads the secrets from their folder.
func (c *Config) readSecrets() ([]byte, error) {
	entries, err := c.FS.ReadDir(c.Secrets)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of the secrets: %w", err)
	}
	s := Secrets{Format: secretsFormat, Origin: c.Origin, Files: []Secret{}}
	for _, e := range entries {
		if e.IsDir() || e.Name() == EpochsFile || strings.HasSuffix(e.Name(), temporary) || c.Dies(e.Name()) {
			continue
		}
		raw, err := disk.ReadFile(c.FS, filepath.Join(c.Secrets, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading a secret: %w", err)
		}
		s.Files = append(s.Files, Secret{e.Name(), raw})
	}
	raw, err := json.Marshal(s)
	if err == nil && len(raw) > maxSecrets {
		err = fmt.Errorf("the folder of the secrets has %d bytes, at most %d are backed up; remove what does not belong there", len(raw), maxSecrets)
	}
	return raw, err
}

// parseSecrets is strict, and takes names of files only.
func parseSecrets(raw []byte) (*Secrets, error) {
	var s Secrets
	if err := strictJSON(raw, &s); err != nil {
		return nil, err
	}
	if s.Format != secretsFormat {
		return nil, fmt.Errorf("format %d, this program knows %d: use the medledger that wrote it", s.Format, secretsFormat)
	}
	last := ""
	for _, f := range s.Files {
		if f.Name <= last || f.Name == "." || !filepath.IsLocal(f.Name) || filepath.Base(f.Name) != f.Name || f.Name == EpochsFile {
			return nil, errors.New("a file with an impossible name")
		}
		last = f.Name
	}
	return &s, nil
}

// digest tells secrets apart without telling them.
func (c *Config) digest(raw []byte) string { return hex.EncodeToString(sum(c.Secret, "secrets", raw)) }

// recipientsDigest tells lists of recipients apart.
func recipientsDigest(recipients []string) string {
	digest := sha256.Sum256([]byte(strings.Join(recipients, "\n")))
	return hex.EncodeToString(digest[:])
}

// writeSealed writes a small file for the recipients, durably.
func writeSealed(fsys disk.FS, path string, recipients []age.Recipient, plain []byte) error {
	_, _, err := write(fsys, path, func(to io.Writer) error {
		w, err := age.Encrypt(to, recipients...)
		if err != nil {
			return err
		}
		_, err = w.Write(plain)
		return errors.Join(err, w.Close())
	})
	return err
}

func readSealed(fsys disk.FS, path string, identities []age.Identity) ([]byte, error) {
	raw, err := disk.ReadFile(fsys, path)
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(raw), identities...)
	if errors.As(err, new(*age.NoIdentityMatchError)) {
		return nil, fmt.Errorf("%s: %w", path, ErrIdentity)
	}
	if err != nil {
		return nil, fmt.Errorf("decrypting %s: %w", path, err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxSecrets+1))
	if err == nil && len(plain) > maxSecrets {
		err = errors.New("it is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("decrypting %s: %w", path, err)
	}
	return plain, nil
}

// UnpackSecrets puts the secrets of a key side into a folder, made if missing, in which
// there must not be the file called last: it is written last. Crash before: a folder
// without it, which the next call completes. Crash after: the secrets. It returns the
// names of the files.
func UnpackSecrets(fsys disk.FS, keys string, identities []age.Identity, folder, last string) ([]string, error) {
	if _, err := fsys.Stat(filepath.Join(folder, last)); err == nil {
		return nil, fmt.Errorf("%s is there already: %w", filepath.Join(folder, last), fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	path := filepath.Join(keys, secretsFile)
	raw, err := readSealed(fsys, path, identities)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", keys, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	s, err := parseSecrets(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	slices.SortStableFunc(s.Files, func(a, b Secret) int {
		return cmp.Compare(rank(a.Name, last), rank(b.Name, last))
	})
	if n := len(s.Files); n == 0 || s.Files[n-1].Name != last {
		return nil, fmt.Errorf("%s lacks %s: %w", path, last, ErrIncomplete)
	}
	if err := disk.MakeDir(fsys, folder, 0o700); err != nil {
		return nil, err
	}
	var names []string
	for _, f := range s.Files {
		names = append(names, f.Name)
		if err := disk.WriteFile(fsys, filepath.Join(folder, f.Name), f.Content, 0o600); err != nil {
			return names, fmt.Errorf("writing a secret: %w", err)
		}
	}
	return names, nil
}

func rank(name, last string) int {
	if name == last {
		return 1
	}
	return 0
}
