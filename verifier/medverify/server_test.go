package medverify_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/medverify"
)

// TestServerRecovers repeats requests that a busy server refuses, waits longer
// each time and as long as the server says.
func TestServerRecovers(t *testing.T) {
	p := newPlace(t)
	refusals := 0
	url := serve(t, p.served, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/log/checkpoint" || refusals == 4 {
			return false
		}
		if refusals++; refusals == 2 {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
		} else {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return true
	})
	env := still()
	var waits []time.Duration
	env.Wait = func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	}
	run(t, env, "log", "--vkey", p.vkey, "--url", url).want(t, medverify.Verified)
	want := []time.Duration{250 * time.Millisecond, 3 * time.Second, time.Second, 2 * time.Second}
	if len(waits) != 4 || waits[0] != want[0] || waits[1] != want[1] || waits[2] != want[2] || waits[3] != want[3] {
		t.Errorf("waits %v, want %v", waits, want)
	}
}

// TestServerHasGrown serves only the full tiles and bundles that partial ones
// have become.
func TestServerHasGrown(t *testing.T) {
	h := audittest.New("a").Open().Fill(300)
	early := audittest.Serve(h.Statements[:200], h.LogSigner)
	late := h.Serve()
	late["checkpoint"] = early["checkpoint"]
	vkey := write(t, filepath.Join(t.TempDir(), "vkey"), []byte(h.VKey))
	run(t, still(), "log", "--vkey", vkey, "--url", serve(t, late, nil)).want(t, medverify.Verified, "events 200,")
}

func TestToken(t *testing.T) {
	p := newPlace(t)
	token := write(t, filepath.Join(p.folder, "token"), []byte("secret\n"))
	url := serve(t, p.served, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer secret" {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	run(t, still(), "log", "--vkey", p.vkey, "--url", url, "--token-file", token).want(t, medverify.Verified)
	run(t, still(), "log", "--vkey", p.vkey, "--url", url).want(t, medverify.CouldNotCheck, "403 Forbidden")
}

// TestTokenForEntries reads a log as a ledger serves it: the checkpoint and the
// tiles to everybody, the entries to an auditor's token.
func TestTokenForEntries(t *testing.T) {
	p := newPlace(t)
	token := write(t, filepath.Join(p.folder, "token"), []byte("auditors-secret\n"))
	wrong := write(t, filepath.Join(p.folder, "wrong"), []byte("clerks-secret\n"))
	guard := func(w http.ResponseWriter, r *http.Request) bool {
		entries := strings.HasPrefix(r.URL.Path, "/log/tile/entries/")
		switch auth := r.Header.Get("Authorization"); {
		case entries && auth == "":
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
		case entries && auth != "Bearer auditors-secret":
			w.WriteHeader(http.StatusForbidden)
		default:
			return false
		}
		return true
	}
	url := serve(t, p.served, guard)
	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"the auditor's": {[]string{"--token-file", token}, medverify.Verified, "events 25, all signed"},
		"none":          {nil, medverify.CouldNotCheck, "401 Unauthorized: the server wants a token that may read the log; give one with --token-file"},
		"another's":     {[]string{"--token-file", wrong}, medverify.CouldNotCheck, "403 Forbidden: the server wants a token that may read the log; give one with --token-file"},
		"a folder":      {[]string{"--token-file", p.folder}, medverify.CouldNotCheck, "reading the token"},
	} {
		o := run(t, still(), append([]string{"log", "--vkey", p.vkey, "--url", url}, c.args...)...)
		o.want(t, c.status, c.want)
		if strings.Contains(o.out+o.errout, "-secret") {
			t.Errorf("%s: the token is printed: %s%s", name, o.out, o.errout)
		}
	}
}

// TestTokenStaysHome lets a server redirect to another, and the connection fail:
// nobody else gets the token, and no error has it.
func TestTokenStaysHome(t *testing.T) {
	p := newPlace(t)
	token := write(t, filepath.Join(p.folder, "token"), []byte("secret-of-one\n"))
	other := serve(t, p.served, func(_ http.ResponseWriter, r *http.Request) bool {
		t.Errorf("the other server is asked for %s, with %q", r.URL.Path, r.Header.Get("Authorization"))
		return false
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		url := serve(t, p.served, func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other+strings.TrimPrefix(r.URL.Path, "/log"), status)
			return true
		})
		o := run(t, still(), "log", "--vkey", p.vkey, "--url", url, "--token-file", token)
		o.want(t, medverify.CouldNotCheck, "the server redirects; give the address that it redirects to as --url")
		if strings.Contains(o.errout, "secret-of-one") {
			t.Errorf("the token is printed: %s", o.errout)
		}
	}
	broken := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer broken.Close()
	o := run(t, still(), "log", "--vkey", p.vkey, "--url", broken.URL, "--token-file", token)
	o.want(t, medverify.CouldNotCheck, "cannot be reached")
	if strings.Contains(o.errout, "secret-of-one") {
		t.Errorf("the token is printed: %s", o.errout)
	}
	bad := write(t, filepath.Join(p.folder, "bad"), []byte("secret-of-one and more\n"))
	o = run(t, still(), "log", "--vkey", p.vkey, "--url", other, "--token-file", bad)
	o.want(t, medverify.CouldNotCheck, "holds no token")
	if strings.Contains(o.errout, "secret-of-one") {
		t.Errorf("the token is printed: %s", o.errout)
	}
}
