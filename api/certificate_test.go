package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
)

// pair is a certificate and its key in files.
type pair struct{ certificate, key string }

func newPair(t *testing.T) pair {
	t.Helper()
	dir := t.TempDir()
	p := pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	p.write(t, 1, -time.Hour, time.Hour)
	return p
}

func (p pair) load(t *testing.T, clock func() time.Time, logger *slog.Logger) *api.Certificate {
	t.Helper()
	c, err := api.LoadCertificate(p.certificate, p.key, clock, logger)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// write makes a new pair with a serial number. Its times are from now.
func (p pair) write(t *testing.T, serial int64, from, until time.Duration) {
	t.Helper()
	certificate, key := makePair(t, serial, from, until)
	p.put(t, p.certificate, certificate)
	p.put(t, p.key, key)
}

func (p pair) put(t *testing.T, name string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func makePair(t *testing.T, serial int64, from, until time.Duration) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprintf("number %d", serial)},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until), DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestLoadCertificateRefuses(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	for want, spoil := range map[string]func(p pair) error{
		"tls.crt: no such file":    func(p pair) error { return os.Remove(p.certificate) },
		"tls.key: no such file":    func(p pair) error { return os.Remove(p.key) },
		"must be PEM":              func(p pair) error { return os.WriteFile(p.key, []byte("?"), 0o600) },
		"belong together":          func(p pair) error { _, key := makePair(t, 2, 0, time.Hour); return os.WriteFile(p.key, key, 0o600) },
		"; renew it":               func(p pair) error { p.write(t, 2, -2*time.Hour, -time.Hour); return nil },
		"check this machine's clo": func(p pair) error { p.write(t, 2, time.Hour, 2*time.Hour); return nil },
		"is a directory":           func(p pair) error { return errors.Join(os.Remove(p.key), os.Mkdir(p.key, 0o700)) },
	} {
		p := newPair(t)
		if err := spoil(p); err != nil {
			t.Fatal(err)
		}
		if _, err := api.LoadCertificate(p.certificate, p.key, time.Now, logger); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// serial is the number of the certificate that a new connection gets.
func serial(t *testing.T, s *api.Server) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestCertificateIsReloaded(t *testing.T) {
	p, lines := newPair(t), new(journal)
	var later atomic.Int64 // than now, in seconds
	clock := func() time.Time { return time.Now().Add(time.Duration(later.Load()) * time.Second) }
	certificate := p.load(t, clock, slog.New(slog.NewTextHandler(lines, nil)))
	server := running(t, api.ServerConfig{Certificate: certificate}, http.NotFoundHandler())
	client := clientOf(t)
	var connection string // what the client's one connection is
	get := func() {
		t.Helper()
		response, err := client.Get(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if number := response.TLS.PeerCertificates[0].SerialNumber.String(); connection == "" {
			connection = number
		} else if number != connection {
			t.Errorf("an open connection was dropped for a new certificate")
		}
	}
	get()
	is := func(want int64) {
		t.Helper()
		if got := serial(t, server); got != want {
			t.Errorf("certificate %d, want %d", got, want)
		}
		get()
	}
	failures := func(want int) {
		t.Helper()
		if got := strings.Count(lines.String(), "level=ERROR"); got != want {
			t.Errorf("%d errors in the log, want %d:\n%s", got, want, lines)
		}
	}
	is(1)
	p.write(t, 2, -time.Hour, 2*time.Hour)
	is(1) // it is not time to look yet
	later.Add(6)
	is(2)
	if until := time.Until(certificate.NotAfter()); until < time.Hour {
		t.Errorf("ends in %v", until)
	}
	// The certificate first, its key later.
	newer, key := makePair(t, 3, -time.Hour, time.Hour)
	p.put(t, p.certificate, newer)
	for range 3 {
		later.Add(6)
		is(2)
		failures(1)
	}
	p.put(t, p.key, key)
	later.Add(6)
	is(3)
	for i, spoil := range []func(){
		func() { p.put(t, p.certificate, []byte("half a cert")) },
		func() { p.write(t, 9, -2*time.Hour, -time.Hour) },
		func() {
			if err := os.Remove(p.key); err != nil {
				t.Fatal(err)
			}
		},
	} {
		spoil()
		later.Add(6)
		is(3 + int64(i))
		later.Add(6)
		is(3 + int64(i))
		failures(2 + i)
		p.write(t, 4+int64(i), -time.Hour, time.Hour)
		later.Add(6)
		is(4 + int64(i))
		failures(2 + i)
	}
	later.Add(-3600) // a clock that steps back
	p.write(t, 7, -2*time.Hour, time.Hour)
	is(7)
}

func TestTLSVersions(t *testing.T) {
	server := running(t, api.ServerConfig{Certificate: newPair(t).load(t, time.Now, slog.New(slog.DiscardHandler))}, http.NotFoundHandler())
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", server.Addr().String(), &tls.Config{
			InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"},
		})
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err != nil {
			continue
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
			t.Errorf("%s: protocol %q", tls.VersionName(version), got)
		}
		conn.Close()
	}
	if !strings.HasPrefix(server.URL(), "https://127.0.0.1:") {
		t.Errorf("URL %s", server.URL())
	}
}

func TestPlainHTTPIsWarnedAbout(t *testing.T) {
	certificate := newPair(t).load(t, time.Now, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		address     string
		certificate *api.Certificate
		want        bool
	}{{"127.0.0.1:0", nil, false}, {"localhost:0", nil, false}, {":0", nil, true}, {"0.0.0.0:0", nil, true}, {":0", certificate, false}} {
		lines := new(journal)
		s, err := api.Listen(t.Context(), api.ServerConfig{
			Address: c.address, Certificate: c.certificate, Logger: slog.New(slog.NewTextHandler(lines, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if got := strings.Contains(lines.String(), "travel in the clear"); got != c.want {
			t.Errorf("%s: warned %v", c.address, got)
		}
	}
}
