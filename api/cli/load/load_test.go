package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

func TestCommandRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{},
		{"--dir", dir, "--workers", "0"},
		{"--dir", dir, "--workers", "33"},
		{"--dir", dir, "--events", "2000"},
		{"--dir", dir, "something"},
		{"--dir", dir},                  // no ledger is there
		{"--url", "http://127.0.0.1:1"}, // nobody says who is to call
		{"--url", "http://127.0.0.1:1", "--dir", dir},
	} {
		c := Command(slog.New(slog.DiscardHandler))
		c.SilenceUsage, c.SilenceErrors = true, true
		c.SetArgs(args)
		c.SetIn(strings.NewReader(""))
		c.SetOut(io.Discard)
		c.SetErr(t.Output())
		if err := c.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%v: accepted", args)
		}
	}
}

func TestDrive(t *testing.T) {
	const workers = 7
	calls := make([]int, workers)
	err := Drive(t.Context(), 1, workers, Times(100), func(_ context.Context, w *Worker) error {
		calls[w.Number]++
		return nil
	})
	total := 0
	for _, n := range calls {
		total += n
	}
	if err != nil || total != 100 {
		t.Errorf("%d calls of a hundred: %v", total, err)
	}
	broken := errors.New("broken")
	if err := Drive(t.Context(), 1, workers, Lasting(time.Hour), func(_ context.Context, w *Worker) error {
		if w.IntN(50) == 0 {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) {
		t.Errorf("after an error: %v", err)
	}
	done := make(chan struct{})
	close(done)
	if err := Drive(t.Context(), 1, workers, Until(done), nil); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := Drive(ended, 1, workers, Times(1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

func TestWorkersRepeat(t *testing.T) {
	one, same := bytes.Clone(NewWorker(7, 3).Fresh()), NewWorker(7, 3).Fresh()
	if !bytes.Equal(one, same) {
		t.Error("the same worker makes other contents")
	}
	for _, other := range []*Worker{NewWorker(7, 4), NewWorker(8, 3)} {
		if bytes.Equal(one, other.Fresh()) {
			t.Error("another worker makes the same contents")
		}
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

// TestRun holds what a load says of a ledger against the ledger, when neither
// was killed.
func TestRun(t *testing.T) {
	config := ledger.Config{Dir: filepath.Join(t.TempDir(), "ledger"), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if _, err := ledger.Create(t.Context(), config, "load.medledger.example"); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	out := &lines{enough: 5000, end: end}
	if err := run(ctx, config, 16, out); err != nil {
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
		events.TypeRecordDisclosed, events.TypeRecordReceived, events.TypeShareAcknowledged, events.TypeShareEnded,
		events.TypeDestructionRequested, events.TypeRecordDestroyed, events.TypePatientRegistered, events.TypePatientMerged,
		events.TypeRecordRefiled, events.TypeCareOpened, events.TypeCareClosed, events.TypeConsentWithdrawn,
		events.TypeConsentGranted, events.TypeTokenIssued, events.TypeTokenRevoked,
	} {
		if types[want] == 0 {
			t.Errorf("no %s in %v", want, types)
		}
	}
	if nones == 0 {
		t.Error("nothing was refused without a trace")
	}
}

func TestQuantileIsExact(t *testing.T) {
	s := &Sample{Elapsed: time.Second}
	for i := range 1000 {
		s.Took = append(s.Took, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0: 1, .5: 500, .95: 950, .99: 990, .999: 999, 1: 1000} {
		if got := s.Quantile(q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if one := (&Sample{Took: []time.Duration{7}}); one.Quantile(.5) != 7 || one.Quantile(.99) != 7 {
		t.Error("the quantiles of one call are not that call")
	}
}

func TestMeasure(t *testing.T) {
	s, err := Measure(t.Context(), 1, 7, Times(100), func(context.Context, *Worker) error { return nil })
	if err != nil || len(s.Took) != 100 || !slices.IsSorted(s.Took) {
		t.Errorf("a hundred calls: %v, %v", s, err)
	}
	broken := errors.New("broken")
	if _, err := Measure(t.Context(), 1, 7, Lasting(time.Hour), func(_ context.Context, w *Worker) error {
		if w.IntN(50) == 0 {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) {
		t.Errorf("after an error: %v", err)
	}
	if _, err := Measure(t.Context(), 1, 2, Times(0), nil); err == nil {
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
