package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/commitment"
)

// Meta is what the vault keeps, encrypted, beside a content.
type Meta struct {
	// ContentType is a media type of at most MaxContentType bytes, or empty.
	ContentType string
}

// Stored says what Put has stored.
type Stored struct {
	Size       int64                 // of the content, in bytes
	Commitment [commitment.Size]byte // goes into the event
}

// putBuffers are the buffers of one Put. They hold plaintext and are wiped
// before they are used again.
type putBuffers struct {
	small     []byte // what of a content is held in memory
	cur, next []byte // chunks
	sealed    []byte
}

// usualContent is what a buffer has room for at first. Most contents are a few
// kilobytes long: with room for SmallLimit in each, hundreds of Puts at a time would
// take tens of megabytes.
const usualContent = 4 << 10

// newPutBuffers returns buffers that grow to SmallLimit and one byte more, to see
// whether a content fits.
func newPutBuffers(smallLimit int) *putBuffers {
	return &putBuffers{small: make([]byte, min(usualContent, smallLimit+1))}
}

// read reads the beginning of a content, and says whether that is all of it: up to
// smallLimit bytes.
func (b *putBuffers) read(content io.Reader, smallLimit int) (n int, whole bool, err error) {
	n, whole, err = fill(content, b.small)
	if err != nil || whole || n > smallLimit {
		return n, whole, err
	}
	larger := make([]byte, smallLimit+1)
	copy(larger, b.small)
	clear(b.small)
	b.small = larger
	more, whole, err := fill(content, larger[n:])
	return n + more, whole, err
}

// Put stores the content of a record version, read to its end. When it returns
// without error, content and wrapped key are durable. Contents up to SmallLimit
// share one durable write with those that are put at the same moment; of a
// larger one no more than a few chunks are in memory at a time. Reading content
// must not call the vault; a Reader of Get's is no such call.
//
// Errors: ErrExists if the version has a content, ErrDestroyed if the record is
// destroyed, ErrInvalid, ErrStopped, content's own error or ctx's while content
// is read; none of these but ErrStopped leaves anything to be discarded. After
// ErrStopped the version may or may not be there; it has no event, so Collect
// removes it when the vault is opened again.
func (v *Vault) Put(ctx context.Context, record events.ID, version uint32, meta Meta, content io.Reader) (Stored, error) {
	if err := v.enter(ctx); err != nil {
		return Stored{}, err
	}
	defer v.leave()
	if record.IsZero() || len(meta.ContentType) > MaxContentType {
		return Stored{}, fmt.Errorf("putting a content without a record id or with a content type of over %d bytes: %w", MaxContentType, ErrInvalid)
	}
	if err := v.active.reserve(recordName(record), version, false); err != nil {
		return Stored{}, err
	}
	defer v.active.release(recordName(record), version)

	s, err := newSecrets(v.cfg.Random)
	if err != nil {
		return Stored{}, err
	}
	defer s.wipe()
	s.contentType = meta.ContentType
	stream, err := newStream(&s.key, versionContext{record, version})
	if err != nil {
		return Stored{}, err
	}
	buf := v.buffers.Get().(*putBuffers)
	n, whole, err := buf.read(content, v.cfg.SmallLimit)
	defer func() {
		clear(buf.small[:n])
		v.buffers.Put(buf)
	}()
	if err != nil {
		return Stored{}, fmt.Errorf("reading a content: %w", err)
	}
	p := &put{v: v, ctx: ctx, secrets: s, stream: stream, commitment: commitment.New(s.salt), buf: buf}
	p.req = request{op: opPut, record: record, version: version}
	defer func() { clear(p.recordKey[:]) }()
	if whole {
		err = p.small(buf.small[:n])
	} else {
		err = p.large(buf.small[:n], content)
	}
	if err != nil {
		return Stored{}, err
	}
	return Stored{Size: s.size, Commitment: p.commitment.Sum()}, nil
}

