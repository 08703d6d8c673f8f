package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
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

func TestReadEndpoint(t *testing.T) {
	b := start(t, 70000)
	const immutable = "max-age=31536000, immutable"
	for _, c := range []struct {
		target, contentType, cache string
		want                       []byte
	}{
		{"/log/checkpoint", "text/plain; charset=utf-8", "no-cache", []byte("the note\n")},
		{"/log/checkpoint?x=1", "text/plain; charset=utf-8", "no-cache", []byte("the note\n")},
		{"/log/tile/0/000", "application/octet-stream", immutable, tileBytes(0, 0, 256)},
		{"/log/tile/0/272", "application/octet-stream", immutable, tileBytes(0, 272, 256)},
		{"/log/tile/0/273.p/112", "application/octet-stream", immutable, tileBytes(0, 273, 112)},
		{"/log/tile/0/273.p/1", "application/octet-stream", immutable, tileBytes(0, 273, 1)},
		{"/log/tile/1/001.p/17", "application/octet-stream", immutable, tileBytes(1, 1, 17)},
		{"/log/tile/2/000.p/1", "application/octet-stream", immutable, tileBytes(2, 0, 1)},
		{"/log/tile/entries/000", "application/octet-stream", immutable, tileBytes(-1, 0, 256)},
		{"/log/tile/entries/273.p/112", "application/octet-stream", immutable, tileBytes(-1, 273, 112)},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			response, body := b.do(t, method, c.target)
			want := c.want
			if method == "HEAD" {
				want = nil
			}
			if response.StatusCode != 200 || !bytes.Equal(body, want) {
				t.Errorf("%s %s: %d, %d bytes, want %d", method, c.target, response.StatusCode, len(body), len(want))
			}
			for header, want := range map[string]string{
				"Content-Type": c.contentType, "Cache-Control": c.cache, "X-Content-Type-Options": "nosniff",
				"Content-Length": strconv.Itoa(len(c.want)), "Content-Encoding": "",
			} {
				if got := response.Header.Get(header); got != want {
					t.Errorf("%s %s: %s is %q, want %q", method, c.target, header, got, want)
				}
			}
		}
	}
}

// The clean neighbours of all of these exist.
func TestHostilePaths(t *testing.T) {
	b := start(t, 70000)
	for _, target := range []string{
		"/", "//", "/log", "/log/", "//log/checkpoint", "/log//checkpoint", "/log/checkpoint/", "/log/./checkpoint",
		"/x/../log/checkpoint", "/log/tile/../checkpoint", "/log%2fcheckpoint", "/log/%63heckpoint", "/LOG/checkpoint",
		"/log/tile", "/log/tile/", "/log/tile/0", "/log/tile/0/", "/log/tile/0/000/", "/log/tile/0//000", "/log//tile/0/000",
		"/log/tile/0/./000", "/log/tile/1/../0/000", "/log/tile/0/%30%30%30", "/log/tile%2f0%2f000", "/log/tile/0%2f000",
		"/log/tile/0/..%2f..%2fcheckpoint", "/log/tile/0/000%00", "/log/tile/0/%2e%2e/0/000", "/log/tile/0/000;x",
		"/log/../../../../etc/passwd", "/log/tile/../../../../etc/passwd", `/log/tile/0/..\..\checkpoint`,
		"/log/tile/00/000", "/log/tile/-1/000", "/log/tile/+0/000", "/log/tile/8/000", "/log/tile/64/000", "/log/tile/0x0/000",
		"/log/tile/0/0", "/log/tile/0/00", "/log/tile/0/0000", "/log/tile/0/x000/000", "/log/tile/0/000/000", "/log/tile/0/-01",
		"/log/tile/0/x999999999999999999999/000", "/log/tile/0/" + strings.Repeat("x000/", 500) + "000",
		"/log/tile/0/273.p/0", "/log/tile/0/273.p/01", "/log/tile/0/273.p/256", "/log/tile/0/273.p/-1", "/log/tile/0/273.p/",
		"/log/tile/0/273.p", "/log/tile/0/273.P/1", "/log/tile/0/273.p/1/", "/log/tile/0/273.p/1.p/1", "/log/tile/0/273.p/1e1",
		"/log/tile/0/273", "/log/tile/0/273.p/113", "/log/tile/0/274.p/1", "/log/tile/1/001", "/log/tile/1/001.p/18",
		"/log/tile/2/000.p/2", "/log/tile/3/000.p/1", "/log/tile/0/x999/999",
		"/log/tile/entries/273", "/log/tile/entries/273.p/113", "/log/tile/entries/274.p/1", "/log/tile/entries", "/log/tile/entries/",
		"/log/tile/entries/0", "/log/tile/entries/000.gz", "/log/tile/Entries/000", "/log/tile/data/000", "/log/signed", "/log/synced",
		"/metrics/", "/healthz/", "/healthz/..", "/readyz%20",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			response, body := b.do(t, method, target)
			t.Run(method+" "+target, func(t *testing.T) { wantProblem(t, response, body, 404) })
		}
	}
}

