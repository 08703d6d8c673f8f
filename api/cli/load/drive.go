package load

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Worker is one of the goroutines that put load on a ledger. Its random numbers
// come from its own number, so that a run can be repeated.
type Worker struct {
	*rand.Rand
	Number  int // from 0
	source  *rand.ChaCha8
	content [contentSize]byte
}

// contentSize is the size of a record's content in bytes: what the ledger's
// budgets are for.
const contentSize = 1024

// NewWorker returns a worker that Drive does not run, for its contents.
func NewWorker(seed uint64, number int) *Worker {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], seed)
	binary.BigEndian.PutUint64(b[8:], uint64(number))
	source := rand.NewChaCha8(b)
	return &Worker{Rand: rand.New(source), Number: number, source: source}
}

// Fresh returns a content of 1 KiB that nobody has seen before, valid until the
// next call.
func (w *Worker) Fresh() []byte {
	w.source.Read(w.content[:]) // never fails
	return w.content[:]
}

// Drive has n workers call op again and again, each as soon as its last call was
// answered, for as long as more says yes. It returns when all have ended. The
// first error ends them and is returned, as is the end of ctx.
func Drive(ctx context.Context, seed uint64, n int, more func() bool, op func(context.Context, *Worker) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			w := NewWorker(seed, i)
			for ctx.Err() == nil && more() {
				if err := op(ctx, w); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Lasting says yes for a time that begins now.
func Lasting(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().Before(end) }
}

// Times says yes n times.
func Times(n int) func() bool {
	var said atomic.Int64
	return func() bool { return said.Add(1) <= int64(n) }
}

// Until says yes until done is closed.
func Until(done <-chan struct{}) func() bool {
	return func() bool {
		select {
		case <-done:
			return false
		default:
			return true
		}
	}
}
