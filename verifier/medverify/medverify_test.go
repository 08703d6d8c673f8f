package medverify_test

import (
	"bytes"
	"context"
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

	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/medverify"
	"github.com/medledger/medledger/verifier/proof"
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

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
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
	if err := archive.Write(t.Context(), &b, p.served, nil); err != nil {
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
	for _, args := range [][]string{{"--help"}, {"help"}, {"log", "--help"}, {"audit", "--help"}, {"record", "--help"}, {"receipt", "-h"}} {
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
