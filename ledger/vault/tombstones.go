package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Exists reports whether there is a vault in a folder. Open makes one where there
// is none; whoever knows that there must be one asks first.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, keysFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Tombstones returns how many records the vault remembers as destroyed. A vault
// that was put back from a backup remembers too few.
func (v *Vault) Tombstones(ctx context.Context) (n int, err error) {
	if err := v.keys.reader.QueryRowContext(ctx, "SELECT count(*) FROM destroyed").Scan(&n); err != nil {
		return 0, fmt.Errorf("counting what the vault destroyed: %w", err)
	}
	return n, nil
}
