package vault

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/medledger/medledger/ledger/custody"
)

// tree keeps the named keys: the package comment says how, and why what it destroys
// is gone. The methods that write belong to the committing goroutine and are called
// inside its transaction, through whose connection they write, unless they say
// otherwise; key is for everybody.
//
//	create, discard, destroy    change what a batch is about
//	flush                       writes the nodes that a batch has changed, before
//	                            its commit
//	release or reload           after the commit, or after it failed
//	complete                    after the commit of a transaction with destructions
//	                            that somebody is promised, once for all of them
type tree struct {
	id       vaultID
	former   []vaultID // of the vaults that this one was restored from
	own      slot      // the first that was given out by this one
	random   io.Reader
	log      *slog.Logger
	hook     stepHook
	register *register
	conn     *sql.Conn
	reader   *sql.DB
	write    treeStatements
	read     *sql.Stmt // a node's blob
	cache    *nodeCache

	// turn is held for reading by everybody who goes down the tree, so that
	// generations, and the height, change while nobody is half-way: what is read
	// under it always fits together. It guards what follows, which the committing
	// goroutine may read without it.
	turn    sync.RWMutex
	custody custody.Custody
	state   treeState
	guarded slot // the first whose key was never below a root key in a file
	topKey  [keySize]byte
	broken  bool // it is to be read again, by mend

	// These belong to the committing goroutine.
	changed map[nodeID]*node // pinned, to be written by flush
	emptied []place          // taken out by flush; for readers, by release
	grown   bool             // the state is to be written too
}

// place is a child of a node.
type place struct {
	node  *node
	child int
}

// treeStatements are the statements of the write connection.
type treeStatements struct {
	putNode, doom, stage, setMeta, deleteMeta *sql.Stmt
}

func (w *treeStatements) all() []**sql.Stmt {
	return []**sql.Stmt{&w.putNode, &w.doom, &w.stage, &w.setMeta, &w.deleteMeta}
}

const (
	readNode = "SELECT blob FROM nodes WHERE id = ?"
	putNode  = "INSERT INTO nodes (id, blob) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET blob = excluded.blob"
)

func (t *tree) prepare(ctx context.Context) (err error) {
	for i, query := range []string{
		putNode,
		"INSERT INTO pending (slot, promised) VALUES (?, ?) ON CONFLICT (slot) DO UPDATE SET promised = max(promised, excluded.promised)",
		"INSERT INTO staged (id, blob) VALUES (?, ?)",
		"INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		"DELETE FROM meta WHERE name = ?",
	} {
		if *t.write.all()[i], err = t.conn.PrepareContext(ctx, query); err != nil {
			return fmt.Errorf("preparing %q: %w", query, err)
		}
	}
	if t.read, err = t.reader.PrepareContext(ctx, readNode); err != nil {
		return fmt.Errorf("preparing %q: %w", readNode, err)
	}
	return nil
}

// close wipes what is in memory. Nothing may be called after it.
func (t *tree) close() error {
	var errs []error
	for _, s := range append(t.write.all(), &t.read) {
		if *s != nil {
			errs = append(errs, (*s).Close())
		}
	}
	t.cache.wipe()
	clear(t.topKey[:])
	return errors.Join(errs...)
}

// key returns the key of a slot; errNoKey if there is none, errUnread if that could
// not be found out, and any other error if the tree is damaged.
func (t *tree) key(ctx context.Context, s slot) (key [keySize]byte, err error) {
	if s <= 0 || int64(s) >= 1<<indexBits {
		return key, fmt.Errorf("slot %d: %w", s, errNoKey)
	}
	ctx = context.WithoutCancel(ctx)
	if err := t.enter(ctx); err != nil {
		return key, err
	}
	defer t.leave()
	if !t.state.fits(s) {
		return key, fmt.Errorf("slot %d: %w", s, errNoKey)
	}
	n, child := t.state.leaf(s)
	return t.childKey(ctx, n, child)
}

