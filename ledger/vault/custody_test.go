package vault

import (
	"context"
	"fmt"
	"sync"

	"github.com/medledger/medledger/ledger/custody"
)

// faultyCustody fails one of its calls, before or after it took effect.
type faultyCustody struct {
	custody.Custody
	mu     sync.Mutex
	calls  int
	failAt int // 0: never
	after  bool
}

func (f *faultyCustody) do(call func() error) error {
	f.mu.Lock()
	f.calls++
	fails := f.calls == f.failAt
	f.mu.Unlock()
	if fails && !f.after {
		return fmt.Errorf("%w: %w", errFault, custody.ErrUnavailable)
	}
	err := call()
	if fails && err == nil {
		return fmt.Errorf("%w: %w", errFault, custody.ErrUnavailable)
	}
	return err
}

func (f *faultyCustody) fail(n int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.failAt, f.after = 0, n, after
}

func (f *faultyCustody) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failAt > 0 && f.calls >= f.failAt
}

func (f *faultyCustody) Create(ctx context.Context, name string) error {
	return f.do(func() error { return f.Custody.Create(ctx, name) })
}

func (f *faultyCustody) Destroy(ctx context.Context, name string) error {
	return f.do(func() error { return f.Custody.Destroy(ctx, name) })
}

func (f *faultyCustody) Seal(ctx context.Context, name string, plain, bound []byte) (b []byte, err error) {
	err = f.do(func() error { b, err = f.Custody.Seal(ctx, name, plain, bound); return err })
	return b, err
}

func (f *faultyCustody) Open(ctx context.Context, name string, sealed, bound []byte) (b []byte, err error) {
	err = f.do(func() error { b, err = f.Custody.Open(ctx, name, sealed, bound); return err })
	return b, err
}

func (f *faultyCustody) Names(ctx context.Context) (names []string, err error) {
	err = f.do(func() error { names, err = f.Custody.Names(ctx); return err })
	return names, err
}
