package bench

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/medledger/medledger/api/cli/load"
)

// asCommand makes this test's binary the command, for the processes that a run
// starts.
const asCommand = "MEDLEDGER_TEST_BENCH"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "" {
		os.Exit(m.Run())
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	root := &cobra.Command{Use: "medledger", SilenceUsage: true}
	root.AddCommand(Command(logger), load.Command(logger))
	if err := root.ExecuteContext(context.Background()); err != nil {
		os.Exit(1)
	}
}

func TestMeasure(t *testing.T) {
	t.Setenv(asCommand, "1")
	dir := t.TempDir()
	report, err := measure(t.Context(), plan{
		dir: dir, events: 2000, lasting: 200 * time.Millisecond, upload: 1 << 20, destructions: 5,
		self: os.Args[0], progress: t.Output(), logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("the run left %v behind, %v", left, err)
	}
	for _, f := range report.Figures {
		if !(f.Value > 0) || f.Events == 0 {
			t.Errorf("%s is %v at %d events", f.What, f.Value, f.Events)
		}
	}
	for _, want := range []string{
		"single appends, 64 submitters", "single appends, one submitter: p50", "batches of 100, 4 submitters: events",
		"reads of a record, 64 readers", "appends during an upload: p99", "audit from disk", "start after a crash",
		"resident memory, after load", "  against the small log", "destruction: p99", "on disk an event, contents aside",
	} {
		if !slices.ContainsFunc(report.Figures, func(f figure) bool { return f.What == want && f.Budget != nil }) {
			t.Errorf("no row %q with a budget", want)
		}
	}
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

func TestMeasureRefuses(t *testing.T) {
	good := plan{dir: t.TempDir(), events: 1000, lasting: time.Second, upload: 1, destructions: 1, progress: io.Discard}
	for name, spoil := range map[string]func(*plan){
		"few events":      func(p *plan) { p.events = 999 },
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
		{"--probe", "--dir", dir}, // no ledger is there
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

func TestQuantileIsExact(t *testing.T) {
	s := &sample{elapsed: time.Second}
	for i := range 1000 {
		s.took = append(s.took, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0: 1, .5: 500, .95: 950, .99: 990, .999: 999, 1: 1000} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if one := (&sample{took: []time.Duration{7}}); one.quantile(.5) != 7 || one.quantile(.99) != 7 {
		t.Error("the quantiles of one call are not that call")
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

func TestDrive(t *testing.T) {
	s, err := drive(t.Context(), 1, 7, load.Times(100), func(context.Context, *load.Worker) error { return nil })
	if err != nil || len(s.took) != 100 || !slices.IsSorted(s.took) {
		t.Errorf("a hundred calls: %v, %v", s, err)
	}
	broken := errors.New("broken")
	if _, err := drive(t.Context(), 1, 7, load.Lasting(time.Hour), func(_ context.Context, w *load.Worker) error {
		if w.IntN(50) == 0 {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) {
		t.Errorf("after an error: %v", err)
	}
	if _, err := drive(t.Context(), 1, 2, load.Times(0), nil); err == nil {
		t.Error("no call at all is a sample")
	}
}

func TestGenerated(t *testing.T) {
	block := []byte("0123456789")
	raw, err := io.ReadAll(&generated{left: 25, block: block})
	if err != nil || string(raw) != "0123456789012345678901234" {
		t.Errorf("read %q, %v", raw, err)
	}
}
