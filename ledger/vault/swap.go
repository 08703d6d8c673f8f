package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/medledger/medledger/ledger/custody"
)

// errUnsure says that it is not known what became durable: nothing more may be
// written before the vault is opened again.
var errUnsure = errors.New("it is not known what became durable")

// ErrUnverified says that a new generation of the key tree did not read back as it
// was to be. Nothing was destroyed.
var ErrUnverified = errors.New("the new key tree does not read back; nothing was destroyed: check the disk and the custody, then open the vault again, which begins anew")

// complete ends what destroy and discard began: when it returns without an error,
// every key that was doomed is gone, with every way to every copy of it. After an
// error it may be called again without another destruction, unless that error is
// errUnsure or ErrUnverified.
//
// When a vault is opened nothing need be promised: then the vault that it was
// restored from is left its root key, for to open a restored vault may be a drill.
func (t *tree) complete(ctx context.Context, opening bool) error {
	former := !opening
	for {
		doomed, err := t.pending(ctx)
		if err != nil {
			return err
		}
		if len(doomed) == 0 {
			break
		}
		if err := t.swap(ctx, doomed, t.custody); err != nil {
			return err
		}
		former = true
	}
	// Crash before or in it: root keys of former generations, which the next Open
	// destroys. Crash after: the current one alone.
	if err := t.hook.do(stepRetire, func() error { return t.retire(ctx, t.custody, former) }); err != nil {
		return err
	}
	// Hygiene: what is in the log, or not overwritten in the database because of it,
	// has no key. A crash leaves it to the next destruction, or the next Open.
	return t.hook.do(stepTruncate, func() error { return t.truncate(ctx) })
}

// swap makes the next generation of the tree, without the doomed slots, below a new
// root key in a custody, which need not be the one of the last generation. Until the
// generation is committed a crash leaves the last one, the doomed slots in the table
// pending, and perhaps a root key and staged nodes that count for nothing: the next
// Open begins anew with the first step. After the commit it leaves root keys to be
// retired.
func (t *tree) swap(ctx context.Context, doomed []doomedSlot, to custody.Custody) error {
	s := swap{tree: t, doomed: doomed, to: to}
	s.next = t.state
	s.next.generation++
	s.next.kind = to.Kind()
	s.root = t.id.rootName(s.next.generation)
	defer func() { clear(s.topKey[:]) }()
	// Crash before: nothing. Crash after: a root key that nothing is sealed with.
	err := t.hook.do(stepRoot, func() error { return createRoot(ctx, to, s.root) })
	if err != nil {
		return err
	}
	// Crash before: that root key. Crash after: staged nodes too.
	if err := t.hook.do(stepStage, func() error { return s.transaction(ctx, s.stage) }); err != nil {
		return fmt.Errorf("writing the new key tree: %w", err)
	}
	err = t.hook.do(stepVerify, func() error { return s.verify(ctx) })
	if errors.Is(err, custody.ErrUnavailable) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	// The register comes before the generation counts: after that nobody would know
	// any more what to register. It says nothing too early, for what is pending will
	// be destroyed. Crash before, or half-way: not in the register, or a torn entry,
	// which the next append cuts off. Crash after: in it, and once more when the swap
	// is done again, which says the same.
	err = t.hook.do(stepRegister, s.registerDoomed)
	if err != nil {
		return err
	}
	// Crash before: as above. Crash after: the new generation, and the root key of
	// the last one, which the next Open destroys.
	if err := t.hook.do(stepGeneration, func() error { return s.commit(ctx) }); err != nil {
		return fmt.Errorf("committing the new key tree: %w: %w", errUnsure, err)
	}
	return nil
}

// swap is one change of generations under way.
type swap struct {
	*tree
	doomed  []doomedSlot // ascending
	to      custody.Custody
	root    string // the new root key's name
	next    treeState
	guarded slot // what tree.guarded is to be
	topKey  [keySize]byte
	renewed []nodeID
}

// transaction calls f in a transaction of its own and commits it. If that fails it
// answers errUnsure; if f does, nothing has happened.
func (s *swap) transaction(ctx context.Context, f func(context.Context) error) error {
	if _, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := f(ctx); err != nil {
		_, rollbackErr := s.conn.ExecContext(ctx, "ROLLBACK")
		return errors.Join(err, rollbackErr)
	}
	if _, err := s.conn.ExecContext(ctx, "COMMIT"); err != nil {
		// If it took effect there is nothing to roll back.
		_, _ = s.conn.ExecContext(ctx, "ROLLBACK")
		return fmt.Errorf("%w: %w", errUnsure, err)
	}
	return nil
}

// edit is a change of a node's child: another key for it, or zeros.
type edit struct {
	index int64 // of the node
	child int
	key   [keySize]byte
}

// stage writes every node from which a doomed slot can be reached into the table
// staged, with a new key and without the slot, and the new top node's key, sealed
// under the new root key.
func (s *swap) stage(ctx context.Context) error {
	if _, err := s.conn.ExecContext(ctx, "DELETE FROM staged"); err != nil {
		return err
	}
	edits := make([]edit, len(s.doomed))
	for i, at := range s.doomed {
		id, child := s.state.leaf(at.slot)
		edits[i] = edit{index: id.index, child: child}
	}
	var err error
	for level := range s.state.height {
		if edits, err = s.stageLevel(ctx, level, edits); err != nil {
			return err
		}
	}
	s.next.top, err = s.to.Seal(ctx, s.root, s.topKey[:], s.id.topContext(s.next.generation, s.next.height))
	if err != nil {
		return fmt.Errorf("sealing the key of the tree's top: %w", err)
	}
	return s.setMeta(ctx, metaStaged, s.next.marshal())
}

