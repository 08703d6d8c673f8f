package vault

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
)

// newConfig returns the Config of a new vault in folders of the test's.
func newConfig(t testing.TB) Config {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "root.key")
	if err := CreateRootKey(disk.OS{}, key, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "vault"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Config{Dir: filepath.Join(dir, "vault"), RootKeyFile: key, Logger: slog.New(slog.DiscardHandler)}
}

// keepVersions keeps every document.
func keepVersions(keep func(events.ID, uint32) bool) Keep {
	return Keep{Version: keep, Document: func(Place) bool { return true }}
}

// openVault opens a vault and closes it with the test.
func openVault(t testing.TB, cfg Config) *Vault {
	t.Helper()
	v, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// TestCloseLeavesNoFileOpen looks where the operating system shows open files.
func TestCloseLeavesNoFileOpen(t *testing.T) {
	const open = "/proc/self/fd"
	if _, err := os.Stat(open); err != nil {
		if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cfg := newConfig(t)
	v := openVault(t, cfg)
	mustPut(t, v, events.MustNewID(), 1, pattern(10))
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(open)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(open, e.Name())); err == nil && strings.HasPrefix(name, cfg.Dir) {
			t.Errorf("%s is open after Close", name)
		}
	}
}
