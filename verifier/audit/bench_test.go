//go:build unix

package audit_test

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
)

// BenchmarkLog audits a log that lies in memory, with real signatures. The
// processor time says what an idle machine would do, whatever else runs.
func BenchmarkLog(b *testing.B) {
	h := audittest.New("a")
	h.Story()
	served := h.Fill(20_000).Serve()
	b.ResetTimer()
	start, used := time.Now(), processorTime(b)
	for b.Loop() {
		r, err := audit.Log(b.Context(), served, audit.Options{Verifier: h.Verifier})
		if err != nil || !r.OK() {
			b.Fatalf("error %v, findings %v", err, r.Findings)
		}
	}
	b.ReportMetric(float64(20_000*b.N)/time.Since(start).Seconds(), "events/s")
	b.ReportMetric(float64((processorTime(b)-used).Microseconds())/float64(20_000*b.N), "cpu-µs/event")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
}

// processorTime returns how long this process has been on a core.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