// childKey returns a key that a node holds, and opens the node if need be. turn is
// held, or the caller is the committing goroutine.
func (t *tree) childKey(ctx context.Context, id nodeID, child int) (key [keySize]byte, err error) {
	key, released, cached := t.cache.child(id, child)
	if !cached {
		n, err := t.open(ctx, id)
		if err != nil {
			return key, err
		}
		key = n.child(child)
		t.cache.add(n, released)
	}
	if key == ([keySize]byte{}) {
		return key, fmt.Errorf("child %d of node %d of level %d: %w", child, id.index, id.level, errNoKey)
	}
	return key, nil
}

// open reads and opens a node.
func (t *tree) open(ctx context.Context, id nodeID) (*node, error) {
	n := &node{id: id}
	var err error
	if n.key, err = t.nodeKey(ctx, id); err != nil {
		return nil, err
	}
	var blob []byte
	err = t.read.QueryRowContext(ctx, id.row()).Scan(&blob)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("node %d of level %d is missing: %w", id.index, id.level, errWrapped)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	}
	n.children, err = unsealNode(t.id, id, &n.key, blob, t.state.fanOut)
	return n, err
}

// nodeKey returns a node's own key.
func (t *tree) nodeKey(ctx context.Context, id nodeID) ([keySize]byte, error) {
	if id == t.state.topID() {
		return t.topKey, nil
	}
	above, child := t.state.parent(id)
	return t.childKey(ctx, above, child)
}

// create keeps the keys of new slots.
func (t *tree) create(ctx context.Context, keys []newKey) error {
	for _, k := range keys {
		for !t.state.fits(k.slot) {
			if err := t.grow(ctx); err != nil {
				return err
			}
		}
		id, child := t.state.leaf(k.slot)
		n, err := t.toChange(ctx, id)
		if err != nil {
			return fmt.Errorf("keeping a key: %w", err)
		}
		t.cache.change(n, child, k.key)
	}
	return nil
}

// toChange returns a node that flush will write, a new one if there is none.
func (t *tree) toChange(ctx context.Context, id nodeID) (*node, error) {
	if n := t.changed[id]; n != nil {
		return n, nil
	}
	n := t.cache.pin(id)
	if n == nil {
		opened, err := t.open(ctx, id)
		if errors.Is(err, errNoKey) {
			opened, err = t.add(ctx, id)
		}
		if err != nil {
			return nil, err
		}
		n = t.cache.addPinned(opened)
	}
	t.changed[id] = n
	return n, nil
}

// add makes a node without children, and gives its key to the node above it.
func (t *tree) add(ctx context.Context, id nodeID) (*node, error) {
	key, err := newKeyBytes(t.random)
	if err != nil {
		return nil, err
	}
	defer clear(key[:])
	above, child := t.state.parent(id)
	parent, err := t.toChange(ctx, above)
	if err != nil {
		return nil, err
	}
	t.cache.change(parent, child, key)
	return &node{id: id, key: *key, children: make([]byte, t.state.fanOut*keySize)}, nil
}

// grow adds a level above the top node. The new top node's key is sealed by the
// same root key.
func (t *tree) grow(ctx context.Context) error {
	state := t.state
	if state.height++; state.height > maxHeight {
		return fmt.Errorf("the key tree has its %d levels: %w", maxHeight, errTree)
	}
	top := &node{id: state.topID(), children: make([]byte, state.fanOut*keySize)}
	key, err := newKeyBytes(t.random)
	if err != nil {
		return err
	}
	defer clear(key[:])
	top.key = *key
	top.set(0, &t.topKey)
	state.top, err = t.custody.Seal(ctx, t.id.rootName(state.generation), key[:], t.id.topContext(state.generation, state.height))
	if err != nil {
		return fmt.Errorf("sealing the key of the tree's top: %w", err)
	}
	t.turn.Lock()
	defer t.turn.Unlock()
	t.changed[top.id] = t.cache.addPinned(top)
	t.state, t.topKey, t.grown = state, *key, true
	return nil
}

// destroy dooms a slot: complete takes its key out of the tree.
func (t *tree) destroy(ctx context.Context, s slot) error {
	return t.doom(ctx, s, true)
}

