package vault

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events"
)

// serial numbers the rows of versions and documents, from 1 in the order in
// which they were added, never used twice.
type serial int64

// location is where a ciphertext lies: in a segment, or, if segment is 0, in a
// large file. The length is that of the segment record or of the file.
type location struct {
	segment uint32
	offset  int64
	length  int64
}

// keyStore is keys.sqlite. The write connection, its statements, lastSlot and
// lastSerial belong to the committing goroutine; the reading methods are for
// everybody.
type keyStore struct {
	writer      *sql.DB
	conn        *sql.Conn // the one connection of writer
	write       writeStatements
	tree        *tree
	lastSlot    slot
	writtenSlot slot // the last one that the database knows
	lastSerial  serial
	deletes     bool // the batch at hand deletes rows
	hook        stepHook

	reader *sql.DB
	read   readStatements
}

// readStatements are the prepared statements of the reading connections.
type readStatements struct {
	version, recordKey   *sql.Stmt
	document, ownerKey   *sql.Stmt
	dead, term           *sql.Stmt
	versionsFrom, docsAt *sql.Stmt
}

// fromTerm finds the document of a term by its bucket and digest.
const fromTerm = "FROM buckets b JOIN terms t ON t.number = b.term JOIN documents d ON d.serial = b.document WHERE b.bucket = ? AND t.digest = ?"

// openKeyStore opens keys.sqlite, or makes it if the vault is empty, and the tree
// in it.
func openKeyStore(ctx context.Context, cfg Config, empty bool, hook stepHook) (_ *keyStore, err error) {
	path := filepath.Join(cfg.Dir, keysFile)
	// SQLite would make the file readable by others; its other files take over
	// the mode of this one. Crash: an empty file, which is an empty database.
	if err := touch(path); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	k := &keyStore{hook: hook}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("opening %s: %w", path, err), k.close())
		}
	}()
	if k.writer, err = openSQLite(path, "_pragma=cache_size(-2048)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", 1); err != nil {
		return nil, err
	}
	if k.conn, err = k.writer.Conn(ctx); err != nil {
		return nil, err
	}
	if err = k.prepareFile(ctx, empty, cfg); err != nil {
		return nil, err
	}
	// SQLite's directory entries must not be lost to a crash after something in its
	// files was acknowledged, or a root key made for them.
	if err = cfg.FS.SyncDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("syncing the vault's folder: %w", err)
	}
	if err = k.write.prepare(ctx, k.conn); err != nil {
		return nil, err
	}
	if k.reader, err = openSQLite(path, "_pragma=cache_size(-2048)&_pragma=query_only(ON)", readers); err != nil {
		return nil, err
	}
	if err = k.prepareReads(ctx); err != nil {
		return nil, err
	}
	k.tree = &tree{
		random: cfg.Random, log: cfg.Logger, hook: hook, register: newRegister(cfg.FS, cfg.Register),
		conn: k.conn, reader: k.reader, cache: newNodeCache(cfg.NodeCache), custody: cfg.Custody, changed: make(map[nodeID]*node),
	}
	if err := k.tree.register.verify(); err != nil {
		cfg.Logger.Error("nothing can be destroyed before this is mended", "error", err)
	}
	if err = k.tree.prepare(ctx); err != nil {
		return nil, err
	}
	if err = k.tree.start(ctx, cfg.moveTo); err != nil {
		return nil, err
	}
	k.lastSlot, k.lastSerial, err = lastRows(ctx, k.conn)
	k.writtenSlot = k.lastSlot
	return k, err
}

