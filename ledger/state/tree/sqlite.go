package tree

import (
	"bytes"
	"context"
	"crypto/hmac"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the "sqlite" driver of database/sql

	"github.com/medledger/medledger/verifier/mpt"
)

// formatVersion changes whenever the rows of the copy change their meaning; a copy of
// another version is thrown away and made again from the log.
const formatVersion = 1

// The size of SQLite's pages can be set before the file is written to, which the change
// to a WAL does.
//
// The copy is derived data, so it need not survive a power failure whole: with
// synchronous=NORMAL a torn WAL loses transactions, not consistency.
var schema = fmt.Sprintf("PRAGMA page_size = %d; PRAGMA journal_mode = WAL;", sqlitePage) + `
CREATE TABLE IF NOT EXISTS head (version INTEGER NOT NULL, value BLOB NOT NULL, mac BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS page (id INTEGER PRIMARY KEY, data BLOB NOT NULL);`

// Open loads the copy, or makes an empty one. The caller then feeds it the events from
// Position() on. A copy that cannot be read, that was not written with the key or that
// is of another version is replaced by an empty one: it is cheaper to replay than to
// trust it. A copy that covers more events than there are is the caller's to find and
// to Remove.
func Open(ctx context.Context, c Config) (*Tree, error) {
	return open(ctx, c, "sqlite")
}

func open(ctx context.Context, c Config, driver string) (*Tree, error) {
	c, err := c.check()
	if err != nil {
		return nil, err
	}
	t, err := openCopy(ctx, c, driver)
	if err == nil || ctx.Err() != nil {
		return t, err
	}
	c.Logger.WarnContext(ctx, "the copy of the state tree cannot be used; making it again from the events", "because", err)
	if err := Remove(c.Path); err != nil {
		return nil, err
	}
	return openCopy(ctx, c, driver)
}

// Remove deletes the copy at path, if there is one. The tree must be closed.
func Remove(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the copy of the state tree: %w", err)
		}
	}
	return nil
}

// openCopy opens the copy and reads all of it.
func openCopy(ctx context.Context, c Config, driver string) (*Tree, error) {
	db, err := connect(c.Path, driver, "_pragma=cache_size(-1024)&_pragma=synchronous(NORMAL)&_pragma=wal_autocheckpoint(0)", 1)
	if err != nil {
		return nil, err
	}
	reads, err := connect(c.Path, driver, "_pragma=cache_size(-256)&_pragma=query_only(1)", 2)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	t := &Tree{
		config: c, seal: seal{key: c.Key}, db: db, reads: reads,
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if err := t.read(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", c.Path, err), reads.Close(), db.Close())
	}
	writing, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	go t.run(writing)
	return t, nil
}

func connect(path, driver, pragmas string, connections int) (*sql.DB, error) {
	name := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	db, err := sql.Open(driver, "file:"+name+"?"+pragmas)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	db.SetMaxOpenConns(connections)
	return db, nil
}

// read reads the copy, believing nothing: the MAC must be over just the pages that there
// are, their position and their root, and every hash is computed again.
func (t *Tree) read(ctx context.Context) error {
	if _, err := t.db.ExecContext(ctx, schema); err != nil {
		return err
	}
	position, head, mac, err := t.readHead(ctx)
	if err != nil {
		return err
	}
	pages, err := t.readPages(ctx)
	if err != nil {
		return err
	}
	if head == nil && len(pages) > 0 {
		return errors.New("it has pages and no head")
	}
	t.readPage, err = t.reads.PrepareContext(ctx, "SELECT data FROM page WHERE id = ?")
	if err != nil || head == nil {
		return err
	}
	if !hmac.Equal(mac, t.seal.headMAC(t.seal.sum, head)) {
		return errors.New("it was altered, or written with another key")
	}
	if err := t.assemble(pages); err != nil {
		return err
	}
	if root := t.rootHash(); !bytes.Equal(root[:], head[8:]) {
		return errors.New("its root is another than that of its entries")
	}
	t.position, t.written = position, position
	return nil
}

// encodeHead is what the head says: the position, and the root at it.
func encodeHead(position uint64, root mpt.Hash) []byte {
	return append(binary.BigEndian.AppendUint64(nil, position), root[:]...)
}

func (t *Tree) readHead(ctx context.Context) (position uint64, head, mac []byte, err error) {
	var version int
	err = t.db.QueryRowContext(ctx, "SELECT version, value, mac FROM head").Scan(&version, &head, &mac)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, nil, nil
	}
	if err != nil {
		return 0, nil, nil, err
	}
	if version != formatVersion {
		return 0, nil, nil, fmt.Errorf("it is of version %d, this program reads %d", version, formatVersion)
	}
	if len(head) != 8+len(mpt.Hash{}) {
		return 0, nil, nil, fmt.Errorf("it has a head of %d bytes", len(head))
	}
	return binary.BigEndian.Uint64(head), head, mac, nil
}

