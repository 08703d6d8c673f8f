package vault

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/medledger/medledger/events"
)

// errKeyChanged answers a request that was made with another named key than the
// one that is there when it is committed: it is to be made again.
var errKeyChanged = errors.New("the named key changed meanwhile")

// writeStatements are the prepared statements of the write connection.
type writeStatements struct {
	begin, commit, rollback     *sql.Stmt
	insertVersions              []sized
	serialOf, anyVersion        *sql.Stmt
	deleteVersion               *sql.Stmt
	versionsOf, deleteVersions  *sql.Stmt
	insertDocument              *sql.Stmt
	insertTerm, insertBucket    *sql.Stmt
	documentAt, termTaken       *sql.Stmt
	deleteDocument              *sql.Stmt
	zeroTerms, deleteBuckets    *sql.Stmt
	anyDocument, documentsOf    *sql.Stmt
	insertOwner, ownerKey       *sql.Stmt
	deleteOwner                 *sql.Stmt
	bury, tombstone             *sql.Stmt
	addLive, setCollected       *sql.Stmt
	liveSegments, sweepSegments *sql.Stmt

	all []*sql.Stmt // for close, without insertVersions
}

// close closes the statements. Closing their connection does not: database/sql
// leaves to the caller what was prepared on one connection, and SQLite keeps its
// files open until the last statement is closed.
func (w *writeStatements) close() error {
	errs := []error{closeSized(w.insertVersions)}
	for _, s := range w.all {
		errs = append(errs, s.Close())
	}
	w.all, w.insertVersions = nil, nil
	return errors.Join(errs...)
}

func (w *writeStatements) prepare(ctx context.Context, conn *sql.Conn) (err error) {
	for _, s := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commit, "COMMIT"},
		{&w.rollback, "ROLLBACK"},
		{&w.serialOf, "SELECT serial FROM versions WHERE record = ? AND version = ?"},
		{&w.anyVersion, "SELECT 1 FROM versions WHERE record = ? LIMIT 1"},
		{&w.deleteVersion, "DELETE FROM versions WHERE record = ? AND version = ? RETURNING key, segment"},
		{&w.versionsOf, "SELECT key, segment FROM versions WHERE record = ?"},
		{&w.deleteVersions, "DELETE FROM versions WHERE record = ?"},
		{&w.insertDocument, "INSERT INTO documents (serial, space, owner, id, key, sealed) VALUES (?, ?, ?, ?, ?, ?)"},
		{&w.insertTerm, "INSERT INTO terms (digest) VALUES (?)"},
		{&w.insertBucket, "INSERT INTO buckets (bucket, term, document) VALUES (?, ?, ?)"},
		{&w.documentAt, "SELECT serial, key FROM documents WHERE space = ? AND owner = ? AND id = ?"},
		{&w.termTaken, "SELECT d.owner, d.id " + fromTerm},
		{&w.deleteDocument, "DELETE FROM documents WHERE serial = ?"},
		{&w.zeroTerms, "UPDATE terms SET digest = zeroblob(length(digest)) WHERE number IN (SELECT term FROM buckets WHERE document = ?)"},
		{&w.deleteBuckets, "DELETE FROM buckets WHERE document = ?"},
		{&w.anyDocument, "SELECT 1 FROM documents WHERE space = ? AND owner = ? LIMIT 1"},
		{&w.documentsOf, "SELECT serial FROM documents WHERE space = ? AND owner = ?"},
		{&w.insertOwner, insertOwner},
		{&w.ownerKey, "SELECT key FROM owners WHERE kind = ? AND owner = ?"},
		{&w.deleteOwner, "DELETE FROM owners WHERE kind = ? AND owner = ?"},
		{&w.bury, "INSERT INTO destroyed (kind, owner, keys) VALUES (?, ?, ?)"},
		{&w.tombstone, "SELECT keys FROM destroyed WHERE kind = ? AND owner = ?"},
		{&w.addLive, "INSERT INTO segments (number, live) VALUES (?, ?) ON CONFLICT (number) DO UPDATE SET live = live + excluded.live"},
		{&w.setCollected, "UPDATE meta SET value = ? WHERE name = 'collected'"},
		{&w.liveSegments, "SELECT number FROM segments WHERE live > 0"},
		{&w.sweepSegments, "DELETE FROM segments WHERE live = 0 AND number < ?"},
	} {
		stmt, err := conn.PrepareContext(ctx, s.query)
		if err != nil {
			return fmt.Errorf("preparing %q: %w", s.query, err)
		}
		*s.to, w.all = stmt, append(w.all, stmt)
	}
	w.insertVersions, err = prepareSized(ctx, conn, insertVersions, "(?, ?, ?, ?, ?, ?, ?, ?, ?)")
	return err
}

