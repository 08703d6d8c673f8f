//go:build unix

package audit_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
)

// BenchmarkState is BenchmarkLog with the state log, a leaf every four events: fewer
// of them, in larger batches, cost less.
func BenchmarkState(b *testing.B) {
	h := audittest.New("a")
	h.StateStory()
	served := h.Fill(20_000).Serve()
	states := h.ServeState(h.HonestStates())
	b.ResetTimer()
	start, used := time.Now(), processorTime(b)
	for b.Loop() {
		r, err := audit.Log(b.Context(), served, audit.Options{Verifier: h.Verifier, State: states})
		if err != nil || !r.OK() {
			b.Fatalf("error %v, findings %v", err, r.Findings)
		}
	}
	b.ReportMetric(float64(20_000*b.N)/time.Since(start).Seconds(), "events/s")
	b.ReportMetric(float64((processorTime(b)-used).Microseconds())/float64(20_000*b.N), "cpu-µs/event")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
}
