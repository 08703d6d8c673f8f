package medverify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
)

const (
	attempts       = 6
	firstWait      = 250 * time.Millisecond
	longestWait    = 10 * time.Second
	requestTimeout = time.Minute
	maxToken       = 16 << 10
)

// server is a log that is served over HTTP as C2SP tlog-tiles.
type server struct {
	base   string // without a trailing slash
	token  string
	client *http.Client
	wait   func(ctx context.Context, d time.Duration) error
}

// newServer checks the URL, and that a token is sent to nobody who could be
// overheard. What the server answers needs no such protection: it is verified.
func (r *run) newServer(raw, tokenFile string) (*server, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("--url %.100q is not of the form https://HOST/PATH", raw)
	}
	s := &server{base: strings.TrimSuffix(u.String(), "/"), wait: r.env.Wait}
	s.client = &http.Client{
		Transport: r.env.Transport, Timeout: requestTimeout,
		// A redirect could lead the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if tokenFile == "" {
		return s, nil
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("a token over plain http to %s could be read by others on the way; use https, or leave out --token-file", u.Hostname())
	}
	token, err := readFile(tokenFile, maxToken)
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	s.token = strings.TrimSpace(string(token))
	if s.token == "" || strings.ContainsFunc(s.token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, fmt.Errorf("%s holds no token; it should be one line", tokenFile)
	}
	return s, nil
}

// below returns the log that is served in a folder of the server.
func (s *server) below(folder string) *server {
	log := *s
	log.base += "/" + folder
	return &log
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Checkpoint implements audit.Source.
func (s *server) Checkpoint(ctx context.Context) ([]byte, error) {
	return s.get(ctx, "checkpoint", proof.MaxSignedCheckpoint)
}

// Entries implements audit.Source. The full bundle that a partial one has become
// in the meantime serves as well.
func (s *server) Entries(ctx context.Context, n uint64, width int) ([]byte, error) {
	t := proof.Tile{Level: proof.Entries, Index: n, Width: width}
	data, err := s.tile(ctx, t, (2+proof.MaxEntry)*proof.TileWidth)
	if t.Width == proof.TileWidth || !errors.Is(err, errNotFound) {
		return data, err
	}
	t.Width = proof.TileWidth
	full, fullErr := s.tile(ctx, t, (2+proof.MaxEntry)*proof.TileWidth)
	if fullErr != nil {
		return nil, err
	}
	leaves, err := proof.ParseBundle(full, proof.TileWidth)
	if err != nil {
		return full, nil // the audit says what is false about it
	}
	return proof.FormatBundle(leaves[:width])
}

// Tile implements audit.Source, likewise.
func (s *server) Tile(ctx context.Context, t proof.Tile) ([]byte, error) {
	data, err := s.tile(ctx, t, tlog.HashSize*proof.TileWidth)
	if t.Width == proof.TileWidth || !errors.Is(err, errNotFound) {
		return data, err
	}
	full := t
	full.Width = proof.TileWidth
	wide, fullErr := s.tile(ctx, full, tlog.HashSize*proof.TileWidth)
	if fullErr != nil {
		return nil, err
	}
	return wide[:min(len(wide), t.Width*tlog.HashSize)], nil
}

func (s *server) tile(ctx context.Context, t proof.Tile, limit int64) ([]byte, error) {
	return s.get(ctx, proof.FormatPath(t), limit)
}

var (
	errNotFound = notFoundError("the server does not have it; is --url the address of a ledger?")
	errDenied   = errors.New("the server wants a token that may read the log; give one with --token-file")
	errRedirect = errors.New("the server redirects; give the address that it redirects to as --url")
)

// notFoundError is fs.ErrNotExist in other words.
type notFoundError string

func (e notFoundError) Error() string { return string(e) }

// Is implements errors.Is.
func (notFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// get requests a file, again if the server is busy or the connection fails.
func (s *server) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	pause := firstWait
	for attempt := 1; ; attempt++ {
		data, after, err := s.once(ctx, path, limit)
		if err == nil || after < 0 || attempt == attempts || ctx.Err() != nil {
			return data, err
		}
		if err := s.wait(ctx, min(max(pause, after), longestWait)); err != nil {
			return nil, err
		}
		pause *= 2
	}
}

// once makes one request. If it fails and may be repeated, after is how long the
// server wants to be left alone; else it is negative.
func (s *server) once(ctx context.Context, path string, limit int64) (_ []byte, after time.Duration, _ error) {
	address := s.base + "/" + path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, -1, fmt.Errorf("requesting %s: %w", address, err)
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, 0, fmt.Errorf("the server cannot be reached: %w", err)
	}
	defer response.Body.Close() // read as far as it is needed
	if err := judge(response); err != nil {
		return nil, retryAfter(response), fmt.Errorf("%s: %w", address, err)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, 0, fmt.Errorf("reading %s: %w", address, err)
	}
	if int64(len(data)) > limit {
		return nil, -1, fmt.Errorf("%s: the server answers more than %d bytes; is this the address of a log?", address, limit)
	}
	return data, -1, nil
}

// judge returns an error unless the response is a success.
func judge(r *http.Response) error {
	switch {
	case r.StatusCode == http.StatusOK:
		return nil
	case r.StatusCode == http.StatusNotFound || r.StatusCode == http.StatusGone:
		return fmt.Errorf("%s: %w", r.Status, errNotFound)
	case r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: %w", r.Status, errDenied)
	case r.StatusCode/100 == 3:
		return fmt.Errorf("%s to %.100q: %w", r.Status, r.Header.Get("Location"), errRedirect)
	}
	return fmt.Errorf("the server answers %s", r.Status)
}

// retryAfter returns how long to wait before repeating a request, or -1 if that
// is of no use.
func retryAfter(r *http.Response) time.Duration {
	if r.StatusCode != http.StatusTooManyRequests && r.StatusCode/100 != 5 {
		return -1
	}
	seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 3600)) * time.Second
}
