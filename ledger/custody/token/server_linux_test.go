package token

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/medledger/medledger/ledger/custody"
)

func TestModes(t *testing.T) {
	for name, test := range map[string]struct {
		group          uint32
		folder, socket os.FileMode
	}{"alone": {0, 0o700, 0o600}, "with a group": {uint32(os.Getegid()) + 77, 0o750, 0o660}} {
		if test.group != 0 && os.Geteuid() != 0 {
			continue
		}
		s := serve(t, ServerConfig{Custody: newMemory(), Group: test.group})
		for path, want := range map[string]os.FileMode{filepath.Dir(s.socket): test.folder, s.socket: test.socket} {
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != want || test.group != 0 && info.Sys().(*syscall.Stat_t).Gid != test.group {
				t.Errorf("%s: %s has mode %v, %v", name, path, info.Mode(), err)
			}
		}
	}
}

// TestNoPlace: what cannot be a socket's place is refused and left as it is.
func TestNoPlace(t *testing.T) {
	taken := filepath.Join(folder(t), "h", "socket")
	if err := errors.Join(os.Mkdir(filepath.Dir(taken), 0o700), os.WriteFile(taken, []byte("a letter"), 0o600)); err != nil {
		t.Fatal(err)
	}
	answered := filepath.Join(folder(t), "h", "socket")
	if err := os.Mkdir(filepath.Dir(answered), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", answered)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	linked := filepath.Join(folder(t), "link")
	if err := os.Symlink(filepath.Dir(taken), linked); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		config ServerConfig
		want   string
	}{
		"a file":         {ServerConfig{Socket: taken}, "is there and no socket"},
		"answered":       {ServerConfig{Socket: answered}, "somebody answers"},
		"open folder":    {ServerConfig{Socket: filepath.Join(folder(t), "socket")}, "of mode 700 or less"},
		"linked folder":  {ServerConfig{Socket: filepath.Join(linked, "socket")}, "must be a folder"},
		"relative":       {ServerConfig{Socket: "socket"}, "must be absolute"},
		"long":           {ServerConfig{Socket: "/tmp/" + strings.Repeat("x", 108)}, "at most 107 bytes"},
		"no parent":      {ServerConfig{Socket: filepath.Join(folder(t), "a", "b", "socket")}, "no such file"},
		"nobody allowed": {ServerConfig{Socket: taken, AllowUIDs: []uint32{stranger}}, "stands for every user"},
	} {
		test.config.Custody = newMemory()
		if _, err := Listen(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if raw, err := os.ReadFile(taken); err != nil || string(raw) != "a letter" {
		t.Errorf("the file has %q, %v", raw, err)
	}
}

// TestTwoHelpers: the second is refused, also among many that start at once on the
// socket of one that crashed; after the first has ended, another can start.
func TestTwoHelpers(t *testing.T) {
	m := newMemory()
	socket := filepath.Join(folder(t), "h", "socket")
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	crashed, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	crashed.SetUnlinkOnClose(false)
	if err := crashed.Close(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var won []*Server
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			server, err := Listen(ServerConfig{Custody: m, Socket: socket})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, server)
			} else if !strings.Contains(err.Error(), "another helper serves") {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Fatalf("%d helpers on one socket", len(won))
	}
	if err := won[0].Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, ServerConfig{Custody: m, Socket: socket})
	dial(t, Config{Socket: socket})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func rawDial(t *testing.T, socket string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGarbage: what is no request ends its own connection and no other.
func TestGarbage(t *testing.T) {
	s := serve(t, ServerConfig{Custody: newMemory()})
	good := dial(t, Config{Socket: s.socket})
	hello := string((&request{op: opHello}).frame())
	create := string((&request{op: opCreate, name: "root-1"}).frame())
	for name, test := range map[string]struct {
		sent string
		want []status // of the responses
	}{
		"HTTP":            {"GET / HTTP/1.1\r\n\r\n", []status{statusMalformed}},
		"huge":            {"\xff\xff\xff\xff", []status{statusMalformed}},
		"another version": {"\x00\x00\x00\x02\x02\x01", []status{statusVersion}},
		"no hello":        {create, []status{statusMalformed}},
		"malformed later": {hello + "\x00\x00\x00\x03\x01\x02\x00", []status{statusOK, statusMalformed}},
	} {
		c := rawDial(t, s.socket)
		if _, err := io.WriteString(c, test.sent); err != nil {
			t.Fatal(err)
		}
		for i, want := range test.want {
			message, err := readFrame(c)
			if err != nil {
				t.Fatalf("%s, response %d: %v", name, i, err)
			}
			if a, err := parseResponse(message); err != nil || a.status != want {
				t.Errorf("%s, response %d: %+v, %v", name, i, a, err)
			}
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the connection goes on: %d, %v", name, n, err)
		}
	}
	if names, err := good.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("names %q, %v", names, err)
	}
}

// TestSlowAndMany: connections that send little or nothing end, those beyond the
// bound are refused, and afterwards there is room again.
func TestSlowAndMany(t *testing.T) {
	s := serve(t, ServerConfig{Custody: newMemory(), MaxConnections: 8, Patience: 200 * time.Millisecond})
	var slow []net.Conn
	for i := range 8 {
		c := rawDial(t, s.socket)
		if _, err := c.Write((&request{op: opHello}).frame()[:i%4]); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	for range 50 {
		if n, err := rawDial(t, s.socket).Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("one beyond the bound was served")
		}
	}
	// A client that waits is served when the slow ones are gone.
	if names, err := dial(t, Config{Socket: s.socket}).Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("names %q, %v", names, err)
	}
	for i, c := range slow {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("slow connection %d goes on", i)
		}
	}
	if !strings.Contains(s.log.String(), "there are too many") {
		t.Errorf("logged: %s", s.log)
	}
}