// stageLevel renews the nodes of a level that edits, ascending, are about, and
// returns the edits of the level above. The top node is always renewed.
func (s *swap) stageLevel(ctx context.Context, level int, edits []edit) (above []edit, err error) {
	top := s.state.topID()
	if level == top.level && len(edits) == 0 {
		return nil, s.renew(ctx, top, nil, &s.topKey)
	}
	for len(edits) > 0 {
		id := nodeID{level, edits[0].index}
		n := 1
		for n < len(edits) && edits[n].index == id.index {
			n++
		}
		parent, child := s.state.parent(id)
		up := edit{index: parent.index, child: child}
		if err := s.renew(ctx, id, edits[:n], &up.key); err != nil {
			return nil, err
		}
		if id == top {
			s.topKey = up.key
			return nil, nil
		}
		above, edits = append(above, up), edits[n:]
	}
	return above, nil
}

// renew writes a node with a new key, which it draws, and with other children.
func (s *swap) renew(ctx context.Context, id nodeID, edits []edit, key *[keySize]byte) error {
	n, err := s.open(ctx, id)
	if err != nil {
		return fmt.Errorf("opening a node to be renewed: %w", err)
	}
	defer n.wipe()
	if _, err := io.ReadFull(s.random, key[:]); err != nil {
		return fmt.Errorf("reading randomness for a key: %w", err)
	}
	for i := range edits {
		n.set(edits[i].child, &edits[i].key)
		clear(edits[i].key[:])
	}
	blob, err := sealNode(s.id, id, key, n.children, s.random)
	if err != nil {
		return err
	}
	s.renewed = append(s.renewed, id)
	_, err = s.write.stage.ExecContext(ctx, id.row(), blob)
	return err
}

// registerDoomed registers what was promised to be destroyed. What was discarded may
// be no orphan to another log: a restored ledger may know of it.
func (s *swap) registerDoomed() error {
	var promised []slot
	for _, d := range s.doomed {
		if d.promised {
			promised = append(promised, d.slot)
		}
	}
	return s.register.append(registered{s.id, s.next.generation, s.own, promised})
}

// commit makes the new generation the one that counts.
func (s *swap) commit(ctx context.Context) error {
	// Nobody may be half-way down the tree, and what was opened of it is retired.
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.transaction(ctx, s.install); err != nil {
		return err
	}
	for _, id := range s.renewed {
		s.cache.drop(id)
	}
	s.state, s.tree.topKey, s.custody, s.tree.guarded = s.next, s.topKey, s.to, s.guarded
	return nil
}

func (s *swap) install(ctx context.Context) error {
	for _, query := range []string{
		"INSERT INTO nodes (id, blob) SELECT id, blob FROM staged WHERE true ON CONFLICT (id) DO UPDATE SET blob = excluded.blob",
		"DELETE FROM staged",
	} {
		if _, err := s.conn.ExecContext(ctx, query); err != nil {
			return err
		}
	}
	if n := len(s.doomed); n > 0 {
		if _, err := s.conn.ExecContext(ctx, "DELETE FROM pending WHERE slot <= ?", int64(s.doomed[n-1].slot)); err != nil {
			return err
		}
	}
	if _, err := s.write.deleteMeta.ExecContext(ctx, metaStaged); err != nil {
		return err
	}
	var err error
	if s.guarded, err = s.guardNext(ctx); err != nil {
		return err
	}
	return s.setMeta(ctx, metaTree, s.next.marshal())
}

// retire destroys the root keys of former generations, and those of the vaults that
// this one was restored from if it is to: copies of what they had would else be
// opened with them. Other vaults' keys, in a custody that is shared, are left alone, and so are
// the keys of backups.
func (t *tree) retire(ctx context.Context, in custody.Custody, former bool) error {
	names, err := in.Names(ctx)
	if err != nil {
		return fmt.Errorf("looking for retired root keys: %w", err)
	}
	for _, name := range names {
		id, generation, ok := parseRootName(name)
		if !ok || !(id == t.id && generation < t.state.generation || former && slices.Contains(t.former, id)) {
			continue
		}
		if err := in.Destroy(ctx, name); err != nil {
			return fmt.Errorf("destroying a retired root key: %w", err)
		}
	}
	return nil
}

// truncate truncates the write-ahead log. That somebody reads it is no error:
// nothing depends on it.
func (t *tree) truncate(ctx context.Context) error {
	if _, err := t.conn.ExecContext(ctx, "PRAGMA busy_timeout = 50"); err != nil {
		return err
	}
	busy, err := checkpoint(ctx, t.conn)
	if err != nil {
		return err
	}
	if busy {
		t.log.Debug("the vault's write-ahead log is being read; the next destruction truncates it")
	}
	_, err = t.conn.ExecContext(ctx, "PRAGMA busy_timeout = 10000")
	return err
}
