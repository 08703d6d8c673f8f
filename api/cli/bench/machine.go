package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/medledger/medledger/api/cli/load"
)

// machine says what a run was made on. What the operating system does not tell
// is empty or zero: the sources are those of Linux.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     uint64 `json:"memory"` // bytes
	System     string `json:"system"` // GOOS/GOARCH
	Go         string `json:"go"`
	Revision   string `json:"revision,omitempty"` // of this program's source
	FileSystem string `json:"fileSystem"`
	// SyncP50 and SyncP99 are how long it takes in the working folder to append
	// 4 KiB to a file and make them durable, in milliseconds: what no write can
	// be faster than.
	SyncP50 float64 `json:"syncP50"`
	SyncP99 float64 `json:"syncP99"`
	// Others is the share of the processors' time that other processes took
	// while the run went on, from 0 to 1; the figures are worth what is left.
	Others float64 `json:"others"`
}

// syncProbes is how many appends the disk is judged by.
const syncProbes = 200

// inspect describes the machine, and its disk at dir.
func inspect(dir string) (machine, error) {
	m := machine{
		CPU: procField("/proc/cpuinfo", "model name"), Cores: runtime.GOMAXPROCS(0),
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), FileSystem: fileSystem(dir),
	}
	if kib, err := strconv.ParseUint(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.Memory = kib << 10
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				m.Revision = s.Value
			}
		}
	}
	took, err := probeSync(filepath.Join(dir, "sync-probe"))
	if err != nil {
		return m, fmt.Errorf("measuring the disk: %w", err)
	}
	m.SyncP50, m.SyncP99 = took.Quantile(.50).Seconds()*1000, took.Quantile(.99).Seconds()*1000
	return m, nil
}

// probeSync measures appends of 4 KiB, each made durable.
func probeSync(path string) (_ *load.Sample, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	s, page := new(load.Sample), bytes.Repeat([]byte{0xa5}, 4096)
	start := time.Now()
	for range syncProbes {
		began := time.Now()
		if _, err := f.Write(page); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		s.Took = append(s.Took, time.Since(began))
	}
	s.Elapsed = time.Since(start)
	slices.Sort(s.Took)
	return s, nil
}

func (m machine) describe() string {
	or := func(s, unknown string) string {
		if s == "" {
			return unknown
		}
		return s
	}
	lines := wrap(fmt.Sprintf("%s, %d cores, %.1f GB memory; %s, %s; %s; an append of 4 KiB with fsync takes %.2f ms (p50), %.2f ms (p99)",
		or(m.CPU, "unknown processor"), m.Cores, float64(m.Memory)/1e9, m.System, m.Go,
		or(m.FileSystem, "unknown file system"), m.SyncP50, m.SyncP99), tableWidth)
	if m.Others >= 0.02 {
		alone := fmt.Sprintf("NOT ALONE: other processes used %.0f %% of the processors meanwhile; repeat the run on an idle machine", 100*m.Others)
		lines = append(lines, wrap(alone, tableWidth)...)
	}
	return strings.Join(lines, "\n")
}

// usage is how processor time was spent up to some moment.
type usage struct {
	busy, total float64       // of the machine, in its own unit
	own         time.Duration // of this process and those of its children that have ended
}

// lookAround reads how processor time was spent up to now.
func lookAround() usage {
	u := usage{own: load.ProcessTime() + load.ChildTime()}
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	for i, field := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal, and guest times
		// that are parts of user and nice
		if n, err := strconv.ParseFloat(field, 64); err == nil && i <= 8 {
			u.total += n
			if i != 4 && i != 5 {
				u.busy += n
			}
		}
	}
	return u
}

// othersSince is the share of the machine's processor time that others used
// since an earlier look.
func (u usage) othersSince(before usage, elapsed time.Duration, cores int) float64 {
	if u.total <= before.total {
		return 0
	}
	own := (u.own - before.own).Seconds() / (elapsed.Seconds() * float64(cores))
	return max((u.busy-before.busy)/(u.total-before.total)-own, 0)
}

// procField returns the first value of a field in one of Linux's "name: value"
// files, or nothing.
func procField(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if field, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(field) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystem returns the type of the file system that a folder is on.
func fileSystem(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return ""
	}
	kind, longest := "", -1
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || len(fields[1]) < longest {
			continue
		}
		if rel, err := filepath.Rel(fields[1], dir); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			kind, longest = fields[2], len(fields[1])
		}
	}
	return kind
}
