package cli_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/backup"
)

// TestServerRetiresWithoutBackups: a server whose backups were switched off destroys the
// keys of their epochs on their day all the same; until it runs, status fails.
func TestServerRetiresWithoutBackups(t *testing.T) {
	dir, b := filepath.Join(t.TempDir(), "ledger"), newBackups(t)
	config := ledger.Config{Dir: dir, Clock: func() time.Time { return time.Now().Add(-36 * 24 * time.Hour) }}
	if _, err := ledger.Create(t.Context(), config, origin); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Backup(t.Context(), backup.Plan{Data: b.data, Keys: b.keys, Recipients: []string{b.recipient}}, false); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	status := join([]string{"backup", "status", "--dir", dir}, b.to())
	if r := run(t, status...); r.code != 1 || !strings.Contains(r.out, "due") || !strings.Contains(r.messages, "epoch 1 was to be retired") {
		t.Errorf("status exits with %d, %s%s", r.code, r.out, r.messages)
	}
	p := serve(t, dir)
	for begun := time.Now(); strings.Contains(run(t, status...).messages, "to be retired"); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 30*time.Second {
			t.Fatal("no epoch was retired in half a minute")
		}
	}
	p.stop(t, syscall.SIGTERM)
	if keys, err := filepath.Glob(filepath.Join(dir+".custody", "keys", "*epoch*")); err != nil || len(keys) != 0 {
		t.Errorf("keys of epochs are left: %v, %v", keys, err)
	}
}
