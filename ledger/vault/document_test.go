package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/commitment"
)

func identity(owner events.ID) Place   { return Place{Identity, owner, events.MustNewID()} }
func accounting(owner events.ID) Place { return Place{Accounting, owner, events.MustNewID()} }
func directory() Place                 { return Place{Space: Directory, ID: events.MustNewID()} }

func mustPutDocument(t testing.TB, v *Vault, p Place, doc []byte, terms ...Term) [commitment.Size]byte {
	t.Helper()
	sum, err := v.PutDocument(ctx, p, doc, terms...)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func mustDocument(t testing.TB, v *Vault, p Place, want []byte) {
	t.Helper()
	if got, err := v.Document(ctx, p); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("document %+v: %d bytes, want %d, %v", p, len(got), len(want), err)
	}
}

func wantFind(t testing.TB, v *Vault, term Term, want Place) {
	t.Helper()
	if p, err := v.Find(ctx, want.Space, term); err != nil || p != want {
		t.Fatalf("a term leads to %+v, %v; want %+v", p, err, want)
	}
}

func TestDocuments(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	patient := events.MustNewID()
	term := Term{"urn:oid:1.2", "8001"}
	places := []Place{identity(patient), identity(patient), accounting(patient), directory(), directory(), identity(events.MustNewID())}
	sums := make([][commitment.Size]byte, len(places))
	for i, p := range places {
		terms := []Term{{"number", fmt.Sprint(i)}, {"number", fmt.Sprint(i)}, {"", fmt.Sprint("bare", i)}}
		if i == 0 || i == 2 || i == 3 {
			terms = append(terms, term) // the same in every space
		}
		sums[i] = mustPutDocument(t, v, p, pattern(i*13_000), terms...)
	}
	for range 2 { // as it is, and opened again
		for i, p := range places {
			mustDocument(t, v, p, pattern(i*13_000))
			opening, err := v.openDocument(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := commitment.Verify(sums[i], [commitment.SaltSize]byte(opening), bytes.NewReader(pattern(i*13_000))); err != nil {
				t.Error(err)
			}
			wantFind(t, v, Term{"number", fmt.Sprint(i)}, p)
			wantFind(t, v, Term{"", fmt.Sprint("bare", i)}, p)
		}
		for _, i := range []int{0, 2, 3} {
			wantFind(t, v, term, places[i])
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		v = openVault(t, cfg)
	}
	// System and value have lengths of their own.
	for _, other := range []Term{{"urn:oid:1.28", "001"}, {"", "urn:oid:1.28001"}, {"urn:oid:1.2", "800"}, {"8001", "urn:oid:1.2"}} {
		_, err := v.Find(ctx, Identity, other)
		wantErr(t, err, ErrNotFound)
	}
}

func TestDocumentErrors(t *testing.T) {
	v := openVault(t, newConfig(t))
	patient := events.MustNewID()
	first, term := identity(patient), Term{"system", "secret-value"}
	mustPutDocument(t, v, first, []byte("one"), term)
	_, err := v.PutDocument(ctx, first, []byte("two"))
	wantErr(t, err, ErrExists)

	second := identity(events.MustNewID())
	_, err = v.PutDocument(ctx, second, []byte("two"), Term{"system", "free"}, term)
	var taken *TakenError
	if !errors.As(err, &taken) || !errors.Is(err, ErrTaken) || taken.Owner != patient || taken.ID != first.ID {
		t.Fatalf("%v", err)
	}
	if strings.Contains(err.Error(), "secret-value") || strings.Contains(err.Error(), "system") {
		t.Errorf("the error tells the term: %v", err)
	}
	_, err = v.Document(ctx, second)
	wantErr(t, err, ErrNotFound)
	_, err = v.Find(ctx, Identity, Term{"system", "free"})
	wantErr(t, err, ErrNotFound)
	if _, _, err := v.keys.lookupKey(ctx, second.name()); !errors.Is(err, ErrNotFound) {
		t.Errorf("a refused document left its owner a key: %v", err)
	}
	wantErr(t, v.DiscardDocument(ctx, second), ErrNotFound)

	long := strings.Repeat("x", MaxTerm+1)
	for name, put := range map[string]func() error{
		"too long":        func() error { _, err := v.PutDocument(ctx, second, make([]byte, MaxDocument+1)); return err },
		"no id":           func() error { _, err := v.PutDocument(ctx, Place{Identity, patient, events.ID{}}, nil); return err },
		"no owner":        func() error { _, err := v.PutDocument(ctx, Place{Space: Accounting, ID: patient}, nil); return err },
		"directory owner": func() error { _, err := v.PutDocument(ctx, Place{Directory, patient, patient}, nil); return err },
		"no space":        func() error { _, err := v.PutDocument(ctx, Place{0, patient, patient}, nil); return err },
		"unknown space":   func() error { _, err := v.Document(ctx, Place{4, patient, patient}); return err },
		"empty term":      func() error { _, err := v.PutDocument(ctx, second, nil, Term{"system", ""}); return err },
		"long system":     func() error { _, err := v.PutDocument(ctx, second, nil, Term{long, "x"}); return err },
		"long value":      func() error { _, err := v.Find(ctx, Identity, Term{"x", long}); return err },
		"many terms":      func() error { _, err := v.PutDocument(ctx, second, nil, make([]Term, MaxTerms+1)...); return err },
		"no patient":      func() error { _, err := v.DestroyPatient(ctx, events.ID{}); return err },
	} {
		if err := put(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustPutDocument(t, v, second, make([]byte, MaxDocument))
	mustDocument(t, v, second, make([]byte, MaxDocument))

	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = v.Document(done, first)
	wantErr(t, err, context.Canceled)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = v.Document(ctx, first)
	wantErr(t, err, ErrClosed)
}

func TestDestroyPatient(t *testing.T) {
	v := openVault(t, newConfig(t))
	patient, other := events.MustNewID(), events.MustNewID()
	id, account, bystander := identity(patient), accounting(patient), identity(other)
	term := Term{"number", "1"}
	mustPutDocument(t, v, id, []byte("id"), term)
	mustPutDocument(t, v, account, []byte("account"), term)
	mustPutDocument(t, v, bystander, []byte("by"), Term{"number", "2"})
	mustPut(t, v, patient, 1, pattern(10)) // ids of records and patients do not meet, and need not
	mustDocument(t, v, id, []byte("id"))
	for range 2 {
		if keys, err := v.DestroyPatient(ctx, patient); err != nil || keys != 1 {
			t.Fatalf("%d keys, %v", keys, err)
		}
		for _, p := range []Place{id, identity(patient)} {
			_, err := v.Document(ctx, p)
			wantErr(t, err, ErrDestroyed)
			_, err = v.PutDocument(ctx, p, nil)
			wantErr(t, err, ErrDestroyed)
			wantErr(t, v.DiscardDocument(ctx, p), ErrDestroyed)
		}
		_, err := v.Find(ctx, Identity, term)
		wantErr(t, err, ErrNotFound)
	}
	if _, there := v.named.keys[id.name()]; there {
		t.Error("the key of a destroyed patient is in memory")
	}
	mustDocument(t, v, account, []byte("account"))
	wantFind(t, v, term, account)
	mustRead(t, v, patient, 1, pattern(10))
	if keys, err := v.destroyDocuments(ctx, keyName{accountingKey, patient}); err != nil || keys != 1 {
		t.Fatalf("%d keys, %v", keys, err)
	}
	_, err := v.Document(ctx, account)
	wantErr(t, err, ErrDestroyed)
	mustDocument(t, v, bystander, []byte("by"))
	if n, err := v.Tombstones(ctx); err != nil || n != 0 {
		t.Errorf("%d tombstones of records, %v", n, err)
	}
	// Another patient may have the number now.
	mustPutDocument(t, v, identity(other), nil, term)
	if keys, err := v.DestroyPatient(ctx, events.MustNewID()); err != nil || keys != 0 {
		t.Errorf("a patient without documents had %d keys, %v", keys, err)
	}
	if len(v.active.names) != 0 {
		t.Errorf("%d names still active", len(v.active.names))
	}
}

func TestDiscardDocument(t *testing.T) {
	v := openVault(t, newConfig(t))
	patient := events.MustNewID()
	for range 2 {
		a, b, d := identity(patient), identity(patient), directory()
		term := Term{"number", "1"}
		mustPutDocument(t, v, a, []byte("a"), term)
		mustPutDocument(t, v, b, []byte("b"))
		mustPutDocument(t, v, d, []byte("d"))
		mustDocument(t, v, a, []byte("a"))
		for _, p := range []Place{a, d} {
			if err := v.DiscardDocument(ctx, p); err != nil {
				t.Fatal(err)
			}
			_, err := v.Document(ctx, p)
			wantErr(t, err, ErrNotFound)
		}
		_, err := v.Find(ctx, Identity, term)
		wantErr(t, err, ErrNotFound)
		mustDocument(t, v, b, []byte("b"))
		if err := v.DiscardDocument(ctx, b); err != nil {
			t.Fatal(err)
		}
		if _, _, err := v.keys.lookupKey(ctx, a.name()); !errors.Is(err, ErrNotFound) {
			t.Errorf("the key of a patient without documents: %v", err)
		}
	}
}

// TestDiscardLeavesNoRecordKey: with the only version of a record goes its key,
// and another Put draws another one.
func TestDiscardLeavesNoRecordKey(t *testing.T) {
	v := openVault(t, newConfig(t))
	id := events.MustNewID()
	key := func() (slot, [keySize]byte) {
		s, key, err := v.keys.recordKey(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return s, key
	}
	mustPut(t, v, id, 1, pattern(10))
	first, discarded := key()
	mustPut(t, v, id, 2, pattern(20))
	if again, _ := key(); again != first {
		t.Errorf("the second version lies under the key in slot %d, the first in %d", again, first)
	}
	for version := uint32(1); version <= 2; version++ {
		if err := v.Discard(ctx, id, version); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := v.keys.recordKey(ctx, id)
	wantErr(t, err, ErrNotFound)
	_, err = v.keys.tree.key(ctx, first)
	wantErr(t, err, errNoKey)
	err = walkTree(ctx, v.keys.reader, v.cfg.Custody, func(s slot, key *[keySize]byte) error {
		if s == first || *key == discarded {
			t.Errorf("the discarded key is in slot %d", s)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	mustPut(t, v, id, 2, pattern(30))
	if again, _ := key(); again == first {
		t.Error("a slot was used twice")
	}
	mustRead(t, v, id, 2, pattern(30))
}

// TestVersionsMeet puts versions of one new record at once: whichever comes
// first brings the key, and all lie under it.
func TestVersionsMeet(t *testing.T) {
	v := openVault(t, newConfig(t))
	for range 20 {
		id, patient := events.MustNewID(), events.MustNewID()
		var wg sync.WaitGroup
		for version := range uint32(8) {
			wg.Go(func() {
				if _, err := v.Put(ctx, id, version, Meta{}, bytes.NewReader(pattern(int(version)))); err != nil {
					t.Error(err)
				}
				if version == 3 {
					if err := v.Discard(ctx, id, version); err != nil {
						t.Error(err)
					}
				}
			})
			wg.Go(func() {
				p := Place{Identity, patient, events.ID{byte(version + 1)}}
				if _, err := v.PutDocument(ctx, p, pattern(int(version)), Term{"n", p.ID.String() + patient.String()}); err != nil {
					t.Error(err)
				}
				if version%2 == 0 {
					if err := v.DiscardDocument(ctx, p); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		var keys int
		if err := v.keys.conn.QueryRowContext(ctx, "SELECT count(DISTINCT key) FROM versions WHERE record = ?", id[:]).Scan(&keys); err != nil || keys != 1 {
			t.Fatalf("%d keys, %v", keys, err)
		}
		for version := range uint32(8) {
			if version != 3 {
				mustRead(t, v, id, version, pattern(int(version)))
			}
			if version%2 == 1 {
				mustDocument(t, v, Place{Identity, patient, events.ID{byte(version + 1)}}, pattern(int(version)))
			}
		}
	}
}

func TestCollectDocuments(t *testing.T) {
	cfg := newConfig(t)
	v := openVault(t, cfg)
	kept, lost := identity(events.MustNewID()), directory()
	mustPutDocument(t, v, kept, []byte("kept"), Term{"n", "kept"})
	mustPutDocument(t, v, lost, []byte("lost"), Term{"n", "lost"})
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = openVault(t, cfg)
	late := directory()
	mustPutDocument(t, v, late, []byte("late"))
	var asked []Place
	keep := Keep{
		Version:  func(events.ID, uint32) bool { return true },
		Document: func(p Place) bool { asked = append(asked, p); return p == kept },
	}
	if n, err := v.Collect(ctx, keep); err != nil || n != 1 || len(asked) != 2 {
		t.Fatalf("removed %d, asked %d, %v", n, len(asked), err)
	}
	mustDocument(t, v, kept, []byte("kept"))
	mustDocument(t, v, late, []byte("late"))
	_, err := v.Find(ctx, Directory, Term{"n", "lost"})
	wantErr(t, err, ErrNotFound)
	_, err = v.Collect(ctx, Keep{Version: keep.Version})
	wantErr(t, err, ErrInvalid)
	// The lost one was the last but one row; a new one is asked about again.
	if err := v.DiscardDocument(ctx, late); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = openVault(t, cfg)
	again := directory()
	mustPutDocument(t, v, again, nil)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = openVault(t, cfg)
	asked = nil
	if n, err := v.Collect(ctx, keep); err != nil || n != 1 || len(asked) != 1 || asked[0] != again {
		t.Errorf("removed %d, asked about %v, %v", n, asked, err)
	}
}

// TestTamperedDocument alters and moves documents and terms in SQLite.
func TestTamperedDocument(t *testing.T) {
	for name, sql := range map[string]string{
		"altered":         "UPDATE documents SET sealed = CAST(substr(sealed, 1, 20) || X'00' || substr(sealed, 22) AS BLOB) WHERE id = ?1",
		"of another id":   "UPDATE documents SET sealed = (SELECT sealed FROM documents WHERE id = ?2) WHERE id = ?1",
		"key of another":  "UPDATE documents SET key = (SELECT key FROM documents WHERE id = ?3) WHERE id = ?1 OR id = ?2 AND 0",
		"cut":             "UPDATE documents SET sealed = substr(sealed, 1, 60) WHERE id = ?1",
		"of another kind": "UPDATE documents SET sealed = (SELECT sealed FROM documents WHERE id = ?4) WHERE id = ?1",
	} {
		t.Run(name, func(t *testing.T) {
			v := openVault(t, newConfig(t))
			patient := events.MustNewID()
			a, b, c, d := identity(patient), identity(patient), identity(events.MustNewID()), accounting(patient)
			for _, p := range []Place{a, b, c, d} {
				mustPutDocument(t, v, p, pattern(100))
			}
			args := []any{a.ID[:], b.ID[:], c.ID[:], d.ID[:]}
			if _, err := v.keys.conn.ExecContext(ctx, sql, args[:argsOf(sql)]...); err != nil {
				t.Fatal(err)
			}
			_, err := v.Document(ctx, a)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.Document != a {
				t.Errorf("%v", err)
			}
			mustDocument(t, v, b, pattern(100))
		})
	}
}

// argsOf returns the highest number of a query's parameters.
func argsOf(sql string) (n int) {
	for i := 1; i <= 9; i++ {
		if strings.Contains(sql, fmt.Sprint("?", i)) {
			n = i
		}
	}
	return n
}
