package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/medledger/medledger/api/cli/load"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// measureSmall measures appends to a log of ten thousand events, or of half as
// many as the log of the run has. It is a ledger of its own, so that it can be
// measured right before the large one, when the machine is as busy.
func (r *run) measureSmall(ctx context.Context) (err error) {
	small := &run{plan: r.plan, folder: r.folder + "-small"}
	if err := small.create(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, small.leave(ctx), os.RemoveAll(small.folder)) }()
	if err := small.growTo(ctx, min(smallLog, r.events/2)); err != nil {
		return err
	}
	from := small.scene.Size()
	s, err := drive(ctx, seed+1, submitters, load.Lasting(r.lasting), small.scene.append)
	if err != nil {
		return err
	}
	r.small = s.rate()
	r.figure(fmt.Sprintf("appends from %s events on", grouped(float64(from))), s.rate(), perSecond, nil, from, s.String())
	return nil
}

// grow makes the log as large as it is to be, by the same code path as always.
func (r *run) grow(ctx context.Context) error {
	before, start := r.scene.Size(), time.Now()
	if err := r.growTo(ctx, r.events); err != nil {
		return err
	}
	took := time.Since(start)
	r.report.Events, r.report.Records = r.scene.Size(), uint64(r.scene.Known())
	if r.report.Events == before {
		return r.weigh(ctx) // the rows before made it that large
	}
	r.figure("growth: appends, reads, amendments", float64(r.report.Events-before)/took.Seconds(), perSecond, nil, r.report.Events,
		fmt.Sprintf("%s events in %.1f s by %d submitters, without receipts", grouped(float64(r.report.Events-before)), took.Seconds(), growers))
	return r.weigh(ctx)
}

// weigh adds up the statements of the log.
func (r *run) weigh(ctx context.Context) error {
	for i, size := uint64(0), r.scene.Size(); i < size; {
		leaves, err := r.scene.Log().Leaves(ctx, i, 4096)
		if err != nil {
			return err
		}
		for _, leaf := range leaves {
			r.statements += uint64(len(leaf))
		}
		i += uint64(len(leaves))
	}
	return nil
}

// growers is how many submitters grow a log: enough to fill every turn.
const growers = 256

// growTo adds records until there is one for every five of the events that there
// are to be, and then reads and amends them until there are that many events.
func (r *run) growTo(ctx context.Context, size int) error {
	s := r.scene
	if missing := size/eventsPerRecord - s.Known(); missing > 0 {
		_, err := drive(ctx, seed+2, growers, load.Times(missing), func(ctx context.Context, w *load.Worker) error {
			_, err := s.originate(ctx, bytes.NewReader(w.Fresh()))
			return err
		})
		if err != nil {
			return err
		}
	}
	missing := size - int(s.Size())
	if missing <= 0 {
		return nil
	}
	_, err := drive(ctx, seed+3, growers, load.Times(missing), func(ctx context.Context, w *load.Worker) error {
		if w.IntN(10) > 0 {
			return s.read(ctx, w)
		}
		_, err := s.Amend(ctx, ledger.Command{Actor: s.Clinician}, ledger.Amendment{Record: s.Pick(w)}, bytes.NewReader(w.Fresh()))
		if errors.Is(err, ledger.ErrConflict) { // another worker amends the same record
			return s.read(ctx, w)
		}
		return err
	})
	return err
}

func (r *run) measureAppends(ctx context.Context) error {
	s, err := drive(ctx, seed+4, submitters, load.Lasting(r.lasting), r.scene.append)
	if err != nil {
		return err
	}
	r.figure("single appends, 64 submitters", s.rate(), perSecond, atLeast(5000), r.scene.Size(), "")
	r.figure("  p99", ms(s.quantile(.99)), milliseconds, atMost(25), r.scene.Size(), s.String())
	r.figure("  against the small log", 100*s.rate()/r.small, percent, atLeast(90).full(), r.scene.Size(), "")
	return nil
}

