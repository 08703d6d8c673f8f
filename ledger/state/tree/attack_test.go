package tree

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func exec(t *testing.T, path, query string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(query, args...)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestForgedCopies writes to the copy as somebody can who lacks the key. Nothing of it is
// believed.
func TestForgedCopies(t *testing.T) {
	for name, forge := range map[string]func(t *testing.T, path, older string){
		"not a database": func(t *testing.T, path, _ string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a newer format":  func(t *testing.T, path, _ string) { exec(t, path, "UPDATE head SET version = version + 1") },
		"an older format": func(t *testing.T, path, _ string) { exec(t, path, "UPDATE head SET version = version - 1") },
		"another position": func(t *testing.T, path, _ string) {
			exec(t, path, "UPDATE head SET value = zeroblob(8) || substr(value, 9)")
		},
		"another root": func(t *testing.T, path, _ string) {
			exec(t, path, "UPDATE head SET value = substr(value, 1, 8) || zeroblob(32)")
		},
		"a short head":      func(t *testing.T, path, _ string) { exec(t, path, "UPDATE head SET value = substr(value, 1, 8)") },
		"no MAC":            func(t *testing.T, path, _ string) { exec(t, path, "UPDATE head SET mac = x''") },
		"no head":           func(t *testing.T, path, _ string) { exec(t, path, "DELETE FROM head") },
		"no table of pages": func(t *testing.T, path, _ string) { exec(t, path, "DROP TABLE page") },
		"a page less":       func(t *testing.T, path, _ string) { exec(t, path, "DELETE FROM page WHERE id = 3") },
		"no pages":          func(t *testing.T, path, _ string) { exec(t, path, "DELETE FROM page") },
		"a page twice": func(t *testing.T, path, _ string) {
			exec(t, path, "INSERT INTO page SELECT 999, data FROM page WHERE id = 3")
		},
		"a page moved":  func(t *testing.T, path, _ string) { exec(t, path, "UPDATE page SET id = 999 WHERE id = 3") },
		"an empty page": func(t *testing.T, path, _ string) { exec(t, path, "INSERT INTO page VALUES (999, x'0000')") },
		"a text":        func(t *testing.T, path, _ string) { exec(t, path, "UPDATE page SET data = 'text' WHERE id = 3") },
		"a huge page":   func(t *testing.T, path, _ string) { exec(t, path, "INSERT INTO page VALUES (999, zeroblob(50000000))") },
		// The last byte is one of a stored form that its value does not cover.
		"what the root does not cover": func(t *testing.T, path, _ string) {
			var data []byte
			db, err := sql.Open("sqlite", "file:"+path)
			if err != nil {
				t.Fatal(err)
			}
			err = db.QueryRow("SELECT data FROM page WHERE id = 0").Scan(&data)
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			before, _, err := parse(bytes.Clone(data), looseLeaf, nil)
			data[len(data)-1] ^= 1
			after, _, afterErr := parse(data, looseLeaf, nil)
			if err := errors.Join(err, afterErr); err != nil || hashOf(before.items) != hashOf(after.items) {
				t.Fatalf("the hash is another, %v", err)
			}
			exec(t, path, "UPDATE page SET data = ? WHERE id = 0", data)
		},
		"a page of an older copy": func(t *testing.T, path, older string) {
			exec(t, path, "ATTACH ? AS older; UPDATE page SET data = (SELECT data FROM older.page WHERE id = 0) WHERE id = 0", older)
		},
		"the head of an older copy": func(t *testing.T, path, older string) {
			exec(t, path, "ATTACH ? AS older; DELETE FROM head; INSERT INTO head SELECT * FROM older.head", older)
		},
		"the pages of an older copy": func(t *testing.T, path, older string) {
			exec(t, path, "ATTACH ? AS older; DELETE FROM page; INSERT INTO page SELECT * FROM older.page", older)
		},
		"another's copy": func(t *testing.T, path, _ string) {
			if err := Remove(path); err != nil {
				t.Fatal(err)
			}
			c := small(path)
			c.Key = bytes.Repeat([]byte{8}, 32)
			tree, h := mustOpen(t, c), newHistory(9)
			h.turn(t, 100)
			h.feed(t, tree)
			mustClose(t, tree)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, path := newHistory(7), filepath.Join(t.TempDir(), "tree.sqlite")
			tree := mustOpen(t, small(path))
			h.turn(t, 300)
			h.feed(t, tree)
			mustClose(t, tree)
			older := copyOf(t, path)
			tree = mustOpen(t, small(path))
			h.turn(t, 300)
			h.feed(t, tree)
			mustClose(t, tree)

			forge(t, path, older)
			var log bytes.Buffer
			c := small(path)
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
			tree = mustOpen(t, c)
			if tree.Position() != 0 || !strings.Contains(log.String(), "level=WARN") {
				t.Errorf("a copy at %d was believed; logged was %q", tree.Position(), log.String())
			}
			h.feed(t, tree)
			h.check(t, tree, 50)
			mustClose(t, tree)
			log.Reset()
			tree = mustOpen(t, c) // what was made again is good
			if tree.Position() != h.position() || log.Len() != 0 {
				t.Errorf("the new copy is at %d of %d; logged was %q", tree.Position(), h.position(), log.String())
			}
			mustClose(t, tree)
		})
	}
}

// TestOlderCopyAsAWhole: it is what it claims to be, and is fed the rest.
func TestOlderCopyAsAWhole(t *testing.T) {
	h, path := newHistory(8), filepath.Join(t.TempDir(), "tree.sqlite")
	tree := mustOpen(t, small(path))
	h.turn(t, 300)
	h.feed(t, tree)
	mustClose(t, tree)
	first := h.position()
	h.turn(t, 300)
	if found := reopened(t, h, path); found != first {
		t.Errorf("at %d, want %d", found, first)
	}
}

// TestFileChangesUnderTheTree: a page that is read again and is not what was written is
// an error, and changes nothing.
func TestFileChangesUnderTheTree(t *testing.T) {
	for name, query := range map[string]string{
		"altered": "UPDATE page SET data = substr(data, 1, length(data) - 1) || x'55'",
		"missing": "DELETE FROM page",
		"swapped": "UPDATE page SET data = (SELECT data FROM page ORDER BY id DESC LIMIT 1)",
		"a text":  "UPDATE page SET data = 'text'",
	} {
		t.Run(name, func(t *testing.T) {
			h, path := newHistory(8), filepath.Join(t.TempDir(), "tree.sqlite")
			c := patient(path)
			c.CacheBytes = 1
			tree := mustOpen(t, c)
			h.turn(t, 400)
			h.feed(t, tree)
			if err := tree.flush(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			exec(t, path, query)
			root, position := tree.Root(), tree.Position()
			damaged := 0
			for key, stored := range h.stored {
				_, _, getErr := tree.Get(key)
				_, _, _, proveErr := tree.Prove(key)
				_, err := tree.Update(position+1, [][]byte{stored})
				if (err == nil) != (getErr == nil) || (err == nil) != (proveErr == nil) {
					t.Fatalf("%v, %v, %v", getErr, proveErr, err)
				}
				if err == nil {
					position++
				} else if damaged++; !errors.Is(err, ErrCopy) || !errors.Is(getErr, ErrCopy) || !errors.Is(proveErr, ErrCopy) {
					t.Fatalf("%v, %v, %v", getErr, proveErr, err)
				}
				if tree.Root() != root || tree.Position() != position {
					t.Fatal("an update that failed changed the tree")
				}
			}
			if damaged < len(h.stored)/2 {
				t.Errorf("%d of %d entries are damaged", damaged, len(h.stored))
			}
			mustClose(t, tree)
			tree = mustOpen(t, c)
			if tree.Position() != 0 {
				t.Errorf("the next start believes the copy, at %d", tree.Position())
			}
			h.feed(t, tree)
			h.check(t, tree, 50)
			mustClose(t, tree)
		})
	}
}
