package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/commitment"
)

var ctx = context.Background()

// pattern returns size bytes that no compression or alignment makes alike.
func pattern(size int) []byte {
	b := make([]byte, size)
	mathrand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)}).Read(b)
	return b
}

func mustPut(t testing.TB, v *Vault, record events.ID, version uint32, content []byte) Stored {
	t.Helper()
	s, err := v.Put(ctx, record, version, Meta{"text/plain"}, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read returns a version's content.
func read(v *Vault, record events.ID, version uint32) ([]byte, error) {
	c, err := v.Get(ctx, record, version)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(c.Reader)
	if err == nil && int64(len(b)) != c.Size {
		err = fmt.Errorf("size %d, read %d", c.Size, len(b))
	}
	return b, errors.Join(err, c.Reader.Close())
}

func mustRead(t testing.TB, v *Vault, record events.ID, version uint32, want []byte) {
	t.Helper()
	if got, err := read(v, record, version); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("record %v version %d: %d bytes, want %d, %v", record, version, len(got), len(want), err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, limit := range []int{100, DefaultSmallLimit, MaxSmallLimit} {
		cfg := newConfig(t)
		cfg.SmallLimit = limit
		v := openVault(t, cfg)
		record := events.MustNewID()
		sizes := []int{0, 1, limit - 1, limit, limit + 1, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 3*chunkSize - 1, 3*chunkSize + 7, 20 * chunkSize}
		for i, size := range sizes {
			content := pattern(size)
			stored, err := v.Put(ctx, record, uint32(i), Meta{"image/x" + fmt.Sprint(i)}, iotest.HalfReader(bytes.NewReader(content)))
			if err != nil || stored.Size != int64(size) {
				t.Fatalf("limit %d size %d: %+v, %v", limit, size, stored, err)
			}
			salt, err := v.Opening(ctx, record, uint32(i))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := commitment.Verify(stored.Commitment, salt, bytes.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			_, statErr := os.Stat(largePath(cfg.Dir, record, uint32(i)))
			if inFile := statErr == nil; inFile != (size > limit) {
				t.Errorf("limit %d size %d: in a file of its own: %v", limit, size, inFile)
			}
		}
		for range 2 { // as it is, and opened again
			for i, size := range sizes {
				mustRead(t, v, record, uint32(i), pattern(size))
				c, err := v.Get(ctx, record, uint32(i))
				if err != nil || c.ContentType != "image/x"+fmt.Sprint(i) || c.Size != int64(size) {
					t.Fatalf("%+v, %v", c, err)
				}
				c.Reader.Close()
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			v = openVault(t, cfg)
		}
	}
}

func TestSegmentsRollAndGoOn(t *testing.T) {
	cfg := newConfig(t)
	cfg.SegmentSize = 3000
	ids := make([]events.ID, 40)
	for i := range ids {
		v, err := Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = events.MustNewID()
		mustPut(t, v, ids[i], 1, pattern(500+i))
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	v := openVault(t, cfg)
	for i, id := range ids {
		mustRead(t, v, id, 1, pattern(500+i))
	}
	if n, _ := v.segments.list(); len(n) != 7 {
		t.Errorf("segments %v, want 7: six records of about 560 bytes pass 3000", n)
	}
	// With all but the records of the last segment destroyed, the others go.
	for _, id := range ids[:35] {
		if _, err := v.Destroy(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Collect(ctx, keepVersions(func(events.ID, uint32) bool { return true })); err != nil {
		t.Fatal(err)
	}
	if n, _ := v.segments.list(); len(n) != 2 || n[0] != 6 {
		t.Errorf("segments %v left, want the one of the 36th record and the last", n)
	}
	for i, id := range ids[35:] {
		mustRead(t, v, id, 1, pattern(535+i))
	}
}

func TestErrors(t *testing.T) {
	v := openVault(t, newConfig(t))
	id, other := events.MustNewID(), events.MustNewID()
	for _, size := range []int{10, DefaultSmallLimit * 3} {
		version := uint32(size)
		mustPut(t, v, id, version, pattern(size))
		for _, again := range []int{10, DefaultSmallLimit * 3} {
			_, err := v.Put(ctx, id, version, Meta{}, bytes.NewReader(make([]byte, again)))
			wantErr(t, err, ErrExists)
		}
		mustRead(t, v, id, version, pattern(size))
	}
	_, err := v.Get(ctx, other, 1)
	wantErr(t, err, ErrNotFound)
	_, err = v.Opening(ctx, id, 1)
	wantErr(t, err, ErrNotFound)
	wantErr(t, v.Discard(ctx, id, 1), ErrNotFound)
	_, err = v.Put(ctx, events.ID{}, 1, Meta{}, strings.NewReader(""))
	wantErr(t, err, ErrInvalid)
	_, err = v.Put(ctx, other, 1, Meta{strings.Repeat("x", 256)}, strings.NewReader(""))
	wantErr(t, err, ErrInvalid)
	_, err = v.Destroy(ctx, events.ID{})
	wantErr(t, err, ErrInvalid)

	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = v.Get(done, id, 10)
	wantErr(t, err, context.Canceled)

	// What cannot be read to its end is not stored, however it fails.
	for _, broken := range []error{errors.New("broken"), io.ErrUnexpectedEOF, fmt.Errorf("body: %w", io.EOF)} {
		for _, size := range []int{10, DefaultSmallLimit, DefaultSmallLimit * 3} {
			_, err = v.Put(ctx, other, 1, Meta{}, io.MultiReader(bytes.NewReader(pattern(size)), iotest.ErrReader(broken)))
			wantErr(t, err, broken)
			_, err = v.Get(ctx, other, 1)
			wantErr(t, err, ErrNotFound)
		}
	}
	if files, _ := os.ReadDir(shardDir(v.cfg.Dir, other)); len(files) > 0 && other[0] != id[0] {
		t.Errorf("failed puts left %v", files)
	}

	c, err := v.Get(ctx, id, 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Reader.Read(make([]byte, 1))
	wantErr(t, err, ErrClosed)
	_, err = v.Get(ctx, id, 10)
	wantErr(t, err, ErrClosed)
}

func TestOpenRefuses(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	mustPut(t, v, events.MustNewID(), 1, nil)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	// A custody of another vault's, or one in which the key is damaged or gone.
	other := newConfig(t)
	openVault(t, other)
	bad := cfg
	bad.Custody = other.Custody
	wantRefused(t, bad, "the right custody")
	wantRoots(t, other.Custody, 1)
	names, err := cfg.Custody.Names(ctx)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(custodyDir(cfg), names[len(names)-1]+".key")
	restore := rewrite(t, root, func([]byte) []byte { return append(bytes.Repeat([]byte("ab"), keySize), '\n') })
	wantRefused(t, cfg, "not sealed with this key")
	restore()
	restore = rewrite(t, root, func(b []byte) []byte { return b[:60] })
	wantRefused(t, cfg, "no copy of it should exist")
	restore()
	if err := os.Chmod(root, 0o640); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, cfg, "chmod 600")
	if err := os.Chmod(root, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"no dir":     {Custody: cfg.Custody},
		"no custody": {Dir: cfg.Dir},
		"limit":      {Dir: cfg.Dir, Custody: cfg.Custody, SmallLimit: MaxSmallLimit + 1},
		"nodes":      {Dir: cfg.Dir, Custody: cfg.Custody, NodeCache: -1},
	} {
		if _, err := Open(ctx, c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	openVault(t, cfg).Close()

	// Without its key database a vault that holds ciphertext is not a new one.
	keys := filepath.Join(cfg.Dir, keysFile)
	if err := os.Remove(keys); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := Open(ctx, cfg); err == nil || !strings.Contains(err.Error(), "restore it from its backup") {
			t.Errorf("without %s: %v", keysFile, err)
		}
	}
	if err := os.WriteFile(keys, bytes.Repeat([]byte("x"), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, cfg); err == nil {
		t.Error("opened with a key database that is none")
	}
}

func wantRefused(t *testing.T, cfg Config, says string) {
	t.Helper()
	v, err := Open(ctx, cfg)
	if err == nil {
		v.Close()
	}
	if !errors.Is(err, ErrRootKey) || !strings.Contains(err.Error(), says) {
		t.Errorf("want a refusal that says %q: %v", says, err)
	}
}

// TestLargeInBoundedMemory counts what putting and reading a content allocates
// from beginning to end: a few chunks, whatever its size, so that no more can be
// in memory at any time.
func TestLargeInBoundedMemory(t *testing.T) {
	size := int64(64 << 20)
	if long() {
		size = 1 << 30
	}
	v := openVault(t, newConfig(t))
	id := events.MustNewID()
	source := func() io.Reader { return io.LimitReader(mathrand.NewChaCha8([32]byte{1}), size) }
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	var stored Stored
	put := allocated(func() {
		var err error
		if stored, err = v.Put(ctx, id, 1, Meta{}, source()); err != nil {
			t.Fatal(err)
		}
	})
	get := allocated(func() {
		c, err := v.Get(ctx, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Reader.Close()
		salt, err := v.Opening(ctx, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := commitment.Verify(stored.Commitment, salt, c.Reader); err != nil || n != size {
			t.Fatal(n, err)
		}
	})
	const limit = 16 * chunkSize
	if put > limit || get > limit {
		t.Errorf("%d bytes: Put allocated %d, Get %d, limit %d", size, put, get, limit)
	}
}
