package api

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"

	"github.com/medledger/medledger/verifier/proof"
)

const (
	// The logs are served below these.
	logPrefix   = "/log/"
	statePrefix = "/state/"
	// entriesPath is what the paths of bundles of statements begin with.
	entriesPath = logPrefix + "tile/entries/"
	// immutable is for tiles and bundles, full and partial ones alike: what a
	// path names never changes (tlog-tiles). It does not say 'public', so that
	// a shared cache keeps nothing that a request with credentials was answered.
	immutable = "max-age=31536000, immutable"
	octets    = "application/octet-stream"
	text      = "text/plain; charset=utf-8"
)

// treeOf is a transparency log as it is served: C2SP tlog-tiles below a prefix.
type treeOf struct {
	*handler
	log    Log
	prefix string
}

// checkpoint serves the newest one. Caches must ask again each time: a stale
// checkpoint would hide events from whoever looks for them.
func (t treeOf) checkpoint(w http.ResponseWriter, r *http.Request) error {
	published := t.log.Published()
	if published == nil {
		return &problem{Status: http.StatusNotFound, Detail: "the log has signed no checkpoint yet; try again in a moment"}
	}
	w.Header().Set("Cache-Control", "no-cache")
	return send(w, r, text, published.Note)
}

// tile serves the hash tiles.
func (t treeOf) tile(w http.ResponseWriter, r *http.Request) error {
	tile, err := t.named(r)
	if err != nil {
		return err
	}
	body, err := t.log.Tile(r.Context(), tile)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", immutable)
	return send(w, r, octets, body)
}

// leaves serves entry bundles to everybody: those of the state log are hashes.
func (t treeOf) leaves(w http.ResponseWriter, r *http.Request) error {
	tile, err := t.named(r)
	if err != nil {
		return err
	}
	return t.bundle(w, r, tile)
}

// statements serves entry bundles that hold statements: to auditors only.
func (t treeOf) statements(w http.ResponseWriter, r *http.Request) error {
	tile, err := t.named(r)
	if err != nil {
		return err
	}
	c, err := t.authenticated(w, r)
	if err != nil {
		return err
	}
	if err := t.Ledger.ReadLog(r.Context(), c.command); err != nil {
		return c.explain(err)
	}
	return t.bundle(w, r, tile)
}

func (t treeOf) bundle(w http.ResponseWriter, r *http.Request, tile proof.Tile) error {
	body, err := t.log.Entries(r.Context(), tile.Index, tile.Width)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", immutable)
	if body, err = t.compressed(w, r, body); err != nil {
		return err
	}
	return send(w, r, octets, body)
}

// named reads the path as it was sent: what is escaped is not a tile's path.
func (t treeOf) named(r *http.Request) (proof.Tile, error) {
	tile, err := proof.ParsePath(strings.TrimPrefix(r.URL.EscapedPath(), t.prefix))
	if err != nil {
		return tile, &problem{Status: http.StatusNotFound, Detail: "this is not the path of a tile or entry bundle; see https://c2sp.org/tlog-tiles"}
	}
	return tile, nil
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
