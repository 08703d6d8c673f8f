package segment_test

import (
	"testing"

	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/events/store/storetest"
)

func TestConformance(t *testing.T) {
	for name, size := range map[string]int64{"one segment": 0, "many segments": 2000} {
		t.Run(name, func(t *testing.T) {
			place := func(t testing.TB) func() *segment.Store {
				c := segment.Config{Dir: t.TempDir(), SegmentSize: size}
				return func() *segment.Store {
					s, err := segment.Open(t.Context(), c)
					if err != nil {
						t.Fatal(err)
					}
					return s
				}
			}
			storetest.Run(t, func(t testing.TB) store.Store { return place(t)() })
			storetest.RunBatcher(t, func(t testing.TB) store.Batcher { return place(t)() })
			storetest.RunDurable(t, func(t testing.TB) func() store.Store {
				open := place(t)
				return func() store.Store { return open() }
			})
		})
	}
}