func (t *tree) doom(ctx context.Context, s slot, promised bool) error {
	_, err := t.write.doom.ExecContext(ctx, int64(s), promised)
	return err
}

// discard takes the key of a slot out of its node, and dooms the slot: nobody is
// promised anything, but whoever has an older copy of the node must not find it there
// for ever. The next destruction renews the node's key.
func (t *tree) discard(ctx context.Context, s slot) error {
	id, child := t.state.leaf(s)
	n, err := t.toChange(ctx, id)
	if err != nil {
		return fmt.Errorf("discarding a key: %w", err)
	}
	// Readers find the row until the commit, and are not to find its slot empty.
	t.emptied = append(t.emptied, place{n, child})
	return t.doom(ctx, s, false)
}

// flush writes the nodes that were changed, each sealed again under its own key.
func (t *tree) flush(ctx context.Context) error {
	plain := make([]byte, t.state.fanOut*keySize)
	defer clear(plain)
	for id, n := range t.changed {
		// Only this goroutine changes nodes, so it may read one without a lock.
		copy(plain, n.children)
		for _, p := range t.emptied {
			if p.node == n {
				clear(plain[p.child*keySize : (p.child+1)*keySize])
			}
		}
		blob, err := sealNode(t.id, id, &n.key, plain, t.random)
		if err != nil {
			return err
		}
		if _, err := t.write.putNode.ExecContext(ctx, id.row(), blob); err != nil {
			return fmt.Errorf("writing a node of the key tree: %w", err)
		}
	}
	if !t.grown {
		return nil
	}
	return t.setMeta(ctx, metaTree, t.state.marshal())
}

func (t *tree) setMeta(ctx context.Context, name string, value []byte) error {
	_, err := t.write.setMeta.ExecContext(ctx, name, value)
	return err
}

// release says that what flush wrote is committed.
func (t *tree) release() {
	if len(t.changed) == 0 {
		return
	}
	for _, p := range t.emptied {
		t.cache.change(p.node, p.child, new([keySize]byte))
	}
	t.cache.release(t.changed)
	t.forget()
}

// reload reads the tree again after a commit that failed: nobody knows whether it
// took effect. The vault takes no more writes after that, but it is still read.
func (t *tree) reload(ctx context.Context) {
	t.turn.Lock()
	defer t.turn.Unlock()
	t.forget()
	t.broken = true
	t.mend(ctx)
}

// forget ends what a batch has left.
func (t *tree) forget() {
	clear(t.changed)
	t.emptied, t.grown = t.emptied[:0], false
}

// mend tries to read a broken tree again; turn is held.
func (t *tree) mend(ctx context.Context) error {
	t.cache.wipe()
	state, err := readState(ctx, t.reader)
	if err != nil {
		return err
	}
	last := t.state
	t.state = state
	if !bytes.Equal(last.marshal(), state.marshal()) {
		if err := t.openTop(ctx); err != nil {
			t.state = treeState{}
			return err
		}
	}
	t.broken = false
	return nil
}

// enter begins going down the tree, if it can be read; leave must follow then.
func (t *tree) enter(ctx context.Context) error {
	t.turn.RLock()
	if !t.broken {
		return nil
	}
	t.turn.RUnlock()
	t.turn.Lock()
	var err error
	if t.broken {
		err = t.mend(ctx)
	}
	t.turn.Unlock()
	if err != nil {
		return fmt.Errorf("%w: %w", errUnread, err)
	}
	t.turn.RLock()
	return nil
}

func (t *tree) leave() { t.turn.RUnlock() }

// openTop opens the key of the top node with the root key.
func (t *tree) openTop(ctx context.Context) error {
	key, err := t.custody.Open(ctx, t.id.rootName(t.state.generation), t.state.top, t.id.topContext(t.state.generation, t.state.height))
	if err != nil {
		return err
	}
	defer clear(key)
	if len(key) != keySize {
		return fmt.Errorf("the key of the tree's top has %d bytes: %w", len(key), errTree)
	}
	copy(t.topKey[:], key)
	return nil
}
