package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/ledger/custody"
)

// VerifiedBackup says what a backup has.
type VerifiedBackup struct {
	Restored
	Contents, Documents, Destroyed int
}

// VerifyBackup restores a backup into a scratch folder (Config.Dir), which is empty or
// absent, reads all of it and removes the folder. The secrets are those of the key side,
// and lie in it meanwhile; so does the root key that the vault gets. Of a token
// (Config.Helper) only the key of the newest epoch is used, and nothing changes in it.
// Nothing is logged.
func VerifyBackup(ctx context.Context, config Config, r Restoration) (_ *VerifiedBackup, err error) {
	scratch := config.Dir
	if err := refuseNonEmpty(scratch); err != nil {
		return nil, err
	}
	config.Dir, config.Secrets = filepath.Join(scratch, "ledger"), filepath.Join(scratch, "secrets")
	if config, err = config.withDefaults(); err != nil {
		return nil, err
	}
	r.NothingNewer, r.LoseEvents = true, true
	b := &restorer{config: config, restoration: r, folder: config.folder()}
	defer func() { err = errors.Join(err, b.discard(ctx), b.close(), os.RemoveAll(scratch)) }()
	if config.Helper.Socket != "" {
		if b.source, err = openCustody(ctx, b.folder, config); err != nil {
			return nil, err
		}
	}
	b.config.restoring = true
	b.config.Helper = Helper{} // what is made is made in the scratch folder
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	if err := b.check(ctx); err != nil {
		return nil, err
	}
	if err := b.make(ctx); err != nil {
		return nil, err
	}
	return b.readAll(ctx)
}

// readAll opens the restored ledger and reads every content.
func (b *restorer) readAll(ctx context.Context) (_ *VerifiedBackup, err error) {
	l, err := Open(ctx, b.config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := b.count(ctx, l); err != nil {
		return nil, err
	}
	v := &VerifiedBackup{Restored: *b.result}
	if v.Contents, v.Documents, err = l.vault.Verify(ctx); err != nil {
		return nil, fmt.Errorf("a content of the backup cannot be read: %w", err)
	}
	v.Destroyed, err = l.vault.Tombstones(ctx)
	return v, err
}

// discard destroys the keys that a verification had in custody: in the scratch folder, and
// never those of a token.
func (b *restorer) discard(ctx context.Context) error {
	if b.custody == nil || b.custody.Kind() != custody.File {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	names, err := b.custody.Names(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, b.custody.Destroy(ctx, name))
	}
	return errors.Join(errs...)
}
