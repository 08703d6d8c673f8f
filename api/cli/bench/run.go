package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"
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
	// keys is how many records the vault has whose key tree is measured by itself.
	keys int
	// self is this program, which is run in other processes: its commands serve,
	// load and backup.
	self string
	// profile is the beginning of the paths of one CPU profile of the service a row;
	// none are made if it is empty.
	profile string
	// progress is told what is being measured, logger what the ledger has to say.
	progress io.Writer
	logger   *slog.Logger
}

const (
	// callers is how many there are that the budgets speak of.
	callers = 64
	// smallLog is the size that a grown log's throughput is held against.
	smallLog = 10_000

	origin = "bench.medledger.example"
	seed   = 20260101
)

func (p plan) check() error {
	switch {
	case p.events < 1000:
		return fmt.Errorf("a log of %d events is too small to measure; ask for 1000 or more with --events", p.events)
	case p.keys < 4*together:
		return fmt.Errorf("a vault of %d records is too small to measure; ask for %d or more with --keys", p.keys, 4*together)
	case p.lasting <= 0 || p.upload <= 0 || p.destructions <= 0:
		return errors.New("durations, sizes and counts must be greater than zero")
	}
	return nil
}

// run is a run of the benchmark.
type run struct {
	plan
	work   string // folder
	report report
	large  *site
	small  float64 // appends a second to a small log
	// recipient is whom backups are encrypted to; nobody has its identity.
	recipient string

	// While the large ledger is served.
	service   *service
	generator *generator
}

// step is a part of a run. Those with a name are rows of the table and have a
// profile.
type step struct {
	name string
	tell string
	do   func(*run, context.Context) error
}

// The steps build on each other: the log is grown and looked at from outside; a
// small one is measured; then the large one is served, killed, and served again for
// everything else.
var steps = []step{
	{"", "making a ledger", (*run).grow},
	{"", "bytes on disk", (*run).measureDisk},
	{"", "audit from disk", (*run).measureAudit},
	{"", "appends to a small log", (*run).measureSmall},
	{"", "crash and start", (*run).measureStart},
	{"appends", "appends by 64 clients", (*run).measureAppends},
	{"one", "appends by one client", (*run).measureOne},
	{"reads", "reads by 64 clients", (*run).measureReads},
	{"", "memory", (*run).measureMemory},
	{"history", "histories", (*run).measureHistories},
	{"batches", "batches of 100", (*run).measureBatches},
	{"upload", "appends during an upload", (*run).measureUpload},
	{"backup", "appends during a backup", (*run).measureBackup},
	{"destroy", "destructions", (*run).measureDestructions},
	{"", "memory, and the end", (*run).measureEnd},
	{"", "the key tree", (*run).measureKeyTree},
}

// measure carries a plan out and returns the report. It needs free space in its
// folder, of about 6 KB an event and twice the size of the upload, and the machine
// for itself.
func measure(ctx context.Context, p plan) (_ *report, err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(p.dir, "medledger-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder to work in; choose another place with --dir: %w", err)
	}
	r := &run{plan: p, work: work, report: report{Time: time.Now().UTC()}}
	defer func() { err = errors.Join(err, r.leave(), os.RemoveAll(work)) }()
	if r.report.Machine, err = inspect(work); err != nil {
		return nil, err
	}
	before, start := lookAround(), time.Now()
	for _, s := range steps {
		fmt.Fprintf(r.progress, "%s ...\n", s.tell)
		if err := r.perform(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.tell, err)
		}
	}
	r.report.Machine.Others = lookAround().othersSince(before, time.Since(start), r.report.Machine.Cores)
	return &r.report, nil
}

// grow makes the log that is measured.
func (r *run) grow(ctx context.Context) (err error) {
	if r.large, err = r.newSite(ctx, filepath.Join(r.work, "ledger"), r.events); err != nil {
		return err
	}
	debug.FreeOSMemory() // this process only waits from here on
	r.report.Events = r.large.size
	r.report.Records, r.report.Patients = uint64(len(r.large.setup.Records)), uint64(len(r.large.setup.Patients))
	r.figure(figure{
		What: "growth, through the Go interface", Value: float64(r.large.size) / r.large.grown.Seconds(), Unit: perSecond,
		Events: r.large.size, Detail: fmt.Sprintf("%s events in %.1f s by %d submitters, without receipts: registrations, "+
			"records, then %d readings for each amendment", grouped(float64(r.large.size)), r.large.grown.Seconds(), growers, growReads),
	})
	return nil
}

// enter serves a ledger and starts whoever calls it.
func (r *run) enter(ctx context.Context, s *site) (err error) {
	if r.service, err = startService(ctx, r.self, s.folder, filepath.Join(r.work, "service.log")); err != nil {
		return err
	}
	r.generator, err = startGenerator(ctx, r.self, r.service.url, s.setup, r.progress)
	return err
}

// leave ends both processes, if they run.
func (r *run) leave() (err error) {
	if g := r.generator; g != nil {
		r.generator = nil
		err = g.end()
	}
	if s := r.service; s != nil {
		r.service = nil
		err = errors.Join(err, s.stop())
	}
	return err
}

// figure adds a line to the report.
func (r *run) figure(f figure) { r.report.Figures = append(r.report.Figures, f) }

func atLeast(limit float64) *budget { return &budget{Limit: limit} }
func atMost(limit float64) *budget  { return &budget{Limit: limit, AtMost: true} }

// full makes a budget one for a log of a million events.
func (b *budget) full() *budget {
	b.Events = 1_000_000
	return b
}
