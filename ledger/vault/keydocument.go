package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// documentRow is a document that is to be put, or discarded.
type documentRow struct {
	place   Place
	sealed  []byte
	digests [][]byte // of its terms
}

// document returns a document as it is sealed, and the slot of the key it lies
// under with the proof that it is the owner's.
func (k *keyStore) document(ctx context.Context, p Place) (sealed []byte, s slot, proof []byte, err error) {
	ctx = context.WithoutCancel(ctx)
	var own slot
	err = k.read.document.QueryRowContext(ctx, int64(p.name().kind), int64(p.Space), p.Owner[:], p.ID[:]).Scan(&sealed, &s, &own, &proof)
	if err == nil && own != s {
		return nil, s, nil, fmt.Errorf("it lies under the key in slot %d, its owner's is in slot %d: %w", s, own, errWrapped)
	}
	return sealed, s, proof, k.absent(ctx, err, p.name())
}

// find returns the place that a term's digest leads to.
func (k *keyStore) find(ctx context.Context, digest []byte) (p Place, err error) {
	there, err := found(k.read.term.QueryRowContext(context.WithoutCancel(ctx), bucketOf(digest), digest), &p.Space, (*idColumn)(&p.Owner), (*idColumn)(&p.ID))
	if err != nil {
		return p, fmt.Errorf("looking up a term: %w", err)
	}
	if !there {
		return p, ErrNotFound
	}
	return p, nil
}

// putDocument adds a document with its terms, and its owner's key if it comes
// with a new one. What it refuses has written nothing.
func (k *keyStore) putDocument(ctx context.Context, r *request) error {
	w, p := &k.write, r.doc.place
	if err := k.admitDocument(ctx, r.doc); err != nil {
		return err
	}
	if err := k.admitKey(ctx, r); err != nil {
		return err
	}
	k.lastSerial++
	if _, err := w.insertDocument.ExecContext(ctx, int64(k.lastSerial), int64(p.Space), p.Owner[:], p.ID[:], int64(r.key), r.doc.sealed); err != nil {
		return err
	}
	for _, d := range r.doc.digests {
		res, err := w.insertTerm.ExecContext(ctx, d)
		if err != nil {
			return err
		}
		number, err := res.LastInsertId()
		if err != nil {
			return err
		}
		if _, err := w.insertBucket.ExecContext(ctx, bucketOf(d), number, int64(k.lastSerial)); err != nil {
			return err
		}
	}
	return nil
}

// bucketOf returns the bucket of a digest. SQLite leaves copies of the rows that
// it moves; those of so few bits, which many terms share, tell little.
func bucketOf(digest []byte) int64 { return int64(digest[0])<<8 | int64(digest[1]) }

// admitDocument answers why a document cannot be added.
func (k *keyStore) admitDocument(ctx context.Context, d *documentRow) error {
	if _, destroyed, err := k.buried(ctx, d.place.name()); err != nil || destroyed != nil {
		return errors.Join(err, destroyed)
	}
	if _, _, there, err := k.documentAt(ctx, d.place); err != nil {
		return err
	} else if there {
		return ErrExists
	}
	for _, digest := range d.digests {
		other := new(TakenError)
		taken, err := found(k.write.termTaken.QueryRowContext(ctx, bucketOf(digest), digest), (*idColumn)(&other.Owner), (*idColumn)(&other.ID))
		if err != nil {
			return err
		}
		if taken {
			return other
		}
	}
	return nil
}

// admitKey makes sure that a document's key is its owner's, and adds it if it is
// new.
func (k *keyStore) admitKey(ctx context.Context, r *request) error {
	name := r.doc.place.name()
	var there slot
	has, err := found(k.write.ownerKey.QueryRowContext(ctx, int64(name.kind), name.owner[:]), &there)
	if err != nil {
		return err
	}
	if has != (r.fresh == nil) || has && there != r.key {
		return errKeyChanged
	}
	if has {
		return nil
	}
	k.lastSlot++
	r.key = k.lastSlot
	if err := k.tree.create(ctx, []newKey{{r.key, r.fresh}}); err != nil {
		return err
	}
	proof, err := prove(r.fresh, name, r.key, k.tree.random)
	if err != nil {
		return err
	}
	_, err = k.write.insertOwner.ExecContext(ctx, int64(name.kind), name.owner[:], int64(r.key), proof)
	return err
}

func (k *keyStore) documentAt(ctx context.Context, p Place) (s serial, key slot, there bool, err error) {
	there, err = found(k.write.documentAt.QueryRowContext(ctx, int64(p.Space), p.Owner[:], p.ID[:]), &s, &key)
	return s, key, there, err
}

// discardDocument removes a document and its terms, and the key of an owner that
// has no other; ErrNotFound and ErrDestroyed write nothing.
func (k *keyStore) discardDocument(ctx context.Context, p Place) error {
	s, key, there, err := k.documentAt(ctx, p)
	if err != nil {
		return err
	}
	if !there {
		if _, destroyed, err := k.buried(ctx, p.name()); err != nil || destroyed != nil {
			return errors.Join(err, destroyed)
		}
		return ErrNotFound
	}
	if err := k.deleteDocument(ctx, s); err != nil {
		return err
	}
	if p.Space == Directory {
		return nil
	}
	var one int
	if more, err := found(k.write.anyDocument.QueryRowContext(ctx, int64(p.Space), p.Owner[:]), &one); err != nil || more {
		return err
	}
	return k.removeOwner(ctx, p.name(), key, k.tree.discard)
}

func (k *keyStore) deleteDocument(ctx context.Context, s serial) error {
	for _, stmt := range []*sql.Stmt{k.write.zeroTerms, k.write.deleteBuckets} {
		if _, err := stmt.ExecContext(ctx, int64(s)); err != nil {
			return err
		}
	}
	_, err := k.write.deleteDocument.ExecContext(ctx, int64(s))
	return err
}

// removeOwner removes an owner, whose key remove destroys or discards.
func (k *keyStore) removeOwner(ctx context.Context, name keyName, key slot, remove func(context.Context, slot) error) error {
	if err := remove(ctx, key); err != nil {
		return err
	}
	_, err := k.write.deleteOwner.ExecContext(ctx, int64(name.kind), name.owner[:])
	return err
}

// destroyDocuments destroys the key of an owner with all documents under it.
func (k *keyStore) destroyDocuments(ctx context.Context, name keyName) (keys int, err error) {
	var key slot
	there, err := found(k.write.ownerKey.QueryRowContext(ctx, int64(name.kind), name.owner[:]), &key)
	if err != nil || !there {
		return 0, err
	}
	serials, err := k.documentsOf(ctx, name)
	if err != nil {
		return 0, err
	}
	for _, s := range serials {
		if err := k.deleteDocument(ctx, s); err != nil {
			return 0, err
		}
	}
	return 1, k.removeOwner(ctx, name, key, k.tree.destroy)
}

func (k *keyStore) documentsOf(ctx context.Context, name keyName) (list []serial, err error) {
	space := map[keyKind]Space{patientKey: Identity, accountingKey: Accounting}[name.kind]
	rows, err := k.write.documentsOf.QueryContext(ctx, int64(space), name.owner[:])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s serial
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}
