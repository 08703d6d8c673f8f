package vault

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk/disktest"
)

// TestRandomSwaps destroys, puts, discards and crashes at random, again and again.
func TestRandomSwaps(t *testing.T) {
	seeds := 6
	if long() {
		seeds = 60
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { randomSwaps(t, rand.New(rand.NewPCG(uint64(seed), 9))) })
	}
}

func randomSwaps(t *testing.T, random *rand.Rand) {
	s, v := newSwapStory(t, 1)
	alive, dead, unsure := map[events.ID]int{}, map[events.ID]bool{}, map[events.ID]bool{}
	for i, id := range s.records {
		alive[id] = 100 + i
	}
	generation := s.attempt
	for life := range 5 {
		calls, fatal := 0, 1+random.IntN(60)
		s.fault = func(step, bool) error {
			if calls++; calls == fatal {
				return errFault
			}
			return nil
		}
		for range 12 {
			id := s.records[random.IntN(len(s.records))]
			switch random.IntN(4) {
			case 0:
				id = events.MustNewID()
				if _, err := v.Put(ctx, id, 1, Meta{}, newReader(50)); err == nil {
					alive[id], s.records = 50, append(s.records, id)
				}
			case 1:
				if size := alive[id]; size == 50 && v.Discard(ctx, id, 1) == nil {
					delete(alive, id)
				} else if size == 50 {
					unsure[id] = true
				}
			default:
				if _, err := v.Destroy(ctx, id); err == nil {
					dead[id] = true
				} else {
					unsure[id] = true
				}
			}
		}
		s.fault = nil
		s.end(v, []ending{process, power, closed}[random.IntN(3)], disktest.Losses[random.IntN(len(disktest.Losses))], random)
		v = s.openAgain(0)
		for id, size := range alive {
			b, err := read(v, id, 1)
			gone := errors.Is(err, ErrDestroyed) || unsure[id] && errors.Is(err, ErrNotFound)
			if dead[id] && !errors.Is(err, ErrDestroyed) || !dead[id] && !unsure[id] && (err != nil || len(b) != size) || err != nil && !gone {
				t.Fatalf("life %d: record %v of %d bytes, dead %v, unsure %v: %d bytes, %v", life, id, size, dead[id], unsure[id], len(b), err)
			}
		}
		wantRoots(t, s.custody, 1)
		now := v.keys.tree.state.generation
		if now < generation {
			t.Fatalf("generation %d after %d", now, generation)
		}
		generation = now
		if n := idleKeys(t, v); n != 0 {
			t.Fatalf("life %d: %d keys that nothing lies under", life, n)
		}
	}
	if len(dead) == 0 {
		t.Error("nothing was destroyed")
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}

func newReader(size int) *bytes.Reader { return bytes.NewReader(pattern(size)) }
