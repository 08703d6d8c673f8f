package cli

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage a server lets come together before it collects it. Go's default
// is as much as is in use. A small ledger has little in use and much traffic: it
// would collect ten times a second, for a tenth of its processor time. A large one
// has 200 MB in use, and as much again would be more memory than its budget
// (ledger/DESIGN.md). So what is in use and the garbage together get heapRoom, but garbage
// is never less than least, nor more than most, percent of what is in use. Beside them
// lies memory that Go has freed and keeps for later, 60 MB after a second of appends: all
// that Go has gets goRoom, or, if that is more, what is in use and the least of garbage
// take, and slack percent.
const (
	heapRoom      = 240 << 20 // bytes
	goRoom        = 335 << 20 // bytes
	least, most   = 50, 400   // percent of what is in use
	slack         = 10        // percent of what is in use
	worthIt       = 10        // percent that a change is worth: each stops the program for a moment
	everySoOften  = time.Second
	liveHeapBytes = "/gc/heap/live:bytes" // as of the last collection
)

// collect keeps to that from when the ledger is open until ctx ends, unless the
// operator has said otherwise in Go's own way (GOGC, GOMEMLIMIT). It returns a channel
// that closes at its end.
func collect(ctx context.Context) <-chan struct{} {
	ended := make(chan struct{})
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		close(ended)
		return ended
	}
	go func() {
		defer close(ended)
		tick := time.NewTicker(everySoOften)
		defer tick.Stop()
		for set, room := 0, int64(0); ; {
			live := []metrics.Sample{{Name: liveHeapBytes}}
			metrics.Read(live)
			inUse := live[0].Value.Uint64()
			if want := percent(inUse); want < set-worthIt || want > set+worthIt {
				debug.SetGCPercent(want)
				set = want
			}
			if want := limit(inUse); want < room-room/100*worthIt || want > room+room/100*worthIt {
				debug.SetMemoryLimit(want)
				room = want
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ended
}

// percent is how much garbage there may be beside so much in use.
func percent(live uint64) int {
	if live == 0 {
		return most
	}
	room := (float64(heapRoom)/float64(live) - 1) * 100
	return int(min(max(room, least), most))
}

// limit is how much memory Go may have with so much in use.
func limit(live uint64) int64 { return int64(max(goRoom, live/100*(100+least+slack))) }
