package api

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// certificateCheck is how often at most the files are looked at.
const certificateCheck = 5 * time.Second

// Certificate is a certificate with its chain and its private key, from two PEM
// files. When the files change, new connections get the new pair; connections
// that are open stay. A new pair that is broken is not taken: the old one stays,
// and the log says so once until a good one is there. So the files may be
// replaced one after the other.
type Certificate struct {
	certificate, key string // the files' names
	clock            func() time.Time
	logger           *slog.Logger

	current atomic.Pointer[tls.Certificate]

	mu      sync.Mutex // held by whoever looks at the files
	checked time.Time
	taken   [2]stamp // of the files that current was read from
	failing bool     // and the log says so
}

// stamp is what of a file shows that it has changed.
type stamp struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads the pair. Both files must be there and belong together,
// and the certificate must be valid now.
func LoadCertificate(certificate, key string, clock func() time.Time, logger *slog.Logger) (*Certificate, error) {
	c := &Certificate{certificate: certificate, key: key, clock: clock, logger: logger, checked: clock()}
	taken, err := c.stamps()
	if err != nil {
		return nil, err
	}
	pair, err := c.read()
	if err != nil {
		return nil, err
	}
	c.taken = taken
	c.current.Store(pair)
	return c, nil
}

// NotAfter is when the certificate in use ends.
func (c *Certificate) NotAfter() time.Time { return c.current.Load().Leaf.NotAfter }

func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c.refresh()
			return c.current.Load(), nil
		},
	}
}

// refresh takes a changed pair, if it is time to look and nobody else does.
func (c *Certificate) refresh() {
	if !c.mu.TryLock() {
		return
	}
	defer c.mu.Unlock()
	now := c.clock()
	if since := now.Sub(c.checked); 0 <= since && since < certificateCheck {
		return
	}
	c.checked = now
	// The stamps are taken before the files are read: what changes in between is
	// seen the next time.
	stamps, err := c.stamps()
	if err == nil && stamps == c.taken {
		c.failing = false // somebody put the old files back
		return
	}
	var pair *tls.Certificate
	if err == nil {
		pair, err = c.read()
	}
	if err != nil {
		if !c.failing {
			c.logger.Error("the TLS certificate has changed and cannot be used: the one before stays in use", "error", err)
		}
		c.failing = true
		return
	}
	c.taken, c.failing = stamps, false
	c.current.Store(pair)
	c.logger.Info("a new TLS certificate is in use", "until", pair.Leaf.NotAfter)
}

func (c *Certificate) stamps() (s [2]stamp, err error) {
	for i, name := range []string{c.certificate, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return s, fmt.Errorf("looking for the TLS certificate and its key: %w", err)
		}
		s[i] = stamp{info.ModTime(), info.Size()}
	}
	return s, nil
}

func (c *Certificate) read() (*tls.Certificate, error) {
	certificate, err := os.ReadFile(c.certificate)
	if err != nil {
		return nil, fmt.Errorf("reading the TLS certificate: %w", err)
	}
	key, err := os.ReadFile(c.key)
	if err != nil {
		return nil, fmt.Errorf("reading the TLS certificate's key: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("the TLS certificate in %s and the key in %s cannot be used (%w); both must be PEM and belong together",
			c.certificate, c.key, err)
	}
	switch now := c.clock(); {
	case now.After(pair.Leaf.NotAfter):
		return nil, fmt.Errorf("the TLS certificate in %s ended on %s; renew it",
			c.certificate, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		return nil, fmt.Errorf("the TLS certificate in %s begins on %s; check this machine's clock",
			c.certificate, pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return &pair, nil
}
