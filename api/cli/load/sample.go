package load

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Measure is Drive with a stopwatch: it returns how long every call took, also of
// those before an error.
func Measure(ctx context.Context, seed uint64, n int, more func() bool, op func(context.Context, *Worker) error) (*Sample, error) {
	took := make([][]time.Duration, n)
	start, used := time.Now(), ProcessTime()
	err := Drive(ctx, seed, n, more, func(ctx context.Context, w *Worker) error {
		began := time.Now()
		if err := op(ctx, w); err != nil {
			return err
		}
		took[w.Number] = append(took[w.Number], time.Since(began))
		return nil
	})
	s := &Sample{Elapsed: time.Since(start), Used: ProcessTime() - used, Took: slices.Concat(took...)}
	slices.Sort(s.Took)
	if err == nil && len(s.Took) == 0 {
		err = fmt.Errorf("no call was made in %v; measure for longer", s.Elapsed)
	}
	return s, err
}

// Sample is what was measured: every single call, so percentiles are exact.
type Sample struct {
	Took    []time.Duration // ascending
	Elapsed time.Duration   // from the first call's start to the last one's end
	Used    time.Duration   // processor time of the whole process meanwhile
}

// Quantile returns the smallest time within which at least the share q of the
// calls was answered; zero if there were none.
func (s *Sample) Quantile(q float64) time.Duration {
	if len(s.Took) == 0 {
		return 0
	}
	i := int(q*float64(len(s.Took))+0.999999) - 1
	return s.Took[min(max(i, 0), len(s.Took)-1)]
}
