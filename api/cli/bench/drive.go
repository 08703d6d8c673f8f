package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// worker is one of the goroutines that put load on a ledger. Its random numbers
// come from its own number, so that a run can be repeated.
type worker struct {
	*rand.Rand
	source  *rand.ChaCha8
	content [contentSize]byte
}

// contentSize is the size of a record's content in bytes: what DESIGN's budgets
// are for.
const contentSize = 1024

func newWorker(seed uint64, number int) *worker {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], seed)
	binary.BigEndian.PutUint64(b[8:], uint64(number))
	source := rand.NewChaCha8(b)
	return &worker{Rand: rand.New(source), source: source}
}

// fresh returns a content that nobody has seen before, valid until the next call.
func (w *worker) fresh() []byte {
	w.source.Read(w.content[:]) // never fails
	return w.content[:]
}

// drive has n workers call op again and again, each as soon as its last call was
// answered, for as long as more says yes. It returns how long every call took.
// The first error ends all workers.
func drive(ctx context.Context, seed uint64, n int, more func() bool, op func(context.Context, *worker) error) (*sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([][]time.Duration, n)
	var wg sync.WaitGroup
	start, used := time.Now(), processTime()
	for i := range n {
		wg.Go(func() {
			w := newWorker(seed, i)
			for ctx.Err() == nil && more() {
				began := time.Now()
				if err := op(ctx, w); err != nil {
					cancel(err)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	s := &sample{elapsed: time.Since(start), used: processTime() - used, took: slices.Concat(took...)}
	slices.Sort(s.took)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if len(s.took) == 0 {
		return nil, fmt.Errorf("no call was made in %v; measure for longer", s.elapsed)
	}
	return s, nil
}

// lasting says yes for a time that begins now.
func lasting(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().Before(end) }
}

// times says yes n times.
func times(n int) func() bool {
	var said atomic.Int64
	return func() bool { return said.Add(1) <= int64(n) }
}

// until says yes until done is closed.
func until(done <-chan struct{}) func() bool {
	return func() bool {
		select {
		case <-done:
			return false
		default:
			return true
		}
	}
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
