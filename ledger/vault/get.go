package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/commitment"
)

// Content is an open content.
type Content struct {
	// Reader yields the content. Every byte it yields was authenticated; it
	// fails with a *CorruptError before the first byte of a bad chunk, with
	// ErrDestroyed once the record is being destroyed, with ErrClosed once the
	// vault is closed. Only when it has ended with io.EOF was the content
	// whole. It must be closed, and may be closed at any moment; otherwise it
	// is for one goroutine.
	Reader io.ReadCloser
	// Size is the content's length in bytes, authenticated.
	Size int64
	// ContentType is as it was put.
	ContentType string
}

// Get opens the content of a record version. Errors: ErrNotFound, ErrDestroyed,
// ErrClosed, *CorruptError. The context counts until Get returns.
func (v *Vault) Get(ctx context.Context, record events.ID, version uint32) (*Content, error) {
	if err := v.enter(ctx); err != nil {
		return nil, err
	}
	defer v.leave()
	r, err := v.active.read(recordName(record), version)
	if err != nil {
		return nil, err
	}
	s, err := v.load(ctx, r, true)
	if err != nil {
		r.end(err)
		return nil, err
	}
	defer s.wipe()
	return &Content{Reader: r, Size: s.size, ContentType: s.contentType}, nil
}

// Opening returns the salt of a record version's commitment, which together
// with the content opens it. Errors: ErrNotFound, ErrDestroyed, ErrClosed,
// *CorruptError.
func (v *Vault) Opening(ctx context.Context, record events.ID, version uint32) (salt [commitment.SaltSize]byte, err error) {
	if err := v.enter(ctx); err != nil {
		return salt, err
	}
	defer v.leave()
	r, err := v.active.read(recordName(record), version)
	if err != nil {
		return salt, err
	}
	defer r.end(ErrClosed)
	s, err := v.load(ctx, r, false)
	if err != nil {
		return salt, err
	}
	defer s.wipe()
	return s.salt, nil
}

// load finds the secrets of r's version, from the cache or from SQLite, and if
// asked to makes r ready to read.
func (v *Vault) load(ctx context.Context, r *reader, content bool) (secrets, error) {
	at, s, cached := v.cache.get(r.name.owner, r.version)
	if !cached {
		row, err := v.keys.lookup(ctx, r.name.owner, r.version)
		if err != nil {
			return secrets{}, err
		}
		unwrapped, err := v.keys.unwrap(ctx, row, r.name.owner, r.version)
		if err != nil {
			return secrets{}, r.unopened(err)
		}
		at, s = row.at, *unwrapped
		unwrapped.wipe()
	}
	// A destruction ends r first and then empties the cache, so it cannot
	// happen between the question whether r has ended and what follows.
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		s.wipe()
		return secrets{}, r.err
	}
	if !cached {
		v.cache.put(r.name.owner, r.version, at, &s)
	}
	if !content {
		return s, nil
	}
	if err := v.ready(r, at, &s); err != nil {
		s.wipe()
		return secrets{}, err
	}
	return s, nil
}

// ready opens the ciphertext of r; the caller holds r.mu.
func (v *Vault) ready(r *reader, at location, s *secrets) (err error) {
	if at.segment == 0 {
		err = v.readyLarge(r, at, s)
	} else {
		err = v.readySmall(r, at, s)
	}
	if missing(err) || errors.Is(err, errContext) {
		return r.corrupt(err)
	}
	if err != nil {
		return fmt.Errorf("opening the content of record %v version %d: %w", r.name.owner, r.version, err)
	}
	r.stream, err = newStream(&s.key, versionContext{r.name.owner, r.version})
	r.left = s.size
	return err
}

func (v *Vault) readySmall(r *reader, at location, s *secrets) error {
	b, err := v.segments.read(at)
	if err != nil {
		return err
	}
	rec, n, err := parseSegmentRecord(b)
	if err != nil {
		return err
	}
	if n != len(b) || rec.record != r.name.owner || rec.version != r.version || int64(len(rec.payload)) != sealedSize(s.size) {
		return fmt.Errorf("another ciphertext lies in its place: %w", errSegment)
	}
	r.source = bytes.NewReader(rec.payload)
	return nil
}

func (v *Vault) readyLarge(r *reader, at location, s *secrets) (err error) {
	f, err := v.cfg.FS.OpenFile(largePath(v.cfg.Dir, r.name.owner, r.version), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	want := contextSize + sealedSize(s.size)
	if info.Size() != want || at.length != want {
		return fmt.Errorf("%d bytes instead of %d: %w", info.Size(), want, errContext)
	}
	var header [contextSize]byte
	if _, err := io.ReadFull(f, header[:]); err != nil {
		return err
	}
	c, err := parseContext(header[:])
	if err != nil {
		return err
	}
	if c != (versionContext{r.name.owner, r.version}) {
		return fmt.Errorf("another content lies in its place: %w", errContext)
	}
	r.source, r.file = f, f
	return nil
}

// reader reads one content. It is registered from its making until its end.
type reader struct {
	registry *registry
	name     keyName // what ends it when it is destroyed
	version  uint32

	mu     sync.Mutex
	err    error     // sticky
	source io.Reader // of chunks
	file   io.Closer // nil if there is none
	stream *stream
	left   int64  // bytes of content not decrypted yet
	begun  bool   // a chunk was decrypted
	buf    []byte // of a sealed chunk
	plain  []byte // decrypted, not read yet; a part of buf
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.plain) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.begun && r.left == 0 {
			return 0, io.EOF
		}
		if err := r.nextChunk(); err != nil {
			r.finish(err)
			return 0, err
		}
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

func (r *reader) nextChunk() error {
	n := min(r.left, chunkSize)
	if r.buf == nil {
		r.buf = make([]byte, n+tagSize)
	}
	sealed := r.buf[:n+tagSize]
	if _, err := io.ReadFull(r.source, sealed); missing(err) {
		return r.corrupt(err)
	} else if err != nil {
		return fmt.Errorf("reading the content of record %v version %d: %w", r.name.owner, r.version, err)
	}
	plain, err := r.stream.open(sealed, n == r.left)
	if err != nil {
		return r.corrupt(fmt.Errorf("chunk %d fails authentication: %w", r.stream.chunk-1, err))
	}
	r.plain, r.left, r.begun = plain, r.left-n, true
	return nil
}

// unopened answers why a key did not open: because r's name was destroyed meanwhile,
// or the version discarded; because it could not be read; or because it is damaged.
func (r *reader) unopened(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	if errors.Is(err, errUnread) {
		return err
	}
	return r.corrupt(err)
}

func (r *reader) corrupt(err error) error {
	return &CorruptError{Record: r.name.owner, Version: r.version, Err: err}
}

// Close implements io.Closer. Reads after it fail with ErrClosed.
func (r *reader) Close() error { return r.end(ErrClosed) }

// end waits for a running Read, makes later ones fail with reason, wipes the
// plaintext and gives up what the reader holds.
func (r *reader) end(reason error) error {
	r.mu.Lock()
	err := r.finish(reason)
	r.mu.Unlock()
	r.registry.unread(r)
	return err
}

// finish is end without taking r from the registry; the caller holds mu.
func (r *reader) finish(reason error) (err error) {
	if r.err == nil {
		r.err = reason
	}
	clear(r.buf)
	r.plain, r.stream = nil, nil
	if r.file != nil {
		err = r.file.Close()
		r.file = nil
	}
	return err
}
