package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/tlog"
	"github.com/medledger/medledger/verifier/proof"
)

// fakeLog is a log of size leaves whose tiles say who they are.
type fakeLog struct {
	size uint64
	time time.Time    // of the checkpoint
	fail func() error // if not nil, what every read answers
}

func (f *fakeLog) Published() *tlog.Published {
	if f.size == 0 {
		return nil
	}
	return &tlog.Published{
		Checkpoint: proof.Checkpoint{Origin: "example.org/log", Size: f.size}, Note: []byte("the note\n"), Time: f.time,
	}
}

func (f *fakeLog) Tile(_ context.Context, t proof.Tile) ([]byte, error) {
	return f.read(t.Level, t.Index, t.Width)
}

func (f *fakeLog) Entries(_ context.Context, n uint64, width int) ([]byte, error) {
	return f.read(proof.Entries, n, width)
}

func (f *fakeLog) read(level int, index uint64, width int) ([]byte, error) {
	if f.fail != nil {
		return nil, f.fail()
	}
	if width > proof.WidthAt(f.size, level, index) {
		return nil, fmt.Errorf("tile: %w", tlog.ErrNotFound)
	}
	return tileBytes(level, index, width), nil
}

func tileBytes(level int, index uint64, width int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d %d ", level, index), width)
}

// journal collects log lines.
type journal struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.String()
}

// shared is a ledger that all tests of the log's own endpoints are served with,
// and the token of its auditor.
var shared struct {
	once   sync.Once
	dir    string
	ledger *ledger.Ledger
	token  string
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.ledger != nil {
		_ = shared.ledger.Close()
	}
	_ = os.RemoveAll(shared.dir)
	os.Exit(code)
}

func sharedLedger(t testing.TB) *ledger.Ledger {
	t.Helper()
	shared.once.Do(func() { shared.err = makeShared() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.ledger
}

func makeShared() (err error) {
	ctx := context.Background()
	if shared.dir, err = os.MkdirTemp("", "api"); err != nil {
		return err
	}
	config := ledger.Config{Dir: filepath.Join(shared.dir, "d"), Logger: slog.New(slog.DiscardHandler)}
	founding, err := ledger.Create(ctx, config, origin)
	if err != nil {
		return err
	}
	if shared.ledger, err = ledger.Open(ctx, config); err != nil {
		return err
	}
	admin := ledger.Command{Actor: founding.Administrator}
	auditor, err := shared.ledger.Register(ctx, admin, ledger.Registration{Role: events.RoleAuditor})
	if err != nil {
		return err
	}
	_, shared.token, err = shared.ledger.IssueToken(ctx, admin, auditor.Event.Subject, events.At(time.Now().Add(time.Hour)))
	return err
}

// bench is a handler under test and what it may say and see.
type bench struct {
	url     string
	log     *fakeLog
	journal *journal
	stopped error
}

func (b *bench) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b.journal, nil)) }

func start(t *testing.T, size uint64) *bench {
	t.Helper()
	b := &bench{log: &fakeLog{size: size}, journal: new(journal)}
	h, err := api.New(api.Config{
		Ledger: sharedLedger(t), Log: b.log, Stopped: func() error { return b.stopped }, Clock: time.Now,
		Logger: slog.New(slog.NewTextHandler(b.journal, nil)), Version: "v1.2.3",
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.Listen(t.Context(), api.ServerConfig{Address: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	stop := serving(t, server, h)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	b.url = server.URL()
	return b
}

// do sends a request line as it is: no client cleans the target.
// It has the token of an auditor.
func (b *bench) do(t *testing.T, method, target string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	headers = append(headers, "Authorization: Bearer "+shared.token+"\r\n")
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", method, target, strings.Join(headers, ""))
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return response, body
}

// wantProblem checks that a response is a problem of RFC 9457 with the status.
func wantProblem(t *testing.T, response *http.Response, body []byte, status int) {
	t.Helper()
	if response.StatusCode != status {
		t.Fatalf("status %d, want %d; %s", response.StatusCode, status, body)
	}
	if got := response.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	if got := response.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q on an error", got)
	}
	if response.Request.Method == http.MethodHead {
		return
	}
	var p struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" {
		t.Errorf("problem %+v", p)
	}
}
