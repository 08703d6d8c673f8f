package vault

import (
	"bytes"
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

// TestNoSecretOnDisk looks for plaintext, keys and salts in every file of the
// folder, before and after destruction, and after it for wrapped keys too. The
// vault is big enough for SQLite to split pages many times over.
func TestNoSecretOnDisk(t *testing.T) {
	cfg := newConfig(t)
	cfg.SmallLimit = 5000
	v := openVault(t, cfg)
	type secret struct {
		id                events.ID
		recordKey         []byte
		key, salt, plain  []byte
		wrapped, typeName []byte
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
		wrapped := row.wrapped
		recordKey, err := v.keys.ring.open(row.key, recordName(id), wrapped)
		if err != nil {
			t.Fatal(err)
		}
		s, err := v.keys.unwrap(row, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			all = append(all, secret{id, recordKey[:], s.key[:], s.salt[:], plain[:64], wrapped, typeName})
		}
	}
	before := everyFile(t, cfg.Dir)
	if len(where(before, all[0].wrapped)) == 0 {
		t.Fatal("the search does not find a wrapped key that is there")
	}
	check := func(files map[string][]byte, when string) {
		t.Helper()
		for _, s := range all {
			for name, b := range map[string][]byte{"record key": s.recordKey, "key": s.key, "salt": s.salt, "plaintext": s.plain, "content type": s.typeName} {
				if found := where(files, b); len(found) > 0 {
					t.Errorf("%s: %s in %v", when, name, found)
				}
			}
		}
	}
	check(before, "before destruction")
	for _, s := range all {
		if _, err := v.Destroy(ctx, s.id); err != nil {
			t.Fatal(err)
		}
	}
	after := everyFile(t, cfg.Dir)
	check(after, "after destruction")
	for _, s := range all {
		if found := where(after, s.wrapped); len(found) > 0 {
			t.Errorf("wrapped key after destruction in %v", found)
		}
	}
}
