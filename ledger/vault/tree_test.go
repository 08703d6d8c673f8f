package vault

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/medledger/medledger/events"
)

// TestReadersRaceSwaps reads, through caches that hold nearly nothing, while records
// come and go and the tree is backed up: nothing that lives ever looks damaged.
func TestReadersRaceSwaps(t *testing.T) {
	cfg := newConfig(t)
	cfg.fanOut, cfg.NodeCache = 3, 1500
	v := openVault(t, cfg)
	var lasting []events.ID
	for i := range 30 {
		id := events.MustNewID()
		mustPut(t, v, id, 1, pattern(i))
		mustPutDocument(t, v, identity(id), pattern(i), Term{"id", id.String()})
		lasting = append(lasting, id)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 1))
			for !stop.Load() {
				i := random.IntN(len(lasting))
				v.cache.drop(lasting[i])
				v.named.wipe()
				if b, err := read(v, lasting[i], 1); err != nil || !bytes.Equal(b, pattern(i)) {
					t.Errorf("a record that lives: %d bytes, %v", len(b), err)
					return
				}
				p, err := v.Find(ctx, Identity, Term{"id", lasting[i].String()})
				if err == nil {
					_, err = v.Document(ctx, p)
				}
				if err != nil {
					t.Errorf("a document that lives: %v", err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for !stop.Load() {
			if err := v.BackupKeys(ctx, new(bytes.Buffer), epoch); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for n := range 25 {
				id := events.MustNewID()
				mustPutAsync(t, v, id, pattern(n))
				var inner sync.WaitGroup
				inner.Go(func() {
					if _, err := read(v, id, 1); err != nil && !errors.Is(err, ErrDestroyed) && !errors.Is(err, ErrNotFound) {
						t.Errorf("a record that goes: %v", err)
					}
				})
				inner.Go(func() {
					if _, err := v.Put(ctx, id, 2, Meta{}, newReader(n)); err != nil && !errors.Is(err, ErrDestroyed) {
						t.Errorf("another version of a record that goes: %v", err)
					}
				})
				var err error
				if n%3 == 0 {
					err = v.Discard(ctx, id, 1)
				} else {
					_, err = v.Destroy(ctx, id)
				}
				if err != nil {
					t.Error(err)
				}
				inner.Wait()
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	wg.Wait()
	if s, err := v.Stats(ctx); err != nil || s.OpenBytes > 1500+3*keySize+nodeOverhead || s.Height < 4 || s.Generation < 10 {
		t.Errorf("%+v, %v", s, err)
	}
	if len(v.keys.tree.changed) != 0 {
		t.Errorf("%d nodes are pinned", len(v.keys.tree.changed))
	}
}

// TestNodeCacheIsBoundedAndWiped: what goes is wiped, what is pinned stays, and what
// was read before something was let go is not taken in.
func TestNodeCacheIsBoundedAndWiped(t *testing.T) {
	const size = 4*keySize + nodeOverhead
	c := newNodeCache(3 * size)
	made := func(i int) *node {
		n := &node{id: nodeID{0, int64(i)}, key: [keySize]byte{1}, children: make([]byte, 4*keySize)}
		n.children[0] = byte(i + 1)
		return n
	}
	first, pinned := made(0), made(1)
	c.add(first, 0)
	c.addPinned(pinned)
	for i := 2; i < 10; i++ {
		c.add(made(i), 0)
		if n, bytes := c.size(); n > 3 || bytes > 3*size {
			t.Fatalf("%d nodes, %d bytes", n, bytes)
		}
	}
	if first.key != [keySize]byte{} || first.children[0] != 0 {
		t.Error("a node that went is not wiped")
	}
	if _, _, ok := c.child(pinned.id, 0); !ok {
		t.Error("a pinned node went")
	}
	c.release(map[nodeID]*node{pinned.id: pinned})
	late := made(20)
	c.add(late, 0)
	if _, released, ok := c.child(late.id, 0); ok || released != 1 || late.children[0] != 0 {
		t.Error("a node that may be out of date was taken in")
	}
	c.wipe()
	if n, bytes := c.size(); n != 0 || bytes != 0 || pinned.children[0] != 0 {
		t.Errorf("%d nodes of %d bytes are left, %v", n, bytes, pinned.children[0])
	}
}

// TestSlotsAreNeverUsedTwice destroys the last ones and opens the vault again.
func TestSlotsAreNeverUsedTwice(t *testing.T) {
	cfg := newConfig(t)
	cfg.fanOut = 2
	seen := map[slot]bool{}
	for range 6 {
		v := openVault(t, cfg)
		for range 3 {
			id := events.MustNewID()
			mustPut(t, v, id, 1, nil)
			s, _, err := v.keys.recordKey(ctx, id)
			if err != nil || seen[s] {
				t.Fatalf("slot %d again: %v, %v", s, seen[s], err)
			}
			seen[s] = true
			if _, err := v.Destroy(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCustodyIsShared: vaults that share a custody leave each other's keys alone.
func TestCustodyIsShared(t *testing.T) {
	a, b := newConfig(t), newConfig(t)
	b.Custody = a.Custody
	va, vb := openVault(t, a), openVault(t, b)
	id, other := events.MustNewID(), events.MustNewID()
	mustPut(t, va, id, 1, pattern(10))
	mustPut(t, vb, other, 1, pattern(20))
	for range 2 {
		doomed := events.MustNewID()
		mustPut(t, va, doomed, 1, nil)
		if _, err := va.Destroy(ctx, doomed); err != nil {
			t.Fatal(err)
		}
	}
	wantRoots(t, a.Custody, 2)
	if err := errors.Join(va.Close(), vb.Close()); err != nil {
		t.Fatal(err)
	}
	mustRead(t, openVault(t, b), other, 1, pattern(20))
	mustRead(t, openVault(t, a), id, 1, pattern(10))
	if _, err := a.Custody.Seal(ctx, epoch, []byte("x"), nil); err != nil {
		t.Errorf("the key of the backups: %v", err)
	}
}
