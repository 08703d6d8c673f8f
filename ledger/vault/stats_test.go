package vault

import (
	"testing"

	"github.com/medledger/medledger/events"
)

// TestStatsCountsLivingKeys: a destruction takes a key, and none of the slots.
func TestStatsCountsLivingKeys(t *testing.T) {
	v := openVault(t, newConfig(t))
	first, err := v.Stats(ctx)
	if err != nil || first.Entries != int64(len(ledgerKeys)) {
		t.Fatalf("a new vault's are %+v, %v", first, err)
	}
	id := events.MustNewID()
	mustPut(t, v, id, 1, nil)
	mustPut(t, v, id, 2, nil)
	full, err := v.Stats(ctx)
	if err != nil || full.Entries != first.Entries+1 {
		t.Fatalf("with a record of two versions they are %+v, %v", full, err)
	}
	if _, err := v.Destroy(ctx, id); err != nil {
		t.Fatal(err)
	}
	after, err := v.Stats(ctx)
	if err != nil || after.Entries != first.Entries || after.LastSlot != full.LastSlot || after.Doomed != 0 {
		t.Errorf("after its destruction they are %+v, %v", after, err)
	}
}

func BenchmarkCountKeys(b *testing.B) {
	v := openVault(b, newConfig(b))
	// Rows without contents: only their number matters.
	const rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 200000) INSERT INTO versions SELECT i, randomblob(16), 1, i, 1, 0, 0, zeroblob(90) FROM n"
	if _, err := v.keys.conn.ExecContext(ctx, rows); err != nil {
		b.Fatal(err)
	}
	var n int64
	for b.Loop() {
		if err := v.keys.reader.QueryRowContext(ctx, countKeys).Scan(&n); err != nil {
			b.Fatal(err)
		}
	}
}
