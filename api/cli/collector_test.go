package cli

import (
	"context"
	"testing"
)

func TestPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1: 400, 48 << 20: 400, 80 << 20: 200, 120 << 20: 100, 160 << 20: 50, 300 << 20: 50, 10 << 30: 50,
	} {
		if got := percent(live); got != want {
			t.Errorf("beside %d MiB in use: %d %%, want %d %%", live>>20, got, want)
		}
	}
}

func TestCollectEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := collect(ctx)
	cancel()
	<-ended
}
