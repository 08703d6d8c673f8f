package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/medledger/medledger/ledger/custody"
)

// lineage returns the vault's id and those of the vaults that it was restored from.
func (t *tree) lineage() []vaultID { return append([]vaultID{t.id}, t.former...) }

// BackupKeys writes the key tree as it is at one moment, with the key of its top
// sealed under a key in custody that the caller has made for an epoch. Whoever has
// what it writes, and that key, can open everything that the vault had at that
// moment: so the epoch's key must be destroyed before it may be said of what was
// destroyed since that no backup opens it. It runs beside other calls. What Backup
// wrote before, and what it will write, is restored with it; but what was put after
// it has no key in it.
func (v *Vault) BackupKeys(ctx context.Context, w io.Writer, epoch string) error {
	if err := v.enter(ctx); err != nil {
		return err
	}
	defer v.leave()
	if err := custody.CheckName(epoch); err != nil {
		return fmt.Errorf("the name of an epoch's key: %w: %w", ErrInvalid, err)
	}
	if _, _, ok := parseRootName(epoch); ok {
		return fmt.Errorf("%q is the name of a root key: %w", epoch, ErrInvalid)
	}
	if err := v.keys.tree.backup(ctx, w, epoch); err != nil {
		return fmt.Errorf("backing up the vault's keys: %w", err)
	}
	return nil
}

func (t *tree) backup(ctx context.Context, w io.Writer, epoch string) (err error) {
	// A transaction reads the database as it was when it began. It keeps the
	// write-ahead log from being truncated, which is no more than hygiene.
	tx, err := t.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() {
		if e := tx.Rollback(); !errors.Is(e, sql.ErrTxDone) {
			err = errors.Join(err, e)
		}
	}()
	head, err := t.backupHead(ctx, tx, epoch)
	if err != nil {
		return err
	}
	out, err := newEntryWriter(w, keysFormat)
	if err != nil {
		return err
	}
	if err := out.write(head); err != nil {
		return err
	}
	err = eachRow(ctx, tx, "SELECT id, blob FROM nodes ORDER BY id", func(rows *sql.Rows) error {
		var row int64
		e := entry{kind: entryNode}
		if err := rows.Scan(&row, &e.bytes); err != nil {
			return err
		}
		var ok bool
		if e.node, ok = nodeOfRow(row); !ok {
			return fmt.Errorf("row %d is no node: %w", row, errTree)
		}
		return out.write(e)
	})
	if err != nil {
		return err
	}
	return out.end()
}

// backupHead begins the transaction, and seals the top key of its generation while no
// other can begin to count: the root key is still there.
func (t *tree) backupHead(ctx context.Context, tx *sql.Tx, epoch string) (head entry, err error) {
	if err := t.enter(ctx); err != nil {
		return head, err
	}
	defer t.leave()
	state, err := readState(ctx, tx)
	if err != nil {
		return head, err
	}
	last, err := readSlot(ctx, tx, metaSlot)
	if err != nil {
		return head, err
	}
	name := t.id.rootName(state.generation)
	topKey, err := t.custody.Open(ctx, name, state.top, t.id.topContext(state.generation, state.height))
	if err != nil {
		return head, fmt.Errorf("opening the key of the tree's top: %w", err)
	}
	defer clear(topKey)
	sealed, err := t.custody.Seal(ctx, epoch, topKey, t.id.epochContext(state.generation, state.height, epoch))
	if err != nil {
		return head, fmt.Errorf("sealing the key of the tree's top for epoch %q: %w", epoch, err)
	}
	return entry{
		kind: entryTree, vaults: t.lineage(), number: state.generation, slot: last,
		tree: treeShape{state.fanOut, state.height, epoch}, bytes: sealed,
	}, nil
}
