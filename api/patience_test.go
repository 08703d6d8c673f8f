package api_test

import (
	"bytes"
	"crypto/tls"
	"errors"
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

// short is a patience that tests can try. A step of an honest client takes a
// fifth of it, a stalled one is waited for no longer than impatience.
var short = api.Patience{Body: 500 * time.Millisecond, Write: 500 * time.Millisecond, Rate: 1000, RateAfter: 700 * time.Millisecond}

const (
	step       = 100 * time.Millisecond
	impatience = 10 * time.Second
)

// running is a server on a handler.
func running(t *testing.T, c api.ServerConfig, h http.Handler) *api.Server {
	t.Helper()
	c.Address = "127.0.0.1:0"
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	server, err := api.Listen(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	stop := serving(t, server, h)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func dial(t *testing.T, s *api.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(impatience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// outcome is how reading a body ended.
type outcome struct {
	n    int64
	err  error
	gone bool // the request's context had ended
}

// reading is a handler that reads bodies and tells of them.
func reading(told chan<- outcome) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		told <- outcome{n, err, r.Context().Err() != nil}
		if err != nil {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	})
}

func TestStalledBodyIsCutOff(t *testing.T) {
	t.Parallel()
	for name, framing := range map[string]string{
		"length": "Content-Length: 1000\r\n\r\nfirst", "chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			told := make(chan outcome, 1)
			server := running(t, api.ServerConfig{Patience: short}, reading(told))
			conn := dial(t, server)
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%s", framing)
			if o := <-told; !errors.Is(o.err, api.ErrTooSlow) || o.n != 5 {
				t.Errorf("the handler read %+v", o)
			}
			answer, err := io.ReadAll(conn) // the connection is closed after the answer
			if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 408 ")) {
				t.Errorf("answer %q, %v", answer, err)
			}
			if n := metric(t, server, "medledger_http_requests_stalled_total", "body"); n != 1 {
				t.Errorf("%v stalled requests are counted", n)
			}
		})
	}
}

// A client that sends a byte now and then is in time for each of them.
func TestTricklingBodyIsCutOff(t *testing.T) {
	t.Parallel()
	told := make(chan outcome, 1)
	server := running(t, api.ServerConfig{Patience: short}, reading(told))
	conn := dial(t, server)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
	for range 100 {
		select {
		case o := <-told:
			if !errors.Is(o.err, api.ErrTooSlow) || o.n < 5 || o.n > 20 {
				t.Errorf("the handler read %+v", o)
			}
			return
		case <-time.After(step):
			fmt.Fprint(conn, "x")
		}
	}
	t.Error("a trickling client was waited for")
}

// A slow client that moves may take many times as long as a stalled one.
func TestSlowHonestBodyIsReadWhole(t *testing.T) {
	t.Parallel()
	told := make(chan outcome, 1)
	server := running(t, api.ServerConfig{Patience: short}, reading(told))
	conn := dial(t, server)
	const steps, size = 20, 400 // 4,000 bytes a second
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", steps*size)
	for range steps {
		time.Sleep(step)
		fmt.Fprint(conn, strings.Repeat("x", size))
	}
	if o := <-told; o.err != nil || o.n != steps*size {
		t.Errorf("the handler read %+v", o)
	}
	if answer, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		t.Errorf("answer %q, %v", answer, err)
	}
}

// A body that the handler does not read must not hold the connection.
func TestUnreadBodyIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"answers": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "no") },
		"flushes": func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
		"closes":  func(_ http.ResponseWriter, r *http.Request) { r.Body.Close() },
		"large":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100_000)) },
	} {
		t.Run(name, func(t *testing.T) {
			server := running(t, api.ServerConfig{Patience: short}, h)
			conn := dial(t, server)
			fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nfirst")
			answer, err := io.ReadAll(conn)
			if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
				t.Errorf("answer %.100q, %v", answer, err)
			}
		})
	}
}

