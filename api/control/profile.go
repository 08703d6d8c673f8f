package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
)

// profiler writes profiles of the server's own process: where its time goes, and
// what its memory is for. They name functions of the program and nothing of what it
// works on.
type profiler struct {
	mu  sync.Mutex
	cpu *os.File // nil when no profile of the processor's time is being written
}

type profileRequest struct {
	File string `json:"file"` // absolute
}

// begin begins a profile of the processor's time.
func (p *profiler) begin(_ context.Context, in profileRequest) (struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cpu != nil {
		return struct{}{}, errors.New("a profile is being written already; wait for its end")
	}
	f, err := os.OpenFile(in.File, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return struct{}{}, fmt.Errorf("writing a profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return struct{}{}, errors.Join(fmt.Errorf("writing a profile: %w", err), f.Close())
	}
	p.cpu = f
	return struct{}{}, nil
}

// end ends it, and writes a profile of the memory into the file that is named.
func (p *profiler) end(_ context.Context, in profileRequest) (struct{}, error) {
	if err := p.stop(); err != nil {
		return struct{}{}, err
	}
	f, err := os.OpenFile(in.File, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return struct{}{}, fmt.Errorf("writing a profile: %w", err)
	}
	runtime.GC() // the profile is as of the last collection
	return struct{}{}, errors.Join(pprof.WriteHeapProfile(f), f.Close())
}

func (p *profiler) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cpu == nil {
		return nil
	}
	pprof.StopCPUProfile()
	f := p.cpu
	p.cpu = nil
	return f.Close()
}

// BeginProfile has the server write a profile of its processor time into a file,
// until EndProfile.
func BeginProfile(ctx context.Context, dir, file string) error {
	return profile(ctx, dir, "profile/begin", file)
}

// EndProfile ends that profile and has the server write one of its memory into
// another file.
func EndProfile(ctx context.Context, dir, file string) error {
	return profile(ctx, dir, "profile/end", file)
}

func profile(ctx context.Context, dir, name, file string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	return call(ctx, dir, name, profileRequest{file}, new(struct{}))
}
