package e2e

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/events/store/disk/disktest"
	"github.com/medledger/medledger/ledger"
)

// contentSizes are those of contents that the vault keeps in rows of a segment, in
// segments of their own time, and in files of their own: which of the ledger's
// parts finds the disk full first depends on them.
var contentSizes = map[string]int{"small": 300, "medium": 30_000, "large": 1 << 20}

// full waits until a load is refused for want of room, and checks what the service
// says of itself then.
func (l *load) full(url string) {
	t := l.h.t
	t.Helper()
	l.until("answered 503", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.refusals[http.StatusServiceUnavailable] > writers
	})
	l.end()
	for status := range l.refusals {
		if status != http.StatusServiceUnavailable {
			t.Errorf("refused with %d when the disk was full", status)
		}
	}
	for path, want := range map[string]int{"/healthz": 200, "/log/checkpoint": 200} {
		response, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s answers %d, want %d", path, response.StatusCode, want)
		}
	}
}

// TestNoSpace fills the disk of a ledger in this process while the service writes to
// it: it answers 503 from then on, still shows its log, and once there is room again,
// what it acknowledged is there.
func TestNoSpace(t *testing.T) {
	for name, size := range contentSizes {
		t.Run(name, func(t *testing.T) { testNoSpace(t, size) })
	}
}

func testNoSpace(t *testing.T, size int) {
	fsys, dir := disktest.New(), filepath.Join(t.TempDir(), "ledger")
	// SQLite's files are the operating system's, and never full.
	for _, name := range []string{"vault", "state"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := ledger.Config{Dir: dir, FS: fsys, Logger: slog.New(slog.DiscardHandler)}
	if _, err := ledger.Create(t.Context(), config, "e2e.example/clinic"); err != nil {
		t.Fatal(err)
	}
	var tr transcript
	h := &house{t: t, tr: &tr, dir: t.TempDir()}
	l, s := serveInProcess(t, config)
	for name, to := range map[string]string{"admin.token": h.dir, "log.vkey": h.dir} {
		copyOut(t, fsys, filepath.Join(dir, name), filepath.Join(to, name))
	}
	h.register(&served{url: s.URL})
	load := h.start(size)
	load.until("10 acknowledged", func() bool { return load.soFar() >= 10 })
	fsys.LimitSpace(0)
	load.full(s.URL)
	s.Close()
	_ = l.Close() // it may want to write too
	fsys.LimitSpace(-1)
	l, s = serveInProcess(t, config)
	h.moved(&served{url: s.URL})
	load.check(all)
	s.Close()
	if err := l.Close(); err != nil {
		t.Errorf("closing the ledger: %v", err)
	}
}

// serveInProcess opens a ledger and serves it. The caller closes both.
func serveInProcess(t *testing.T, config ledger.Config) (*ledger.Ledger, *httptest.Server) {
	t.Helper()
	l, err := ledger.Open(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Config{
		Ledger: l, Logger: config.Logger, Clock: time.Now,
		Limits: api.Limits{Content: 1 << 30, JSON: 1 << 20, BatchJSON: 1 << 20, Batch: 10},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, httptest.NewServer(handler)
}

// copyOut copies a file of a disk in memory to the real one.
func copyOut(t *testing.T, fsys *disktest.FS, from, to string) {
	t.Helper()
	content, err := disk.ReadFile(fsys, from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(strings.TrimSpace(string(content))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
