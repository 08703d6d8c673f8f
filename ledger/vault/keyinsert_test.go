package vault

import (
	"errors"
	"fmt"
	"testing"

	"github.com/medledger/medledger/events"
)

// TestInsertAnswersEveryRequest commits puts together some of which cannot be:
// each gets its own answer, and each that was added its own key.
func TestInsertAnswersEveryRequest(t *testing.T) {
	v := openVault(t, newConfig(t))
	there, dead := events.MustNewID(), events.MustNewID()
	mustPut(t, v, there, 1, pattern(10))
	if _, err := v.Destroy(ctx, dead); err != nil {
		t.Fatal(err)
	}
	largest := insertSizes[0]
	for _, refused := range [][]int{{}, {0}, {largest - 1, largest}, {1, 2, 3, 40, 41, 42}, {2*largest + 12}} {
		batch := make([]*request, 2*largest+13)
		want := make([]error, len(batch))
		for i := range batch {
			batch[i] = &request{
				op: opPut, record: events.MustNewID(), version: 7, fresh: &[keySize]byte{byte(i), byte(i >> 8), 1},
				wrapped: fmt.Appendf(nil, "secrets %d", i), at: location{length: int64(i)},
			}
		}
		for n, i := range refused {
			switch n % 3 {
			case 0:
				batch[i].record, batch[i].version, want[i] = there, 1, ErrExists
			case 1:
				batch[i].record, want[i] = dead, ErrDestroyed
			case 2:
				batch[i].record = batch[0].record
			}
		}
		seen := map[events.ID]bool{}
		for i, r := range batch {
			if r.done = make(chan struct{}); seen[r.record] {
				want[i] = errKeyChanged // Put tries again with the key of the first
			}
			seen[r.record] = true
		}
		if err := v.commit(batch); err != nil { // the committing goroutine waits
			t.Fatal(err)
		}
		for i, r := range batch {
			if !errors.Is(r.err, want[i]) || want[i] == nil && r.err != nil {
				t.Errorf("refused %v: put %d was answered with %v, want %v", refused, i, r.err, want[i])
			}
			if want[i] != nil {
				continue
			}
			row, err := v.keys.lookup(ctx, r.record, r.version)
			if err != nil || row.at != r.at || string(row.secrets) != fmt.Sprintf("secrets %d", i) {
				t.Errorf("refused %v: put %d reads back as %+v, %v", refused, i, row, err)
			}
			if key, err := v.keys.tree.key(ctx, row.key); err != nil || key != *r.fresh {
				t.Errorf("refused %v: put %d has another key: %v", refused, i, err)
			}
		}
	}
	mustRead(t, v, there, 1, pattern(10))
	mustPut(t, v, there, 2, pattern(10))
}
