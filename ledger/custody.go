package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/medledger/medledger/events/store/segment"
	"github.com/medledger/medledger/ledger/backup"
	"github.com/medledger/medledger/ledger/custody"
	"github.com/medledger/medledger/ledger/custody/token"
	"github.com/medledger/medledger/ledger/vault"
)

// openCustody opens the custody of the vault's root key, which the caller closes.
func openCustody(ctx context.Context, f Folder, c Config) (keys custody.Custody, err error) {
	if c.Helper.Socket != "" {
		keys, err = token.Dial(ctx, token.Config{Socket: c.Helper.Socket, ServerUIDs: []uint32{c.Helper.User}})
	} else {
		keys, err = custody.OpenFolder(custody.FolderConfig{Dir: f.RootKeys(), FS: c.FS, Random: c.Random})
	}
	if err != nil {
		return nil, fmt.Errorf("opening the custody of the vault's root key: %w", err)
	}
	return keys, nil
}

// VaultStats says how the vault's keys are doing.
func (l *Ledger) VaultStats(ctx context.Context) (vault.Stats, error) { return l.vault.Stats(ctx) }

// MoveCustody moves the vault's root key to the token, or out of it again into the
// folder of the secrets. The root key itself never moves: the tree of keys gets another
// one, there, and the former is destroyed. Everything else stays. The ledger must not be
// open; whatever interrupts it, calling it again completes it. config.Helper says where
// the token is, in either case.
//
// Keys of the backups' epochs do not move. Those in the folder are destroyed on their day
// from where the ledger is then. A token that is left nobody asks any more, so a move out
// of it is refused while an epoch's key lives there (ErrLivingEpochs), unless retireEpochs:
// then the keys of the living epochs in the custody that is left are destroyed first, and
// nothing is restored from the backups before. Crash in between: a ledger whose next backup
// begins an epoch.
func MoveCustody(ctx context.Context, config Config, to custody.Kind, retireEpochs bool) (err error) {
	config, err = config.withDefaults()
	if err != nil {
		return err
	}
	if config.Helper.Socket == "" {
		return errors.New("there is no token; name the socket of medledger-token with custody-socket")
	}
	f := config.folder()
	if _, err := f.Origin(config.FS); err != nil {
		return err
	}
	release, err := segment.Lock(storeConfig(f, config, 0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	inToken, err := openCustody(ctx, f, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inToken.Close()) }()
	config.Helper = Helper{}
	inFolder, err := openCustody(ctx, f, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inFolder.Close()) }()
	leaves := custody.Token
	if to == custody.Token {
		leaves = custody.File
	}
	if err := leaveEpochs(ctx, f, config, inToken, inFolder, leaves, retireEpochs); err != nil {
		return err
	}
	switch to {
	case custody.Token:
		return vault.MoveCustody(ctx, vaultConfig(f, config, inFolder), inToken)
	case custody.File:
		return vault.MoveCustody(ctx, vaultConfig(f, config, inToken), inFolder)
	}
	return fmt.Errorf("there is no custody %q", to)
}

// leaveEpochs sees to it that no epoch of the backups lives on in a custody that is left and
// not looked at again.
func leaveEpochs(ctx context.Context, f Folder, config Config, inToken, inFolder custody.Custody, leaves custody.Kind, retire bool) error {
	vkey, verifier, err := verifierOf(config.FS, filepath.Join(f.Secrets, logKeyFile))
	if err != nil {
		return err
	}
	k := new(keys)
	if err := readCommandsKey(f, config.FS, k); err != nil {
		return err
	}
	c := backupConfig(f, config, k, vkey, verifier.Name(), inToken)
	c.Elsewhere = inFolder
	backups := backup.New(c)
	if retire {
		return backups.RetireIn(ctx, leaves)
	}
	living, err := backups.LivingIn(ctx, leaves)
	if err == nil && leaves == custody.Token && len(living) > 0 {
		err = fmt.Errorf("%w: %v", ErrLivingEpochs, living)
	}
	return err
}