// touch makes an empty file that others cannot read, unless there is one.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// querier is a connection or a pool of them.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// lastRows returns the last slot and serial that were given out. Rows of versions and
// documents are deleted: whoever deletes some leaves a mark of the last serial, for an
// increment of a backup goes on from a serial, and none may be given out again.
func lastRows(ctx context.Context, on querier) (lastSlot slot, lastSerial serial, err error) {
	collected, err := collected(ctx, on)
	if err != nil {
		return 0, 0, err
	}
	if lastSlot, err = readSlot(ctx, on, metaSlot); err != nil {
		return 0, 0, err
	}
	mark, err := readMeta(ctx, on, metaSerial)
	if err != nil {
		return 0, 0, err
	}
	var marked serial
	if len(mark) == 8 {
		marked = serial(binary.BigEndian.Uint64(mark))
	}
	var versions, documents serial
	const newest = "SELECT (SELECT coalesce(max(serial), 0) FROM versions), (SELECT coalesce(max(serial), 0) FROM documents)"
	err = on.QueryRowContext(ctx, newest).Scan(&versions, &documents)
	return lastSlot, max(collected, marked, versions, documents), err
}

func (k *keyStore) prepareReads(ctx context.Context) (err error) {
	for _, s := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&k.read.version, "SELECT segment, offset, length, secrets, key FROM versions WHERE record = ? AND version = ?"},
		{&k.read.recordKey, "SELECT key, version, secrets FROM versions WHERE record = ? LIMIT 1"},
		{&k.read.ownerKey, "SELECT key, proof FROM owners WHERE kind = ? AND owner = ?"},
		{&k.read.document, "SELECT d.sealed, d.key, coalesce(o.key, 0), o.proof " +
			"FROM documents d LEFT JOIN owners o ON o.kind = ? AND o.owner = d.owner " +
			"WHERE d.space = ? AND d.owner = ? AND d.id = ?"},
		{&k.read.dead, "SELECT 1 FROM destroyed WHERE kind = ? AND owner = ?"},
		{&k.read.term, "SELECT d.space, d.owner, d.id " + fromTerm},
		{&k.read.versionsFrom, "SELECT serial, record, version FROM versions WHERE serial > ? AND serial <= ? ORDER BY serial LIMIT 4096"},
		{&k.read.docsAt, "SELECT serial, space, owner, id FROM documents WHERE serial > ? AND serial <= ? ORDER BY serial LIMIT 4096"},
	} {
		if *s.to, err = k.reader.PrepareContext(ctx, s.query); err != nil {
			return fmt.Errorf("preparing %q: %w", s.query, err)
		}
	}
	return nil
}

// versionRow is what SQLite has of a version.
type versionRow struct {
	at      location
	secrets []byte // wrapped under the record's key
	key     slot   // of the record's key
}

// lookup returns the row of a version; ErrNotFound or ErrDestroyed if there is
// none. It does not watch the context: the query is short, and an interrupted
// one costs more than it saves.
func (k *keyStore) lookup(ctx context.Context, record events.ID, version uint32) (row versionRow, err error) {
	ctx = context.WithoutCancel(ctx)
	err = k.read.version.QueryRowContext(ctx, record[:], version).Scan(&row.at.segment, &row.at.offset, &row.at.length, &row.secrets, &row.key)
	return row, k.absent(ctx, err, recordName(record))
}

// lookupKey returns the slot of a named key that is not a record's, and the proof
// that it is the name's; ErrNotFound or ErrDestroyed if there is none.
func (k *keyStore) lookupKey(ctx context.Context, name keyName) (s slot, proof []byte, err error) {
	ctx = context.WithoutCancel(ctx)
	err = k.read.ownerKey.QueryRowContext(ctx, int64(name.kind), name.owner[:]).Scan(&s, &proof)
	return s, proof, k.absent(ctx, err, name)
}

// namedKey opens the key of a slot and holds it to the proof that it is a name's.
func (k *keyStore) namedKey(ctx context.Context, name keyName, s slot, proof []byte) (key [keySize]byte, err error) {
	if key, err = k.tree.key(ctx, s); err != nil {
		return key, err
	}
	if err := proven(&key, name, s, proof); err != nil {
		clear(key[:])
		return key, err
	}
	return key, nil
}

