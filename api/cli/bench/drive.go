package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/medledger/medledger/api/cli/load"
)

// drive is load.Drive with a stopwatch: it returns how long every call took.
func drive(ctx context.Context, seed uint64, n int, more func() bool, op func(context.Context, *load.Worker) error) (*sample, error) {
	took := make([][]time.Duration, n)
	start, used := time.Now(), processTime()
	err := load.Drive(ctx, seed, n, more, func(ctx context.Context, w *load.Worker) error {
		began := time.Now()
		if err := op(ctx, w); err != nil {
			return err
		}
		took[w.Number] = append(took[w.Number], time.Since(began))
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := &sample{elapsed: time.Since(start), used: processTime() - used, took: slices.Concat(took...)}
	slices.Sort(s.took)
	if len(s.took) == 0 {
		return nil, fmt.Errorf("no call was made in %v; measure for longer", s.elapsed)
	}
	return s, nil
}

// sample is what drive measured: every single call, so percentiles are exact.
type sample struct {
	took    []time.Duration // ascending, never empty
	elapsed time.Duration   // from the first call's start to the last one's end
	used    time.Duration   // processor time of the whole process meanwhile
}

// quantile returns the smallest time within which at least the share q of the
// calls was answered.
func (s *sample) quantile(q float64) time.Duration {
	i := int(q*float64(len(s.took))+0.999999) - 1
	return s.took[min(max(i, 0), len(s.took)-1)]
}

// rate is how many calls were answered in a second.
func (s *sample) rate() float64 { return float64(len(s.took)) / s.elapsed.Seconds() }

// String tells the rest of what a row does not.
func (s *sample) String() string {
	return fmt.Sprintf("p50 %s, p95 %s, p99 %s, max %s; %s calls in %.1f s, %.2f ms of processor time each",
		millis(s.quantile(.50)), millis(s.quantile(.95)), millis(s.quantile(.99)), millis(s.took[len(s.took)-1]),
		grouped(float64(len(s.took))), s.elapsed.Seconds(), ms(s.used)/float64(len(s.took)))
}
