package backup

import (
	"context"
	"errors"
	"time"
)

// glance is how often the schedule is looked at, at least: clocks jump, and machines
// sleep.
const glance = time.Minute

// KeepRetiring retires epochs in their time until ctx ends, with a plan or without one: a
// ledger that takes no backups any more has promised it as well. What fails is logged and
// tried again.
func (b *Backups) KeepRetiring(ctx context.Context) {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		if err := b.Retire(ctx); err != nil && ctx.Err() == nil {
			b.c.Logger.ErrorContext(ctx, "an epoch of the backups could not be retired", "cause", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Keep takes a backup whenever one is due until ctx ends. What fails is logged, is in
// Health, and is tried again after a tenth of Every. KeepRetiring runs beside it.
func (b *Backups) Keep(ctx context.Context, src Source, p Plan) error {
	p, err := p.WithDefaults()
	if err != nil {
		return err
	}
	k := keeper{b: b, src: src, plan: p}
	tick := time.NewTicker(min(glance, p.Every/4))
	defer tick.Stop()
	for {
		k.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// keeper is one Keep under way.
type keeper struct {
	b     *Backups
	src   Source
	plan  Plan
	tried time.Time // the last run was begun
}

// look does what is due.
func (k *keeper) look(ctx context.Context) {
	if now := k.b.c.Clock(); k.due(now) {
		k.tried = now
		report, err := k.b.Run(ctx, k.src, k.plan, false)
		k.tell(ctx, report, err)
	}
}

// due reports whether a backup is to be taken. A clock that was set back does not put it
// off.
func (k *keeper) due(now time.Time) bool {
	if since := now.Sub(k.b.Health().LastSuccess); since >= 0 && since < k.plan.Every {
		return false
	}
	since := now.Sub(k.tried)
	return since < 0 || since >= k.plan.Every/10
}

func (k *keeper) tell(ctx context.Context, report *Report, err error) {
	switch log := k.b.c.Logger; {
	case err == nil:
		log.InfoContext(ctx, "a backup was taken", "increment", report.Increment, "size", report.Size, "bytes", report.Bytes, "epoch", report.Epoch)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		log.InfoContext(ctx, "a backup was broken off, for the server stops")
	default:
		log.ErrorContext(ctx, "a backup failed; it will be tried again", "cause", err)
	}
}
