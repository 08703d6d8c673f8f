package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/medledger/medledger/ledger/custody"
)

// adopt makes epochs of the keys of epochs that are in custodies and in no list: those that
// only a medium tells of which the ledger was not restored from, and those that a crash left
// before their epoch was written. Which it is cannot be told, so each lives until its day. It
// changes the epochs and does not write them. A custody that cannot be looked into is an
// error, and keeps nothing from being adopted in another.
//
// Names of keys do not say whose they are: a custody is of one ledger.
func (c *Config) adopt(ctx context.Context, e *epochs, from ...custody.Custody) (adopted bool, err error) {
	now, keep := c.now(), e.keep()
	var errs []error
	for _, in := range from {
		if in == nil {
			continue
		}
		names, err := in.Names(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("looking for the keys of epochs: %w", err))
			continue
		}
		for _, name := range names {
			n, ok := parseEpochKey(name)
			if !ok || e.has(n, in.Kind()) {
				continue
			}
			e.Last = max(e.Last, n)
			e.Epochs = append(e.Epochs, Epoch{
				Number: n, Made: now, Closes: now, Retires: now.Add(keep), Custody: in.Kind(), Media: []string{}, Adopted: true,
			})
			adopted = true
			c.Logger.WarnContext(ctx, "a key of an epoch was found in custody that nothing was known of; it is destroyed on its day",
				"epoch", n, "custody", in.Kind(), "retires", now.Add(keep))
		}
	}
	// Of one number the epoch that was known is first.
	slices.SortStableFunc(e.Epochs, func(a, b Epoch) int { return cmp.Compare(a.Number, b.Number) })
	return adopted, errors.Join(errs...)
}

// adoptDurably adopts what is in the ledger's custodies, and writes the epochs. Crash before: keys in custody that are in no
// list, which the next call adopts. Crash after: epochs, which are retired on their day.
func (c *Config) adoptDurably(ctx context.Context, e *epochs) error {
	adopted, err := c.adopt(ctx, e, c.Custody, c.Elsewhere)
	if adopted {
		err = errors.Join(err, c.saveEpochs(e))
	}
	return err
}

// keep is how long epochs are kept, as far as the newest one tells.
func (e *epochs) keep() time.Duration {
	for _, epoch := range slices.Backward(e.Epochs) {
		if !epoch.Adopted {
			return epoch.Retires.Sub(epoch.Made)
		}
	}
	return DefaultKeep
}

// has reports whether there is an epoch whose key has a number in a kind of custody. Two
// kinds may have keys of one number: a ledger that was restored with custody in a folder has
// moved into the token that it had before.
func (e *epochs) has(number uint64, in custody.Kind) bool {
	return slices.ContainsFunc(e.Epochs, func(epoch Epoch) bool { return epoch.Number == number && epoch.Custody == in })
}

// made is the greatest number of an epoch that is remembered and was not adopted.
func (e *epochs) made() (number uint64) {
	for _, epoch := range e.Epochs {
		if !epoch.Adopted {
			number = max(number, epoch.Number)
		}
	}
	return number
}
