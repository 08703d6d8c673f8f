package api

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"

	"github.com/medledger/medledger/verifier/proof"
)

// entriesPath is what the paths of entry bundles begin with.
const entriesPath = "/log/tile/entries/"

const (
	// immutable is for tiles and bundles, full and partial ones alike: what a
	// path names never changes (tlog-tiles). It does not say 'public', so that
	// a shared cache keeps nothing that a request with credentials was answered.
	immutable = "max-age=31536000, immutable"
	octets    = "application/octet-stream"
	text      = "text/plain; charset=utf-8"
)

// checkpoint serves /log/checkpoint. Caches must ask again each time: a stale
// checkpoint would hide events from whoever looks for them.
func (h *handler) checkpoint(w http.ResponseWriter, r *http.Request) error {
	published := h.Log.Published()
	if published == nil {
		return &problem{Status: http.StatusNotFound, Detail: "the log has signed no checkpoint yet; try again in a moment"}
	}
	w.Header().Set("Cache-Control", "no-cache")
	return send(w, r, text, published.Note)
}

// tile serves the hash tiles below /log/tile/.
func (h *handler) tile(w http.ResponseWriter, r *http.Request) error {
	t, err := tileOf(r)
	if err != nil {
		return err
	}
	body, err := h.Log.Tile(r.Context(), t)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", immutable)
	return send(w, r, octets, body)
}

// entries serves entry bundles, which hold statements: to auditors only.
func (h *handler) entries(w http.ResponseWriter, r *http.Request) error {
	t, err := tileOf(r)
	if err != nil {
		return err
	}
	c, err := h.authenticated(w, r)
	if err != nil {
		return err
	}
	if err := h.Ledger.ReadLog(r.Context(), c.command); err != nil {
		return c.explain(err)
	}
	body, err := h.Log.Entries(r.Context(), t.Index, t.Width)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", immutable)
	if body, err = h.compressed(w, r, body); err != nil {
		return err
	}
	return send(w, r, octets, body)
}

// tileOf reads the path as it was sent: what is escaped is not a tile's path.
func tileOf(r *http.Request) (proof.Tile, error) {
	t, err := proof.ParsePath(strings.TrimPrefix(r.URL.EscapedPath(), "/log/"))
	if err != nil {
		return t, &problem{Status: http.StatusNotFound, Detail: "this is not the path of a tile or entry bundle; see https://c2sp.org/tlog-tiles"}
	}
	return t, nil
}

// compressed returns an entry bundle in the encoding that the request asks for,
// and names it in the response. Hashes do not shrink; statements do, by half.
func (h *handler) compressed(w http.ResponseWriter, r *http.Request, body []byte) ([]byte, error) {
	w.Header().Set("Vary", "Accept-Encoding")
	if !acceptsGzip(r.Header.Values("Accept-Encoding")) {
		return body, nil
	}
	var out bytes.Buffer
	z, ok := h.gzips.Get().(*gzip.Writer)
	if ok {
		z.Reset(&out)
	} else {
		var err error
		if z, err = gzip.NewWriterLevel(&out, gzip.BestSpeed); err != nil {
			return nil, err
		}
	}
	defer h.gzips.Put(z)
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	w.Header().Set("Content-Encoding", "gzip")
	return out.Bytes(), nil
}

// acceptsGzip reports whether an Accept-Encoding (RFC 9110, 12.5.3) names gzip
// with a weight above zero. The wildcard is not taken as asking for it.
func acceptsGzip(headers []string) bool {
	for element := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		coding, parameter, weighted := strings.Cut(element, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		if !weighted {
			return true
		}
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		weight, err := strconv.ParseFloat(value, 64)
		return strings.EqualFold(name, "q") && err == nil && weight > 0
	}
	return false
}
