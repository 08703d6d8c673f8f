package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// plan says what is measured, and where.
type plan struct {
	// dir is the folder to work in. A new folder is made in it, and removed
	// when the run ends.
	dir string
	// events is how many events the log is grown to; a fifth as many records.
	events int
	// lasting is how long each timed row goes on.
	lasting time.Duration
	// upload is the size in bytes of the content that streams in while appends
	// are measured.
	upload int64
	// destructions is how many records are destroyed one after another.
	destructions int
	// self is this program, which is also run in other processes: its commands
	// load and bench --probe.
	self string
	// profile is the beginning of the paths of one CPU profile a row; none are
	// made if it is empty.
	profile string
	// progress is told what is being measured, logger what the ledger has to say.
	progress io.Writer
	logger   *slog.Logger
}

const (
	// submitters is how many callers the budgets speak of.
	submitters = 64
	// smallLog is the size that a grown log's throughput is held against.
	smallLog = 10_000
	// eventsPerRecord is how many events a record of the grown log has.
	eventsPerRecord = 5

	origin = "bench.medledger.example"
	seed   = 20260101
)

func (p plan) check() error {
	switch {
	case p.events < 1000:
		return fmt.Errorf("a log of %d events is too small to measure; ask for 1000 or more with --events", p.events)
	case p.lasting <= 0 || p.upload <= 0 || p.destructions <= 0:
		return errors.New("durations, sizes and counts must be greater than zero")
	}
	return nil
}

// run is a run of the benchmark.
type run struct {
	plan
	folder string // of the ledger
	report report
	scene  *scene  // while the ledger is open
	small  float64 // appends a second to a small log

	// What was known when the ledger was closed last.
	size    uint64
	records []events.ID

	statements uint64 // bytes of all statements of the grown log
}

// step is a part of a run. Those with a name are rows of the table and have a
// profile.
type step struct {
	name string
	tell string
	do   func(*run, context.Context) error
}

// The steps build on each other: the log is grown, closed and looked at from
// outside, and then measured at its full size.
var steps = []step{
	{"", "making a ledger", (*run).create},
	{"grow", "growing the log", (*run).grow},
	{"", "closing it", (*run).leave},
	{"", "bytes on disk", (*run).measureDisk},
	{"audit", "audit from disk", (*run).measureAudit},
	{"", "crash, start and memory, in other processes", (*run).measureStart},
	{"small", "appends to a small log", (*run).measureSmall},
	{"", "opening the large one again", (*run).reenter},
	{"appends", "appends by 64 submitters", (*run).measureAppends},
	{"one", "appends by one submitter", (*run).measureOne},
	{"batches", "batches of 100", (*run).measureBatches},
	{"reads", "reads by 64 readers", (*run).measureReads},
	{"upload", "appends during an upload", (*run).measureUpload},
	{"destroy", "destructions", (*run).measureDestructions},
	{"", "closing it", (*run).leave},
}

// measure carries a plan out and returns the report. It needs free space in its
// folder, of about 3 KB an event and the size of the upload, and the machine for
// itself.
func measure(ctx context.Context, p plan) (_ *report, err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(p.dir, "medledger-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder to work in; choose another place with --dir: %w", err)
	}
	r := &run{plan: p, folder: filepath.Join(work, "ledger"), report: report{Time: time.Now().UTC()}}
	defer func() { err = errors.Join(err, r.leave(ctx), os.RemoveAll(work)) }()
	if r.report.Machine, err = inspect(work); err != nil {
		return nil, err
	}
	before, start := lookAround(), time.Now()
	for _, s := range steps {
		if err := r.perform(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.tell, err)
		}
	}
	r.report.Machine.Others = lookAround().othersSince(before, time.Since(start), r.report.Machine.Cores)
	return &r.report, nil
}

func (r *run) perform(ctx context.Context, s step) (err error) {
	fmt.Fprintf(r.progress, "%s ...\n", s.tell)
	if r.profile == "" || s.name == "" {
		return s.do(r, ctx)
	}
	f, err := os.Create(r.profile + "-" + s.name + ".pprof")
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = s.do(r, ctx)
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// config is how the ledger is opened: as a service would open it.
func (r *run) config() ledger.Config { return ledger.Config{Dir: r.folder, Logger: r.logger} }

func (r *run) create(ctx context.Context) error {
	if _, err := ledger.Create(ctx, r.config(), origin); err != nil {
		return err
	}
	return r.reenter(ctx)
}

// reenter opens the ledger. The records that are known stay known, and what
// other processes did meanwhile is found out.
func (r *run) reenter(ctx context.Context) error {
	l, err := ledger.Open(ctx, r.config())
	if err != nil {
		return err
	}
	s, err := enter(ctx, l)
	if err == nil {
		s.Add(r.records...)
		err = s.Survey(ctx, r.size)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	r.scene = s
	return nil
}

// leave closes the ledger if it is open.
func (r *run) leave(context.Context) error {
	if r.scene == nil {
		return nil
	}
	s := r.scene
	r.scene, r.size, r.records = nil, s.Size(), s.Records()
	return s.Close()
}

// figure adds a line to the report, measured on a log of so many events.
func (r *run) figure(what string, value float64, u unit, b *budget, events uint64, detail string) {
	r.report.Figures = append(r.report.Figures, figure{
		What: what, Value: value, Unit: u, Budget: b, Events: events, Detail: detail,
	})
}

func atLeast(limit float64) *budget { return &budget{Limit: limit} }
func atMost(limit float64) *budget  { return &budget{Limit: limit, AtMost: true} }

// full makes a budget one for a log of a million events.
func (b *budget) full() *budget {
	b.Events = 1_000_000
	return b
}
