package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/medledger/medledger/api/cli/load"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/backup"
)

// perform does a step, with a profile of the service if the step has a name and
// profiles are wanted.
func (r *run) perform(ctx context.Context, s step) error {
	if r.profile == "" || s.name == "" {
		return s.do(r, ctx)
	}
	end, err := r.beginProfile(ctx, s.name)
	if err != nil {
		return err
	}
	return errors.Join(s.do(r, ctx), end())
}

// measured is what came of a job, on both sides.
type measured struct {
	*load.Summary
	cost cost
}

// do has the generator do a job, while f happens, which ends it if it goes on until
// it is stopped.
func (r *run) do(job load.Job, f func() error) (*measured, error) {
	job.Seed = seed + uint64(len(r.report.Figures))
	before, err := usageOf(r.service.pid())
	if err != nil {
		return nil, err
	}
	if err := r.generator.tell(job); err != nil {
		return nil, err
	}
	if f != nil {
		if err := f(); err != nil {
			return nil, err
		}
	}
	s, err := r.generator.hear()
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, r.service.said())
	}
	after, err := usageOf(r.service.pid())
	if err != nil {
		return nil, err
	}
	return &measured{s, cost{
		Service: (after.cpu - before.cpu).Seconds(), Generator: s.CPU.Seconds(),
		Memory: after.resident.Now, Sent: s.Sent, Received: s.Received, Calls: s.Calls,
	}}, nil
}

// row adds a line about a job to the report. More is what else is to be said.
func (r *run) row(what string, value float64, u unit, b *budget, m *measured, more string) {
	f := figure{What: what, Value: value, Unit: u, Budget: b, Events: r.large.size, Detail: more}
	if m != nil {
		f.Cost = &m.cost
		f.Detail = describe(m.Summary)
		if more != "" {
			f.Detail += "; " + more
		}
	}
	r.figure(f)
}

// describe tells the rest of what a row does not.
func describe(s *load.Summary) string {
	text := fmt.Sprintf("p50 %s, p95 %s, p99 %s, max %s; %s calls in %.1f s",
		millis(s.P50), millis(s.P95), millis(s.P99), millis(s.Max), grouped(float64(s.Calls)), s.Elapsed.Seconds())
	if s.Verified > 0 {
		text += fmt.Sprintf(", %s receipts verified", grouped(float64(s.Verified)))
	}
	return text
}

// measureSmall measures appends to a log of ten thousand events, or of half as
// many as the log of the run has. It is a ledger of its own, so that it can be
// measured right before the large one, when the machine is as busy.
func (r *run) measureSmall(ctx context.Context) (err error) {
	small, err := r.newSite(ctx, filepath.Join(r.work, "small"), min(smallLog, r.events/2))
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, r.leave(), os.RemoveAll(small.folder), os.RemoveAll(ledger.DefaultCustody(small.folder)))
	}()
	if err := r.enter(ctx, small); err != nil {
		return err
	}
	m, err := r.do(load.Job{Act: "append", Workers: callers, Lasting: r.lasting}, nil)
	if err != nil {
		return err
	}
	r.small = m.Rate()
	r.row(fmt.Sprintf("appends from %s events on", grouped(float64(small.size))), m.Rate(), perSecond, nil, m, "")
	r.report.Figures[len(r.report.Figures)-1].Events = small.size
	return nil
}

// measureStart kills a service that works, and starts another on what that left.
func (r *run) measureStart(ctx context.Context) error {
	if err := r.enter(ctx, r.large); err != nil {
		return err
	}
	clean := r.service.started
	died, err := r.crash()
	if err != nil {
		return fmt.Errorf("a service to be killed: %w", err)
	}
	if err := r.enter(ctx, r.large); err != nil {
		return err
	}
	r.figure(figure{
		What: "start after a crash", Value: r.service.started.Seconds(), Unit: seconds, Budget: atMost(3).full(), Events: r.large.size,
		Detail: fmt.Sprintf("from exec to 'listening'; the service was killed (SIGKILL) %s appends after a clean start, which took %.2f s; "+
			"files in the page cache", grouped(float64(died.Calls)), clean.Seconds()),
	})
	return nil
}

// crash puts a load on the service and kills it.
func (r *run) crash() (*load.Summary, error) {
	s := r.service
	if err := r.generator.tell(load.Job{Act: "append", Workers: callers, Stopped: true, Killed: true, Seed: seed}); err != nil {
		return nil, err
	}
	time.Sleep(r.lasting)
	r.service = nil
	if err := s.kill(); err != nil {
		return nil, err
	}
	died, err := r.generator.hear()
	return died, errors.Join(err, r.leave())
}

func (r *run) measureAppends(context.Context) error {
	m, err := r.do(load.Job{Act: "append", Workers: callers, Lasting: r.lasting}, nil)
	if err != nil {
		return err
	}
	r.row("single appends, 64 clients", m.Rate(), perSecond, atLeast(5000), m, "")
	r.row("  p99", ms(m.P99), milliseconds, atMost(25), nil, "")
	r.row("  against the small log", 100*m.Rate()/r.small, percent, atLeast(90).full(), nil, "")
	return nil
}

func (r *run) measureOne(context.Context) error {
	m, err := r.do(load.Job{Act: "append", Workers: 1, Lasting: r.lasting}, nil)
	if err != nil {
		return err
	}
	r.row("single appends, one client: p50", ms(m.P50), milliseconds, atMost(3), m, "")
	return nil
}

