package api_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/verifier/proof"
)

// Whatever target a client sends, it is answered, a redirect is never the
// answer, and a tile is served under exactly one spelling of its path.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{
		"/log/checkpoint", "/log/tile/0/000", "/log/tile/0/273.p/112", "/log/tile/entries/x001/234", "/log/tile/0/%30%30%30",
		"/log//checkpoint", "/log/tile/../checkpoint", "/log/tile%2f0/000", "*", "http://x/log/checkpoint", "/healthz?x=%zz", "//x/log/",
	} {
		f.Add(seed)
	}
	h, err := api.New(api.Config{
		Ledger: sharedLedger(f), Log: &fakeLog{size: 70000}, Stopped: func() error { return nil },
		Logger: slog.New(slog.DiscardHandler), Clock: time.Now,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target) // as net/http does
		if err != nil {
			t.Skip()
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: u, Host: "x", Body: http.NoBody, Header: http.Header{
			"Authorization": {"Bearer " + shared.token},
		}})
		if w.Code == http.StatusNotFound || strings.HasPrefix(u.EscapedPath(), "/v1/") {
			return
		}
		if w.Code != http.StatusOK {
			t.Fatalf("%q: status %d", target, w.Code)
		}
		path, found := strings.CutPrefix(u.EscapedPath(), "/log/tile/")
		if !found {
			return
		}
		tile, err := proof.ParsePath("tile/" + path)
		if err != nil || proof.FormatPath(tile) != "tile/"+path {
			t.Errorf("%q was served, which is %+v, %v", target, tile, err)
		}
	})
}
