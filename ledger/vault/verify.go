package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Verify reads every version and every document that the vault has rows of, and returns
// how many there are. It is for a vault that was restored to see whether a backup is good:
// of what is destroyed meanwhile it says that it is missing.
func (v *Vault) Verify(ctx context.Context) (versions, documents int, err error) {
	for after := serial(0); after < v.opened; {
		names, next, err := v.keys.listVersions(ctx, after, v.opened)
		if err != nil {
			return versions, documents, err
		}
		for _, n := range names {
			if err := v.verifyVersion(ctx, n); err != nil {
				return versions, documents, fmt.Errorf("reading version %d of a record: %w", n.version, err)
			}
			versions++
		}
		after = next
	}
	for after := serial(0); after < v.opened; {
		places, next, err := v.keys.listDocuments(ctx, after, v.opened)
		if err != nil {
			return versions, documents, err
		}
		for _, p := range places {
			plain, err := v.Document(ctx, p)
			if err != nil {
				return versions, documents, fmt.Errorf("reading a document in space %d: %w", p.Space, err)
			}
			clear(plain)
			documents++
		}
		after = next
	}
	return versions, documents, nil
}

func (v *Vault) verifyVersion(ctx context.Context, n versionName) error {
	c, err := v.Get(ctx, n.record, n.version)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c.Reader)
	return errors.Join(err, c.Reader.Close())
}
