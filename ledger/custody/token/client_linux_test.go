package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/custodytest"
)

// TestConformance holds the client to the contract, with keys in a folder behind it.
func TestConformance(t *testing.T) {
	custodytest.Run(t, func(t *testing.T) func() (custody.Custody, error) {
		keys, err := custody.OpenFolder(custody.FolderConfig{Dir: filepath.Join(t.TempDir(), "keys")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = keys.Close() })
		s := serve(t, ServerConfig{Custody: keys})
		return func() (custody.Custody, error) { return Dial(t.Context(), Config{Socket: s.socket}) }
	})
}

func TestClient(t *testing.T) {
	s := serve(t, ServerConfig{Custody: newMemory()})
	c := dial(t, Config{Socket: s.socket})
	ctx := t.Context()
	if c.Kind() != custody.Token {
		t.Errorf("kind %s", c.Kind())
	}
	if err := c.Create(ctx, "root-1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(ctx, "root-1"); !errors.Is(err, custody.ErrExists) {
		t.Errorf("again: %v", err)
	}
	for _, plain := range [][]byte{{}, []byte("k"), make([]byte, custody.MaxPlain)} {
		bound := make([]byte, maxContext)
		sealed, err := c.Seal(ctx, "root-1", plain, bound)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Open(ctx, "root-1", sealed, bound); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := c.Open(ctx, "root-1", sealed, bound[1:]); !errors.Is(err, custody.ErrSealed) {
			t.Errorf("for another context: %v", err)
		}
	}
	if _, err := c.Seal(ctx, "root-1", nil, make([]byte, maxContext+1)); err == nil || errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("for too long a context: %v", err)
	}
	if _, err := c.Open(ctx, "root-1", make([]byte, custody.MaxSealed+1), nil); !errors.Is(err, custody.ErrSealed) {
		t.Errorf("too much to open: %v", err)
	}
	if _, err := c.Seal(ctx, "root-2", nil, nil); !errors.Is(err, custody.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	for _, err := range []error{c.Create(ctx, "A"), c.Destroy(ctx, ""), second(c.Seal(ctx, "ä", nil, nil)), second(c.Open(ctx, "a b", nil, nil))} {
		if !errors.Is(err, custody.ErrName) {
			t.Errorf("malformed name: %v", err)
		}
	}
}

func second(_ []byte, err error) error { return err }

// TestManyNames: a list longer than a frame comes in pages.
func TestManyNames(t *testing.T) {
	m := newMemory()
	c := dial(t, Config{Socket: serve(t, ServerConfig{Custody: m}).socket})
	for _, count := range []int{0, 1, maxNames, maxNames + 1, 3*maxNames + 7} {
		for i := len(m.keys); i < count; i++ {
			if err := m.Create(t.Context(), fmt.Sprintf("%s-%d", strings.Repeat("k", 50), i)); err != nil {
				t.Fatal(err)
			}
		}
		names, err := c.Names(t.Context())
		if err != nil || len(names) != count || !slices.IsSorted(names) {
			t.Errorf("%d of %d names, %v", len(names), count, err)
		}
	}
}

// losing hands bytes on between clients and a server, and loses one message.
type losing struct {
	socket string
	server string
	nth    atomic.Int32 // the request, counted down, that is lost at 0
	answer atomic.Bool  // its answer is lost instead, after it was carried out
}

