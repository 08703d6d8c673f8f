//go:build unix

package api_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
)

// crowdOf names, in the environment, the server that a copy of this test
// program crowds: clients in one process with the server would need twice the
// open files.
const crowdOf = "MEDLEDGER_TEST_CROWD_OF"

const crowd = 10_000

// A crowd of connections, each of which has asked something and stays, leaves the
// server prompt and small.
func TestCrowd(t *testing.T) {
	if address := os.Getenv(crowdOf); address != "" {
		beCrowd(t, address)
		return
	}
	allowFiles(t, crowd+500)
	server := running(t, api.ServerConfig{}, newHandler(t))
	before := memory()
	dismiss := gather(t, server)
	defer dismiss()
	if n := metric(t, server, "medledger_http_connections"); n != crowd {
		t.Fatalf("%v connections are open", n)
	}
	each := (memory() - before) / crowd
	if each > 48<<10 {
		t.Errorf("a connection takes %d bytes", each)
	}
	var took []time.Duration
	for range 50 { // a new connection each
		started := time.Now()
		conn := dial(t, server)
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("/healthz in a crowd: %+v, %v", response, err)
		}
		took = append(took, time.Since(started))
		conn.Close()
	}
	slices.Sort(took)
	if median := took[len(took)/2]; median > 100*time.Millisecond {
		t.Errorf("/healthz takes %v", median)
	}
	t.Logf("%d connections, %d bytes each; /healthz takes %v, at most %v", crowd, each, took[len(took)/2], took[len(took)-1])
}

func newHandler(t *testing.T) http.Handler {
	t.Helper()
	h, err := api.New(api.Config{
		Ledger: sharedLedger(t), Log: &fakeLog{size: 1}, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// memory is what the process uses, without what it could give back.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// allowFiles raises the limit of open files.
func allowFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	if err == nil && uint64(limit.Cur) < n {
		limit.Cur = limit.Max
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	if err == nil && uint64(limit.Cur) >= n {
		return
	}
	const why = "needs %d open files and may have %d (%v): raise the hard limit"
	if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
		t.Fatalf(why, n, limit.Cur, err)
	}
	t.Skipf(why, n, limit.Cur, err)
}

// gather starts a crowd and returns when it stands.
func gather(t *testing.T, server *api.Server) (dismiss func()) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrowd$", "-test.v")
	c.Env = append(os.Environ(), crowdOf+"="+server.Addr().String())
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said = append(said, lines.Text())
		if lines.Text() == "standing "+strconv.Itoa(crowd) {
			return func() {
				in.Close()
				if err := c.Wait(); err != nil {
					t.Errorf("the crowd: %v", err)
				}
			}
		}
	}
	_ = c.Wait()
	t.Fatalf("the crowd did not gather:\n%s", strings.Join(said, "\n"))
	return nil
}

// beCrowd opens connections, asks something on each, and holds them until its
// standard input ends.
func beCrowd(t *testing.T, address string) {
	allowFiles(t, crowd+500)
	for i := range crowd {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("connection %d: %+v, %v", i, response, err)
		}
	}
	fmt.Printf("standing %d\n", crowd)
	_, _ = os.Stdin.Read(make([]byte, 1)) // returns when the parent is done
}
