package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/medledger/medledger/api"
)

// metric is the value of a server's metric, with the given value of a label.
func metric(t *testing.T, s *api.Server, name string, label ...string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			if family.GetName() == name && (len(label) == 0 || m.Label[0].GetValue() == label[0]) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s %v", name, label)
	return 0
}

// waiting is a handler whose requests wait for finish, but for those that are
// always let in.
func waiting(entered chan<- struct{}, finish <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/wait") {
			entered <- struct{}{}
			<-finish
		}
		fmt.Fprint(w, r.URL.Path)
	})
}

func TestFullServerTurnsRequestsAway(t *testing.T) {
	const full = 3
	entered, finish := make(chan struct{}, full), make(chan struct{})
	server := running(t, api.ServerConfig{MaxInFlight: full}, waiting(entered, finish))
	statuses := make(chan int, full)
	for range full {
		go func() {
			response, err := http.Get(server.URL() + "/v1/wait")
			if err != nil {
				statuses <- 0
				return
			}
			response.Body.Close()
			statuses <- response.StatusCode
		}()
		<-entered
	}
	for i, path := range []string{"/v1/wait", "/log/checkpoint", "/healthz/", "/%68ealthz"} {
		response, err := http.Get(server.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.Header.Get("Retry-After") != "1" {
			t.Errorf("%s: Retry-After %q, %v", path, response.Header.Get("Retry-After"), err)
		}
		wantProblem(t, response, body, http.StatusTooManyRequests)
		if got := metric(t, server, "medledger_http_requests_rejected_total"); got != float64(i+1) {
			t.Errorf("%v rejected requests are counted, want %d", got, i+1)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/readyz?x"} {
		if status := statusOf(t, server.URL()+path); status != http.StatusOK {
			t.Errorf("%s of a full server: %d", path, status)
		}
	}
	close(finish)
	for range full {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("a request that was let in: %d", status)
		}
	}
	if status := statusOf(t, server.URL()+"/other"); status != http.StatusOK {
		t.Errorf("a request after the others: %d", status)
	}
}

// Who needs no token cannot keep out those who have one.
func TestPublicPlaces(t *testing.T) {
	entered, finish := make(chan struct{}, 2), make(chan struct{})
	server := running(t, api.ServerConfig{MaxInFlight: 8}, waiting(entered, finish))
	var slow sync.WaitGroup
	for range 2 {
		slow.Go(func() { statusOf(t, server.URL()+"/log/wait") })
		<-entered
	}
	for path, want := range map[string]int{
		"/openapi.json": 429, "/log/tile/0/000": 429, "/log/checkpoint": 429, "/nowhere": 429, "/v1": 429, "/%761/x": 429,
		"/v1/patients": 200, "/log/tile/entries/000": 200, "/readyz": 200,
	} {
		if got := statusOf(t, server.URL()+path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	close(finish)
	slow.Wait()
	if got := statusOf(t, server.URL()+"/openapi.json"); got != 200 {
		t.Errorf("after the others: %d", got)
	}
}

// The metrics are there when the server is full, for a few at a time.
func TestScrapes(t *testing.T) {
	entered, finish := make(chan struct{}), make(chan struct{})
	server := running(t, api.ServerConfig{MaxInFlight: 1}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-finish
	}))
	var slow sync.WaitGroup
	for range 16 {
		slow.Go(func() { statusOf(t, server.URL()+"/metrics") })
		<-entered
	}
	if got := statusOf(t, server.URL()+"/metrics"); got != 429 {
		t.Errorf("one more: %d", got)
	}
	slow.Go(func() { statusOf(t, server.URL()+"/v1/patients") }) // takes the other place
	<-entered
	close(finish)
	slow.Wait()
}

func statusOf(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// A stopping server is not ready, takes no connections, waits for the grace, and
// cuts off what then still runs.
func TestStopping(t *testing.T) {
	server, err := api.Listen(t.Context(), api.ServerConfig{
		Address: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Grace: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	entered, ended := make(chan struct{}), make(chan error, 1)
	stop := serving(t, server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/wait" {
			return
		}
		entered <- struct{}{}
		<-r.Context().Done()
		time.Sleep(100 * time.Millisecond) // what it works on must live as long
		ended <- r.Context().Err()
	}))
	ready := dial(t, server) // has sent nothing yet when the server is stopped
	waits := make(chan error, 1)
	go func() {
		response, err := http.Get(server.URL() + "/wait")
		if err == nil {
			response.Body.Close()
		}
		waits <- err
	}()
	<-entered
	told, stopped := time.Now(), make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until the listener is closed, which comes after the change of /readyz
		conn, err := net.Dial("tcp", server.Addr().String())
		if err != nil {
			break
		}
		conn.Close()
	}
	fmt.Fprint(ready, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(ready), &http.Request{Method: "GET"})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	wantProblem(t, response, body, http.StatusServiceUnavailable)
	if took := time.Since(told); took > time.Second {
		t.Errorf("/readyz took %v", took)
	}
	if err := <-stopped; err == nil || !strings.Contains(err.Error(), "cut off") || strings.Contains(err.Error(), "still run") {
		t.Errorf("stopped with %v", err)
	}
	if took := time.Since(told); took < time.Second || took > 3*time.Second {
		t.Errorf("a grace of 1s took %v", took)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the handler saw %v", err)
		}
	default:
		t.Error("Run did not wait for the handler")
	}
	if err := <-waits; err == nil {
		t.Error("the request was answered")
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	const most = 3
	server := running(t, api.ServerConfig{MaxConnections: most}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ask := func(conn net.Conn, patience time.Duration) error {
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		_, err := http.ReadResponse(bufio.NewReader(conn), nil)
		return err
	}
	var open []net.Conn
	for range most {
		conn := dial(t, server)
		if err := ask(conn, impatience); err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	waits := dial(t, server) // the system takes it, the server does not
	if err := ask(waits, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection too many: %v", err)
	}
	if n := metric(t, server, "medledger_http_connections"); n != most {
		t.Errorf("%v connections are counted", n)
	}
	open[1].Close()
	if err := waits.SetReadDeadline(time.Now().Add(impatience)); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(waits), nil); err != nil {
		t.Errorf("the connection that waited: %v", err)
	}
}

// A server that is full of connections stops all the same: running waits for it.
func TestFullServerStops(t *testing.T) {
	server := running(t, api.ServerConfig{MaxConnections: 1}, http.NotFoundHandler())
	conn := dial(t, server)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Fatal(err)
	}
	dial(t, server)
}

