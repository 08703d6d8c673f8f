package medverify_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/medverify"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/receipt"
)

// outcome is what a run of the command left.
type outcome struct {
	status      int
	out, errout string
}

// still is a world whose clock stands and where nobody waits.
func still() medverify.Env {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	return medverify.Env{
		Now:  func() time.Time { return now },
		Wait: func(context.Context, time.Duration) error { return nil },
	}
}

func run(t *testing.T, env medverify.Env, args ...string) outcome {
	t.Helper()
	var out, errout bytes.Buffer
	status := medverify.Run(t.Context(), args, &out, &errout, env)
	o := outcome{status, out.String(), errout.String()}
	// A line of progress is overwritten by what follows it.
	for line := range strings.Lines(strings.ReplaceAll(o.out+o.errout, "\r\x1b[K", "\n")) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%v prints a line of %d columns: %s", args, n, line)
		}
	}
	return o
}

// want checks the status and that texts were printed: on stderr if nothing was
// verified or found false, else on stdout.
func (o outcome) want(t *testing.T, status int, texts ...string) {
	t.Helper()
	if o.status != status {
		t.Errorf("status %d, want %d\n%s%s", o.status, status, o.out, o.errout)
	}
	where := o.out
	if status == medverify.CouldNotCheck {
		where = o.errout
		if o.out != "" {
			t.Errorf("printed on stdout: %s", o.out)
		}
	}
	for _, text := range texts {
		// Lines may be broken anywhere between words.
		if !strings.Contains(strings.Join(strings.Fields(where), " "), text) {
			t.Errorf("does not print %q:\n%s", text, where)
		}
	}
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// place is a folder with everything that a log can be read from.
type place struct {
	*audittest.History
	served                    audittest.Files
	dir, export, vkey, folder string
}

func newPlace(t *testing.T) *place {
	h := audittest.New("a")
	h.Story()
	p := &place{History: h, served: h.Serve(), folder: t.TempDir()}
	p.dir = filepath.Join(p.folder, "D")
	for name, data := range h.Folder(10) {
		write(t, filepath.Join(p.dir, filepath.FromSlash(name)), data)
	}
	var b bytes.Buffer
	if err := archive.Write(t.Context(), &b, p.served); err != nil {
		t.Fatal(err)
	}
	p.export = write(t, filepath.Join(p.folder, "export.tar"), b.Bytes())
	p.vkey = write(t, filepath.Join(p.folder, "log.vkey"), []byte(h.VKey+"\n"))
	return p
}

// serve serves files over HTTP; before, if not nil, may answer first.
func serve(t *testing.T, files audittest.Files, before func(http.ResponseWriter, *http.Request) bool) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before != nil && before(w, r) {
			return
		}
		data, ok := files[strings.TrimPrefix(r.URL.Path, "/log/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if _, err := w.Write(data); err != nil {
			t.Errorf("answering: %v", err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/log"
}

const golden = `VERIFIED

  origin        clinic.example/ledger
  events        25, all signed, all included
                every life legal, every decision right
  tree root     sx7fOjw1e44OuqXS15I8X13WGHabQvaXsVer4Q5bUu4=
  kept          the log extends the kept checkpoint of 12 events
  records       2, 1 of them destroyed
  actors        5
  from          2026-03-01T08:00:01.000000Z
  to            2026-03-01T08:00:25.000000Z
  signing keys  4dVGuxw4Kcg, from index 0
                Sp29qpcWYwk, from index 15
  by type       medledger.access.refused.v1                     2
                medledger.actor.registered.v2                   5
                medledger.destruction.requested.v1              1
                medledger.destruction.started.v1                1
                medledger.ledger.key-rotated.v1                 1
                medledger.ledger.opened.v1                      1
                medledger.patient.care-opened.v1                1
                medledger.patient.registered.v1                 1
                medledger.record.accessed.v1                    3
                medledger.record.amended.v1                     2
                medledger.record.destroyed.v1                   1
                medledger.record.disclosed.v1                   2
                medledger.record.originated.v1                  2
                medledger.record.received.v1                    2
  time taken    0.00 s
`

func TestLogVerified(t *testing.T) {
	p := newPlace(t)
	kept := write(t, filepath.Join(p.folder, "kept"), audittest.Serve(p.Statements[:12], p.LogSigner)["checkpoint"])
	for _, source := range [][]string{
		{"--dir", p.dir}, {"--export", p.export}, {"--url", serve(t, p.served, nil)}, {"--url", serve(t, p.served, nil) + "/"},
	} {
		o := run(t, still(), append([]string{"log", "--vkey", p.vkey, "--checkpoint", kept}, source...)...)
		o.want(t, medverify.Verified)
		if o.out != golden || o.errout != "" {
			t.Errorf("%v prints\n%s%s\nwant\n%s", source, o.out, o.errout, golden)
		}
	}
}

// TestKeep keeps a checkpoint, extends the log, and then rewrites it.
func TestKeep(t *testing.T) {
	p := newPlace(t)
	kept := filepath.Join(p.folder, "kept")
	run(t, still(), "log", "--vkey", p.vkey, "--export", p.export, "--keep", kept).
		want(t, medverify.Verified, "checkpoint kept in")
	data, err := os.ReadFile(kept)
	if err != nil || !bytes.Equal(data, p.served["checkpoint"]) {
		t.Fatalf("kept %q, error %v", data, err)
	}
	p.Access(p.Events[9].Subject)
	longer := serve(t, p.Serve(), nil)
	run(t, still(), "log", "--vkey", p.vkey, "--url", longer, "--checkpoint", kept, "--keep", kept).
		want(t, medverify.Verified, "extends the kept checkpoint of 25 events")
	run(t, still(), "log", "--vkey", p.vkey, "--export", p.export, "--checkpoint", kept).
		want(t, medverify.FoundFalse, "kept-larger", "covers 26 statements, the log has only 25 left")

	other := audittest.New("a").Open().Fill(30)
	o := run(t, still(), "log", "--vkey", p.vkey, "--url", serve(t, other.Serve(), nil), "--checkpoint", kept, "--keep", kept)
	o.want(t, medverify.FoundFalse, "kept-fork", "signed two histories", "kept checkpoint: clinic.example/ledger 26", " checkpoint: clinic.example/ledger 30")
	if left, err := filepath.Glob(filepath.Join(p.folder, ".medverify-*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
	if data, err := os.ReadFile(kept); err != nil || !strings.Contains(string(data), "\n26\n") {
		t.Errorf("a log that was found false replaced the kept checkpoint: %q, %v", data, err)
	}
}

func TestLogFoundFalse(t *testing.T) {
	p := newPlace(t)
	forged := audittest.New("a")
	forged.Story()
	forged.Statements[10] = bytes.Replace(forged.Statements[10], []byte(`"version":1`), []byte(`"version":2`), 1)
	url := serve(t, forged.Serve(), nil)
	o := run(t, still(), "log", "--vkey", p.vkey, "--url", url)
	o.want(t, medverify.FoundFalse, "FOUND FALSE: 1 finding", "1. statement-signature at index 10",
		"event "+p.Events[10].ID.String()+", medledger.record.accessed.v1",
		"leaf hash: "+proof.LeafHash(forged.Statements[10]).String(),
		"Checked 25 of the 25 events that the checkpoint promises.")
	// The statement is there to be cut out and decoded.
	_, text, _ := strings.Cut(o.out, "statement:\n")
	text, _, _ = strings.Cut(text, "\n\n")
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil || !bytes.Equal(raw, forged.Statements[10]) {
		t.Errorf("the statement's evidence is not the statement: %v", err)
	}
	if o.errout != "" {
		t.Errorf("stderr: %s", o.errout)
	}
}

func TestLogFoundFalseOffline(t *testing.T) {
	p := newPlace(t)
	data, err := os.ReadFile(p.export)
	if err != nil {
		t.Fatal(err)
	}
	cut := write(t, filepath.Join(p.folder, "cut.tar"), data[:len(data)-3000])
	run(t, still(), "log", "--vkey", p.vkey, "--export", cut).
		want(t, medverify.FoundFalse, "export-truncated", "it has 0 of the 25 statements that its checkpoint promises")
	if err := os.Remove(filepath.Join(p.dir, "store", "00000000000000000020.seg")); err != nil {
		t.Fatal(err)
	}
	run(t, still(), "log", "--vkey", p.vkey, "--dir", p.dir).
		want(t, medverify.FoundFalse, "statements-missing at index 20", "ends after 20 statements")
	other := audittest.New("other")
	wrong := write(t, filepath.Join(p.folder, "other.vkey"), []byte(other.VKey))
	run(t, still(), "log", "--vkey", wrong, "--export", p.export).
		want(t, medverify.FoundFalse, "checkpoint-signature", "it is not signed by the key")
}

// TestManyFindings prints some with evidence, some with words, and counts all.
func TestManyFindings(t *testing.T) {
	p := newPlace(t)
	h := audittest.New("a").Open().Fill(200)
	for i := audittest.Opened; i < 200; i++ {
		h.Statements[i] = bytes.Replace(h.Statements[i], []byte(`"medledger-rules-2"`), []byte(`"medledger-rules-1"`), 1)
	}
	o := run(t, still(), "log", "--vkey", p.vkey, "--url", serve(t, h.Serve(), nil))
	o.want(t, medverify.FoundFalse, "FOUND FALSE: 192 findings", "40. statement-signature", "statement-signature 192")
	if strings.Contains(o.out, "\n41.") || strings.Count(o.out, "leaf hash:") != 10 {
		t.Errorf("findings are not limited:\n%s", o.out)
	}
}

func TestCouldNotCheck(t *testing.T) {
	p := newPlace(t)
	file := func(name, text string) string { return write(t, filepath.Join(p.folder, name), []byte(text)) }
	status := func(code int) string {
		return serve(t, p.served, func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			return true
		})
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	missing := audittest.New("a")
	missing.Story()
	withoutTile := missing.Serve()
	delete(withoutTile, "tile/0/000.p/25")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no command":           {nil, "Usage:"},
		"unknown command":      {[]string{"logs"}, `unknown command "logs"`},
		"no source":            {[]string{"log", "--vkey", p.vkey}, "name one of --url, --dir and --export"},
		"two sources":          {[]string{"log", "--dir", "a", "--url", "b"}, "name one of --url, --dir and --export"},
		"unknown flag":         {[]string{"log", "--directory", "a"}, "not defined"},
		"argument":             {[]string{"log", "--dir", "a", "b"}, `unexpected argument "b"`},
		"no key":               {[]string{"log", "--dir", p.dir}, "--vkey is missing"},
		"key is not there":     {[]string{"log", "--dir", p.dir, "--vkey", "/nowhere"}, "no such file"},
		"key is none":          {[]string{"log", "--dir", p.dir, "--vkey", file("x", "hello")}, "holds no verifier key"},
		"key is too large":     {[]string{"log", "--dir", p.dir, "--vkey", file("large", strings.Repeat("k", 5000))}, "more than 4096 bytes"},
		"folder is not there":  {[]string{"log", "--vkey", p.vkey, "--dir", "/nowhere"}, "no such file"},
		"folder is none":       {[]string{"log", "--vkey", p.vkey, "--dir", p.export}, "is not a folder"},
		"folder of other":      {[]string{"log", "--vkey", p.vkey, "--dir", p.folder}, "--dir wants a ledger's data folder"},
		"export is not there":  {[]string{"log", "--vkey", p.vkey, "--export", "/nowhere"}, "no such file"},
		"export is a folder":   {[]string{"log", "--vkey", p.vkey, "--export", p.dir}, "--dir reads a data folder"},
		"export is none":       {[]string{"log", "--vkey", p.vkey, "--export", p.vkey}, "is no export of a log"},
		"kept is not there":    {[]string{"log", "--vkey", p.vkey, "--dir", p.dir, "--checkpoint", "/nowhere"}, "no such file"},
		"kept is none":         {[]string{"log", "--vkey", p.vkey, "--dir", p.dir, "--checkpoint", p.vkey}, "the kept checkpoint is not one that this key signed"},
		"keep cannot be":       {[]string{"log", "--vkey", p.vkey, "--dir", p.dir, "--keep", "/nowhere/kept"}, "could not be kept"},
		"token without URL":    {[]string{"log", "--vkey", p.vkey, "--dir", p.dir, "--token-file", p.vkey}, "goes with --url only"},
		"token in clear":       {[]string{"log", "--vkey", p.vkey, "--url", "http://clinic.example/log", "--token-file", p.vkey}, "use https"},
		"token empty":          {[]string{"log", "--vkey", p.vkey, "--url", status(200), "--token-file", file("t", "\n")}, "holds no token"},
		"URL without a host":   {[]string{"log", "--vkey", p.vkey, "--url", "clinic.example/log"}, "is not of the form"},
		"server is not there":  {[]string{"log", "--vkey", p.vkey, "--url", closed.URL}, "cannot be reached"},
		"server has no log":    {[]string{"log", "--vkey", p.vkey, "--url", serve(t, nil, nil)}, "is --url the address"},
		"server lacks a tile":  {[]string{"log", "--vkey", p.vkey, "--url", serve(t, withoutTile, nil)}, "tile/0/000.p/25: 404 Not Found"},
		"server wants a token": {[]string{"log", "--vkey", p.vkey, "--url", status(401)}, "give one with --token-file"},
		"server is broken":     {[]string{"log", "--vkey", p.vkey, "--url", status(500)}, "500 Internal Server Error"},
		"server answers 302":   {[]string{"log", "--vkey", p.vkey, "--url", status(302)}, "the server redirects"},
		"server answers much": {[]string{"log", "--vkey", p.vkey, "--url", serve(t, nil, func(w http.ResponseWriter, _ *http.Request) bool {
			_, err := w.Write(make([]byte, 70_000))
			return err == nil
		})}, "more than 65536 bytes"},
		"no receipt":           {[]string{"receipt", "--vkey", p.vkey}, "name one receipt"},
		"receipt is not there": {[]string{"receipt", "--vkey", p.vkey, "/nowhere"}, "no such file"},
		"receipt flag unknown": {[]string{"receipt", "--key", p.vkey}, "not defined"},
		"receipt without key":  {[]string{"receipt", p.vkey}, "--vkey is missing"},
	} {
		t.Run(name, func(t *testing.T) { run(t, still(), c.args...).want(t, medverify.CouldNotCheck, c.want) })
	}
}

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

// TestRestored says where a log was put back from a backup.
func TestRestored(t *testing.T) {
	h := audittest.New("a").Open()
	h.Restore()
	h.Fill(20)
	h.Restore()
	vkey := write(t, filepath.Join(t.TempDir(), "vkey"), []byte(h.VKey))
	o := run(t, still(), "log", "--vkey", vkey, "--url", serve(t, h.Serve(), nil))
	o.want(t, medverify.Verified, "restored from a backup of 8 events, at index 8 from a backup of 20 events, at index 20 records")
}

// TestProgress lets the clock run: progress appears on a terminal after a
// second, and is gone at the end.
func TestProgress(t *testing.T) {
	p := newPlace(t)
	for _, terminal := range []bool{true, false} {
		env := still()
		env.Terminal = terminal
		now := env.Now()
		env.Now = func() time.Time {
			now = now.Add(700 * time.Millisecond)
			return now
		}
		h := audittest.New("a").Open().Fill(600)
		o := run(t, env, "log", "--vkey", p.vkey, "--url", serve(t, h.Serve(), nil))
		o.want(t, medverify.Verified)
		if terminal != strings.Contains(o.errout, "512 of 600 events checked") {
			t.Errorf("terminal %v: %q", terminal, o.errout)
		}
		if terminal && !strings.HasSuffix(o.errout, "\r\x1b[K") {
			t.Errorf("the line of progress stays: %q", o.errout)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"log", "--help"}, {"receipt", "-h"}} {
		run(t, still(), args...).want(t, medverify.Verified, "Usage:", "medverify "+args[0][:0])
	}
}

var errFull = errors.New("no space left")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// TestStdoutFails wants no success that nobody was told of.
func TestStdoutFails(t *testing.T) {
	p := newPlace(t)
	var errout bytes.Buffer
	status := medverify.Run(t.Context(), []string{"log", "--vkey", p.vkey, "--dir", p.dir}, fullDisk{}, &errout, still())
	if status != medverify.CouldNotCheck || !strings.Contains(errout.String(), "no space left") {
		t.Errorf("status %d, %s", status, errout.String())
	}
}

// prove makes the receipt of the i-th event.
func prove(t *testing.T, h *audittest.History, i int) *receipt.Receipt {
	t.Helper()
	hashes := make([]tlog.Hash, len(h.Statements))
	for k, raw := range h.Statements {
		hashes[k] = proof.LeafHash(raw)
	}
	proved := func(i int) receipt.ProvedStatement {
		text := proof.FormatProof(uint64(i), path(hashes, i), audittest.Checkpoint(hashes, h.LogSigner))
		return receipt.ProvedStatement{Statement: h.Statements[i], Proof: text}
	}
	own := proved(i)
	r := &receipt.Receipt{Status: receipt.StatusProved, Statement: own.Statement, Proof: own.Proof, Announcements: []receipt.ProvedStatement{proved(0)}}
	if i > 15 {
		r.Announcements = append(r.Announcements, proved(15))
	}
	return r
}

// path is RFC 6962's definition of an audit path, word by word.
func path(hashes []tlog.Hash, m int) []tlog.Hash {
	if len(hashes) == 1 {
		return nil
	}
	k := 1
	for 2*k < len(hashes) {
		k *= 2
	}
	if m < k {
		return append(path(hashes[:k], m), audittest.Root(hashes[k:]))
	}
	return append(path(hashes[k:], m-k), audittest.Root(hashes[:k]))
}

func TestReceipt(t *testing.T) {
	p := newPlace(t)
	save := func(r *receipt.Receipt) string {
		text, err := receipt.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(text)
		return write(t, filepath.Join(p.folder, base64.RawURLEncoding.EncodeToString(digest[:])), text)
	}
	e := p.Events[17]
	run(t, still(), "receipt", "--vkey", p.vkey, save(prove(t, p.History, 17))).want(t, medverify.Verified,
		"VERIFIED", "origin clinic.example/ledger", "event "+e.ID.String(), "type "+string(e.Type),
		"subject "+e.Subject.String(), "time "+e.Time.String(), "index 17", "checkpoint of 25 events, root sx7fOjw1e")

	forged := prove(t, p.History, 17)
	forged.Statement = p.Statements[16]
	run(t, still(), "receipt", "--vkey", p.vkey, save(forged)).want(t, medverify.FoundFalse, "FOUND FALSE", "does not verify")
	run(t, still(), "receipt", "--vkey", p.vkey, p.vkey).want(t, medverify.FoundFalse, "malformed receipt")
	promised := &receipt.Receipt{Status: receipt.StatusPromised, Statement: p.Statements[17]}
	run(t, still(), "receipt", "--vkey", p.vkey, save(promised)).want(t, medverify.CouldNotCheck, "only promised")
}