func (l *losing) run(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { l.pass(c) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
}

func (l *losing) pass(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("unix", l.server)
	if err != nil {
		return
	}
	defer s.Close()
	for {
		q, err := readFrame(c)
		if err != nil {
			return
		}
		lost := op(q[1]) != opHello && l.nth.Add(-1) == -1
		if lost && !l.answer.Load() {
			return
		}
		if _, err := s.Write(endFrame(append(beginFrame(len(q)), q...))); err != nil {
			return
		}
		a, err := readFrame(s)
		if err != nil || lost {
			return
		}
		if _, err := c.Write(endFrame(append(beginFrame(len(a)), a...))); err != nil {
			return
		}
	}
}

// TestLost loses each message of each call: {request, answer} x every call. Nobody
// notices: what was asked for is done once, and is answered as it would have been.
func TestLost(t *testing.T) {
	m := newMemory()
	s := serve(t, ServerConfig{Custody: m})
	l := &losing{socket: filepath.Join(folder(t), "losing"), server: s.socket}
	l.run(t)
	l.nth.Store(1 << 20)
	c := dial(t, Config{Socket: l.socket})
	ctx := t.Context()
	if err := c.Create(ctx, "used"); err != nil {
		t.Fatal(err)
	}
	sealed, err := c.Seal(ctx, "used", []byte("key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		messages int
		run      func() error
		want     error
	}{
		"create":                {2, func() error { delete(m.keys, "new"); return c.Create(ctx, "new") }, nil},
		"create what is there":  {1, func() error { return c.Create(ctx, "used") }, custody.ErrExists},
		"seal":                  {1, func() error { return second(c.Seal(ctx, "used", []byte("key"), nil)) }, nil},
		"open":                  {1, func() error { return second(c.Open(ctx, "used", sealed, nil)) }, nil},
		"open with another key": {1, func() error { return second(c.Open(ctx, "gone", sealed, nil)) }, custody.ErrNoKey},
		"destroy":               {1, func() error { return c.Destroy(ctx, "new") }, nil},
		"names":                 {1, func() error { _, err := c.Names(ctx); return err }, nil},
	} {
		for n := range test.messages {
			for _, answer := range []bool{false, true} {
				l.answer.Store(answer)
				l.nth.Store(int32(n))
				if err := test.run(); !errors.Is(err, test.want) {
					t.Errorf("%s, message %d, its answer %v: %v", name, n, answer, err)
				}
				if l.nth.Load() >= 0 {
					t.Errorf("%s, message %d: nothing was lost", name, n)
				}
			}
		}
	}
	if _, found := m.keys["new"]; len(m.keys) > 2 || m.keys["used"] == nil {
		t.Errorf("there are %d keys, new %v", len(m.keys), found)
	}
}

// TestExistsAfterAll: a key that somebody else made meanwhile is not taken for one's
// own if no answer was lost.
func TestExistsAfterAll(t *testing.T) {
	m := newMemory()
	c := dial(t, Config{Socket: serve(t, ServerConfig{Custody: m}).socket})
	m.before = func(call string) error {
		if call == "create" {
			return custody.ErrExists
		}
		return nil
	}
	if err := c.Create(t.Context(), "root-1"); !errors.Is(err, custody.ErrExists) {
		t.Errorf("creating: %v", err)
	}
}

// TestAway: a helper that is away for a moment is waited for, and one that stays away
// is unavailable, in words that say what to start.
func TestAway(t *testing.T) {
	m := newMemory()
	s := serve(t, ServerConfig{Custody: m})
	c := dial(t, Config{Socket: s.socket})
	quick := dial(t, Config{Socket: s.socket, Patience: 20 * time.Millisecond})
	for _, name := range []string{"a", "b"} {
		if err := c.Create(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	err := quick.Create(t.Context(), "c")
	if !errors.Is(err, custody.ErrUnavailable) || !strings.Contains(err.Error(), "start medledger-token") {
		t.Errorf("away: %v", err)
	}
	if _, err := Dial(t.Context(), Config{Socket: s.socket, Patience: time.Millisecond}); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("dialling: %v", err)
	}
	named := make(chan error, 1)
	go func() { _, err := c.Names(context.Background()); named <- err }()
	time.Sleep(50 * time.Millisecond)
	serve(t, ServerConfig{Custody: m, Socket: s.socket})
	if err := <-named; err != nil {
		t.Errorf("back again: %v", err)
	}
	if names, err := quick.Names(t.Context()); err != nil || len(names) != 2 {
		t.Errorf("names %q, %v", names, err)
	}
}

// TestOtherKind: a helper that comes back with keys elsewhere is not used: what it
// destroys would be attested wrongly.
func TestOtherKind(t *testing.T) {
	s := serve(t, ServerConfig{Custody: newMemory()})
	c := dial(t, Config{Socket: s.socket})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	serve(t, ServerConfig{Custody: inFile{newMemory()}, Socket: s.socket})
	if err := c.Destroy(t.Context(), "root-1"); !errors.Is(err, custody.ErrUnavailable) || !strings.Contains(err.Error(), "kind file now") {
		t.Errorf("destroying: %v", err)
	}
}

type inFile struct{ *memory }

func (inFile) Kind() custody.Kind { return custody.File }

// TestContext: a call ends with its context, and its late answer is nobody else's.
func TestContext(t *testing.T) {
	m := newMemory()
	c := dial(t, Config{Socket: serve(t, ServerConfig{Custody: m}).socket, Connections: 1})
	if err := c.Create(t.Context(), "root-1"); err != nil {
		t.Fatal(err)
	}
	begun, proceed := make(chan struct{}), make(chan struct{})
	var busy atomic.Bool
	m.mu.Lock()
	m.before = func(string) error {
		if busy.CompareAndSwap(false, true) {
			close(begun)
			<-proceed
		}
		return nil
	}
	m.mu.Unlock()
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := c.Names(ctx); ended <- err }()
	<-begun
	// Another call waits for the only connection, and no longer than it may.
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Destroy(short, "root-1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting: %v", err)
	}
	end()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if sealed, err := c.Seal(t.Context(), "root-1", []byte("key"), nil); err != nil || len(sealed) < 30 {
		t.Errorf("afterwards: %x, %v", sealed, err)
	}
	close(proceed)
	hung := dial(t, Config{Socket: c.config.Socket, Timeout: 50 * time.Millisecond})
	stuck := make(chan struct{})
	defer close(stuck)
	m.mu.Lock()
	m.before = func(string) error { <-stuck; return nil }
	m.mu.Unlock()
	if _, err := hung.Names(t.Context()); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("a helper that hangs: %v", err)
	}
}

func TestClientClose(t *testing.T) {
	c := dial(t, Config{Socket: serve(t, ServerConfig{Custody: newMemory()}).socket})
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Names(t.Context()); !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

// TestCrowd calls from many goroutines at once, while the server restarts.
func TestCrowd(t *testing.T) {
	m := newMemory()
	s := serve(t, ServerConfig{Custody: m})
	c := dial(t, Config{Socket: s.socket})
	if err := c.Create(t.Context(), "root-1"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range 100 {
				plain := fmt.Appendf(nil, "%d of %d", j, i)
				sealed, err := c.Seal(context.Background(), "root-1", plain, plain)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := c.Open(context.Background(), "root-1", sealed, plain); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	for range 3 {
		time.Sleep(10 * time.Millisecond)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		s = serve(t, ServerConfig{Custody: m, Socket: s.socket})
	}
	all.Wait()
}
