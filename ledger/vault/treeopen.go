package vault

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/medledger/medledger/ledger/custody"
)

// The names in meta of what belongs to the tree.
const (
	metaVault  = "vault"       // its id
	metaFormer = "former"      // the ids of the vaults that it was restored from
	metaTree   = "tree"        // treeState
	metaStaged = "staged-tree" // treeState, of the generation that is being made
	metaSerial = "last-serial" // the last serial that was given out, when rows were deleted
	metaSlot   = "last-slot"   // the last slot that was given out
	metaOwn    = "own-slot"    // the first that was given out since a restoration
	// metaGuarded is the first slot whose key was never below a root key in a file.
	metaGuarded = "guarded-slot"
	metaMoving  = "moving" // moving, while MoveCustody is at work
)

var (
	// ErrRootKey is wrapped by the errors of Open about the root key: that it is not
	// in custody, or not the vault's.
	ErrRootKey = errors.New("root key refused")
	// ErrMoving says that MoveCustody was interrupted.
	ErrMoving = errors.New("moving the root key to another custody was interrupted; run it again")
)

// readMeta returns a value of meta, nil if there is none.
func readMeta(ctx context.Context, on querier, name string) (value []byte, err error) {
	if _, err := found(on.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = ?", name), &value); err != nil {
		return nil, fmt.Errorf("reading %q of the vault: %w", name, err)
	}
	return value, nil
}

func readSlot(ctx context.Context, on querier, name string) (slot, error) {
	b, err := readMeta(ctx, on, name)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 || b[0] > 0x7f {
		return 0, fmt.Errorf("bad mark %q of a key's slot: restore %s from its backup", name, keysFile)
	}
	return slot(binary.BigEndian.Uint64(b)), nil
}

func readState(ctx context.Context, on querier) (s treeState, err error) {
	b, err := readMeta(ctx, on, metaTree)
	if err != nil {
		return s, err
	}
	if s, err = parseTreeState(b); err != nil {
		return s, fmt.Errorf("%w: restore the vault from its backup", err)
	}
	return s, nil
}

// readIDs returns the vault's id and those of the vaults it was restored from.
func readIDs(ctx context.Context, on querier) (id vaultID, former []vaultID, err error) {
	own, err := readMeta(ctx, on, metaVault)
	if err != nil {
		return id, nil, err
	}
	rest, err := readMeta(ctx, on, metaFormer)
	if err != nil {
		return id, nil, err
	}
	if len(own) != len(id) || len(rest)%len(id) != 0 {
		return id, nil, fmt.Errorf("the vault's id has %d bytes: restore %s from its backup", len(own), keysFile)
	}
	for ; len(rest) > 0; rest = rest[len(id):] {
		former = append(former, vaultID(rest[:len(id)]))
	}
	return vaultID(own), former, nil
}

// start opens the tree of a prepared database, and goes on with what a crash
// interrupted: it makes the first root key, completes destructions, and destroys
// root keys that are retired.
func (t *tree) start(ctx context.Context, moveTo custody.Custody) (err error) {
	if t.id, t.former, err = readIDs(ctx, t.conn); err != nil {
		return err
	}
	if t.own, err = readSlot(ctx, t.conn, metaOwn); err != nil {
		return err
	}
	if t.state, err = readState(ctx, t.conn); err != nil {
		return err
	}
	guarded, known, err := readGuarded(ctx, t.conn)
	if err != nil {
		return err
	}
	t.guarded = guarded
	if err := t.resumeMove(ctx, moveTo); err != nil {
		return err
	}
	if here, kind := t.custody.Kind(), t.state.kind; here != kind {
		return fmt.Errorf("%w: the vault's root key is in custody %q, not %q: say so with the setting custody-socket, or move the key with 'medledger vault move'", ErrRootKey, kind, here)
	}
	if t.state.generation == 0 {
		return t.found(ctx)
	}
	doomed, err := t.pending(ctx)
	if err != nil {
		return err
	}
	if err := t.checkRoots(ctx, len(doomed) > 0); err != nil {
		return err
	}
	if err := t.openTop(ctx); err != nil {
		return fmt.Errorf("%w: opening the key tree with the root key of generation %d: %w", ErrRootKey, t.state.generation, err)
	}
	if !known {
		// Crash before: nothing is known still. Crash after: from where on it is.
		if err := t.setMeta(ctx, metaGuarded, slotBytes(guarded)); err != nil {
			return fmt.Errorf("noting which keys were never below a root key in a file: %w", err)
		}
	}
	return t.complete(ctx, true)
}

