package bench

import (
	"context"
	"fmt"

	"github.com/medledger/medledger/api/control"
)

// beginProfile has the service write a CPU profile of what it does, until the
// returned function is called, which has it write one of its memory too.
func (r *run) beginProfile(ctx context.Context, name string) (end func() error, err error) {
	path := r.profile + "-" + name
	if err := control.BeginProfile(ctx, r.large.folder, path+".pprof"); err != nil {
		return nil, fmt.Errorf("profiling the service: %w", err)
	}
	return func() error {
		if err := control.EndProfile(ctx, r.large.folder, path+"-heap.pprof"); err != nil {
			return fmt.Errorf("profiling the service: %w", err)
		}
		return nil
	}, nil
}
