package token

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/ledger/custody"
)

// memory is custody in memory, for tests.
type memory struct {
	mu   sync.Mutex
	keys map[string]cipher.AEAD
	// before is run before each call, unless it is nil; what it returns is the
	// call's error.
	before func(call string) error
	seen   [][]byte // the very slices that were given or returned and hold keys
}

func newMemory() *memory { return &memory{keys: make(map[string]cipher.AEAD)} }

func (m *memory) enter(call string) error {
	m.mu.Lock()
	before := m.before
	m.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(call)
}

func (m *memory) Kind() custody.Kind { return custody.Token }
func (m *memory) Close() error       { return nil }

func (m *memory) Create(_ context.Context, name string) error {
	if err := m.enter("create"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys[name] != nil {
		return fmt.Errorf("%w: %s", custody.ErrExists, name)
	}
	key := make([]byte, custody.KeySize)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	m.keys[name], err = cipher.NewGCMWithRandomNonce(block)
	return err
}

func (m *memory) Seal(_ context.Context, name string, plain, bound []byte) ([]byte, error) {
	if err := m.enter("seal"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys[name] == nil {
		return nil, fmt.Errorf("%w: %s", custody.ErrNoKey, name)
	}
	m.seen = append(m.seen, plain)
	return m.keys[name].Seal(nil, nil, plain, bound), nil
}

func (m *memory) Open(_ context.Context, name string, sealed, bound []byte) ([]byte, error) {
	if err := m.enter("open"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys[name] == nil {
		return nil, fmt.Errorf("%w: %s", custody.ErrNoKey, name)
	}
	plain, err := m.keys[name].Open(nil, nil, sealed, bound)
	if err != nil {
		return nil, custody.ErrSealed
	}
	m.seen = append(m.seen, plain)
	return plain, nil
}

func (m *memory) Destroy(_ context.Context, name string) error {
	if err := m.enter("destroy"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, name)
	return nil
}

func (m *memory) Names(context.Context) ([]string, error) {
	if err := m.enter("names"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.keys)), nil
}

// folder is a short one that everybody may enter.
func folder(t *testing.T) string {
	t.Helper()
	name, err := os.MkdirTemp("", "mlt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(name) })
	if err := os.Chmod(name, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// served is a server that runs.
type served struct {
	socket string
	log    *lockedBuffer
	stop   func() error // once
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve serves custody at c.Socket, or at a new place, until the test ends.
func serve(t *testing.T, c ServerConfig) *served {
	t.Helper()
	if c.Socket == "" {
		c.Socket = filepath.Join(folder(t), "helper", "socket")
	}
	s := &served{socket: c.Socket, log: new(lockedBuffer)}
	c.Log = slog.New(slog.NewTextHandler(s.log, nil))
	server, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	s.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func dial(t *testing.T, c Config) *Client {
	t.Helper()
	client, err := Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// TestMain is the test, or what a test needs another user for: it runs the test's
// binary again with a role, a socket and that user.
func TestMain(m *testing.M) {
	var err error
	switch role, socket := os.Getenv("MEDLEDGER_TEST_ROLE"), os.Getenv("MEDLEDGER_TEST_SOCKET"); role {
	case "":
		os.Exit(m.Run())
	case "client":
		err = knock(socket, nil)
	case "spoofer":
		err = knock(socket, spoof())
	case "server":
		err = pose(socket)
	default:
		err = errors.New("unknown role")
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// knock says hello, with control data beside it, and prints what comes back, up to
// the length of a greeting.
func knock(socket string, oob []byte) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _, sendErr := c.(*net.UnixConn).WriteMsgUnix((&request{op: opHello}).frame(), oob, nil)
	heard, err := io.ReadAll(io.LimitReader(c, 13))
	fmt.Printf("heard %x\n", heard)
	if sendErr == nil && err != nil && !strings.Contains(err.Error(), "reset") {
		return err
	}
	return nil
}

// pose listens as a helper would, and prints what it hears.
func pose(socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		heard, _ := io.ReadAll(io.LimitReader(c, 1))
		fmt.Printf("heard %x\n", heard)
		_ = c.Close()
	}
}
