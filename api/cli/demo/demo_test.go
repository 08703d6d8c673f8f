package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/medverify"
)

// binary is the program medledger, built by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "medledger")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "medledger")
	build := exec.Command("go", "build", "-o", binary, "github.com/medledger/medledger")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the binary: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// checkPage fails the test for lines of more than 80 columns, except the one with
// the ledger's folder, which must not be broken.
func checkPage(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := columns(strings.TrimRight(line, "\n")); n > width && !strings.HasPrefix(line, "    D=") {
			t.Errorf("line of %d columns: %q", n, line)
		}
	}
}

func TestBundled(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	var out bytes.Buffer
	if err := Run(t.Context(), Options{Binary: binary}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	checkPage(t, out.String())
	if strings.Contains(out.String(), "✗") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("a story that went well, without colours:\n%s", out.String())
	}
	for _, code := range []audit.Code{
		audit.StoreDamaged, audit.StatementSignature, audit.StatementsMissing, audit.KeptLarger,
		audit.RootMismatch, audit.StatementKey, audit.CheckpointSignature,
		audit.KeptFork, audit.StateRootMismatch, audit.StateKeptLarger, audit.StateMissing,
	} {
		if !strings.Contains(out.String(), "| "+string(code)) && !strings.Contains(out.String(), ": "+string(code)) {
			t.Errorf("no attack was found as %s", code)
		}
	}
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("%d folders are left behind (%v)", len(left), err)
	}
}

// TestInterrupted tells the demo to stop in the middle of the story: it must leave
// neither a folder nor a server behind.
func TestInterrupted(t *testing.T) {
	temporary := t.TempDir()
	demo := exec.Command(binary, "demo")
	demo.Env = append(os.Environ(), "TMPDIR="+temporary)
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	var address string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, url, ok := strings.Cut(lines.Text(), "http://"); ok {
			address, _, _ = strings.Cut(url, " ")
		}
		if strings.HasPrefix(lines.Text(), " 3. ") {
			if err := demo.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	if err := demo.Wait(); err == nil {
		t.Error("an interrupted demo succeeds")
	}
	if address == "" {
		t.Fatal("the story does not say where the service is")
	}
	if connection, err := net.Dial("tcp", address); err == nil {
		connection.Close()
		t.Error("the service runs on")
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("%d folders are left behind (%v)", len(left), err)
	}
}

// TestDir checks what the demo leaves for its reader, and the commands that it
// prints for them.
func TestDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a folder's name")
	var out bytes.Buffer
	if err := Run(t.Context(), Options{Binary: binary, Dir: dir}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	_, advice, ok := strings.Cut(out.String(), "Try it yourself")
	if !ok || !strings.Contains(advice, "D='") {
		t.Fatalf("no commands to try:\n%s", out.String())
	}
	tried := 0
	for command := range strings.SplitSeq(strings.ReplaceAll(advice, "\\\n", ""), "\n") {
		command, ok := strings.CutPrefix(strings.TrimSpace(command), "$ medverify ")
		if !ok {
			continue
		}
		args := strings.Fields(command)
		for i := range args {
			args[i] = strings.Replace(args[i], `"$D"`, dir, 1)
		}
		var report bytes.Buffer
		if exit := medverify.Run(t.Context(), args, &report, &report, medverify.Env{}); exit != medverify.Verified {
			t.Errorf("medverify %q: exit code %d\n%s", args, exit, report.String())
		}
		tried++
	}
	if tried != 5 {
		t.Errorf("%d commands were printed, want 5", tried)
	}
	for bundle, says := range map[string]string{
		destroyedBundle: "VERIFIED: this is the record's complete history.", activeBundle: "VERIFIED: this is the record's complete history.",
		neverBundle: "VERIFIED: the ledger has no such record.",
	} {
		var report bytes.Buffer
		args := []string{"record", "--vkey", filepath.Join(dir, "log.vkey"), filepath.Join(dir, "demo", bundles, bundle)}
		if exit := medverify.Run(t.Context(), args, &report, &report, medverify.Env{}); exit != medverify.Verified || !strings.HasPrefix(report.String(), says) {
			t.Errorf("%s: exit code %d\n%s", bundle, exit, report.String())
		}
	}
	for _, secret := range []string{"admin.token", "demo/tokens/doctor", "demo/tokens/auditor"} {
		info, err := os.Stat(filepath.Join(dir, secret))
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() < 40 {
			t.Errorf("%s: %v, %v", secret, info, err)
		}
	}
	if err := Run(t.Context(), Options{Binary: binary, Dir: dir}, &out); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a second demo in the same folder: %v, want ErrNotEmpty", err)
	}
}

