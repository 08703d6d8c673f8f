package bench

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/medledger/medledger/api/cli/load"
)

// medledger is the program, which a run starts in other processes.
var medledger string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "medledger-bench-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	medledger = filepath.Join(dir, "medledger")
	cmd := exec.Command("go", "build", "-o", medledger, "../../..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// smallPlan is a run that a test has time for.
func smallPlan(t *testing.T) plan {
	return plan{
		dir: t.TempDir(), events: 1000, lasting: 200 * time.Millisecond, upload: 1 << 20, destructions: 5, keys: 4 * together,
		self: medledger, progress: t.Output(), logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func TestMeasure(t *testing.T) {
	p := smallPlan(t)
	p.profile = filepath.Join(t.TempDir(), "profile")
	report, err := measure(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(p.dir)
	if err != nil || len(left) > 0 {
		t.Errorf("the run left %v behind, %v", left, err)
	}
	for _, f := range report.Figures {
		if !(f.Value > 0) || f.Events == 0 {
			t.Errorf("%s is %v at %d events", f.What, f.Value, f.Events)
		}
		if c := f.Cost; c != nil && (c.Calls == 0 || c.Memory == 0 || c.Sent == 0 || c.Received == 0) {
			t.Errorf("%s cost %+v", f.What, c)
		}
	}
	for what, overHTTP := range map[string]bool{
		"single appends, 64 clients": true, "single appends, one client: p50": true, "batches of 100, 4 clients: events": true,
		"reads of a record, 64 clients": true, "appends during an upload: p99": true, "appends during a backup: p99": true,
		"destruction: p99": true, "audit from disk": false, "start after a crash": false, "resident memory, after these rows": false,
		"keys of a destruction: p99": false, "  one alone, against one of 1,000": false,
		"  against the small log": false, "on disk an event, contents aside": false,
	} {
		if !slices.ContainsFunc(report.Figures, func(f figure) bool {
			return f.What == what && f.Budget != nil && (f.Cost != nil) == overHTTP
		}) {
			t.Errorf("no row %q with a budget", what)
		}
	}
	for _, row := range []string{"appends", "batches", "reads"} {
		for _, kind := range []string{".pprof", "-heap.pprof"} {
			if info, err := os.Stat(p.profile + "-" + row + kind); err != nil || info.Size() == 0 {
				t.Errorf("no profile %s%s: %v", row, kind, err)
			}
		}
	}
	checkTable(t, report)
}

func checkTable(t *testing.T, report *report) {
	t.Helper()
	var table strings.Builder
	if err := report.writeTable(&table); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(table.String()) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > tableWidth {
			t.Errorf("line of over %d characters: %s", tableWidth, line)
		}
	}
}

// TestServiceThatEnds has the service end in the middle of a row: the run ends with
// it and says what the service said.
func TestServiceThatEnds(t *testing.T) {
	p := smallPlan(t)
	s, err := p.newSite(t.Context(), filepath.Join(p.dir, "ledger"), 1000)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{plan: p, work: p.dir, large: s}
	if err := r.enter(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	_, err = r.do(load.Job{Act: "append", Workers: 4, Lasting: time.Minute}, r.service.cmd.Process.Kill)
	if err == nil || !strings.Contains(err.Error(), "the service says: ") {
		t.Errorf("after the service's end: %v", err)
	}
	if err := r.leave(); err == nil {
		t.Error("a service that was killed was stopped in good order")
	}
	if _, err := startService(t.Context(), medledger, p.dir+"/absent", filepath.Join(p.dir, "log")); err == nil {
		t.Error("a service of no ledger started")
	}
}

func TestMeasureRefuses(t *testing.T) {
	good := plan{dir: t.TempDir(), events: 1000, lasting: time.Second, upload: 1, destructions: 1, keys: 4 * together, progress: io.Discard}
	for name, spoil := range map[string]func(*plan){
		"few events":      func(p *plan) { p.events = 999 },
		"few keys":        func(p *plan) { p.keys = 4*together - 1 },
		"no time":         func(p *plan) { p.lasting = 0 },
		"no upload":       func(p *plan) { p.upload = 0 },
		"no destructions": func(p *plan) { p.destructions = 0 },
		"no folder":       func(p *plan) { p.dir += "/absent" },
	} {
		bad := good
		spoil(&bad)
		if r, err := measure(t.Context(), bad); err == nil || r != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCommandRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"--probe"},
		{"--dir", dir, "--events", "7"},
		{"--dir", dir + "/absent"},
		{"something"},
	} {
		c := Command(slog.New(slog.DiscardHandler))
		c.SilenceUsage, c.SilenceErrors = true, true
		c.SetArgs(args)
		c.SetOut(io.Discard)
		c.SetErr(t.Output())
		if err := c.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%v: accepted", args)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		value  float64
		budget *budget
		events uint64
		want   string
	}{
		{5000, atLeast(5000), 10, "met"},
		{4000, atLeast(5000), 10, "missed by 20 %"},
		{4999, atLeast(5000), 10, "missed by 1 %"},
		{25, atMost(25), 10, "met"},
		{50, atMost(25), 10, "missed by 100 %"},
		{1000, atMost(25), 10, "missed 40-fold"},
		{50, atMost(25).full(), 10, "missed by 100 %"},
		{20, atMost(25).full(), 999_999, "met, not full"},
		{20, atMost(25).full(), 1_000_000, "met"},
		{20, nil, 10, ""},
	} {
		f := figure{Value: c.value, Budget: c.budget, Events: c.events}
		if got := f.verdict(); got != c.want {
			t.Errorf("%v against %+v: %q, want %q", c.value, c.budget, got, c.want)
		}
	}
}

func TestGrouped(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1234567.8: "1,234,568", -1000: "-1,000", -100: "-100"} {
		if got := grouped(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	text := strings.Repeat("a bb ccc ", 40)
	lines := wrap(text, 30)
	if strings.Join(lines, " ") != strings.TrimSpace(text) {
		t.Error("wrapping changed the words")
	}
	for _, line := range lines {
		if len(line) > 30 {
			t.Errorf("line of %d characters", len(line))
		}
	}
	if len(wrap("", 10)) != 0 {
		t.Error("nothing became a line")
	}
}
