package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/custody"
)

// backedUp is a vault as backups see it, below logs that have no entries.
type backedUp struct{ v *Vault }

type noLog struct{}

func (noLog) Newest() ([]byte, uint64)                              { return []byte("none"), 0 }
func (noLog) Leaves(context.Context, uint64, int) ([][]byte, error) { return nil, nil }

func (b backedUp) Logs() (log, state backup.Log) { return noLog{}, noLog{} }

func (b backedUp) Vault(ctx context.Context, since json.RawMessage, w io.Writer) (json.RawMessage, error) {
	var from Position
	if since != nil {
		if err := json.Unmarshal(since, &from); err != nil {
			return nil, err
		}
	}
	upTo, err := b.v.Increment(ctx, from, w)
	if err != nil {
		return nil, err
	}
	return json.Marshal(upTo)
}

func (b backedUp) Follows(since json.RawMessage) bool {
	var from Position
	return json.Unmarshal(since, &from) == nil && b.v.Follows(from)
}

func (b backedUp) Keys(ctx context.Context, w io.Writer, epoch string) (backup.Taken, error) {
	var raw bytes.Buffer
	if err := b.v.BackupKeys(ctx, &raw, epoch); err != nil {
		return backup.Taken{}, err
	}
	info, err := InspectKeys(bytes.NewReader(raw.Bytes()))
	if err == nil {
		_, err = w.Write(raw.Bytes())
	}
	return backup.Taken{Generation: info.Generation}, err
}

func (b backedUp) Destroyed(ctx context.Context) (uint64, error) {
	n, err := b.v.Tombstones(ctx)
	return uint64(n), err
}

// TestFullRegisterFindsRoom does what ErrRegisterFull says: backups are taken, into another
// epoch in the end, and when the one before is retired what could not be destroyed is.
func TestFullRegisterFindsRoom(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	v.keys.tree.register.limit = 400
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	_, recipient, err := backup.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	b := backup.New(backup.Config{
		Origin: "vault.example", VerifierKey: "vkey", Secret: make([]byte, 32), Secrets: filepath.Dir(cfg.Register),
		Dies:    func(name string) bool { return name == filepath.Base(cfg.Register) },
		Custody: cfg.Custody, Trim: v.TrimRegister, FS: disk.OS{}, Clock: func() time.Time { return now },
		Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	})
	dir := t.TempDir()
	plan := backup.Plan{Data: filepath.Join(dir, "data"), Keys: filepath.Join(dir, "keys"), Recipients: []string{recipient}}
	run := func(epoch uint64) {
		t.Helper()
		if r, err := b.Run(ctx, backedUp{v}, plan, false); err != nil || r.Epoch != epoch {
			t.Fatalf("a backup into %+v, want epoch %d: %v", r, epoch, err)
		}
	}
	run(1)
	var refused events.ID
	for err = nil; err == nil; {
		refused = events.MustNewID()
		mustPut(t, v, refused, 1, pattern(10))
		_, err = v.Destroy(ctx, refused)
	}
	wantErr(t, err, ErrRegisterFull)
	run(1)
	now = now.Add(backup.DefaultEpoch)
	run(2)
	if _, err := v.Destroy(ctx, refused); !errors.Is(err, ErrRegisterFull) {
		t.Errorf("before an epoch is retired: %v", err)
	}
	now = now.Add(backup.DefaultKeep - backup.DefaultEpoch)
	if err := b.Retire(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Destroy(ctx, refused); err != nil {
		t.Errorf("after it is retired: %v", err)
	}
	list, err := ReadRegister(disk.OS{}, cfg.Register)
	if err != nil || len(list) != 1 {
		t.Errorf("the register has %v, %v", list, err)
	}
	if _, err := cfg.Custody.Open(ctx, "epoch-0001", nil, nil); !errors.Is(err, custody.ErrNoKey) {
		t.Errorf("the retired epoch's key: %v", err)
	}
}

// TestRestoredGenerationIsLater: a restored vault's generation is later than that of its
// backup and than any that the register, the custody and whoever restores tell of.
func TestRestoredGenerationIsLater(t *testing.T) {
	e := newEstateOfCopies(t)
	e.copyAll(t)
	for _, id := range e.ids[:2] {
		if _, err := e.v.Destroy(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	last := e.v.keys.tree.state.generation
	for name, test := range map[string]struct {
		custody  custody.Custody
		register string
		after    uint64
		want     uint64
	}{
		"the backup alone": {nil, "", 0, last - 1},
		"the register":     {nil, e.cfg.Register, 0, last + 1},
		"custody":          {e.cfg.Custody, "", 0, last + 1},
		"whoever restores": {nil, e.cfg.Register, last + 5, last + 6},
	} {
		cfg := elsewhere(t, e.cfg)
		from := e.cfg.Custody
		if test.custody != nil {
			cfg.Custody = test.custody
		}
		cfg.Register = test.register
		err := Restore(ctx, cfg, Source{Contents: e.contents, Keys: bytes.NewReader(e.keys), Custody: from, After: test.after})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := openVault(t, cfg).keys.tree.state.generation; got != test.want {
			t.Errorf("%s: generation %d, want %d", name, got, test.want)
		}
	}
}