// TestStop: a request that runs is answered, an idle connection ends at once, and one
// that does not end is cut off.
func TestStop(t *testing.T) {
	m := newMemory()
	s := serve(t, ServerConfig{Custody: m})
	c := dial(t, Config{Socket: s.socket, Patience: time.Millisecond})
	idle := rawDial(t, s.socket)
	begun, proceed := make(chan struct{}), make(chan struct{})
	m.before = func(call string) error {
		if call == "create" {
			close(begun)
			<-proceed
		}
		return nil
	}
	created := make(chan error, 1)
	go func() { created <- c.Create(context.Background(), "root-1") }()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	if n, err := idle.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("the idle connection goes on")
	}
	close(proceed)
	if err := errors.Join(<-created, <-stopped); err != nil {
		t.Error(err)
	}
}

func TestStopCutsOff(t *testing.T) {
	m := newMemory()
	s := serve(t, ServerConfig{Custody: m, Patience: 50 * time.Millisecond})
	c := dial(t, Config{Socket: s.socket, Patience: time.Millisecond})
	begun, proceed := make(chan struct{}), make(chan struct{})
	m.before = func(string) error { close(begun); <-proceed; return nil }
	named := make(chan error, 1)
	go func() { _, err := c.Names(context.Background()); named <- err }()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	if err := <-named; !errors.Is(err, custody.ErrUnavailable) {
		t.Errorf("the request: %v", err)
	}
	close(proceed)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.log.String(), "were cut off") {
		t.Errorf("logged: %s", s.log)
	}
}

// TestLateChange: a change whose client gave up while it waited is not made any more,
// so it cannot undo what the client asked for since.
func TestLateChange(t *testing.T) {
	m := newMemory()
	s := serve(t, ServerConfig{Custody: m})
	c := dial(t, Config{Socket: s.socket})
	if err := c.Create(t.Context(), "root-1"); err != nil {
		t.Fatal(err)
	}
	begun, proceed := make(chan struct{}), make(chan struct{})
	m.before = func(call string) error {
		if call == "create" {
			close(begun)
			<-proceed
		}
		return nil
	}
	created := make(chan error, 1)
	go func() { created <- c.Create(context.Background(), "other") }()
	<-begun
	// The destruction waits for its turn, and its client goes away.
	late := rawDial(t, s.socket)
	sent := append((&request{op: opHello}).frame(), (&request{op: opDestroy, name: "root-1"}).frame()...)
	if _, err := late.Write(sent); err != nil {
		t.Fatal(err)
	}
	if _, err := readFrame(late); err != nil { // it was greeted
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := late.Close(); err != nil {
		t.Fatal(err)
	}
	close(proceed)
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	m.before = nil
	m.mu.Unlock()
	if err := s.stop(); err != nil { // every connection has ended
		t.Fatal(err)
	}
	if m.keys["root-1"] == nil {
		t.Error("the key was destroyed")
	}
}

// TestWiped: of the keys that passed through the server, none is left in the memory
// that they passed through.
func TestWiped(t *testing.T) {
	m := newMemory()
	s := serve(t, ServerConfig{Custody: m})
	c := dial(t, Config{Socket: s.socket})
	if err := c.Create(t.Context(), "root-1"); err != nil {
		t.Fatal(err)
	}
	sealed, err := c.Seal(t.Context(), "root-1", []byte("a key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(t.Context(), "root-1", sealed, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if len(m.seen) != 2 {
		t.Fatalf("%d keys passed through", len(m.seen))
	}
	for _, key := range m.seen {
		if string(key) != "\x00\x00\x00\x00\x00" {
			t.Errorf("%q is left", key)
		}
	}
}