// checkRoots refuses a folder that is not the present one: whose root key is
// destroyed, or of which a later generation is about. It destroys nothing, for the
// keys in custody are those of the vault that lives elsewhere.
func (t *tree) checkRoots(ctx context.Context, swapping bool) error {
	names, err := t.custody.Names(ctx)
	if err != nil {
		return fmt.Errorf("looking for the root key: %w", err)
	}
	if !slices.Contains(names, t.id.rootName(t.state.generation)) {
		return fmt.Errorf("%w: the root key of generation %d is not in custody. If this folder is a copy from before a destruction, nothing opens it any more: use the present folder, or restore a backup with the newest key tree. Else give the right custody", ErrRootKey, t.state.generation)
	}
	last := t.state.generation
	if swapping {
		last++ // of an attempt that was interrupted
	}
	for _, name := range names {
		if id, generation, ok := parseRootName(name); ok && id == t.id && generation > last {
			return fmt.Errorf("%w: this folder is of generation %d, but custody has the root key of generation %d: it is an old copy; use the present folder", ErrRootKey, t.state.generation, generation)
		}
	}
	return nil
}

// found makes the first root key and the tree, with the ledger's own keys. Crash
// before the commit: a root key that nothing is sealed with, which the next call
// destroys. Crash after: the vault.
func (t *tree) found(ctx context.Context) error {
	state := t.state
	state.generation = firstGeneration
	if err := createRoot(ctx, t.custody, t.id.rootName(state.generation)); err != nil {
		return err
	}
	tx, err := t.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := t.plant(ctx, tx, state); err != nil {
		return errors.Join(fmt.Errorf("making the key tree: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if t.state, err = readState(ctx, t.conn); err != nil {
		return err
	}
	return t.openTop(ctx)
}

func (t *tree) plant(ctx context.Context, on execer, state treeState) error {
	b := newTreeBuilder(on, t.id, state.fanOut, t.random)
	defer b.wipe()
	if err := b.addLedgerKeys(ctx, 1); err != nil {
		return err
	}
	return b.finish(ctx, t.custody, state.generation)
}

// createRoot makes a root key. One of its name was made by an attempt that came to
// nothing, perhaps not even durably: it goes.
func createRoot(ctx context.Context, in custody.Custody, name string) error {
	err := in.Create(ctx, name)
	if errors.Is(err, custody.ErrExists) {
		if err = in.Destroy(ctx, name); err == nil {
			err = in.Create(ctx, name)
		}
	}
	if err != nil {
		return fmt.Errorf("making a root key: %w", err)
	}
	return nil
}

// treeBuilder makes a tree of keys that come in the order of their slots.
type treeBuilder struct {
	on     execer
	id     vaultID
	random io.Reader
	state  treeState
	leaf   *node // being filled
	last   slot
	count  int // of keys added
	// above has the keys of the finished nodes of level 0, ascending.
	above []placedKey
}

type placedKey struct {
	index int64
	key   [keySize]byte
}

func newTreeBuilder(on execer, id vaultID, fanOut int, random io.Reader) *treeBuilder {
	return &treeBuilder{on: on, id: id, random: random, state: treeState{fanOut: fanOut}}
}

// add adds the key of a slot, which is beyond all before it.
func (b *treeBuilder) add(ctx context.Context, s slot, key *[keySize]byte) error {
	if s <= b.last {
		return fmt.Errorf("slot %d comes after slot %d: %w", s, b.last, errTree)
	}
	id, child := b.state.leaf(s)
	if b.leaf != nil && b.leaf.id != id {
		if err := b.finishLeaf(ctx); err != nil {
			return err
		}
	}
	if b.leaf == nil {
		b.leaf = &node{id: id, children: make([]byte, b.state.fanOut*keySize)}
	}
	b.leaf.set(child, key)
	b.last = s
	b.count++
	return nil
}

// addLedgerKeys makes the ledger's own keys, in slots from first on, and their
// owners.
func (b *treeBuilder) addLedgerKeys(ctx context.Context, first slot) error {
	for i, name := range ledgerKeys {
		key, err := newKeyBytes(b.random)
		if err != nil {
			return err
		}
		s := first + slot(i)
		proof, err := prove(key, name, s, b.random)
		if err == nil {
			err = b.add(ctx, s, key)
		}
		clear(key[:])
		if err == nil {
			_, err = b.on.ExecContext(ctx, insertOwner, int64(name.kind), name.owner[:], int64(s), proof)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *treeBuilder) finishLeaf(ctx context.Context) error {
	key, err := b.write(ctx, b.leaf)
	if err != nil {
		return err
	}
	b.above = append(b.above, placedKey{b.leaf.id.index, key})
	b.leaf.wipe()
	b.leaf = nil
	return nil
}

// write gives a node a key and writes it.
func (b *treeBuilder) write(ctx context.Context, n *node) (key [keySize]byte, err error) {
	if _, err := io.ReadFull(b.random, key[:]); err != nil {
		return key, fmt.Errorf("reading randomness for a key: %w", err)
	}
	blob, err := sealNode(b.id, n.id, &key, n.children, b.random)
	if err != nil {
		return key, err
	}
	_, err = b.on.ExecContext(ctx, putNode, n.id.row(), blob)
	return key, err
}

// finish writes the levels above, and the state of a generation whose root key is
// there.
func (b *treeBuilder) finish(ctx context.Context, in custody.Custody, generation uint64) error {
	if b.leaf == nil {
		return fmt.Errorf("a tree without keys: %w", errTree)
	}
	if err := b.finishLeaf(ctx); err != nil {
		return err
	}
	height := 1
	for ; len(b.above) > 1 || b.above[0].index > 0; height++ {
		if height == maxHeight {
			return fmt.Errorf("more than %d levels: %w", maxHeight, errTree)
		}
		if err := b.finishLevel(ctx, height); err != nil {
			return err
		}
	}
	b.state.height, b.state.generation, b.state.kind = height, generation, in.Kind()
	var err error
	b.state.top, err = in.Seal(ctx, b.id.rootName(generation), b.above[0].key[:], b.id.topContext(generation, height))
	if err != nil {
		return fmt.Errorf("sealing the key of the tree's top: %w", err)
	}
	for name, value := range map[string][]byte{metaTree: b.state.marshal(), metaSlot: slotBytes(b.last)} {
		const upsert = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
		if _, err := b.on.ExecContext(ctx, upsert, name, value); err != nil {
			return err
		}
	}
	return nil
}

// finishLevel puts the keys in above into nodes of a level, and theirs into above.
func (b *treeBuilder) finishLevel(ctx context.Context, level int) error {
	below := b.above
	b.above = nil
	for len(below) > 0 {
		index := below[0].index / int64(b.state.fanOut)
		n := &node{id: nodeID{level, index}, children: make([]byte, b.state.fanOut*keySize)}
		for len(below) > 0 && below[0].index/int64(b.state.fanOut) == index {
			n.set(int(below[0].index%int64(b.state.fanOut)), &below[0].key)
			clear(below[0].key[:])
			below = below[1:]
		}
		key, err := b.write(ctx, n)
		n.wipe()
		if err != nil {
			return err
		}
		b.above = append(b.above, placedKey{index, key})
	}
	return nil
}

func (b *treeBuilder) wipe() {
	if b.leaf != nil {
		b.leaf.wipe()
	}
	for i := range b.above {
		clear(b.above[i].key[:])
	}
}

// doomedSlot is a slot whose key is to go. It is promised if somebody was told so:
// what was discarded, nobody knows of.
type doomedSlot struct {
	slot
	promised bool
}

// pending returns the first slots that are doomed, ascending, as many as one
// generation destroys at most.
func (t *tree) pending(ctx context.Context) (doomed []doomedSlot, err error) {
	err = eachRow(ctx, t.conn, fmt.Sprintf("SELECT slot, promised FROM pending ORDER BY slot LIMIT %d", maxRegistered), func(rows *sql.Rows) error {
		var d doomedSlot
		err := rows.Scan(&d.slot, &d.promised)
		doomed = append(doomed, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what is to be destroyed: %w", err)
	}
	return doomed, nil
}
