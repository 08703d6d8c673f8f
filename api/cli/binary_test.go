package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/proof"
)

// binary is the program under test, built by TestMain.
var binary string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "medledger")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "medledger")
	build := exec.Command("go", "build", "-o", binary, "github.com/medledger/medledger")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building the binary: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// result is how a run of the binary ended.
type result struct {
	out, messages string
	code          int
}

func run(t *testing.T, args ...string) result { t.Helper(); return runIn(t, "", args...) }

// runIn runs the binary in a folder.
func runIn(t *testing.T, folder string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, binary, args...)
	c.Dir = folder
	var out, messages bytes.Buffer
	c.Stdout, c.Stderr = &out, &messages
	err := c.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", args, err)
	}
	return result{out.String(), messages.String(), c.ProcessState.ExitCode()}
}

// succeed runs the binary and wants it to say nothing but data and advice.
func succeed(t *testing.T, args ...string) result {
	t.Helper()
	r := run(t, args...)
	if r.code != 0 || strings.Contains(r.messages, "medledger: ") {
		t.Fatalf("medledger %v: exit %d, %s", args, r.code, r.messages)
	}
	return r
}

// refuse runs the binary and wants one message that holds want, and no data.
func refuse(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	r := run(t, args...)
	if r.code != code || r.out != "" || !strings.HasPrefix(r.messages, "medledger: ") ||
		strings.Count(r.messages, "\n") != 1 || !strings.Contains(r.messages, want) {
		t.Errorf("medledger %v: exit %d, want %d and %q\n%s%s", args, r.code, code, want, r.out, r.messages)
	}
}

// field is a value of what a command printed.
func field(t *testing.T, out, name string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == name {
			return words[1]
		}
	}
	t.Fatalf("no %s in %q", name, out)
	return ""
}

const origin = "ledger.example.org/test"