func TestServerConfigIsChecked(t *testing.T) {
	for i, spoil := range []func(*api.ServerConfig){
		func(c *api.ServerConfig) { c.Logger = nil }, func(c *api.ServerConfig) { c.MaxConnections = -1 },
		func(c *api.ServerConfig) { c.MaxInFlight = -1 }, func(c *api.ServerConfig) { c.Grace = -1 },
		func(c *api.ServerConfig) { c.Patience.Body = -1 }, func(c *api.ServerConfig) { c.Patience.Write = -1 },
	} {
		c := api.ServerConfig{Address: "127.0.0.1:0", Logger: slog.Default()}
		spoil(&c)
		if s, err := api.Listen(t.Context(), c); err == nil {
			s.Close()
			t.Errorf("config %d was accepted", i)
		}
	}
}

// The table in the package comment has the metrics that are shown, and no other.
func TestTableOfMetrics(t *testing.T) {
	comment, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]string) // kind by name
	for _, row := range regexp.MustCompile(`(?m)^//\t(medledger_\w+)  +(\w+)  +\S.*  +\S`).FindAllStringSubmatch(string(comment), -1) {
		documented[row[1]] = row[2]
	}
	server := running(t, api.ServerConfig{}, http.NotFoundHandler())
	handler, err := api.New(api.Config{
		Ledger: sharedLedger(t), Log: &fakeLog{size: 1}, Clock: time.Now,
		Logger: slog.New(slog.DiscardHandler), Metrics: server.Metrics(),
	})
	if err != nil {
		t.Fatal(err)
	}
	served := running(t, api.ServerConfig{}, handler)
	statusOf(t, served.URL()+"/healthz") // metrics by route are shown once there was a request
	response, err := http.Get(served.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	for _, line := range regexp.MustCompile(`(?m)^# TYPE (medledger_\w+) (\w+)$`).FindAllStringSubmatch(string(body), -1) {
		shown[line[1]] = true
		if documented[line[1]] != line[2] {
			t.Errorf("%s is a %s, the table says %q", line[1], line[2], documented[line[1]])
		}
	}
	for name := range documented {
		if !shown[name] {
			t.Errorf("%s is in the table and is not shown", name)
		}
	}
	if len(shown) < 10 {
		t.Errorf("only %d metrics", len(shown))
	}
	for line := range strings.Lines(string(body)) {
		if name, found := strings.CutPrefix(line, "# TYPE "); found && !regexp.MustCompile(`^(medledger|go|process|promhttp)_`).MatchString(name) {
			t.Errorf("a metric of another family: %s", line)
		}
	}
}

// The expiry of the certificate in use is a metric.
func TestCertificateExpiryMetric(t *testing.T) {
	const name = "medledger_tls_certificate_expiry_timestamp_seconds"
	certificate := newPair(t).load(t, time.Now, slog.New(slog.DiscardHandler))
	if got := metric(t, running(t, api.ServerConfig{Certificate: certificate}, http.NotFoundHandler()), name); got != float64(certificate.NotAfter().Unix()) {
		t.Errorf("%v, want %v", got, certificate.NotAfter().Unix())
	}
	if got := metric(t, running(t, api.ServerConfig{}, http.NotFoundHandler()), name); got != 0 {
		t.Errorf("%v without TLS", got)
	}
}
