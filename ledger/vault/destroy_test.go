package vault

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/events"
)

func TestDestroyEndsReaders(t *testing.T) {
	v := openVault(t, newConfig(t))
	id := events.MustNewID()
	mustPut(t, v, id, 1, pattern(1000))
	mustPut(t, v, id, 2, pattern(5*chunkSize))
	var open []*Content
	for _, version := range []uint32{1, 2} {
		c, err := v.Get(ctx, id, version)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.Reader, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	keys, err := v.Destroy(ctx, id)
	if err != nil || keys != 3 {
		t.Fatalf("%d keys, %v", keys, err)
	}
	for _, c := range open {
		_, err := c.Reader.Read(make([]byte, 1))
		wantErr(t, err, ErrDestroyed)
		if err := c.Reader.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(v.active.names) != 0 || v.cache.n != 0 {
		t.Errorf("left in memory: %d records, %d keys", len(v.active.names), v.cache.n)
	}
	if _, err := os.Stat(largePath(v.cfg.Dir, id, 2)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("large file after destruction: %v", err)
	}
	for _, version := range []uint32{1, 2, 3} {
		_, err := v.Get(ctx, id, version)
		wantErr(t, err, ErrDestroyed)
		_, err = v.Opening(ctx, id, version)
		wantErr(t, err, ErrDestroyed)
		for _, size := range []int{0, 2 * chunkSize} {
			_, err = v.Put(ctx, id, version, Meta{}, bytes.NewReader(make([]byte, size)))
			wantErr(t, err, ErrDestroyed)
		}
	}
	keys, err = v.Destroy(ctx, id)
	if err != nil || keys != 3 {
		t.Fatalf("again: %d keys, %v", keys, err)
	}
}

func TestDiscardAndPutAgain(t *testing.T) {
	v := openVault(t, newConfig(t))
	id := events.MustNewID()
	for _, size := range []int{100, 3 * chunkSize, 0} {
		mustPut(t, v, id, 1, pattern(size))
		mustRead(t, v, id, 1, pattern(size))
		c, err := v.Get(ctx, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Discard(ctx, id, 1); err != nil {
			t.Fatal(err)
		}
		_, err = c.Reader.Read(make([]byte, 1))
		wantErr(t, err, ErrNotFound)
		_, err = v.Get(ctx, id, 1)
		wantErr(t, err, ErrNotFound)
	}
	mustPut(t, v, id, 1, pattern(7))
	mustRead(t, v, id, 1, pattern(7))
}

func TestConcurrentUse(t *testing.T) {
	cfg := newConfig(t)
	cfg.SmallLimit = 2000
	cfg.SegmentSize = 64 << 10
	v := openVault(t, cfg)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 15 {
				id, content := events.MustNewID(), pattern(1000+g*500+i)
				mustPutAsync(t, v, id, content)
				var inner sync.WaitGroup
				for range 3 {
					inner.Go(func() {
						b, err := read(v, id, 1)
						if err != nil && !errors.Is(err, ErrDestroyed) || err == nil && !bytes.Equal(b, content) {
							t.Errorf("%d bytes, %v", len(b), err)
						}
					})
				}
				inner.Go(func() {
					_, err := v.Put(ctx, id, 2, Meta{}, bytes.NewReader(content))
					if err != nil && !errors.Is(err, ErrDestroyed) {
						t.Error(err)
					}
				})
				if i%2 == 0 {
					for range 2 {
						inner.Go(func() {
							if _, err := v.Destroy(ctx, id); err != nil {
								t.Error(err)
							}
						})
					}
				}
				if i%5 == 0 {
					inner.Go(func() {
						if _, err := v.Collect(ctx, keepVersions(func(events.ID, uint32) bool { return false })); err != nil {
							t.Error(err)
						}
					})
				}
				inner.Wait()
				_, err := read(v, id, 1)
				if destroyed := errors.Is(err, ErrDestroyed); destroyed != (i%2 == 0) {
					t.Errorf("after the destruction of an even one: %d, %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	if len(v.active.names) != 0 {
		t.Errorf("%d records still active", len(v.active.names))
	}
}

func mustPutAsync(t *testing.T, v *Vault, id events.ID, content []byte) {
	if _, err := v.Put(ctx, id, 1, Meta{}, bytes.NewReader(content)); err != nil {
		t.Error(err)
	}
}

func TestCacheIsBoundedAndWiped(t *testing.T) {
	c := newKeyCache(3)
	var first *cachedKey
	for i := range 10 {
		id := events.MustNewID()
		c.put(id, uint32(i), location{}, &secrets{key: [32]byte{1}, salt: [32]byte{2}})
		if i == 0 {
			first = c.records[id]
		}
		if c.n != min(i+1, 3) {
			t.Fatalf("%d keys after %d", c.n, i+1)
		}
	}
	c.wipe()
	if c.n != 0 || first.secrets.key != [32]byte{} || first.secrets.salt != [32]byte{} {
		t.Errorf("%d keys left, the first is %v", c.n, first.secrets)
	}
}

// TestCacheMemory holds the comment at cachedKeys.
func TestCacheMemory(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	c := newKeyCache(cachedKeys)
	for range cachedKeys {
		c.put(events.MustNewID(), 1, location{}, &secrets{contentType: strings.Clone("application/fhir+json")})
	}
	used := heap() - before
	if c.n != cachedKeys || used > 15e6 {
		t.Errorf("%d keys take %d bytes", c.n, used)
	}
	t.Logf("%d keys take %d bytes", c.n, used)
}