// newLedger makes a ledger with init.
func newLedger(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ledger")
	succeed(t, "init", "--dir", dir, "--origin", origin)
	return dir
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deeper", "ledger")
	r := succeed(t, "init", "--dir", dir, "--origin", origin)
	if field(t, r.out, "origin") != origin || len(field(t, r.out, "administrator")) < 32 ||
		field(t, r.out, "administrator") == field(t, r.out, "organisation") {
		t.Errorf("init printed %s", r.out)
	}
	vkey, err := os.ReadFile(field(t, r.out, "verifier-key"))
	if err != nil || !strings.HasPrefix(string(vkey), origin+"+") {
		t.Errorf("verifier key %q, %v", vkey, err)
	}
	if !strings.Contains(r.messages, "medledger serve --dir "+dir) {
		t.Errorf("no next step: %s", r.messages)
	}
	refuse(t, 1, "holds a ledger already", "init", "--dir", dir, "--origin", origin)
	refuse(t, 1, "holds a ledger already", "init", "--dir", dir, "--origin", "other.example.org")
	if again, err := os.ReadFile(filepath.Join(dir, "log.vkey")); err != nil || !bytes.Equal(vkey, again) {
		t.Error("a second init changed the key")
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.doc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refuse(t, 1, "choose an empty folder", "init", "--dir", foreign, "--origin", origin)
	refuse(t, 1, "not a directory", "init", "--dir", filepath.Join(dir, "log.vkey", "x"), "--origin", origin)
	refuse(t, 2, "origin has 'L' at byte 0", "init", "--dir", filepath.Join(foreign, "x"), "--origin", "Ledger")
}

// Everybody's first ledger lies in a folder below the current one.
func TestRelativeFolders(t *testing.T) {
	folder := t.TempDir()
	for _, dir := range []string{"ledger", "./a b/100% #1?", "é"} {
		for _, args := range [][]string{
			{"init", "--origin", origin}, {"keys", "rotate"}, {"export", "--force", "ledger.tar"}, {"rebuild"},
		} {
			if r := runIn(t, folder, append(args, "--dir", dir)...); r.code != 0 {
				t.Errorf("%s in %q: exit %d, %s", args[0], dir, r.code, r.messages)
			}
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 6 { // with the secrets, of which one folder lies deeper
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

func TestServe(t *testing.T) {
	dir := newLedger(t)
	p := serve(t, dir)
	before := p.checkpoint(t, dir)
	if before.Size != 4 || before.Origin != origin {
		t.Errorf("checkpoint %+v", before)
	}
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/metrics": 200, "/log/tile/0/000.p/4": 200, "/log/tile/entries/000.p/4": 401, "/state/checkpoint": 200, "/state/tile/entries/000.p/1": 200,
		"/v1/patients": 401, "/openapi.json": 200,
		"/log/tile/0/000.p/5": 404, "/log/tile/0/000": 404, "/": 404, "/log/tile/0/..%2f..%2fcheckpoint": 404,
	} {
		if status, body := get(t, p.url+path); status != want {
			t.Errorf("%s: %d, want %d\n%s", path, status, want, body)
		}
	}
	if _, metrics := get(t, p.url+"/metrics"); !bytes.Contains(metrics, []byte("\nmedledger_log_size 4\n")) {
		t.Error("metrics do not know the log's size")
	}
	// One folder, one process; one address, one server.
	refuse(t, 1, "", "init", "--dir", dir, "--origin", origin)
	refuse(t, 1, "", "keys", "rotate", "--dir", dir)
	refuse(t, 1, "", "rebuild", "--dir", dir)
	for _, args := range [][]string{{"--listen", "127.0.0.1:0"}, {"--listen", strings.TrimPrefix(p.url, "http://")}} {
		r := run(t, append([]string{"serve", "--dir", dir}, args...)...)
		if r.code != 1 || r.out != "" || strings.Count(r.messages, "medledger: ") != 1 {
			t.Errorf("second server %v: exit %d, %s%s", args, r.code, r.out, r.messages)
		}
	}
	taken := run(t, "serve", "--dir", newLedger(t), "--listen", strings.TrimPrefix(p.url, "http://"))
	if taken.code != 1 || !strings.Contains(taken.messages, "choose another address with --listen") {
		t.Errorf("an address that is taken: exit %d, %s", taken.code, taken.messages)
	}
	if after := p.checkpoint(t, dir); after != before {
		t.Errorf("checkpoint %+v became %+v", before, after)
	}
	p.stop(t, syscall.SIGTERM)
	for _, want := range []string{
		"msg=listening", "origin=" + origin, "msg=stopping", `route=/log/tile/{L}/{N} status=404`, "route=none status=404",
	} {
		if !strings.Contains(p.messages.String(), want) {
			t.Errorf("the messages lack %q:\n%s", want, p.messages)
		}
	}
	for _, mustNot := range []string{"000.p", "%2f", "sequenced"} {
		if strings.Contains(p.messages.String(), mustNot) {
			t.Errorf("the messages hold %q:\n%s", mustNot, p.messages)
		}
	}
	p = serve(t, dir, "--listen", ":0") // the last flag counts
	if !strings.HasPrefix(p.url, "http://127.0.0.1:") {
		t.Errorf("listening on %s", p.url)
	}
	if again := p.checkpoint(t, dir); again != before {
		t.Errorf("checkpoint %+v became %+v", before, again)
	}
	p.stop(t, os.Interrupt)
}

func TestExport(t *testing.T) {
	dir := newLedger(t)
	p := serve(t, dir)
	want := p.checkpoint(t, dir)
	folder := t.TempDir()
	file := filepath.Join(folder, "ledger.tar")
	succeed(t, "export", "--dir", dir, file) // while the server runs
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	exported, err := archive.Open(bytes.NewReader(first), int64(len(first)))
	if err != nil || exported.Size() != want.Size {
		t.Fatalf("export of %v, %v", exported, err)
	}
	_, served := get(t, p.url+"/log/checkpoint")
	if held, err := exported.Checkpoint(t.Context()); err != nil || !bytes.Equal(held, served) {
		t.Errorf("the export's checkpoint is %q, %v, served is %q", held, err, served)
	}
	tile := proof.Tile{Level: 0, Width: 4}
	_, served = get(t, p.url+"/log/"+proof.FormatPath(tile))
	if held, err := exported.Tile(t.Context(), tile); err != nil || !bytes.Equal(held, served) {
		t.Errorf("%s differs, %v", proof.FormatPath(tile), err)
	}
	p.stop(t, syscall.SIGTERM)
	refuse(t, 1, "replace it with --force", "export", "--dir", dir, file)
	succeed(t, "export", "--dir", dir, "--force", file)
	if second, err := os.ReadFile(file); err != nil || !bytes.Equal(first, second) {
		t.Errorf("the same log gave another export, %v", err)
	}
	refuse(t, 1, "no such file", "export", "--dir", dir, filepath.Join(folder, "none", "ledger.tar"))
	refuse(t, 1, "no regular file", "export", "--dir", dir, "--force", folder)
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
	// The secrets stay at home.
	roots, err := filepath.Glob(filepath.Join(dir+".custody", "keys", "*"))
	if err != nil || len(roots) != 1 {
		t.Fatalf("root keys: %v, %v", roots, err)
	}
	for _, name := range append(roots, filepath.Join(dir+".custody", "log.key"),
		filepath.Join(dir+".custody", "state.key"), filepath.Join(dir+".custody", "commands.key")) {
		secret, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(first, bytes.TrimSpace(secret)) {
			t.Errorf("%s is in the export", filepath.Base(name))
		}
	}
}

func TestRotateAndRebuild(t *testing.T) {
	dir := newLedger(t)
	r := succeed(t, "keys", "rotate", "--dir", dir)
	if field(t, r.out, "index") != "4" || field(t, r.out, "statement-key") == "" {
		t.Errorf("rotate printed %s", r.out)
	}
	p := serve(t, dir)
	want := p.checkpoint(t, dir)
	p.stop(t, syscall.SIGTERM)
	if want.Size != 5 {
		t.Errorf("checkpoint %+v", want)
	}
	kept := filepath.Join(t.TempDir(), "kept")
	note, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err := errors.Join(err, os.WriteFile(kept, note, 0o600)); err != nil {
		t.Fatal(err)
	}
	tiles := filepath.Join(dir, "log", "tile")
	damage := map[string]func() error{
		"nothing":    func() error { return nil },
		"lost tiles": func() error { return os.RemoveAll(tiles) },
		"false tile": func() error {
			return os.WriteFile(filepath.Join(tiles, "0", "000.p", "4"), make([]byte, 128), 0o600)
		},
		"lost checkpoint": func() error {
			return errors.Join(os.Remove(filepath.Join(dir, "log", "checkpoint")), os.Remove(filepath.Join(dir, "log", "signed")))
		},
		"lost index":       func() error { return os.Remove(filepath.Join(dir, "store", "index.sqlite")) },
		"false index":      func() error { return os.WriteFile(filepath.Join(dir, "store", "index.sqlite"), []byte("?"), 0o600) },
		"lost projection":  func() error { return os.Remove(filepath.Join(dir, "access.sqlite")) },
		"false projection": func() error { return os.WriteFile(filepath.Join(dir, "access.sqlite"), []byte("?"), 0o600) },
	}
	for name, do := range damage {
		if err := do(); err != nil {
			t.Fatal(name, err)
		}
		if name == "lost checkpoint" {
			refuse(t, 1, "rebuild --checkpoint", "rebuild", "--dir", dir)
		}
		r := succeed(t, "rebuild", "--dir", dir, "--checkpoint", kept)
		if field(t, r.out, "size") != strconv.FormatUint(want.Size, 10) || field(t, r.out, "root") != want.Root.String() {
			t.Errorf("%s: rebuild printed %s, want %+v", name, r.out, want)
		}
		p := serve(t, dir)
		if got := p.checkpoint(t, dir); got != want {
			t.Errorf("%s: checkpoint %+v, want %+v", name, got, want)
		}
		if status, tile := get(t, p.url+"/log/tile/0/000.p/4"); status != 200 || bytes.Equal(tile, make([]byte, 128)) {
			t.Errorf("%s: tile %d", name, status)
		}
		p.stop(t, syscall.SIGTERM)
	}
	spoilEvents(t, dir)
	refuse(t, 1, "", "rebuild", "--dir", dir)
	if r := run(t, "serve", "--dir", dir, "--listen", "127.0.0.1:0"); r.code != 1 || r.out != "" {
		t.Errorf("altered events were served: exit %d, %s", r.code, r.out)
	}
}

// spoilEvents flips a bit in the middle of the first segment.
func spoilEvents(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "store", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.Contains(file, "sqlite") {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil || len(data) < 512 {
			continue
		}
		data[400] ^= 1
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no segment in %v", files)
}

func TestFoldersThatAreNoLedger(t *testing.T) {
	empty := t.TempDir()
	newer, older, damaged := newLedger(t), newLedger(t), newLedger(t)
	for file, text := range map[string]string{
		filepath.Join(newer, "medledger.json"):   `{"format":4,"origin":"` + origin + `"}`,
		filepath.Join(older, "medledger.json"):   `{"format":1,"origin":"` + origin + `"}`,
		filepath.Join(damaged, "medledger.json"): `{"format":`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	export := filepath.Join(t.TempDir(), "x.tar")
	for _, args := range [][]string{
		{"serve", "--listen", "127.0.0.1:0"}, {"export", export}, {"rebuild"}, {"keys", "rotate"},
		{"admin", "token"}, {"backup", "run"}, {"backup", "status"},
	} {
		refuse(t, 1, "make one with 'medledger init'", append(args, "--dir", empty)...)
		refuse(t, 1, "make one with 'medledger init'", append(args, "--dir", filepath.Join(empty, "none"))...)
		refuse(t, 1, "newer medledger", append(args, "--dir", newer)...)
		refuse(t, 1, "'medledger upgrade'", append(args, "--dir", older)...)
		refuse(t, 1, "is damaged", append(args, "--dir", damaged)...)
	}
	refuse(t, 1, "newer medledger", "init", "--dir", newer, "--origin", origin)
	if entries, err := os.ReadDir(empty); err != nil || len(entries) > 0 {
		t.Errorf("something was made: %v, %v", entries, err)
	}
	if _, err := os.Stat(export); err == nil {
		t.Error("an export was made of nothing")
	}
	// A folder whose events are gone must not start over.
	robbed := newLedger(t)
	if err := os.RemoveAll(filepath.Join(robbed, "store")); err != nil {
		t.Fatal(err)
	}
	refuse(t, 1, "restore", "keys", "rotate", "--dir", robbed)
}

func TestVersionAndFullDisk(t *testing.T) {
	r := succeed(t, "version")
	if want := runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"; !strings.HasPrefix(r.out, "medledger ") || !strings.HasSuffix(r.out, want) {
		t.Errorf("version printed %q", r.out)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip("there is no /dev/full here")
	}
	defer full.Close()
	c := exec.Command(binary, "version")
	var messages bytes.Buffer
	c.Stdout, c.Stderr = full, &messages
	if err := c.Run(); c.ProcessState.ExitCode() != 1 || !strings.Contains(messages.String(), "make room on the disk") {
		t.Errorf("a full disk: %v, %s", err, &messages)
	}
}