// recordKey returns a record's key and its slot; ErrNotFound or ErrDestroyed if
// there is none. It holds the key to what lies under it: another one in its place
// would not die with the record.
func (k *keyStore) recordKey(ctx context.Context, record events.ID) (s slot, key [keySize]byte, err error) {
	ctx = context.WithoutCancel(ctx)
	var version uint32
	var wrapped []byte
	err = k.read.recordKey.QueryRowContext(ctx, record[:]).Scan(&s, &version, &wrapped)
	if err := k.absent(ctx, err, recordName(record)); err != nil {
		return 0, key, err
	}
	if key, err = k.tree.key(ctx, s); err != nil {
		return s, key, err
	}
	under, err := unwrapSecrets(&key, wrapped, record, version)
	if err != nil {
		clear(key[:])
		return s, key, err
	}
	under.wipe()
	return s, key, nil
}

// errLookup says that the database could not be asked.
var errLookup = errors.New("looking up a vault key")

// absent turns the error of a query that found no row into ErrNotFound or
// ErrDestroyed.
func (k *keyStore) absent(ctx context.Context, err error, name keyName) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: %w", errLookup, err)
	}
	var dead int
	switch err := k.read.dead.QueryRowContext(ctx, int64(name.kind), name.owner[:]).Scan(&dead); {
	case err == nil:
		return ErrDestroyed
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	default:
		return fmt.Errorf("looking up a tombstone: %w: %w", errLookup, err)
	}
}

// versionName names a version.
type versionName struct {
	record  events.ID
	version uint32
}

// listVersions returns some of the versions with serials in (after, upTo],
// ascending, and the serial to go on after; that is upTo when there are no more.
func (k *keyStore) listVersions(ctx context.Context, after, upTo serial) (names []versionName, next serial, err error) {
	return listRows(ctx, k.read.versionsFrom, after, upTo, func(rows *sql.Rows, s *serial) (n versionName, err error) {
		err = rows.Scan(s, (*idColumn)(&n.record), &n.version)
		return n, err
	})
}

// listDocuments is listVersions for documents.
func (k *keyStore) listDocuments(ctx context.Context, after, upTo serial) (places []Place, next serial, err error) {
	return listRows(ctx, k.read.docsAt, after, upTo, func(rows *sql.Rows, s *serial) (p Place, err error) {
		err = rows.Scan(s, &p.Space, (*idColumn)(&p.Owner), (*idColumn)(&p.ID))
		return p, err
	})
}

func listRows[T any](ctx context.Context, query *sql.Stmt, after, upTo serial, scan func(*sql.Rows, *serial) (T, error)) (list []T, next serial, err error) {
	rows, err := query.QueryContext(ctx, int64(after), int64(upTo))
	if err != nil {
		return nil, 0, fmt.Errorf("listing vault rows: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		item, err := scan(rows, &next)
		if err != nil {
			return nil, 0, fmt.Errorf("listing vault rows: %w", err)
		}
		list = append(list, item)
	}
	if len(list) < 4096 {
		next = upTo
	}
	return list, next, rows.Err()
}

// collected returns the serial up to which Collect has asked about every row.
func collected(ctx context.Context, on querier) (serial, error) {
	var b []byte
	if err := on.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'collected'").Scan(&b); err != nil {
		return 0, fmt.Errorf("reading how far the vault was collected: %w", err)
	}
	if len(b) != 8 || b[0] > 0x7f {
		return 0, fmt.Errorf("bad mark of how far the vault was collected: restore %s from its backup", keysFile)
	}
	return serial(binary.BigEndian.Uint64(b)), nil
}

// close closes whatever openKeyStore has opened.
func (k *keyStore) close() error {
	errs := []error{k.write.close()}
	if k.tree != nil {
		errs = append(errs, k.tree.close())
	}
	if k.reader != nil {
		errs = append(errs, k.reader.Close())
	}
	if k.conn != nil {
		errs = append(errs, k.conn.Close())
	}
	if k.writer != nil {
		errs = append(errs, k.writer.Close())
	}
	return errors.Join(errs...)
}

// unwrap opens the secrets of a version.
func (k *keyStore) unwrap(ctx context.Context, row versionRow, record events.ID, version uint32) (*secrets, error) {
	key, err := k.tree.key(ctx, row.key)
	if err != nil {
		return nil, err
	}
	defer clear(key[:])
	return unwrapSecrets(&key, row.secrets, record, version)
}
