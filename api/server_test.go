package api_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
)

// serving runs a server until the returned function is called, which returns
// what Run returned.
func serving(t testing.TB, s *api.Server, h http.Handler) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, h) }()
	return func() error { cancel(); return <-done }
}

func TestServerFinishesRunningRequests(t *testing.T) {
	server, err := api.Listen(t.Context(), api.ServerConfig{Address: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	entered, finish := make(chan struct{}), make(chan struct{})
	stop := serving(t, server, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-finish
		fmt.Fprint(w, "whole")
	}))
	type answer struct {
		body []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		response, err := http.Get(server.URL())
		if err != nil {
			answered <- answer{err: err}
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		answered <- answer{body, err}
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// The address is released while the request still runs.
	for {
		conn, err := net.Dial("tcp", server.Addr().String())
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped while a request ran: %v", err)
	default:
	}
	close(finish)
	if a := <-answered; a.err != nil || string(a.body) != "whole" {
		t.Errorf("the running request got %q, %v", a.body, a.err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}

func TestServerCutsOffWhatRunsTooLong(t *testing.T) {
	server, err := api.Listen(t.Context(), api.ServerConfig{Address: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Grace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{})
	stop := serving(t, server, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	failed := make(chan error, 1)
	go func() {
		_, err := http.Get(server.URL())
		failed <- err
	}()
	<-entered
	if err := stop(); err == nil {
		t.Error("a request was cut off without a word")
	}
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
}

func TestListen(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	first, err := api.Listen(t.Context(), api.ServerConfig{Address: "127.0.0.1:0", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Listen(t.Context(), api.ServerConfig{Address: first.Addr().String(), Logger: logger}); err == nil {
		t.Error("one address was taken twice")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := api.Listen(t.Context(), api.ServerConfig{Address: first.Addr().String(), Logger: logger})
	if err != nil {
		t.Errorf("a closed server holds its address: %v", err)
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "127.0.0.1", "127.0.0.1:99999", "nowhere.invalid:0", "::1:1"} {
		if s, err := api.Listen(t.Context(), api.ServerConfig{Address: bad, Logger: logger}); err == nil {
			t.Errorf("listening on %q as %v", bad, s.Addr())
			s.Close()
		}
	}
	all, err := api.Listen(t.Context(), api.ServerConfig{Address: ":0", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	if url := all.URL(); !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Errorf("URL of a server on all addresses: %s", url)
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	lines := new(journal)
	server, err := api.Listen(t.Context(), api.ServerConfig{Address: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(lines, nil))})
	if err != nil {
		t.Fatal(err)
	}
	stop := serving(t, server, http.NotFoundHandler())
	request, err := http.NewRequestWithContext(t.Context(), "GET", server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// net/http allows 4 KiB on top.
	request.Header.Set("X", strings.Repeat("x", api.MaxHeaderBytes+5<<10))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := lines.String(); strings.Contains(got, "127.0.0.1") {
		t.Errorf("an address is in the log: %s", got)
	}
}
