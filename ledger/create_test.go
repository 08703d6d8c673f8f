package ledger_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/ledger"
)

// TestNewFolder looks at what Create leaves: the first token, for its owner alone,
// and no secret in the data folder but that.
func TestNewFolder(t *testing.T) {
	c := newClinic(t)
	folder := ledger.FolderAt(c.config.Dir)
	secret, err := os.ReadFile(folder.AdminToken())
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.Authenticate(strings.TrimSpace(string(secret)))
	if err != nil || who.ActorID != c.founding.Administrator {
		t.Errorf("admin.token is %v's: %v", who.ActorID, err)
	}
	if name, err := c.NameOf(t.Context(), c.founding.Organisation); err != nil || name != origin {
		t.Errorf("the first organisation is called %q, %v", name, err)
	}
	for _, path := range append(secretsOf(t, folder), folder.AdminToken()) {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", filepath.Base(path), info.Mode(), err)
		}
	}
	c.close()
	hidden := make([][]byte, 0)
	for _, path := range secretsOf(t, folder) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		hidden = append(hidden, raw)
	}
	err = filepath.WalkDir(folder.Data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, h := range hidden {
			if strings.Contains(string(raw), strings.TrimSpace(string(h))) {
				t.Errorf("%s has a secret in it", d.Name())
			}
		}
		if path != folder.AdminToken() && strings.Contains(string(raw), strings.TrimSpace(string(secret))) {
			t.Errorf("%s has the administrator's token in it", d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func secretsOf(t *testing.T, f ledger.Folder) []string {
	t.Helper()
	names, err1 := filepath.Glob(filepath.Join(f.Secrets, "*.[kp]e[ym]"))
	keys, err2 := filepath.Glob(filepath.Join(f.RootKeys(), "*"))
	if err := errors.Join(err1, err2); err != nil || len(names) != 4 || len(keys) != 1 {
		t.Fatalf("the secrets are %v and %v, %v", names, keys, err)
	}
	return append(names, keys...)
}

func TestCreateRefuses(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	dir := func(t *testing.T) string { return filepath.Join(t.TempDir(), "data") }
	for name, custody := range map[string]string{"inside": "keys", "the same": ".", "a roundabout way inside": "../data/keys"} {
		data := dir(t)
		config := ledger.Config{Dir: data, Secrets: filepath.Join(data, custody), Logger: quiet}
		if _, err := ledger.Create(t.Context(), config, origin); err == nil || !strings.Contains(err.Error(), "--custody") {
			t.Errorf("the secrets %s: %v", name, err)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("the secrets %s: something was made", name)
		}
	}
	for _, name := range []string{"letter.txt", "keys", "log.vkey"} {
		data := dir(t)
		if err := os.MkdirAll(filepath.Join(data, name), 0o700); err != nil { // a folder by any name
			t.Fatal(err)
		}
		if _, err := ledger.Create(t.Context(), ledger.Config{Dir: data, Logger: quiet}, origin); err == nil || !strings.Contains(err.Error(), "empty folder") {
			t.Errorf("a folder with %s in it: %v", name, err)
		}
	}
	// Beside another ledger's secrets nothing is made and nothing of theirs changes.
	c := newClinic(t)
	other := ledger.Config{Dir: dir(t), Secrets: ledger.DefaultCustody(c.config.Dir), Logger: quiet}
	if _, err := ledger.Create(t.Context(), other, "other.example"); err == nil {
		t.Error("two ledgers have the same secrets")
	}
	c.restart()
}

func TestFormats(t *testing.T) {
	c := newClinic(t)
	c.close()
	marker := c.path("medledger.json")
	good, err := os.ReadFile(marker)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]error{
		`{"format":1,"origin":"clinic.example/ledger"}`: ledger.ErrOldFormat,
		`{"format":2,"origin":"clinic.example/ledger"}`: ledger.ErrOldFormat,
		`{"format":4,"origin":"clinic.example/ledger"}`: ledger.ErrNewerFormat,
		`{"format":3,"origin":"other.example"}`:         ledger.ErrOtherOrigin,
		`{"format":0}`:                                  nil,
		`nonsense`:                                      nil,
	} {
		if err := os.WriteFile(marker, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.opens(); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: opening answers %v", text, err)
		}
		if _, err := ledger.Create(t.Context(), c.config, origin); err == nil {
			t.Errorf("%s: made anew", text)
		}
	}
	if err := os.WriteFile(marker, good, 0o600); err != nil {
		t.Fatal(err)
	}
	c.reopen()
}