func TestMethods(t *testing.T) {
	b := start(t, 300)
	for _, target := range []string{"/log/checkpoint", "/log/tile/0/000", "/log/tile/entries/000", "/healthz", "/readyz", "/metrics"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "BREW"} {
			response, body := b.do(t, method, target)
			wantProblem(t, response, body, 405)
			if got := response.Header.Get("Allow"); got != "GET, HEAD" {
				t.Errorf("%s %s: Allow is %q", method, target, got)
			}
		}
	}
	for _, c := range [][2]string{{"POST", "/nothing"}, {"OPTIONS", "*"}, {"CONNECT", "/log/checkpoint/x"}} {
		response, body := b.do(t, c[0], c[1])
		wantProblem(t, response, body, 404)
	}
	if strings.Contains(b.journal.String(), "BREW") {
		t.Error("a method that a client made up is in the log")
	}
}

func TestNoCheckpointYet(t *testing.T) {
	b := start(t, 0)
	for _, target := range []string{"/log/checkpoint", "/log/tile/0/000.p/1", "/log/tile/entries/000.p/1"} {
		response, body := b.do(t, "GET", target)
		wantProblem(t, response, body, 404)
	}
	if _, body := b.do(t, "GET", "/metrics"); !bytes.Contains(body, []byte("\nmedledger_log_size 0\n")) {
		t.Error("metrics do not say that the log is empty")
	}
}

func TestCompression(t *testing.T) {
	b := start(t, 300)
	want := tileBytes(-1, 0, 256)
	for _, c := range []struct {
		accept string
		gzip   bool
	}{
		{"gzip", true}, {"identity, GZIP", true}, {"br;q=1, gzip;q=0.5", true}, {"gzip ; q=0.001", true},
		{"", false}, {"identity", false}, {"gzip;q=0", false}, {"gzip;q=0.000", false}, {"gzip;q=", false}, {"gzip;x=1", false},
		{"x-gzip", false}, {"*", false}, {"gzip;q=NaN", false},
	} {
		response, body := b.do(t, "GET", "/log/tile/entries/000", "Accept-Encoding: "+c.accept+"\r\n")
		if got := response.Header.Get("Vary"); got != "Accept-Encoding" {
			t.Errorf("%q: Vary is %q", c.accept, got)
		}
		if got := response.Header.Get("Content-Encoding") == "gzip"; got != c.gzip {
			t.Errorf("%q: compressed %v", c.accept, got)
			continue
		}
		if c.gzip {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(body, want) {
			t.Errorf("%q: other bytes", c.accept)
		}
	}
	if response, _ := b.do(t, "GET", "/log/tile/0/000", "Accept-Encoding: gzip\r\n"); response.Header.Get("Content-Encoding") != "" {
		t.Error("hashes were compressed")
	}
}

func TestErrorsStayInside(t *testing.T) {
	const secret = "/srv/ledger/log/tile: name of a person"
	for _, c := range []struct {
		name   string
		fail   func() error
		status int
		logged string // the log line must have it
	}{
		{"unknown error", func() error { return errors.New(secret) }, 500, secret},
		{"closed", func() error { return fmt.Errorf("%s: %w", secret, tlog.ErrClosed) }, 503, "status=503"},
		{"given up", func() error { return fmt.Errorf("%s: %w", secret, context.Canceled) }, 503, "status=503"},
		{"not there", func() error { return fmt.Errorf("%s: %w", secret, tlog.ErrNotFound) }, 404, "status=404"},
		{"panic with a value", func() error { panic(secret) }, 500, "panic=string"},
		{"panic with an error", func() error { panic(errors.New(secret)) }, 500, "panic=*errors.errorString"},
		{"panic of the runtime", func() error { var none []error; return none[len(none)] }, 500, "index out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, 300)
			b.log.fail = c.fail
			response, body := b.do(t, "GET", "/log/tile/0/000")
			wantProblem(t, response, body, c.status)
			if bytes.Contains(body, []byte("srv")) || bytes.Contains(body, []byte("person")) {
				t.Errorf("the answer tells of the inside: %s", body)
			}
			if !strings.Contains(b.journal.String(), c.logged) {
				t.Errorf("%q is not in the log:\n%s", c.logged, b.journal)
			}
			if c.logged != secret && strings.Contains(b.journal.String(), "person") {
				t.Errorf("the log tells too much:\n%s", b.journal)
			}
			if response, _ := b.do(t, "GET", "/healthz"); response.StatusCode != 200 {
				t.Error("the server does not live on")
			}
		})
	}
}

