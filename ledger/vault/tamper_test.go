package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/medledger/medledger/events"
)

// drain reads a version and returns what was released before the error.
func drain(v *Vault, record events.ID, version uint32) ([]byte, error) {
	c, err := v.Get(ctx, record, version)
	if err != nil {
		return nil, err
	}
	defer c.Reader.Close()
	return io.ReadAll(c.Reader)
}

// wantCorrupt demands a *CorruptError about the version, and that what was
// released before it is whole chunks of the true content.
func wantCorrupt(t *testing.T, what string, v *Vault, record events.ID, version uint32, content []byte) {
	t.Helper()
	got, err := drain(v, record, version)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Record != record || corrupt.Version != version {
		t.Fatalf("%s: %d bytes, %v", what, len(got), err)
	}
	if len(got)%chunkSize != 0 || !bytes.HasPrefix(content, got) {
		t.Fatalf("%s: released %d bytes of a damaged content", what, len(got))
	}
}

func rewrite(t *testing.T, path string, f func([]byte) []byte) (restore func()) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(bytes.Clone(old)), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.WriteFile(path, old, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTamperedLargeFile(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	id := events.MustNewID()
	content := pattern(3*chunkSize + 100)
	mustPut(t, v, id, 1, content)
	path := largePath(cfg.Dir, id, 1)
	chunk := func(b []byte, i int) []byte {
		return b[contextSize+i*sealedChunk : min(len(b), contextSize+(i+1)*sealedChunk)]
	}
	cases := map[string]func(b []byte) []byte{
		"cut by a byte":     func(b []byte) []byte { return b[:len(b)-1] },
		"cut by a chunk":    func(b []byte) []byte { return b[:contextSize+3*sealedChunk] },
		"empty":             func([]byte) []byte { return nil },
		"a byte more":       func(b []byte) []byte { return append(b, 0) },
		"first chunk twice": func(b []byte) []byte { copy(chunk(b, 1), chunk(b, 0)); return b },
		"chunks in disorder": func(b []byte) []byte {
			c := bytes.Clone(chunk(b, 1))
			copy(chunk(b, 1), chunk(b, 2))
			copy(chunk(b, 2), c)
			return b
		},
		"chunk left out": func(b []byte) []byte {
			return append(append(b[:contextSize:contextSize], chunk(b, 1)...), b[contextSize+2*sealedChunk:]...)
		},
	}
	for _, at := range []int{0, 7, 8, 23, 24, 27, 28, 31, 32, 33, contextSize + sealedChunk - 1, contextSize + sealedChunk, contextSize + 2*sealedChunk + 5, contextSize + 3*sealedChunk, contextSize + 3*sealedChunk + 115} {
		cases[fmt.Sprintf("byte %d flipped", at)] = func(b []byte) []byte { b[at] ^= 1; return b }
	}
	for what, f := range cases {
		restore := rewrite(t, path, f)
		wantCorrupt(t, what, v, id, 1, content)
		restore()
	}
	mustRead(t, v, id, 1, content)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantCorrupt(t, "removed", v, id, 1, content)
}

func TestTamperedSegment(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	id := events.MustNewID()
	content := pattern(50)
	mustPut(t, v, id, 1, content)
	path := v.segments.path(1)
	for i := segmentHeaderSize; i < segmentHeaderSize+segmentRecordHeader+50+tagSize; i++ {
		restore := rewrite(t, path, func(b []byte) []byte { b[i] ^= 0x40; return b })
		wantCorrupt(t, fmt.Sprintf("byte %d flipped", i), v, id, 1, content)
		restore()
		// With the checksum made to fit, it is for the cipher to find out.
		if i < segmentHeaderSize+8 {
			continue
		}
		restore = rewrite(t, path, func(b []byte) []byte {
			b[i] ^= 0x40
			finishSegmentRecord(b[segmentHeaderSize:])
			return b
		})
		wantCorrupt(t, fmt.Sprintf("byte %d flipped, checksum made to fit", i), v, id, 1, content)
		restore()
	}
	restore := rewrite(t, path, func(b []byte) []byte { return b[:len(b)-1] })
	wantCorrupt(t, "cut", v, id, 1, content)
	restore()
	mustRead(t, v, id, 1, content)
}

// TestSwappedCiphertexts moves ciphertexts, places and wrapped keys between
// versions: headers and checksums are made to fit, the cryptography must not.
func TestSwappedCiphertexts(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	a, b := events.MustNewID(), events.MustNewID()
	small, large := pattern(100), pattern(2*chunkSize)
	mustPut(t, v, a, 1, small)
	mustPut(t, v, b, 1, small)
	mustPut(t, v, a, 2, large)
	mustPut(t, v, b, 2, large)

	at := segmentHeaderSize + segmentRecordHeader
	size := 100 + tagSize
	restore := rewrite(t, v.segments.path(1), func(f []byte) []byte {
		copy(f[at:at+size], f[at+size+segmentRecordHeader:])
		finishSegmentRecord(f[segmentHeaderSize : at+size])
		return f
	})
	wantCorrupt(t, "small ciphertext of another record", v, a, 1, small)
	restore()

	other, err := os.ReadFile(largePath(cfg.Dir, b, 2))
	if err != nil {
		t.Fatal(err)
	}
	restore = rewrite(t, largePath(cfg.Dir, a, 2), func([]byte) []byte { return other })
	wantCorrupt(t, "large file of another record", v, a, 2, large)
	restore()
	restore = rewrite(t, largePath(cfg.Dir, a, 2), func(f []byte) []byte { return append(f[:contextSize:contextSize], other[contextSize:]...) })
	wantCorrupt(t, "large ciphertext of another record", v, a, 2, large)
	restore()

	v.cache.wipe()
	for _, sql := range []string{
		"UPDATE versions SET offset = (SELECT offset FROM versions WHERE record = ?2 AND version = 1) WHERE record = ?1 AND version = 1",
		"UPDATE versions SET secrets = (SELECT secrets FROM versions WHERE record = ?2 AND version = 1) WHERE record = ?1 AND version = 1",
		"UPDATE versions SET key = (SELECT key FROM versions WHERE record = ?2 AND version = 1) WHERE record = ?1 AND version = 1",
	} {
		if _, err := v.keys.conn.ExecContext(ctx, sql, a[:], b[:]); err != nil {
			t.Fatal(err)
		}
		wantCorrupt(t, sql, v, a, 1, small)
	}
	mustRead(t, v, b, 1, small)
	mustRead(t, v, b, 2, large)
}

// TestTamperedWrappedKeys alters, cuts and moves a version's secrets, the nodes of the
// tree above them, and the proof of a patient's key.
func TestTamperedWrappedKeys(t *testing.T) {
	v := openVault(t, newConfig(t))
	id, other := events.MustNewID(), events.MustNewID()
	mustPut(t, v, id, 1, pattern(10))
	mustPutDocument(t, v, identity(id), []byte("x"))
	row, err := v.keys.lookup(ctx, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	key, err := v.keys.tree.key(ctx, row.key)
	if err != nil {
		t.Fatal(err)
	}
	openSecrets := func(b []byte, record events.ID, version uint32) error {
		_, err := unwrapSecrets(&key, b, record, version)
		return err
	}
	for i := range row.secrets {
		bad := bytes.Clone(row.secrets)
		bad[i] ^= 2
		if openSecrets(bad, id, 1) == nil {
			t.Fatalf("byte %d of a version's secrets altered unseen", i)
		}
	}
	patient := keyName{patientKey, id}
	s, proof, err := v.keys.lookupKey(ctx, patient)
	if err != nil {
		t.Fatal(err)
	}
	openNamed := func(name keyName, s slot, proof []byte) error {
		_, err := v.keys.namedKey(ctx, name, s, proof)
		return err
	}
	for name, err := range map[string]error{
		"key in another slot":      openNamed(patient, s-1, proof),
		"key of another patient":   openNamed(keyName{patientKey, other}, s, proof),
		"key of another kind":      openNamed(keyName{accountingKey, id}, s, proof),
		"proof cut":                openNamed(patient, s, proof[1:]),
		"proof zeroed":             openNamed(patient, s, make([]byte, len(proof))),
		"secrets cut":              openSecrets(row.secrets[:len(row.secrets)-1], id, 1),
		"secrets of other version": openSecrets(row.secrets, id, 2),
		"secrets of other record":  openSecrets(row.secrets, other, 1),
		"secrets zeroed":           openSecrets(make([]byte, len(row.secrets)), id, 1),
	} {
		if err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestTamperedTree alters, moves and removes nodes: whoever asks for what lies below
// is told of the damage, and all others of theirs.
func TestTamperedTree(t *testing.T) {
	cfg := newConfig(t)
	cfg.fanOut = 2
	v := openVault(t, cfg)
	ids := make([]events.ID, 9)
	for i := range ids {
		ids[i] = events.MustNewID()
		mustPut(t, v, ids[i], 1, pattern(10))
	}
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := v.keys.conn.ExecContext(ctx, query, args...); err != nil {
			t.Fatal(err)
		}
		v.cache.wipe()
		v.keys.tree.cache.wipe()
	}
	row, err := v.keys.lookup(ctx, ids[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := v.keys.tree.state.leaf(row.key)
	above, _ := v.keys.tree.state.parent(leaf)
	for _, n := range []nodeID{leaf, above} {
		var blob []byte
		if err := v.keys.conn.QueryRowContext(ctx, readNode, n.row()).Scan(&blob); err != nil {
			t.Fatal(err)
		}
		for i := range blob {
			bad := bytes.Clone(blob)
			bad[i] ^= 4
			exec(putNode, n.row(), bad)
			wantCorrupt(t, fmt.Sprintf("byte %d of a node of level %d altered", i, n.level), v, ids[0], 1, pattern(10))
		}
		exec("DELETE FROM nodes WHERE id = ?", n.row())
		wantCorrupt(t, "node removed", v, ids[0], 1, pattern(10))
		mustRead(t, v, ids[8], 1, pattern(10))
		exec("INSERT INTO nodes (id, blob) SELECT ?, blob FROM nodes WHERE id = ?", n.row(), nodeID{n.level, n.index + 1}.row())
		wantCorrupt(t, "another node in its place", v, ids[0], 1, pattern(10))
		exec(putNode, n.row(), blob[1:])
		wantCorrupt(t, "node cut", v, ids[0], 1, pattern(10))
		exec(putNode, n.row(), blob)
		mustRead(t, v, ids[0], 1, pattern(10))
	}
}

// TestKeyOfAnother redirects a record, and a patient, to another's key before
// something is put: it must not come to lie under a key that outlives them.
func TestKeyOfAnother(t *testing.T) {
	v := openVault(t, newConfig(t))
	a, b := events.MustNewID(), events.MustNewID()
	for _, id := range []events.ID{a, b} {
		mustPut(t, v, id, 1, pattern(10))
		mustPutDocument(t, v, identity(id), []byte("x"))
	}
	for _, query := range []string{
		"UPDATE versions SET key = (SELECT key FROM versions WHERE record = ?2) WHERE record = ?1",
		"UPDATE owners SET key = (SELECT key FROM owners WHERE kind = 2 AND owner = ?2) WHERE kind = 2 AND owner = ?1",
	} {
		if _, err := v.keys.conn.ExecContext(ctx, query, a[:], b[:]); err != nil {
			t.Fatal(err)
		}
	}
	var corrupt *CorruptError
	if _, err := v.Put(ctx, a, 2, Meta{}, bytes.NewReader(nil)); !errors.As(err, &corrupt) {
		t.Errorf("put under another record's key: %v", err)
	}
	v.named.wipe()
	if _, err := v.PutDocument(ctx, identity(a), nil); !errors.As(err, &corrupt) {
		t.Errorf("put under another patient's key: %v", err)
	}
}
