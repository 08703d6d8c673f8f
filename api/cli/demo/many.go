package demo

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// submitters is how many ask the service at a time where the story tells of many
// records: a turn of the ledger takes them all.
const submitters = 16

// others is all records of the rest that are not destroyed.
func (s *story) others() []*record {
	var list []*record
	for _, r := range s.rest {
		if !r.destroyed {
			list = append(list, r)
		}
	}
	return list
}

// each does something to many records and expects the same of all. The line says
// how many a second.
func (s *story) each(records []*record, what, want string, do func(*record) string) {
	if len(records) == 0 {
		return
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	queue, outcomes := make(chan *record), make(map[string]int)
	begun := s.now()
	for range min(submitters, len(records)) {
		wg.Go(func() {
			for r := range queue {
				o := do(r)
				mu.Lock()
				outcomes[o]++
				mu.Unlock()
			}
		})
	}
	for _, r := range records {
		queue <- r
	}
	close(queue)
	wg.Wait()
	rate := float64(len(records)) / max(s.now().Sub(begun).Seconds(), 1e-6)
	s.expect(fmt.Sprintf("%s (%.0f/s)", what, rate), fmt.Sprintf("%d × %s", len(records), want), tally(outcomes))
}

func tally(outcomes map[string]int) string {
	var list []string
	for o, n := range outcomes {
		list = append(list, fmt.Sprintf("%d × %s", n, o))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// bytesOf sets how long the documents of some records are.
func bytesOf(records []*record) string {
	var n int64
	for _, r := range records {
		n += r.size
	}
	return bytesText(n)
}

func bytesText(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
