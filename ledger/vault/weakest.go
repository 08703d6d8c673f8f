package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/custody"
)

// A destruction is as good as the weakest custody that the key was ever below: an image
// of a folder from before a move out of a file, with the file's root key, opens what was
// there then, whatever becomes of the token. The keys of slots from tree.guarded on were
// never below a root key in a file.

// readGuarded returns the first slot whose key was never below a root key in a file. Of
// a vault that does not say so, because it was restored, upgraded or made by an earlier
// program, nothing is known: it begins with the next slot that is given out.
func readGuarded(ctx context.Context, on querier) (from slot, known bool, err error) {
	b, err := readMeta(ctx, on, metaGuarded)
	if err != nil {
		return 0, false, err
	}
	if b == nil {
		last, err := readSlot(ctx, on, metaSlot)
		return last + 1, false, err
	}
	from, err = readSlot(ctx, on, metaGuarded)
	return from, true, err
}

// guardNext begins anew with the next slot, when the root key leaves a file. It is part
// of the transaction that makes the new generation count: a crash leaves both or none.
func (s *swap) guardNext(ctx context.Context) (from slot, err error) {
	if s.state.kind != custody.File || s.next.kind == custody.File {
		return s.tree.guarded, nil
	}
	last, err := readSlot(ctx, s.conn, metaSlot)
	if err != nil {
		return 0, err
	}
	return last + 1, s.setMeta(ctx, metaGuarded, slotBytes(last+1))
}

// Weakest returns the weakest custody that a record's key was ever below. It is to be
// asked before Destroy: of a key that is not there any more only what holds for all of
// the vault's keys is known.
func (v *Vault) Weakest(ctx context.Context, record events.ID) (custody.Kind, error) {
	return v.weakest(ctx, recordName(record))
}

// WeakestOfPatient is Weakest for the key of a patient's documents in Identity.
func (v *Vault) WeakestOfPatient(ctx context.Context, patient events.ID) (custody.Kind, error) {
	return v.weakest(ctx, keyName{patientKey, patient})
}

func (v *Vault) weakest(ctx context.Context, name keyName) (custody.Kind, error) {
	if err := v.enter(ctx); err != nil {
		return "", err
	}
	defer v.leave()
	var at slot
	var err error
	if name.kind == recordKey {
		var version uint32
		var wrapped []byte
		err = v.keys.read.recordKey.QueryRowContext(ctx, name.owner[:]).Scan(&at, &version, &wrapped)
		err = v.keys.absent(ctx, err, name)
	} else {
		at, _, err = v.keys.lookupKey(ctx, name)
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDestroyed) {
		at, err = 0, nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for the custody of a key: %w", err)
	}
	t := v.keys.tree
	t.turn.RLock()
	defer t.turn.RUnlock()
	if at < t.guarded {
		return custody.File, nil
	}
	return t.state.kind, nil
}
