package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"filippo.io/age"

	"github.com/medledger/medledger/events/store/disk"
)

// Chain is a data side's newest chain of increments, to be read.
type Chain struct {
	side       dataSide
	identities []age.Identity
	numbers    []uint64
	// Newest is the header of the newest increment. It is authentic once Read has
	// succeeded.
	Newest Header
}

// OpenChain finds the newest chain in a folder. Its error wraps ErrNone if there is
// none, ErrIncomplete if a file is missing, ErrIdentity if it is encrypted to somebody
// else.
func OpenChain(fsys disk.FS, dir string, identities []age.Identity) (*Chain, error) {
	c := &Chain{side: dataSide{fsys, dir}, identities: identities}
	numbers, err := c.side.numbers()
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNone)
	}
	newest := numbers[len(numbers)-1]
	_, err = c.open(newest, nil, func(r *frameReader) error {
		c.Newest = r.Header
		return nil
	})
	if err != nil {
		return nil, err
	}
	if c.Newest.Number != newest {
		return nil, fmt.Errorf("%s is increment %d under another name: %w", c.name(newest), c.Newest.Number, ErrIncomplete)
	}
	for n := c.Newest.Base; n <= newest; n++ {
		if _, there := slices.BinarySearch(numbers, n); !there {
			return nil, fmt.Errorf("%s is missing: %w", c.name(n), ErrIncomplete)
		}
		c.numbers = append(c.numbers, n)
	}
	return c, nil
}

func (c *Chain) name(number uint64) string { return c.side.path(incrementName(number)) }

// Increments is how many increments the chain has.
func (c *Chain) Increments() int { return len(c.numbers) }

// Read reads every increment to its end and hands out what is in it. Only once it has
// returned without an error is that known to be what this ledger wrote: read with empty
// Contents before anything is done. The secret is the one that authenticated it.
func (c *Chain) Read(ctx context.Context, secret []byte, to Contents) error {
	var before Header
	previous := ""
	for i, number := range c.numbers {
		var h Header
		sum, err := c.open(number, secret, func(r *frameReader) error {
			h = r.Header
			if err := c.follows(i, number, h, before, previous); err != nil {
				return err
			}
			return r.visit(ctx, to)
		})
		if err != nil {
			return err
		}
		before, previous = h, sum
	}
	if before != c.Newest {
		return fmt.Errorf("%s has changed meanwhile: %w", c.name(before.Number), ErrIncomplete)
	}
	return nil
}

// follows holds the header of an increment to those of the chain and of the one before.
func (c *Chain) follows(i int, number uint64, h, before Header, previous string) error {
	switch {
	case h.Number != number:
		return fmt.Errorf("it is increment %d under another name: %w", h.Number, ErrIncomplete)
	case h.Origin != c.Newest.Origin || h.Key != c.Newest.Key:
		return fmt.Errorf("it is of %q, the newest one is of %q: %w", h.Origin, c.Newest.Origin, ErrOther)
	case h.Base != c.Newest.Base:
		return fmt.Errorf("it is of another chain: %w", ErrIncomplete)
	case h.Previous != previous:
		return fmt.Errorf("it goes on from another increment %d than the one that is there: %w", number-1, ErrIncomplete)
	case i > 0 && (h.Log.From != before.Log.To || h.State.From != before.State.To):
		return fmt.Errorf("it does not go on where increment %d ends: %w", number-1, ErrIncomplete)
	}
	return nil
}

// open opens one increment, and returns the SHA-256 of its file, which is that of all
// of it if do read the increment to its end.
func (c *Chain) open(number uint64, secret []byte, do func(*frameReader) error) (sum string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", c.name(number), err)
		}
	}()
	f, err := c.side.fsys.OpenFile(c.name(number), os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hashed := sha256.New()
	r, err := readIncrement(io.TeeReader(f, hashed), c.identities, secret)
	if err != nil {
		return "", err
	}
	if err := do(r); err != nil {
		return "", err
	}
	return hex.EncodeToString(hashed.Sum(nil)), nil
}
