package access

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// TestCommitThatFails: SQLite leaves a transaction open that it cannot commit, and
// database/sql takes it for ended. The driver ends it; if it did not, no other could begin
// and the copy would stay where it is until the next start. A key that refers to nothing is
// what SQLite does not commit.
func TestCommitThatFails(t *testing.T) {
	config := Config{Path: filepath.Join(t.TempDir(), "copy"), Key: make([]byte, 32), Events: 9, Logger: slog.New(slog.DiscardHandler)}
	p, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	execute := func(statement string) {
		t.Helper()
		if _, err := p.db.ExecContext(t.Context(), statement); err != nil {
			t.Error(err)
		}
	}
	persist := func(size uint64) error {
		nobody := row{"actor", []byte{0xa0}} // an empty map
		p.Persist(Changes{head: life.Head{Size: size}, rows: map[events.ID]row{{1}: nobody}})
		return p.flush(nil)
	}
	if err := persist(1); err != nil {
		t.Fatal(err)
	}
	execute("PRAGMA foreign_keys = ON")
	execute("CREATE TABLE refers (id REFERENCES actor DEFERRABLE INITIALLY DEFERRED)")
	execute("CREATE TRIGGER spoils AFTER INSERT ON head BEGIN INSERT INTO refers VALUES (x'02'); END")
	for range 2 {
		if err := persist(2); err == nil || p.written != 1 {
			t.Fatalf("the commit was to fail; written up to %d", p.written)
		}
	}
	execute("DROP TRIGGER spoils")
	execute("DROP TABLE refers")
	if err := persist(3); err != nil || p.written != 3 {
		t.Errorf("after a commit that failed: %v, written up to %d", err, p.written)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if p, err = Open(t.Context(), config); err != nil || p.state.Head().Size != 3 {
		t.Fatalf("the next start: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
