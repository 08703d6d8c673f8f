package cli_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "medledger.yaml")
	if err := os.WriteFile(file, []byte("dir: ledger\nmax-batch: 7\nlisten: 127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MEDLEDGER_LISTEN", "127.0.0.1:2")
	printed := succeed(t, "config", "--config", file, "--grace", "3s").out
	for _, want := range []string{
		"dir: ledger # " + file + ":1\n", "custody: ledger.custody # default\n", "max-batch: 7 # " + file + ":2\n",
		"listen: 127.0.0.1:2 # environment MEDLEDGER_LISTEN\n", "grace: 3s # flag --grace\n", "max-body: 4GiB # default\n",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is not in\n%s", want, printed)
		}
	}
	again := filepath.Join(folder, "again.yaml")
	if err := os.WriteFile(again, []byte(printed), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Unsetenv("MEDLEDGER_LISTEN") // t.Setenv puts it back
	values := func(out string) (values []string) {
		for line := range strings.Lines(out) {
			value, _, _ := strings.Cut(line, " # ")
			values = append(values, value)
		}
		return values
	}
	if r := succeed(t, "config", "--config", again); fmt.Sprint(values(r.out)) != fmt.Sprint(values(printed)) {
		t.Errorf("%s became\n%s", printed, r.out)
	}
	sample := succeed(t, "config", "--sample", "--config", file).out
	if !strings.Contains(sample, "\ndir: ledger\n") || !strings.Contains(sample, "\n#grace: 10s\n") {
		t.Errorf("the sample is\n%s", sample)
	}
	t.Setenv("MEDLEDGER_MAX_BATCH", "many")
	refuse(t, 2, `max-batch is "many" (environment MEDLEDGER_MAX_BATCH): give a whole number`, "serve", "--config", file)
	refuse(t, 2, `max-batch is "many" (environment MEDLEDGER_MAX_BATCH): give a whole number`, "config", "--max-batch", "5")
}

func TestServeWithFile(t *testing.T) {
	dir := newLedger(t)
	certificate, key := selfSigned(t)
	file := filepath.Join(t.TempDir(), "medledger.yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:1 # the flag counts\ntls-certificate: %s\ntls-key: %s\nlog-format: json\nmax-connections: 50\n", certificate, key)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serve(t, dir, "--config", file)
	if !strings.HasPrefix(p.url, "https://127.0.0.1:") {
		t.Fatalf("listening on %s", p.url)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	response, err := client.Get(p.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	client.CloseIdleConnections()
	if err != nil || response.ProtoMajor != 2 || !strings.Contains(string(body), "\nmedledger_http_connections 1\n") {
		t.Errorf("%s, %v: %s", response.Proto, err, body)
	}
	p.stop(t, syscall.SIGTERM)
	for line := range strings.Lines(p.messages.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "serve", "--dir", dir, "--config", file); r.code != 1 || !strings.Contains(r.messages, "tls.key") {
		t.Errorf("a key that is missing: exit %d, %s", r.code, r.messages)
	}
}

// selfSigned makes a certificate and its key in files.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for name, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// A client in the middle of its answer when SIGTERM comes gets the grace; others
// learn that the server is going.
func TestSigtermWithARunningRequest(t *testing.T) {
	p := serve(t, newLedger(t), "--grace", "1500ms", "--write-timeout", "1m", "--max-in-flight", "2")
	address := strings.TrimPrefix(p.url, "http://")
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	// Requests whose answers nobody takes fill the buffers and keep a handler.
	stalled, ready := dial(), dial()
	if err := stalled.(*net.TCPConn).SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	go func() {
		request := strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 10_000)
		_, _ = io.WriteString(stalled, request) // until the server ends
	}()
	ask := func() (int, error) {
		fmt.Fprint(ready, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(ready), nil)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, err
	}
	if status, err := ask(); status != 200 || err != nil {
		t.Fatalf("/readyz: %d, %v", status, err)
	}
	time.Sleep(300 * time.Millisecond) // until the buffers are full
	told := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for { // until it takes no connections
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		conn.Close()
	}
	if status, err := ask(); status != 503 || err != nil {
		t.Errorf("/readyz of a stopping server: %d, %v", status, err)
	}
	if err := p.cmd.Wait(); err == nil || !strings.Contains(p.messages.String(), "were cut off") {
		t.Errorf("%v\n%s", err, p.messages)
	}
	if took := time.Since(told); took < 1400*time.Millisecond || took > 6*time.Second {
		t.Errorf("a grace of 1500ms took %v", took)
	}
}