// rowsPerBatch is how many rows go from one goroutine to another at once.
const rowsPerBatch = 64

// pageRow is a row of the file.
type pageRow struct {
	id   int64
	data []byte
}

// pageRead is a page that was read.
type pageRead struct {
	page    *page
	hash    mpt.Hash
	key     Key // of an entry
	depth   int
	entries int
}

// readPages reads all pages, on all cores: reading an entry costs a few hashes. It keeps
// the data of some while the cache has room.
func (t *Tree) readPages(ctx context.Context) ([]pageRead, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	raw := make(chan []pageRow, 2)
	read := make(chan []pageRead, 2)
	var workers sync.WaitGroup
	workers.Go(func() {
		defer close(raw)
		if err := t.queryPages(ctx, raw); err != nil {
			cancel(err)
		}
	})
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for rows := range raw {
				pages, err := t.parseAll(rows)
				if err != nil {
					cancel(err)
				}
				read <- pages
			}
		})
	}
	go func() { // ends before the loop below does
		workers.Wait()
		close(read)
	}()
	var all []pageRead
	for pages := range read { // to the end, whatever happens: nobody is left behind
		for _, r := range pages {
			t.seal.sum = t.seal.sum.plus(r.page.digest)
			t.count(r.page, +1)
			if t.loaded > t.config.CacheBytes {
				t.count(r.page, -1)
				r.page.data = nil
			}
		}
		all = append(all, pages...)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return all, nil
}

// queryPages sends all rows. Of data that is longer than can be there is none, so that
// nobody has a row of a gigabyte read into memory.
func (t *Tree) queryPages(ctx context.Context, to chan<- []pageRow) error {
	rows, err := t.db.QueryContext(ctx, "SELECT id, CASE WHEN length(data) <= ? THEN data END FROM page", maxPageData)
	if err != nil {
		return err
	}
	defer rows.Close()
	batch := make([]pageRow, 0, rowsPerBatch)
	var data sql.RawBytes
	for rows.Next() {
		var r pageRow
		if err := rows.Scan(&r.id, &data); err != nil {
			return err
		}
		r.data = bytes.Clone(data)
		if batch = append(batch, r); len(batch) == rowsPerBatch {
			select {
			case to <- batch:
			case <-ctx.Done():
				return ctx.Err()
			}
			batch = make([]pageRow, 0, rowsPerBatch)
		}
	}
	to <- batch
	return rows.Err()
}

func (t *Tree) parseAll(rows []pageRow) ([]pageRead, error) {
	pages := make([]pageRead, 0, len(rows))
	var space []item
	for _, r := range rows {
		c, depth, err := parse(r.data, t.config.Leaf, space)
		if err != nil {
			return nil, err
		}
		space = c.items
		p := &page{row: r.id, data: r.data, digest: t.seal.digestOf(r.id, r.data)}
		pages = append(pages, pageRead{p, hashOf(c.items), c.items[0].key, depth, len(c.items)})
	}
	return pages, nil
}

// assemble makes the directory of pages that were written with the key.
func (t *Tree) assemble(pages []pageRead) (err error) {
	t.pages = make([]*page, 0, len(pages))
	for _, r := range pages {
		if t.root, err = t.root.graft(node{hash: r.hash, page: r.page}, r.key, r.depth); err != nil {
			return err
		}
		t.pages = append(t.pages, r.page)
		t.entries += r.entries
		t.nextRow = max(t.nextRow, r.page.row+1)
	}
	if t.root != nil {
		t.root.rejoin(0)
	}
	return nil
}
