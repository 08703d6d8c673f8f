package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/ledger/tlog"
)

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