// fill reads until buf is full or r has ended, and says which it was. Unlike
// io.ReadFull it cannot mistake an io.ErrUnexpectedEOF of r, such as that of a
// request body which was cut off, for an end.
func fill(r io.Reader, buf []byte) (n int, ended bool, err error) {
	for empty := 0; n < len(buf); {
		m, err := r.Read(buf[n:])
		n += m
		if err == io.EOF { // not errors.Is: a wrapped one is a broken stream
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
		if m > 0 {
			empty = 0
		} else if empty++; empty == 100 {
			return n, false, io.ErrNoProgress
		}
	}
	return n, false, nil
}

// put is one Put under way.
type put struct {
	v          *Vault
	ctx        context.Context // of the one call that put lives in
	secrets    *secrets
	stream     *stream
	commitment *commitment.Hash
	buf        *putBuffers
	req        request
	recordKey  [keySize]byte
}

// commit wraps the version's key under the record's and hands everything to the
// committing goroutine. A first version is taken for that of a new record, which
// saves a query; if another Put, or a Discard, has changed the record's key
// meanwhile, the committing goroutine says so.
func (p *put) commit() (err error) {
	p.secrets.size = p.commitment.Len()
	for guess := p.req.version <= 1; ; guess = false {
		if err := p.chooseKey(guess); err != nil {
			return err
		}
		p.req.wrapped, err = wrapSecrets(&p.recordKey, p.secrets, p.req.record, p.req.version, p.v.cfg.Random)
		if err != nil {
			return err
		}
		if err = p.v.submit(&p.req); !errors.Is(err, errKeyChanged) {
			return err
		}
		if err := p.ctx.Err(); err != nil {
			return err
		}
	}
}

// chooseKey opens the record's key, or draws one if there is none.
func (p *put) chooseKey(isNew bool) error {
	p.req.fresh, p.req.key = nil, 0
	if !isNew {
		there, err := p.openKey()
		if there || err != nil {
			return err
		}
	}
	if _, err := io.ReadFull(p.v.cfg.Random, p.recordKey[:]); err != nil {
		return fmt.Errorf("reading randomness for a record key: %w", err)
	}
	p.req.fresh = &p.recordKey
	return nil
}

// openKey opens the record's key, if there is one.
func (p *put) openKey() (there bool, err error) {
	err = retryKey(func() (slot, error) {
		p.req.key, p.recordKey, err = p.v.keys.recordKey(p.ctx, p.req.record)
		return p.req.key, err
	})
	if err == nil {
		return true, nil
	}
	p.req.key = 0
	for _, answer := range []error{ErrDestroyed, errUnread, errLookup} {
		if errors.Is(err, answer) {
			return false, err
		}
	}
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return false, &CorruptError{Record: p.req.record, Version: p.req.version, Err: err}
}

func (p *put) small(plain []byte) error {
	p.commitment.Write(plain)
	b := newSegmentRecord(p.req.record, p.req.version, int(sealedSize(int64(len(plain)))))
	p.req.sealed = p.stream.sealAll(b, plain)
	finishSegmentRecord(p.req.sealed)
	return p.commit()
}

// large writes a file and then the row that makes it count. A crash before the
// row is durable leaves a file, cut or whole, without a key: Collect removes it
// and another Put of the version overwrites it. A crash after leaves the
// version whole, for the file and its names were synced before.
func (p *put) large(start []byte, rest io.Reader) (err error) {
	v := p.v
	// The file of a version that is there must not be overwritten. The version
	// is reserved, so what is found out here holds until the commit.
	_, err = v.keys.lookup(p.ctx, p.req.record, p.req.version)
	if err == nil {
		return ErrExists
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	path := largePath(v.cfg.Dir, p.req.record, p.req.version)
	defer func() {
		// After ErrStopped the row may be durable: Collect will know.
		if err != nil && !errors.Is(err, ErrStopped) {
			if e := v.removeLarge(path); e != nil {
				v.cfg.Logger.Warn("could not remove the file of a failed put; the next Collect does", "error", e)
			}
		}
	}()
	if err := p.writeFile(path, start, rest); err != nil {
		return fmt.Errorf("writing a large content: %w", err)
	}
	return p.commit()
}

func (p *put) writeFile(path string, start []byte, rest io.Reader) (err error) {
	fsys := p.v.cfg.FS
	shard := filepath.Dir(path)
	if err := disk.MakeDir(fsys, shard, 0o700); err != nil {
		return err
	}
	f, err := fsys.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = p.sealTo(f, start, rest)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	p.req.at = location{length: contextSize + sealedSize(p.commitment.Len())}
	return fsys.SyncDir(shard)
}

// sealTo writes header and chunks. It reads one chunk ahead to know the last.
func (p *put) sealTo(w io.Writer, start []byte, rest io.Reader) error {
	b := p.buf
	if b.sealed == nil {
		b.cur, b.next, b.sealed = make([]byte, chunkSize), make([]byte, chunkSize), make([]byte, sealedChunk)
	}
	defer func() {
		clear(b.cur)
		clear(b.next)
	}()
	if _, err := w.Write(p.stream.aad); err != nil {
		return err
	}
	src := io.MultiReader(bytes.NewReader(start), rest)
	// Encrypting and hashing a large content would take a core for as long as it
	// lasts; with two cores every small one would wait for it.
	var pace disk.Pace
	n, ended, err := fill(src, b.cur)
	for err == nil {
		var m int
		if !ended {
			if m, ended, err = fill(src, b.next); err != nil {
				break
			}
		}
		if err = p.ctx.Err(); err != nil {
			break
		}
		pace.Begin()
		p.commitment.Write(b.cur[:n])
		if _, err = w.Write(p.stream.seal(b.sealed[:0], b.cur[:n], m == 0)); err != nil || m == 0 {
			return err
		}
		b.cur, b.next, n = b.next, b.cur, m
		pace.Rest()
	}
	return err
}

func (v *Vault) removeLarge(path string) error {
	err := v.cfg.FS.Remove(path)
	if missing(err) {
		return nil
	}
	return err
}

// largePath is the file of a large content.
func largePath(dir string, record events.ID, version uint32) string {
	return filepath.Join(shardDir(dir, record), largeName(record, version))
}

func shardDir(dir string, record events.ID) string {
	return filepath.Join(largeDir(dir), hex.EncodeToString(record[:1]))
}

func largeName(record events.ID, version uint32) string {
	return record.String() + "-" + strconv.FormatUint(uint64(version), 10)
}

// parseLargeName accepts what largeName writes and nothing else.
func parseLargeName(name string) (record events.ID, version uint32, ok bool) {
	if len(name) < 38 {
		return record, 0, false
	}
	record, err := events.ParseID(name[:36])
	if err != nil {
		return record, 0, false
	}
	n, err := strconv.ParseUint(name[37:], 10, 32)
	if err != nil || largeName(record, uint32(n)) != name {
		return record, 0, false
	}
	return record, uint32(n), true
}
