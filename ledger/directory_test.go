package ledger_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

func TestDirectory(t *testing.T) {
	c := newClinic(t)
	size := c.size()
	ids := make([]events.ID, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], err = c.Organisation(context.Background(), "Laboratory"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || id.IsZero() {
			t.Fatalf("one name has the ids %v", ids)
		}
	}
	elsewhere, err := c.Department(t.Context(), c.hospital, "Ward 1")
	if err != nil || elsewhere == c.ward {
		t.Errorf("a ward of the same name elsewhere is %v, %v", elsewhere, err)
	}
	c.restart()
	if again, err := c.Department(t.Context(), c.founding.Organisation, "Ward 1"); err != nil || again != c.ward {
		t.Errorf("asked for again, a ward is %v, %v", again, err)
	}
	for id, want := range map[events.ID]string{c.ward: "Ward 1", ids[0]: "Laboratory", events.MustNewID(): ""} {
		if name, err := c.NameOf(t.Context(), id); err != nil || name != want {
			t.Errorf("%q is called %q, %v", want, name, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", ledger.MaxName+1), "a\nb", "\xff", "a\u202eb"} {
		if _, err := c.Organisation(t.Context(), bad); !errors.Is(err, ledger.ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if c.size() != size {
		t.Error("names are in the log")
	}
}