// measureHistories measures what it takes to be shown that a record's history is
// complete.
func (r *run) measureHistories(context.Context) error {
	m, err := r.do(load.Job{Act: "history", Workers: 1, Lasting: r.lasting}, nil)
	if err != nil {
		return err
	}
	r.row("history, proved complete: p50", ms(m.P50), milliseconds, nil, m, "read over HTTP and verified by the client, "+
		"one after another; a turn of the log passes meanwhile, for reading it is an event")
	r.row("  the longest proof in the map", float64(m.MapProof), octets, atMost(1024).full(), nil, "")
	return nil
}

func (r *run) measureBatches(context.Context) error {
	const batchers = 4
	m, err := r.do(load.Job{Act: "batch", Workers: batchers, Lasting: r.lasting}, nil)
	if err != nil {
		return err
	}
	r.row("batches of 100, 4 clients: events", load.BatchSize*m.Rate(), perSecond, atLeast(10000), m, "a call is a batch")
	return nil
}

func (r *run) measureReads(context.Context) error {
	m, err := r.do(load.Job{Act: "read", Workers: callers, Lasting: r.lasting}, nil)
	if err != nil {
		return err
	}
	r.row("reads of a record, 64 clients", m.Rate(), perSecond, atLeast(5000), m,
		fmt.Sprintf("each of %s records equally often", grouped(float64(r.report.Records))))
	r.row("  p99", ms(m.P99), milliseconds, atMost(25), nil, "")
	return nil
}

// measureUpload measures appends while one large content streams in.
func (r *run) measureUpload(context.Context) error {
	m, err := r.do(load.Job{Act: "append", Workers: callers, Upload: r.upload}, nil)
	if err != nil {
		return err
	}
	r.row("appends during an upload: p99", ms(m.P99), milliseconds, atMost(100), m,
		fmt.Sprintf("upload of %s MB at %.0f MB/s", grouped(float64(r.upload)/1e6), float64(r.upload)/1e6/m.Uploaded.Seconds()))
	return nil
}

// measureBackup measures appends while an operator backs the ledger up, again and
// again until the row has lasted as long as others.
func (r *run) measureBackup(ctx context.Context) error {
	var err error
	if _, r.recipient, err = backup.NewIdentity(); err != nil {
		return err
	}
	begun, backups, took := time.Now(), 0, time.Duration(0)
	m, err := r.do(load.Job{Act: "append", Workers: callers, Stopped: true}, func() error {
		for backups == 0 || time.Since(begun) < r.lasting {
			start := time.Now()
			if err := r.backUp(ctx); err != nil {
				return errors.Join(err, r.generator.stop())
			}
			backups++
			took += time.Since(start)
		}
		return r.generator.stop()
	})
	if err != nil {
		return err
	}
	r.row("appends during a backup: p99", ms(m.P99), milliseconds, atMost(100), m,
		fmt.Sprintf("%d whole backups, %.1f s each", backups, took.Seconds()/float64(backups)))
	return nil
}

func (r *run) backUp(ctx context.Context) error {
	data := filepath.Join(r.work, "backup-data")
	out, err := exec.CommandContext(ctx, r.self, "backup", "run", "--dir", r.large.folder, "--full",
		"--data", data, "--keys", filepath.Join(r.work, "backup-keys"), "--recipients", r.recipient).CombinedOutput()
	if err != nil {
		return fmt.Errorf("backing up: %w: %s", err, out)
	}
	return os.RemoveAll(data)
}

func (r *run) measureDestructions(context.Context) error {
	records := len(r.large.setup.Records)
	m, err := r.do(load.Job{Act: "destroy", Workers: 1, Calls: min(r.destructions, records/4)}, nil)
	if err != nil {
		return err
	}
	many, err := r.do(load.Job{Act: "destroy", Workers: callers, Calls: min(1000, records/4)}, nil)
	if err != nil {
		return err
	}
	r.row("destruction: p99", ms(m.P99), milliseconds, atMost(100).full(), m,
		fmt.Sprintf("request and approval, two calls, one destruction after another, of %s records in the vault and those "+
			"of the rows before; all events durable and logged, the keys gone", grouped(float64(records))))
	each := many.Elapsed / time.Duration(many.Calls)
	r.row("many destructions at once: each", ms(each), milliseconds, nil, many,
		fmt.Sprintf("by 64 clients, which share the making of new keys; one alone takes %s, %.1f times as long",
			millis(m.P50), float64(m.P50)/float64(each)))
	return nil
}

// measureMemory looks at the service when it has worked, but not yet made the log
// much larger than the budget is for.
func (r *run) measureMemory(context.Context) error {
	u, err := usageOf(r.service.pid())
	if err != nil {
		return err
	}
	r.figure(figure{
		What: "resident memory, after these rows", Value: float64(u.resident.Now) / 1e6, Unit: megabytes, Budget: atMost(400).full(),
		Events: r.large.size, Detail: fmt.Sprintf("of the service that started after the crash; %s MB at most", grouped(float64(u.resident.Peak)/1e6)),
	})
	return nil
}

// measureEnd looks again when the rows after that have made the log larger, and
// ends the service.
func (r *run) measureEnd(context.Context) error {
	u, err := usageOf(r.service.pid())
	if err != nil {
		return err
	}
	r.figure(figure{
		What: "resident memory, at the end", Value: float64(u.resident.Now) / 1e6, Unit: megabytes, Events: r.large.size,
		Detail: fmt.Sprintf("%s MB at most; the rows before have made the log larger", grouped(float64(u.resident.Peak)/1e6)),
	})
	return r.leave()
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