// tellStory tells a story of the bundled documents, after change.
func tellStory(t *testing.T, change func(*story)) (string, *story, error) {
	t.Helper()
	docs, err := documents("")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	medledger, err := newProgram(binary)
	if err != nil {
		t.Fatal(err)
	}
	at := ledger.FolderAt(filepath.Join(t.TempDir(), "ledger"))
	s := newStory(newPage(&out, false, time.Now), medledger, at, t.TempDir(), docs)
	change(s)
	err = s.tell(t.Context())
	return out.String(), s, err
}

// peaceful leaves out all attacks.
func peaceful(s *story) { s.attacks, s.lies, s.distortions = nil, nil, nil }

// TestChecksCanFail has the story go wrong: every expectation must notice.
func TestChecksCanFail(t *testing.T) {
	harmless := func(f *forgery) error { return f.write() }
	with := func(attacks ...attack) func(*story) {
		return func(s *story) { peaceful(s); s.attacks = attacks }
	}
	withDistortion := func(d distortion) func(*story) {
		return func(s *story) { peaceful(s); s.distortions = []distortion{d} }
	}
	for name, c := range map[string]struct {
		change func(*story)
		unmet  int
		says   []string
	}{
		"an attack that changes nothing is not found": {
			with(attack{"nothing", harmless, nil, audit.RootMismatch, nil}),
			1, []string{"expected: " + foundFalse, "happened: " + verified},
		},
		"an attack is found for another reason": {
			with(attack{"cut", (*forgery).cut, nil, audit.EventRepeated, nil}),
			1, []string{"happened: " + foundFalse + `, without "event-repeated"`},
		},
		"a blind auditor sees": {
			with(attack{"cut", (*forgery).cut, nil, audit.StatementsMissing, []other{{"blind", verifierKey, nil, verified}}}),
			1, []string{"expected: " + verified, "happened: " + foundFalse},
		},
		"another auditor is blind": {
			with(attack{"nothing", harmless, nil, audit.RootMismatch, []other{{"other", verifierKey, nil, foundFalse}}}),
			2, []string{"expected: " + foundFalse, "happened: " + verified},
		},
		"an insider's lie that is none is not found": {
			func(s *story) {
				peaceful(s)
				honest := func(_ *story, f *forgery, _ *stolenKeys) error { return f.recount(truly) }
				s.lies = []attack{{"nothing", s.with(honest), nil, audit.StateRootMismatch, nil}}
			},
			1, []string{"expected: " + foundFalse, "happened: " + verified},
		},
		"a history that is whole": {
			withDistortion(distortion{"nothing", func(b *bundle, _ int) ([]byte, error) { return b.with(b.counted), nil }, history.ErrMalformed}),
			1, []string{"expected: " + foundFalse, "happened: " + verified},
		},
		"a history is found false for another reason": {
			withDistortion(distortion{"cut", (*bundle).cut, history.ErrForeign}),
			1, []string{"happened: " + foundFalse + ", without"},
		},
		"a document is another one when it is read": {
			func(s *story) {
				original, reads := s.docs[0].original, 0
				s.docs[0].original = func() ([]byte, error) {
					content, err := original()
					if reads++; reads > 2 { // it was sent twice
						content = append(content, ' ')
					}
					return content, err
				}
				peaceful(s)
			},
			3, []string{"expected: " + released, "happened: read, but other bytes"},
		},
		"a right is none": {
			func(s *story) { peaceful(s); s.elsewhere = ward },
			1, []string{"expected: 403: no-care-relationship", "happened: " + released},
		},
		"one of many cannot be read": {
			func(s *story) {
				s.docs[3].amended = func() ([]byte, error) { return nil, errors.New("no such page") }
				peaceful(s)
			},
			2, []string{"expected: 4 × version 2", "happened: 1 × error: no such page, 3 × version 2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of a story is waiting
			text, s, err := tellStory(t, c.change)
			if !errors.Is(err, ErrUnmet) || s.unmet < c.unmet {
				t.Errorf("error %v after %d unmet expectations, want ErrUnmet after %d\n%s", err, s.unmet, c.unmet, text)
			}
			for _, words := range c.says {
				if !strings.Contains(text, words) {
					t.Errorf("the story does not say %q\n%s", words, text)
				}
			}
			checkPage(t, text)
		})
	}
}