const insertOwner = "INSERT INTO owners (kind, owner, key, proof) VALUES (?, ?, ?, ?)"

// found reports whether a query has a row, and scans it.
func found(row *sql.Row, to ...any) (bool, error) {
	err := row.Scan(to...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// buried reports whether the key of a name was destroyed, as ErrDestroyed, and
// how many keys went with it.
func (k *keyStore) buried(ctx context.Context, name keyName) (keys int, destroyed, err error) {
	there, err := found(k.write.tombstone.QueryRowContext(ctx, int64(name.kind), name.owner[:]), &keys)
	if there {
		destroyed = ErrDestroyed
	}
	return keys, destroyed, err
}

// discard removes one version, and the key of a record that has no other;
// ErrNotFound writes nothing.
func (k *keyStore) discard(ctx context.Context, record events.ID, version uint32) error {
	var key slot
	var segment uint32
	if there, err := found(k.write.deleteVersion.QueryRowContext(ctx, record[:], version), &key, &segment); err != nil {
		return err
	} else if !there {
		return ErrNotFound
	}
	var one int
	if more, err := found(k.write.anyVersion.QueryRowContext(ctx, record[:]), &one); err != nil {
		return err
	} else if !more {
		if err := k.tree.discard(ctx, key); err != nil {
			return err
		}
	}
	return k.release(ctx, segment, 1)
}

// release counts versions out of a segment.
func (k *keyStore) release(ctx context.Context, segment uint32, versions int) error {
	if segment == 0 {
		return nil
	}
	_, err := k.write.addLive.ExecContext(ctx, segment, -versions)
	return err
}

// destroy destroys a named key with everything below it and buries its name,
// unless that was done before. It returns how many keys there were.
func (k *keyStore) destroy(ctx context.Context, name keyName) (keys int, err error) {
	keys, destroyed, err := k.buried(ctx, name)
	if err != nil || destroyed != nil {
		return keys, err
	}
	if name.kind == recordKey {
		keys, err = k.destroyVersions(ctx, name.owner)
	} else {
		keys, err = k.destroyDocuments(ctx, name)
	}
	if err != nil {
		return 0, err
	}
	_, err = k.write.bury.ExecContext(ctx, int64(name.kind), name.owner[:], keys)
	return keys, err
}

// destroyVersions returns the number of versions and one for the record key, or
// none if there are no versions.
func (k *keyStore) destroyVersions(ctx context.Context, record events.ID) (keys int, err error) {
	key, segments, err := k.versionsOf(ctx, record)
	if err != nil || len(segments) == 0 {
		return 0, err
	}
	if err := k.tree.destroy(ctx, key); err != nil {
		return 0, err
	}
	versions := 0
	for segment, n := range segments {
		versions += n
		if err := k.release(ctx, segment, n); err != nil {
			return 0, err
		}
	}
	_, err = k.write.deleteVersions.ExecContext(ctx, record[:])
	return versions + 1, err
}

// versionsOf returns the key of a record and how many of its versions lie in
// each segment.
func (k *keyStore) versionsOf(ctx context.Context, record events.ID) (key slot, segments map[uint32]int, err error) {
	rows, err := k.write.versionsOf.QueryContext(ctx, record[:])
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	segments = make(map[uint32]int)
	for rows.Next() {
		var segment uint32
		if err := rows.Scan(&key, &segment); err != nil {
			return 0, nil, err
		}
		segments[segment]++
	}
	return key, segments, rows.Err()
}

// sweep remembers how far Collect came and returns the segments that hold a
// version, of those before current.
func (k *keyStore) sweep(ctx context.Context, upTo serial, current uint32) (live map[uint32]bool, err error) {
	if _, err := k.write.setCollected.ExecContext(ctx, binary.BigEndian.AppendUint64(nil, uint64(upTo))); err != nil {
		return nil, err
	}
	if _, err := k.write.sweepSegments.ExecContext(ctx, current); err != nil {
		return nil, err
	}
	rows, err := k.write.liveSegments.QueryContext(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	live = make(map[uint32]bool)
	for rows.Next() {
		var n uint32
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		live[n] = true
	}
	return live, rows.Err()
}

// flush writes what a batch has left to be written once.
func (k *keyStore) flush(ctx context.Context) error {
	if k.lastSlot != k.writtenSlot {
		if err := k.tree.setMeta(ctx, metaSlot, slotBytes(k.lastSlot)); err != nil {
			return err
		}
		k.writtenSlot = k.lastSlot
	}
	return k.tree.flush(ctx)
}