func TestHealth(t *testing.T) {
	b := start(t, 300)
	for _, target := range []string{"/healthz", "/readyz"} {
		if response, _ := b.do(t, "GET", target); response.StatusCode != 200 || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d, %v", target, response.StatusCode, response.Header)
		}
	}
	b.stopped = errors.New("disk /dev/secret is full")
	response, body := b.do(t, "GET", "/readyz")
	wantProblem(t, response, body, 503)
	if bytes.Contains(body, []byte("secret")) {
		t.Errorf("the cause is told: %s", body)
	}
	for _, target := range []string{"/healthz", "/log/checkpoint", "/log/tile/0/000"} {
		if response, _ := b.do(t, "GET", target); response.StatusCode != 200 {
			t.Errorf("%s of a stopped ledger: %d", target, response.StatusCode)
		}
	}
	if _, body := b.do(t, "GET", "/metrics"); !bytes.Contains(body, []byte("\nmedledger_ledger_stopped 1\n")) {
		t.Error("metrics do not say that the ledger stopped")
	}
}

func TestMetricsAndLogNameNobody(t *testing.T) {
	b := start(t, 300)
	b.do(t, "GET", "/log/tile/0/000?patient=Ada", "Referer: Ada\r\n", "User-Agent: Ada\r\n")
	b.do(t, "GET", "/log/tile/entries/000.p/7?patient=Ada")
	b.do(t, "GET", "/patients/Ada")
	b.do(t, "POST", "/healthz?Ada")
	_, body := b.do(t, "GET", "/metrics")
	for _, want := range []string{
		`medledger_http_requests_total{route="/log/tile/{L}/{N}",status="2xx"} 1`,
		`medledger_http_requests_total{route="/log/tile/entries/{N}",status="2xx"} 1`,
		`medledger_http_requests_total{route="none",status="4xx"} 2`,
		`medledger_http_request_duration_seconds_count{route="none"} 2`,
		`medledger_http_requests_in_flight 1`,
		`medledger_log_size 300`,
		`medledger_ledger_stopped 0`,
		`medledger_build_info{goversion="`, `version="v1.2.3"} 1`,
		`go_goroutines `, `process_start_time_seconds `,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	for name, text := range map[string]string{"metrics": string(body), "log": b.journal.String()} {
		for _, personal := range []string{"Ada", "127.0.0.1", "patient=", ".p/7"} {
			if strings.Contains(text, personal) {
				t.Errorf("%s hold %q:\n%s", name, personal, text)
			}
		}
	}
	if want := `msg=request method=GET route=/log/tile/entries/{N} status=200 `; !strings.Contains(b.journal.String(), want) {
		t.Errorf("the log lacks %q:\n%s", want, b.journal)
	}
	helped := make(map[string]bool)
	for line := range strings.Lines(string(body)) {
		if name, found := strings.CutPrefix(line, "# HELP "); found {
			name, help, _ := strings.Cut(name, " ")
			helped[name] = strings.TrimSpace(help) != ""
		}
		if name, found := strings.CutPrefix(line, "# TYPE "); found {
			if name, _, _ = strings.Cut(name, " "); !helped[name] {
				t.Errorf("%s has no help", name)
			}
		}
	}
}

func TestCheckpointTimeMetric(t *testing.T) {
	const name = "medledger_log_checkpoint_timestamp_seconds "
	for _, c := range []struct {
		size uint64
		time time.Time
		want float64
	}{
		{0, time.Time{}, 0},   // no checkpoint yet
		{300, time.Time{}, 0}, // not known when it was made
		{300, time.Date(2026, 11, 23, 20, 0, 0, 250_000_000, time.UTC), 1795464000.25},
	} {
		b := start(t, c.size)
		b.log.time = c.time
		_, body := b.do(t, "GET", "/metrics")
		_, after, found := strings.Cut(string(body), "\n"+name)
		value, _, _ := strings.Cut(after, "\n")
		if got, err := strconv.ParseFloat(value, 64); !found || err != nil || got != c.want {
			t.Errorf("size %d, time %v: %q, %v, want %v", c.size, c.time, value, err, c.want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	whole := api.Config{Ledger: sharedLedger(t), Logger: slog.Default(), Clock: time.Now}
	for i, spoil := range []func(*api.Config){
		func(c *api.Config) { c.Ledger = nil }, func(c *api.Config) { c.Limits.Batch = -1 },
		func(c *api.Config) { c.Logger = nil }, func(c *api.Config) { c.Clock = nil },
	} {
		c := whole
		spoil(&c)
		if _, err := api.New(c); err == nil {
			t.Errorf("config %d was accepted", i)
		}
	}
	if _, err := api.New(whole); err != nil {
		t.Error(err)
	}
}
