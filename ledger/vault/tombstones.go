package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events"
)

// Exists reports whether there is a vault in a folder. Open makes one where there
// is none; whoever knows that there must be one asks first.
func Exists(dir string) (bool, error) {
	// Of an upgrade that was interrupted only the second may be there.
	for _, name := range []string{keysFile, asideFile} {
		_, err := os.Stat(filepath.Join(dir, name))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// Tombstones returns how many records the vault remembers as destroyed. A vault
// that was put back from a backup remembers too few.
func (v *Vault) Tombstones(ctx context.Context) (n int, err error) {
	if err := v.keys.reader.QueryRowContext(ctx, "SELECT count(*) FROM destroyed WHERE kind = ?", int64(recordKey)).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting what the vault destroyed: %w", err)
	}
	return n, nil
}

// WithoutTombstone returns those of the records that the vault does not remember as
// destroyed.
func (v *Vault) WithoutTombstone(ctx context.Context, records []events.ID) (_ []events.ID, err error) {
	rows, err := v.keys.reader.QueryContext(ctx, "SELECT owner FROM destroyed WHERE kind = ?", int64(recordKey))
	if err != nil {
		return nil, fmt.Errorf("listing what the vault destroyed: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	there := make(map[string]bool)
	for rows.Next() {
		var owner []byte
		if err := rows.Scan(&owner); err != nil {
			return nil, fmt.Errorf("listing what the vault destroyed: %w", err)
		}
		there[string(owner)] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing what the vault destroyed: %w", err)
	}
	var without []events.ID
	for _, record := range records {
		if !there[string(record[:])] {
			without = append(without, record)
		}
	}
	return without, nil
}
