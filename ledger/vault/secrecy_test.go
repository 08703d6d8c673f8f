package vault

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/events"
)

// everyFile returns the bytes of every file below dir.
func everyFile(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// where returns the files in which some 16-byte part of secret lies.
func where(files map[string][]byte, secret []byte) (found []string) {
	for path, b := range files {
		for i := 0; i+16 <= len(secret); i += 16 {
			if bytes.Contains(b, secret[i:i+16]) {
				found = append(found, path)
				break
			}
		}
	}
	return found
}

func docOf(id events.ID) []byte { return fmt.Appendf(nil, "the name and address of %v, and more", id) }

func termOf(id events.ID) Term { return Term{"urn:system-of-secrets", "secret-number-" + id.String()} }

// treeKeys returns the key of every node.
func treeKeys(t *testing.T, v *Vault) (keys [][]byte) {
	t.Helper()
	err := eachRow(ctx, v.keys.reader, "SELECT id FROM nodes", func(rows *sql.Rows) error {
		var row int64
		if err := rows.Scan(&row); err != nil {
			return err
		}
		n, _ := nodeOfRow(row)
		key, err := v.keys.tree.nodeKey(ctx, n)
		keys = append(keys, key[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestNoSecretOnDisk looks for plaintext, keys and salts in every file of the
// folder, before and after destruction, and for the keys of the tree's nodes. The
// vault is big enough for SQLite to split pages many times over.
func TestNoSecretOnDisk(t *testing.T) {
	cfg := newConfig(t)
	cfg.SmallLimit = 5000
	v := openVault(t, cfg)
	type secret struct {
		id               events.ID
		recordKey        []byte
		key, salt, plain []byte
		typeName         []byte
	}
	var all []secret
	const records = 1500
	for i := range records {
		id, size := events.MustNewID(), 200+i%3000
		if i%100 == 0 {
			size = 2*chunkSize + i
		}
		typeName := []byte("application/x-secret-type-of-content")
		plain := pattern(size)
		if _, err := v.Put(ctx, id, 1, Meta{string(typeName)}, bytes.NewReader(plain)); err != nil {
			t.Fatal(err)
		}
		row, err := v.keys.lookup(ctx, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		recordKey, err := v.keys.tree.key(ctx, row.key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := v.keys.unwrap(ctx, row, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []Place{{Identity, id, id}, {Accounting, id, id}, {Space: Directory, ID: id}} {
			mustPutDocument(t, v, p, docOf(id), termOf(id))
		}
		if i%10 == 0 {
			all = append(all, secret{id, recordKey[:], s.key[:], s.salt[:], plain[:64], typeName})
		}
	}
	before := everyFile(t, cfg.Dir)
	nodeKeys := treeKeys(t, v)
	check := func(files map[string][]byte, when string) {
		t.Helper()
		for _, s := range all {
			for name, b := range map[string][]byte{"record key": s.recordKey, "key": s.key, "salt": s.salt, "plaintext": s.plain, "content type": s.typeName, "document": docOf(s.id), "term": []byte(termOf(s.id).Value)} {
				if found := where(files, b); len(found) > 0 {
					t.Errorf("%s: %s in %v", when, name, found)
				}
			}
		}
	}
	check(before, "before destruction")
	for _, key := range nodeKeys {
		if found := where(before, key); len(found) > 0 {
			t.Errorf("the key of a node is in %v", found)
		}
	}
	for _, s := range all {
		if len(where(before, v.ledger.digest(Identity, termOf(s.id)))) == 0 {
			t.Fatal("the search does not find a digest that is there")
		}
		_, err := v.Destroy(ctx, s.id)
		_, err2 := v.DestroyPatient(ctx, s.id)
		_, err3 := v.destroyDocuments(ctx, keyName{accountingKey, s.id})
		if err := errors.Join(err, err2, err3, v.DiscardDocument(ctx, Place{Space: Directory, ID: s.id})); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.keys.tree.complete(ctx, false); err != nil { // DiscardDocument does not
		t.Fatal(err)
	}
	after := everyFile(t, cfg.Dir)
	check(after, "after destruction")
	for _, s := range all {
		for _, space := range []Space{Identity, Accounting, Directory} {
			if found := where(after, v.ledger.digest(space, termOf(s.id))); len(found) > 0 {
				t.Errorf("digest of a term in space %d after destruction in %v", space, found)
			}
		}
	}
}

// TestNoPlaintextWhileStreaming looks for plaintext and key in every file of the
// vault's folder, of a backup's and of the one for temporary files while a large
// content is on its way in, and after.
func TestNoPlaintextWhileStreaming(t *testing.T) {
	temporary := t.TempDir()
	for _, name := range []string{"TMPDIR", "SQLITE_TMPDIR"} {
		t.Setenv(name, temporary)
	}
	cfg := newConfig(t)
	v := openVault(t, cfg)
	id, plain, dst := events.MustNewID(), pattern(20*chunkSize), t.TempDir()
	check := func(when string) {
		t.Helper()
		for _, dir := range []string{cfg.Dir, dst, temporary} {
			files := everyFile(t, dir)
			for i := 0; i < len(plain); i += chunkSize {
				if found := where(files, plain[i:i+64]); len(found) > 0 {
					t.Errorf("%s: plaintext in %v", when, found)
				}
			}
			if dir == temporary && len(files) > 0 {
				t.Errorf("%s: %d temporary files", when, len(files))
			}
		}
	}
	half := &hookReader{r: bytes.NewReader(plain[10*chunkSize:]), hook: func() {
		info, err := os.Stat(largePath(cfg.Dir, id, 1))
		if err != nil || info.Size() < 5*chunkSize {
			t.Errorf("the content is not under way: %v, %v", info, err)
		}
		check("half-way")
	}}
	if _, err := v.Put(ctx, id, 1, Meta{}, io.MultiReader(bytes.NewReader(plain[:10*chunkSize]), half)); err != nil {
		t.Fatal(err)
	}
	if err := backUpContents(v, dst); err != nil {
		t.Fatal(err)
	}
	check("after")
	mustRead(t, v, id, 1, plain)
	check("read")
}

// hookReader calls a function before its first byte.
type hookReader struct {
	r    io.Reader
	hook func()
}

func (h *hookReader) Read(p []byte) (int, error) {
	if h.hook != nil {
		h.hook()
		h.hook = nil
	}
	return h.r.Read(p)
}