// The time that the handler takes is not the client's.
func TestHandlersMayTakeTheirTime(t *testing.T) {
	t.Parallel()
	certificate := newPair(t).load(t, time.Now, slog.New(slog.DiscardHandler))
	for name, c := range map[string]*api.Certificate{"HTTP/1.1": nil, "HTTP/2": certificate} {
		t.Run(name, func(t *testing.T) {
			const size = 4 << 20 // more than is sent before the handler reads
			told := make(chan outcome, 1)
			server := running(t, api.ServerConfig{Patience: short, Certificate: c}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var first [1]byte
				_, err := io.ReadFull(r.Body, first[:])
				time.Sleep(3 * short.Body / 2)
				n, rest := io.Copy(io.Discard, r.Body)
				time.Sleep(3 * short.Body / 2)
				told <- outcome{n + 1, errors.Join(err, rest), r.Context().Err() != nil}
				fmt.Fprint(w, "one")
				time.Sleep(3 * short.Write / 2)
				fmt.Fprint(w, "two")
			}))
			client := clientOf(t)
			for range 2 { // the second on the same connection
				response, err := client.Post(server.URL(), "text/plain", strings.NewReader(strings.Repeat("x", size)))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || string(body) != "onetwo" || response.Proto != protocol(name) {
					t.Errorf("%s, answer %q, %v", response.Proto, body, err)
				}
				if o := <-told; o.err != nil || o.n != size || o.gone {
					t.Errorf("the handler saw %+v", o)
				}
			}
		})
	}
}

func protocol(name string) string { return strings.Replace(name, "HTTP/2", "HTTP/2.0", 1) }

// clientOf trusts everybody, and speaks HTTP/2 where it is offered.
func clientOf(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: impatience}
}

func TestStalledBodyIsCutOffOverHTTP2(t *testing.T) {
	t.Parallel()
	told := make(chan outcome, 1)
	server := running(t, api.ServerConfig{
		Patience: short, Certificate: newPair(t).load(t, time.Now, slog.New(slog.DiscardHandler)),
	}, reading(told))
	body, send := io.Pipe()
	defer send.Close()
	go func() { _, _ = io.WriteString(send, "first") }()
	response, err := clientOf(t).Post(server.URL(), "text/plain", body)
	if err == nil {
		response.Body.Close()
	}
	if err != nil || response.StatusCode != http.StatusRequestTimeout || response.ProtoMajor != 2 {
		t.Errorf("answer %+v, %v", response, err)
	}
	if o := <-told; !errors.Is(o.err, api.ErrTooSlow) || o.n != 5 {
		t.Errorf("the handler read %+v", o)
	}
}

// writing is a handler that writes a large answer and tells how it ended.
func writing(size int, told chan<- outcome) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, err := w.Write(make([]byte, size))
		told <- outcome{n: int64(n), err: err}
	})
}

func TestStoppedReaderIsCutOff(t *testing.T) {
	t.Parallel()
	const size = 64 << 20 // more than all buffers hold
	t.Run("HTTP/1.1", func(t *testing.T) {
		told := make(chan outcome, 1)
		server := running(t, api.ServerConfig{Patience: short}, writing(size, told))
		conn := dial(t, server)
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if o := <-told; o.err == nil || o.n >= size {
			t.Errorf("the handler wrote %+v", o)
		}
		if n := metric(t, server, "medledger_http_requests_stalled_total", "answer"); n != 1 {
			t.Errorf("%v stalled requests are counted", n)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		told := make(chan outcome, 1)
		server := running(t, api.ServerConfig{
			Patience: short, Certificate: newPair(t).load(t, time.Now, slog.New(slog.DiscardHandler)),
		}, writing(size, told))
		response, err := clientOf(t).Get(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if o := <-told; o.err == nil || o.n >= size {
			t.Errorf("the handler wrote %+v", o)
		}
	})
}

func TestSlowHonestReaderGetsAll(t *testing.T) {
	t.Parallel()
	const size = 12 << 20
	told := make(chan outcome, 1)
	server := running(t, api.ServerConfig{Patience: short}, writing(size, told))
	conn := dial(t, server)
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	got, started := int64(0), time.Now()
	for {
		n, err := io.CopyN(io.Discard, conn, 512<<10)
		got += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
		time.Sleep(step)
	}
	if o := <-told; o.err != nil || got < size {
		t.Errorf("the handler wrote %+v, %d bytes came", o, got)
	}
	if took := time.Since(started); took < 3*short.Write {
		t.Errorf("it took %v only, which proves nothing", took)
	}
}
