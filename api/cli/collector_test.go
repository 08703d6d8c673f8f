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

func TestLimit(t *testing.T) {
	for live, want := range map[uint64]int64{0: 335 << 20, 100 << 20: 335 << 20, 1000 << 20: 1600 << 20} {
		if got := limit(live); got < want-100 || got > want {
			t.Errorf("with %d MiB in use: %d bytes, want %d", live>>20, got, want)
		}
	}
}

func TestCollectEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := collect(ctx)
	cancel()
	<-ended
}
