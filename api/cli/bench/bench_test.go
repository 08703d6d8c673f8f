package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// asCommand makes this test's binary the command, for the processes that a run
// starts.
const asCommand = "MEDLEDGER_TEST_BENCH"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "" {
		os.Exit(m.Run())
	}
	c := Command()
	c.SilenceUsage = true
	if err := c.ExecuteContext(context.Background()); err != nil {
		os.Exit(1)
	}
}

func TestRun(t *testing.T) {
	t.Setenv(asCommand, "1")
	dir := t.TempDir()
	report, err := Run(t.Context(), Config{
		Dir: dir, Events: 2000, Lasting: 200 * time.Millisecond, Upload: 1 << 20, Destructions: 5,
		Child: []string{os.Args[0]}, Progress: t.Output(),
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
		if !slices.ContainsFunc(report.Figures, func(f Figure) bool { return f.What == want && f.Budget != nil }) {
			t.Errorf("no row %q with a budget", want)
		}
	}
	var table strings.Builder
	if err := report.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(table.String()) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > tableWidth {
			t.Errorf("line of over %d characters: %s", tableWidth, line)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	good := Config{Dir: t.TempDir(), Events: 1000, Lasting: time.Second, Upload: 1, Destructions: 1, Progress: io.Discard}
	for name, spoil := range map[string]func(*Config){
		"few events":      func(c *Config) { c.Events = 999 },
		"no time":         func(c *Config) { c.Lasting = 0 },
		"no upload":       func(c *Config) { c.Upload = 0 },
		"no destructions": func(c *Config) { c.Destructions = 0 },
		"no folder":       func(c *Config) { c.Dir += "/absent" },
	} {
		bad := good
		spoil(&bad)
		if r, err := Run(t.Context(), bad); err == nil || r != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCommandRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"--load"},
		{"--load", "--dir", dir, "--events", "2000"},
		{"--load", "--dir", dir, "--probe"},
		{"--load", "--dir", dir, "--workers", "0"},
		{"--load", "--dir", dir, "--workers", "33"},
		{"--load", "--dir", dir}, // no ledger is there
		{"--probe", "--dir", dir},
		{"--dir", dir, "--events", "7"},
		{"--dir", dir + "/absent"},
		{"something"},
	} {
		c := Command()
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
		budget *Budget
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
		f := Figure{Value: c.value, Budget: c.budget, Events: c.events}
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
	s, err := drive(t.Context(), 1, 7, times(100), func(context.Context, *worker) error { return nil })
	if err != nil || len(s.took) != 100 || !slices.IsSorted(s.took) {
		t.Errorf("a hundred calls: %v, %v", s, err)
	}
	broken := errors.New("broken")
	if _, err := drive(t.Context(), 1, 7, lasting(time.Hour), func(_ context.Context, w *worker) error {
		if w.IntN(50) == 0 {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) {
		t.Errorf("after an error: %v", err)
	}
	if _, err := drive(t.Context(), 1, 2, times(0), nil); err == nil {
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

// lines collects what a load writes and ends it after a number of lines.
type lines struct {
	enough int
	end    context.CancelFunc
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	if l.enough--; l.enough == 0 {
		l.end()
	}
	if bytes.Count(p, []byte("\n")) != 1 || !bytes.HasSuffix(p, []byte("\n")) {
		return 0, fmt.Errorf("one write of %q", p)
	}
	return l.Buffer.Write(p)
}

// TestLoad holds what a load says of a ledger against the ledger, when neither
// was killed.
func TestLoad(t *testing.T) {
	config := ledgerConfig(t.TempDir(), t.Output())
	if _, err := ledger.Create(t.Context(), config, origin); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	out := &lines{enough: 3000, end: end}
	if err := Load(ctx, config, 16, out); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	types := make(map[events.Type]int)
	nones := 0
	decoder := json.NewDecoder(&out.Buffer)
	for first := true; ; first = false {
		var line Line
		if err := decoder.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if (line.Opened != nil) != first {
			t.Fatalf("line %+v: first %v", line, first)
		}
		if !line.None.IsZero() {
			nones++
		}
		if line.Ack == nil {
			continue
		}
		types[line.Ack.Type]++
		leaf, err := l.Log().Leaf(t.Context(), line.Ack.Index)
		if err != nil || sha256.Sum256(leaf) != line.Ack.Statement {
			t.Fatalf("event %d was acknowledged with other bytes; %v", line.Ack.Index, err)
		}
		if line.Ack.Key != "" && rand.IntN(20) == 0 {
			r, err := line.Ack.Repeat(t.Context(), l)
			if err != nil || r.Event.ID != line.Ack.Event {
				t.Fatalf("a repeated command was answered %v, %v", r, err)
			}
		}
	}
	for _, want := range []events.Type{
		events.TypeRecordOriginated, events.TypeRecordAmended, events.TypeRecordAccessed, events.TypeAccessRefused,
		events.TypeRecordDisclosed, events.TypeRecordReceived, events.TypeRecordDestroyed,
	} {
		if types[want] == 0 {
			t.Errorf("no %s in %v", want, types)
		}
	}
	if nones == 0 {
		t.Error("nothing was refused without a trace")
	}
}
