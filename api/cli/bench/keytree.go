package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/medledger/medledger/api/cli/load"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/vault"
)

// What a destruction costs grows with the keys in the vault; its events and its calls cost
// the same anywhere. So the key tree is measured by itself, in a vault of more records than
// the log of a run has.

const (
	// together is how many records are destroyed at once.
	together = 1000
	// contentBytes is the size of a content here: it is the keys that matter.
	contentBytes = 64
)

// measureKeyTree measures destructions in a vault of its own.
func (r *run) measureKeyTree(ctx context.Context) (err error) {
	dir := filepath.Join(r.work, "keytree")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	keys, err := custody.OpenFolder(custody.FolderConfig{Dir: filepath.Join(dir, "keys")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	v, err := vault.Open(ctx, vault.Config{
		Dir: filepath.Join(dir, "vault"), Custody: keys, Register: filepath.Join(dir, "destroyed.register"), Logger: r.logger,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	records, err := fill(ctx, v, r.keys)
	if err != nil {
		return fmt.Errorf("filling a vault: %w", err)
	}
	return r.destroyKeys(ctx, v, records)
}

// fill puts n records into a vault.
func fill(ctx context.Context, v *vault.Vault, n int) ([]events.ID, error) {
	records, content := make([]events.ID, n), make([]byte, contentBytes)
	next := atomic.Int64{}
	return records, load.Drive(ctx, seed, growers, load.Times(n), func(ctx context.Context, _ *load.Worker) error {
		record := events.MustNewID()
		records[next.Add(1)-1] = record
		_, err := v.Put(ctx, record, 1, vault.Meta{ContentType: "application/fhir+json"}, bytes.NewReader(content))
		return err
	})
}

// destroyKeys destroys records one by one, and then many at once.
func (r *run) destroyKeys(ctx context.Context, v *vault.Vault, records []events.ID) error {
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	next := atomic.Int64{}
	destroy := func(ctx context.Context, _ *load.Worker) error {
		_, err := v.Destroy(ctx, records[next.Add(1)-1])
		return err
	}
	one, err := load.Measure(ctx, seed, 1, load.Times(min(r.destructions, len(records)/4)), destroy)
	if err != nil {
		return fmt.Errorf("destroying keys: %w", err)
	}
	many, err := load.Measure(ctx, seed, together, load.Times(together), destroy)
	if err != nil {
		return fmt.Errorf("destroying many keys at once: %w", err)
	}
	stats, err := v.Stats(ctx)
	if err != nil {
		return err
	}
	alone, each := one.Quantile(.5), many.Elapsed/together
	r.figure(figure{
		What: "keys of a destruction: p99", Value: ms(one.Quantile(.99)), Unit: milliseconds, Budget: atMost(150).full(), Events: uint64(len(records)),
		Detail: fmt.Sprintf("in a vault of %s records, through the Go interface: new keys for a path of the tree, durable, and the old "+
			"ones destroyed; p50 %s, %d levels, %s MB of opened nodes at most in memory",
			grouped(float64(len(records))), millis(alone), stats.Height, grouped(float64(vault.DefaultNodeCache)/1e6)),
	})
	r.figure(figure{
		What: "  one alone, against one of 1,000", Value: float64(alone) / float64(each), Unit: times, Budget: atLeast(10).full(), Events: uint64(len(records)),
		Detail: fmt.Sprintf("%s destroyed at once share the new keys: %s each", grouped(together), millis(each)),
	})
	return nil
}
