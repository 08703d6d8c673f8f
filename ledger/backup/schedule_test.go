package backup

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestKeep has the schedule looked at every ten minutes: it takes a backup a day, tries
// again what failed, and retires in between.
func TestKeep(t *testing.T) {
	h := newHouse(t)
	p, err := h.plan.WithDefaults()
	h.must(err)
	k := keeper{b: h.Backups, src: h.source, plan: p}
	pass := func(d time.Duration) (runs uint64) {
		at := func() uint64 {
			return h.Health().Failures + uint64(h.Health().LastSuccess.Unix()/int64(day/time.Second))
		}
		before := at()
		for end := h.now.Add(d); h.now.Before(end); h.now = h.now.Add(10 * time.Minute) {
			k.look(t.Context())
		}
		return at() - before
	}
	h.source.add(1)
	k.look(t.Context())
	if h.Health().LastSuccess != h.now || h.Health().Bytes == 0 || h.Health().Failures != 0 {
		t.Errorf("after the first look: %+v", h.Health())
	}
	if n := pass(3*day + time.Hour); n != 3 {
		t.Errorf("%d runs in three days", n)
	}
	good := k.plan
	k.plan.Keys = secretsDir
	if pass(2 * day); h.Health().Failures < 8 || h.Health().Failures > 12 {
		t.Errorf("%d failures in a day", h.Health().Failures)
	}
	k.plan = good
	k.look(t.Context())
	h.now = h.now.Add(4 * time.Hour)
	if k.look(t.Context()); h.now.Sub(h.Health().LastSuccess) > day {
		t.Errorf("it was not tried again: %+v", h.Health())
	}
	// A clock that was set back puts nothing off.
	h.now = h.now.Add(-100 * day)
	k.look(t.Context())
	if h.Health().LastSuccess != h.now {
		t.Errorf("the clock was set back: %+v", h.Health())
	}
	// Whoever opens the ledger again goes on.
	if again := New(h.config).Health(); again.LastSuccess != h.now {
		t.Errorf("opened again: %+v", again)
	}
	// Epochs are retired though no backup is due.
	k.plan.Every = 365 * day
	h.now = h.now.Add(140 * day)
	k.look(t.Context())
	if s := h.status(); !s.Epochs[len(s.Epochs)-1].Due || len(s.Overdue) != 2 {
		t.Errorf("an epoch past its day: %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it looks once
	h.KeepRetiring(ctx)
	if s := h.status(); !s.Epochs[len(s.Epochs)-1].Retired || len(s.Overdue) != 1 {
		t.Errorf("an epoch is not retired: %+v", s)
	}
}

// TestKeepEnds: it ends with its context, and refuses a plan that makes no sense.
func TestKeepEnds(t *testing.T) {
	h := newHouse(t)
	h.source.add(1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Keep(ctx, h.source, h.plan) }()
	for h.Health().LastSuccess.IsZero() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	h.plan.Recipients = nil
	if err := h.Keep(t.Context(), h.source, h.plan); err == nil {
		t.Error("a plan without recipients")
	}
	if _, err := h.Run(ctx, h.source, Plan{Data: "x", Keys: "y", Recipients: []string{"age1nonsense"}}, false); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a recipient that is none: %v", err)
	}
}