func (r *run) measureOne(ctx context.Context) error {
	s, err := drive(ctx, seed+5, 1, load.Lasting(r.lasting), r.scene.append)
	if err != nil {
		return err
	}
	r.figure("single appends, one submitter: p50", ms(s.quantile(.50)), milliseconds, atMost(3), r.scene.Size(), s.String())
	return nil
}

// measureBatches has a few submitters hand in a hundred appends at a time, as an
// entrance for bundles would, and wait for all hundred receipts.
func (r *run) measureBatches(ctx context.Context) error {
	const batchers, size = 4, 100
	s, err := drive(ctx, seed+6, batchers, load.Lasting(r.lasting), func(ctx context.Context, w *load.Worker) error {
		_, err := drive(ctx, w.Uint64(), size, load.Times(size), r.scene.append)
		return err
	})
	if err != nil {
		return err
	}
	r.figure("batches of 100, 4 submitters: events", size*s.rate(), perSecond, atLeast(12000), r.scene.Size(), "a batch: "+s.String())
	return nil
}

func (r *run) measureReads(ctx context.Context) error {
	s, err := drive(ctx, seed+7, submitters, load.Lasting(r.lasting), r.scene.read)
	if err != nil {
		return err
	}
	r.figure("reads of a record, 64 readers", s.rate(), perSecond, atLeast(5000), r.scene.Size(), "")
	r.figure("  p99", ms(s.quantile(.99)), milliseconds, atMost(25), r.scene.Size(),
		fmt.Sprintf("%v; decided, logged and decrypted, without a receipt, each of %s records equally often",
			s, grouped(float64(r.scene.Known()))))
	return nil
}

// measureUpload measures appends while one large content streams into the vault.
func (r *run) measureUpload(ctx context.Context) error {
	uploaded := make(chan struct{})
	var uploadErr error
	var took time.Duration
	go func() {
		defer close(uploaded)
		start := time.Now()
		_, uploadErr = r.scene.originate(ctx, &generated{left: r.upload, block: load.NewWorker(seed, 0).Fresh()})
		took = time.Since(start)
	}()
	s, err := drive(ctx, seed+8, submitters, load.Until(uploaded), r.scene.append)
	<-uploaded
	if err := errors.Join(uploadErr, err); err != nil {
		return err
	}
	r.figure("appends during an upload: p99", ms(s.quantile(.99)), milliseconds, atMost(100), r.scene.Size(),
		fmt.Sprintf("%v; upload of %s MB at %.0f MB/s, the last of it included",
			s, grouped(float64(r.upload)/1e6), float64(r.upload)/1e6/took.Seconds()))
	return nil
}

// generated is a content made of one block again and again: making it costs
// next to nothing, encrypting and writing it what any other costs.
type generated struct {
	left  int64
	block []byte
}

// Read implements io.Reader.
func (g *generated) Read(p []byte) (int, error) {
	if g.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && g.left > 0 {
		m := copy(p[n:], g.block[:min(g.left, int64(len(g.block)))])
		n += m
		g.left -= int64(m)
	}
	return n, nil
}

func (r *run) measureDestructions(ctx context.Context) error {
	records := r.scene.Known()
	s, err := drive(ctx, seed+9, 1, load.Times(min(r.destructions, records/2)), func(ctx context.Context, w *load.Worker) error {
		_, err := r.scene.destroy(ctx, r.scene.Take(w))
		return err
	})
	if err != nil {
		return err
	}
	r.figure("destruction: p99", ms(s.quantile(.99)), milliseconds, atMost(100).full(), r.scene.Size(),
		fmt.Sprintf("%v; one after another, of %s records in the vault; both events durable and logged, the keys gone",
			s, grouped(float64(records))))
	return nil
}

// destroy has the clerk ask for a record's destruction and the administrator
// approve.
func (s *scene) destroy(ctx context.Context, record events.ID) (*ledger.Result, error) {
	return s.Destroy(ctx, ledger.Command{Actor: s.Clerk}, ledger.Destruction{
		Record: record, Approver: s.Administrator, Ground: events.GroundRetentionEnded,
	})
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