// TestAttackersAreCapable makes sure that no attack is found by an oversight of
// the attacker's: what is in his power he must have repaired.
func TestAttackersAreCapable(t *testing.T) {
	_, s, err := tellStory(t, func(*story) {})
	if err != nil {
		t.Fatal(err)
	}
	careless := []audit.Code{
		audit.StoreDamaged, audit.StoreLabel, audit.TileMismatch, audit.TileMissing,
		audit.StatementMalformed, audit.BundleMalformed, audit.CheckpointMalformed, audit.EventRepeated,
		audit.StateOrder, audit.StateLogRoot, audit.StateRootMismatch, audit.StateTileMismatch, audit.StateTileMissing,
		audit.StateLeavesMissing, audit.StateLeafMalformed, audit.StateCheckpointMalformed,
	}
	for _, a := range s.attacks[1:] { // the first repairs nothing
		t.Run(a.name, func(t *testing.T) {
			for _, code := range careless {
				if found := finding(s.reportOn(t, a), code); found != "" {
					t.Errorf("found for an oversight: %s", found)
				}
			}
		})
	}
	// Who has all keys is found out by the lie alone.
	for _, a := range s.lies {
		t.Run(a.name, func(t *testing.T) {
			for line := range strings.Lines(s.reportOn(t, a)) {
				number, heading, numbered := strings.Cut(strings.TrimSpace(line), ". ")
				code, _, _ := strings.Cut(heading, " ")
				if _, err := strconv.Atoi(number); err != nil || !numbered || a.want == audit.Code(code) {
					continue
				}
				if a.want != audit.KeptFork || audit.Code(code) != audit.StateKeptFork { // both logs were rewritten
					t.Errorf("found for an oversight: %s", line)
				}
			}
		})
	}
	checkLooks(t, s)
}

// checkLooks makes sure that what is told of where a record stands, and of what a vault
// still has, could be otherwise.
func checkLooks(t *testing.T, s *story) {
	t.Helper()
	for file, stands := range map[string]string{destroyedBundle: "active", activeBundle: "destroyed", neverBundle: "active"} {
		before := s.unmet
		if _, err := s.standing(t.Context(), "a record stands elsewhere", file, stands); err != nil || s.unmet != before+1 {
			t.Errorf("%s passes for that of a record that is %s (%v)", file, stands, err)
		}
	}
	for want, at := range map[string]ledger.Folder{noKey: s.copied, released: s.at} {
		before := s.unmet
		if err := s.lookInto(t.Context(), "a vault with other keys", at, want); err != nil || s.unmet != before+1 {
			t.Errorf("%s passes for a vault whose destroyed record comes to %q (%v)", at, want, err)
		}
	}
	if err := openVault(t.Context(), s.copied, func(func(*record) string) {}); refusedRoot(err) == noRootKey {
		t.Error("a vault with its root key passes for one without")
	}
}

// reportOn is what the auditor finds of an attack on the story's log.
func (s *story) reportOn(t *testing.T, a attack) string {
	t.Helper()
	dir := t.TempDir()
	f, err := newForgery(s.at.Data, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.do(f); err != nil {
		t.Fatal(err)
	}
	exit, report, err := s.auditCopy(t.Context(), dir, verifierKey, a.flags)
	if err != nil || exit != foundFalse {
		t.Fatalf("%s (%v)", exit, err)
	}
	return report
}

// TestRecords tells a story of files whose names must not get about.
func TestRecords(t *testing.T) {
	for _, files := range [][]string{{"Doe_Jane"}, {"Doe_Jane", "Roe_Richard", "Poe_Paula"}} {
		folder, dir := t.TempDir(), filepath.Join(t.TempDir(), "ledger")
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(folder, name+".json"), []byte(`{"name":"`+name+`"}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(folder, "README.txt"), []byte("no record"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := Run(t.Context(), Options{Binary: binary, Records: folder, Dir: dir}, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			out.Write(content)
			out.WriteString(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if bytes.Contains(out.Bytes(), []byte(name)) {
				t.Errorf("the name of a file was printed or kept")
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	notAFolder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notAFolder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{
		{Records: t.TempDir()}, {Records: filepath.Join(t.TempDir(), "absent")}, {Records: notAFolder}, {Dir: notAFolder},
	} {
		var out bytes.Buffer
		if err := Run(t.Context(), o, &out); err == nil {
			t.Errorf("%+v is accepted", o)
		}
		if out.Len() > 0 {
			t.Errorf("%+v: a story begins that cannot be told:\n%s", o, out.String())
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(canceled, Options{Binary: binary}, new(bytes.Buffer)); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled demo: %v", err)
	}
}
