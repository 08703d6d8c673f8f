package ledger_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/vault"
)

// live makes records that stay, a small and a large one each time.
func (g *guarded) live(content string, n int) {
	g.t.Helper()
	for i := range n {
		small, large := strings.Repeat(content, i+1), strings.Repeat(content, 20_000)
		g.living[g.record(small)], g.living[g.record(large)] = small, large
	}
}

func (g *guarded) imageOf() image {
	g.t.Helper()
	dir := g.t.TempDir()
	m := image{g.config, g.backups.copied(g.t)}
	m.config.Dir, m.config.Secrets = filepath.Join(dir, "data"), filepath.Join(dir, "secrets")
	for from, to := range map[string]string{g.config.Dir: m.config.Dir, g.config.SecretsFolder(): m.config.Secrets} {
		copyPrivately(g.t, from, to)
	}
	return m
}

// copyPrivately copies a folder so that only its owner may read it: secrets that others may
// read are refused.
func copyPrivately(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(name, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(name, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// openVault opens the vault of a configuration past the ledger, with the token.
func (g *guarded) openVault(config ledger.Config) *vault.Vault {
	g.t.Helper()
	v, err := vault.Open(g.t.Context(), g.inToken(config))
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

func (g *guarded) inToken(config ledger.Config) vault.Config {
	f := ledger.Folder{Data: config.Dir, Secrets: config.SecretsFolder()}
	return vault.Config{Dir: f.Vault(), Custody: g.token, Register: f.Register(), Logger: slog.New(slog.DiscardHandler)}
}

// refusesToOpen expects neither a ledger nor its vault to open, for want of the root key;
// the ledger also because its secrets know a newer checkpoint.
func (g *guarded) refusesToOpen(config ledger.Config, name string) {
	g.t.Helper()
	if _, err := ledger.Open(g.t.Context(), config); !errors.Is(err, vault.ErrRootKey) && !errors.Is(err, ledger.ErrOlder) {
		g.t.Errorf("%s: %v", name, err)
	}
	if _, err := vault.Open(g.t.Context(), g.inToken(config)); !errors.Is(err, vault.ErrRootKey) {
		g.t.Errorf("%s, its vault: %v", name, err)
	}
}

// judgeVault expects everything but the dead to open in a vault, which it closes.
func (g *guarded) judgeVault(v *vault.Vault, name string) {
	g.t.Helper()
	for record, want := range g.living {
		c, err := v.Get(g.t.Context(), record, 1)
		if err != nil {
			g.t.Errorf("%s: a content of %d bytes: %v", name, len(want), err)
			continue
		}
		got, err := io.ReadAll(c.Reader)
		if err := errors.Join(err, c.Reader.Close()); err != nil || string(got) != want {
			g.t.Errorf("%s: a content of %d bytes came back with %d, %v", name, len(want), len(got), err)
		}
	}
	for _, record := range []events.ID{g.old, g.dead} {
		_, err := v.Get(g.t.Context(), record, 1)
		_, saltErr := v.Opening(g.t.Context(), record, 1)
		for _, err := range []error{err, saltErr} {
			if !errors.Is(err, vault.ErrDestroyed) && !errors.Is(err, vault.ErrNotFound) {
				g.t.Errorf("%s: what was destroyed: %v", name, err)
			}
		}
	}
	if err := v.Close(); err != nil {
		g.t.Error(err)
	}
}

// judgeLedger expects everything but the dead to be read from the clinic's ledger, and from
// its vault.
func (g *guarded) judgeLedger(name string) {
	g.t.Helper()
	for record, want := range g.living {
		if got := string(g.content(record)); got != want {
			g.t.Errorf("%s: a content of %d bytes came back with %d", name, len(want), len(got))
		}
	}
	for _, record := range []events.ID{g.old, g.dead} {
		if r, err := g.Access(g.t.Context(), g.doctor, treating(record)); err == nil {
			g.t.Errorf("%s: a destroyed record reads %d bytes", name, len(g.drain(r)))
		}
	}
	g.close()
	g.judgeVault(g.openVault(g.config), name+", its vault")
	g.reopen()
}

// restoring restores with the token, into a new folder and with the given secrets, none for
// those of the key side.
func (g *guarded) restoring(from *sides, secrets string, clock func() time.Time) (ledger.Config, error) {
	g.t.Helper()
	config := g.config
	config.Dir, config.Secrets, config.Clock = filepath.Join(g.t.TempDir(), "elsewhere"), secrets, clock
	g.folders = append(g.folders, config.Dir, config.SecretsFolder())
	// Secrets that survived know what the log had after the backup, which is given up.
	_, err := ledger.Restore(g.t.Context(), config, from.from(ledger.Restoration{NothingNewer: true, LoseEvents: secrets != ""}))
	config.Clock = g.clock
	return config, err
}

// aside restores, and looks at what came of it while the clinic's ledger is closed. Then it
// is given up, and its root key destroyed, as whoever goes on with the other has to.
func (g *guarded) aside(from *sides, secrets string, look func()) {
	g.t.Helper()
	g.close()
	before, kept := g.names(), g.config
	config, err := g.restoring(from, secrets, g.clock)
	if err != nil {
		g.t.Fatal(err)
	}
	g.config = config
	g.reopen()
	look()
	g.close()
	for _, name := range g.names() {
		if slices.Contains(before, name) {
			continue
		}
		if err := g.token.Destroy(g.t.Context(), name); err != nil {
			g.t.Fatal(err)
		}
	}
	g.config = kept
	g.reopen()
}

func (g *guarded) names() []string {
	g.t.Helper()
	names, err := g.token.Names(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	return names
}

// secretsNow is a copy of the folder of the secrets, for a restoration where they survived.
func (g *guarded) secretsNow() string {
	g.t.Helper()
	to := filepath.Join(g.t.TempDir(), "survived")
	copyPrivately(g.t, g.config.SecretsFolder(), to)
	g.folders = append(g.folders, to)
	return to
}

// eachFile reads all that somebody could have come by, and decrypts what the paper can.
func (g *guarded) eachFile(look func(path string, b []byte)) {
	g.t.Helper()
	identities, err := age.ParseIdentities(bytes.NewReader(g.backups.identity))
	if err != nil {
		g.t.Fatal(err)
	}
	file := func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		look(path, b)
		if filepath.Ext(path) != ".age" {
			return nil
		}
		plain, err := age.Decrypt(bytes.NewReader(b), identities...)
		if err != nil {
			return err
		}
		b, err = io.ReadAll(plain)
		look(path+", decrypted", b)
		return err
	}
	dirs := append(g.folders, g.config.Dir, g.config.SecretsFolder(), g.before.config.Dir, g.before.config.Secrets, g.token.Token.Objects)
	for _, b := range []*sides{g.unguarded, g.before.backups, g.backups} {
		dirs = append(dirs, b.plan.Data, b.plan.Keys)
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && path == dir { // of a restoration that was refused
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			return file(path)
		})
		if err != nil {
			g.t.Error(err)
		}
	}
}
