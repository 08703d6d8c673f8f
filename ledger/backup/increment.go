package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"filippo.io/age"
)

// kind says what a frame of an increment holds. The numbers are part of the format,
// and the order in which frames come.
type kind uint8

const (
	kindHeader          kind = 1
	kindLeaf            kind = 2
	kindCheckpoint      kind = 3
	kindStateLeaf       kind = 4
	kindStateCheckpoint kind = 5
	kindVault           kind = 6
	kindTrailer         kind = 255
)

const (
	incrementMagic  = "MLINCR\x00\x01"
	incrementFormat = 1
	framePrefix     = 5 // length and kind
	maxFrame        = 64 << 10
	trailerSize     = 8 + sha256.Size
)

// Header says what an increment has.
type Header struct {
	Format   int       `json:"format"`
	Origin   string    `json:"origin"`
	Key      string    `json:"key"`      // the log's verifier key
	Number   uint64    `json:"number"`   // of the increment, from 1
	Base     uint64    `json:"base"`     // the number of the first one of its chain
	Previous string    `json:"previous"` // SHA-256 of the file before it in the chain, in hex; "" for the first
	Log      Span      `json:"log"`
	State    Span      `json:"state"` // of the state log
	Time     time.Time `json:"time"`  // when it was begun
}

// Span is which entries of a log there are: from one index up to before another one.
type Span struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

func (h *Header) check() error {
	hash, err := hex.DecodeString(h.Previous)
	first := h.Number == h.Base
	switch {
	case h.Format != incrementFormat:
		return fmt.Errorf("format %d, this program knows %d: use the medledger that wrote it", h.Format, incrementFormat)
	case h.Base == 0 || h.Number < h.Base || h.Log.From > h.Log.To || h.State.From > h.State.To,
		first != (h.Previous == ""), !first && len(hash) != sha256.Size, err != nil,
		first && (h.Log.From > 0 || h.State.From > 0):
		return errors.New("its header contradicts itself")
	}
	return nil
}

// frameWriter writes the frames of an increment. Its errors are those of what it
// writes to.
type frameWriter struct {
	w     *bufio.Writer
	mac   hash.Hash // over everything before the trailer's own MAC
	count uint64
}

// newFrameWriter begins an increment. secret authenticates it.
func newFrameWriter(w io.Writer, secret []byte, h *Header) (*frameWriter, error) {
	f := &frameWriter{w: bufio.NewWriterSize(w, maxFrame), mac: hmac.New(sha256.New, secret)}
	f.mac.Write([]byte(incrementMagic))
	if _, err := f.w.WriteString(incrementMagic); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return f, f.frame(kindHeader, raw)
}

func (f *frameWriter) frame(k kind, payload []byte) error {
	if len(payload) > maxFrame {
		return fmt.Errorf("a part of %d bytes, at most %d are possible", len(payload), maxFrame)
	}
	prefix := append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), byte(k))
	f.count++
	for _, b := range [][]byte{prefix, payload} {
		f.mac.Write(b)
		if _, err := f.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// stream returns a writer that cuts what it is given into frames of one kind.
func (f *frameWriter) stream(k kind) io.Writer { return &frameStream{f, k} }

type frameStream struct {
	f *frameWriter
	k kind
}

// Write implements io.Writer.
func (s *frameStream) Write(p []byte) (int, error) {
	n := 0
	for len(p) > n {
		part := p[n:min(len(p), n+maxFrame)]
		if err := s.f.frame(s.k, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// end writes the trailer.
func (f *frameWriter) end() error {
	prefix := append(binary.BigEndian.AppendUint32(nil, trailerSize), byte(kindTrailer))
	body := binary.BigEndian.AppendUint64(prefix, f.count)
	f.mac.Write(body)
	if _, err := f.w.Write(f.mac.Sum(body)); err != nil {
		return err
	}
	return f.w.Flush()
}

// frameReader reads the frames of an increment. What it returns is authentic only
// once the trailer was: read it to its end before anything is done with it, and then
// again.
type frameReader struct {
	r      *bufio.Reader
	mac    hash.Hash // nil: the trailer's MAC is not checked
	count  uint64
	last   kind
	buf    []byte
	Header Header
}

// errMalformed says that what was decrypted is no increment.
var errMalformed = errors.New("it is no increment of a backup, or a damaged one")

// readIncrement begins to read an increment. A nil secret leaves the MAC unchecked.
func readIncrement(file io.Reader, identities []age.Identity, secret []byte) (*frameReader, error) {
	plain, err := age.Decrypt(file, identities...)
	if err != nil {
		if errors.As(err, new(*age.NoIdentityMatchError)) {
			return nil, fmt.Errorf("%w: %w", ErrIdentity, err)
		}
		return nil, fmt.Errorf("decrypting it: %w", err)
	}
	return readFrames(plain, secret)
}

func readFrames(plain io.Reader, secret []byte) (*frameReader, error) {
	f := &frameReader{r: bufio.NewReaderSize(plain, maxFrame), buf: make([]byte, maxFrame)}
	if secret != nil {
		f.mac = hmac.New(sha256.New, secret)
	}
	magic := make([]byte, len(incrementMagic))
	if err := f.read(magic); err != nil {
		return nil, err
	}
	if string(magic) != incrementMagic {
		return nil, errMalformed
	}
	k, raw, err := f.next()
	if err != nil {
		return nil, err
	}
	if k != kindHeader {
		return nil, errMalformed
	}
	if err := strictJSON(raw, &f.Header); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	return f, f.Header.check()
}

// read fills b, of which the MAC is made.
func (f *frameReader) read(b []byte) error {
	if _, err := io.ReadFull(f.r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("it ends early: %w", errMalformed)
		}
		return fmt.Errorf("decrypting it: %w", err)
	}
	if f.mac != nil {
		f.mac.Write(b)
	}
	return nil
}

// next returns the next frame, whose payload is the caller's until the next call, or
// io.EOF after the trailer, which it has checked.
func (f *frameReader) next() (kind, []byte, error) {
	var prefix [framePrefix]byte
	if err := f.read(prefix[:]); err != nil {
		return 0, nil, err
	}
	n, k := binary.BigEndian.Uint32(prefix[:]), kind(prefix[4])
	known := k >= kindHeader && k <= kindVault || k == kindTrailer
	repeats := k == kindLeaf || k == kindStateLeaf || k == kindVault
	if !known || n > maxFrame || k < f.last || k == f.last && !repeats || f.count == 0 && k != kindHeader {
		return 0, nil, errMalformed
	}
	f.last = k
	if k == kindTrailer {
		return 0, nil, f.trailer(n)
	}
	f.count++
	return k, f.buf[:n], f.read(f.buf[:n])
}

func (f *frameReader) trailer(n uint32) error {
	if n != trailerSize {
		return errMalformed
	}
	var count [8]byte
	if err := f.read(count[:]); err != nil {
		return err
	}
	mac := f.mac
	f.mac = nil
	sum := f.buf[:sha256.Size]
	if err := f.read(sum); err != nil {
		return err
	}
	if _, err := f.r.ReadByte(); err != io.EOF || binary.BigEndian.Uint64(count[:]) != f.count {
		return errors.Join(errMalformed, ignoreEOF(err))
	}
	if mac != nil && !hmac.Equal(sum, mac.Sum(nil)) {
		return errors.New("it was not written by this ledger, or altered: its authentication code is wrong")
	}
	return io.EOF
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// strictJSON decodes the one canonical form of a value, that which json.Marshal gives.
func strictJSON(raw []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	again, err := json.Marshal(to)
	if err == nil && !bytes.Equal(again, bytes.TrimSuffix(raw, []byte("\n"))) {
		err = errors.New("it is not in the one form that this program writes")
	}
	return err
}

// Contents is called with what is in increments, in order. What it is given is its own
// until it returns; nil functions are not called.
type Contents struct {
	// Leaf and StateLeaf take the next entry of the log and of the state log.
	Leaf, StateLeaf func([]byte) error
	// Checkpoint and StateCheckpoint take one of each increment, of which the last
	// counts.
	Checkpoint, StateCheckpoint func([]byte) error
	// Vault takes the vault's part of each increment.
	Vault func(io.Reader) error
}

// visit hands out the frames of an increment and checks that there are as many as its
// header says.
func (f *frameReader) visit(ctx context.Context, to Contents) error {
	var leaves, stateLeaves, checkpoints, stateCheckpoints, vaults uint64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, payload, err := f.next()
		if k == kindVault && err == nil {
			vaults++
			err = f.visitVault(payload, to.Vault)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		var do func([]byte) error
		switch k {
		case kindLeaf:
			leaves++
			do = to.Leaf
		case kindCheckpoint:
			checkpoints++
			do = to.Checkpoint
		case kindStateLeaf:
			stateLeaves++
			do = to.StateLeaf
		case kindStateCheckpoint:
			stateCheckpoints++
			do = to.StateCheckpoint
		}
		if do != nil {
			if err := do(payload); err != nil {
				return err
			}
		}
	}
	h := f.Header
	if leaves != h.Log.To-h.Log.From || stateLeaves != h.State.To-h.State.From || checkpoints != 1 || stateCheckpoints != 1 || vaults != 1 {
		return fmt.Errorf("it has other parts than its header says: %w", errMalformed)
	}
	return nil
}

// visitVault hands out the vault's part, which comes last. Its error is io.EOF once
// the trailer was right.
func (f *frameReader) visitVault(first []byte, do func(io.Reader) error) error {
	r := &vaultReader{f: f, rest: first}
	if do != nil {
		if err := do(r); err != nil && !(r.err != nil && errors.Is(err, r.err)) {
			return err
		}
	}
	_, _ = io.Copy(io.Discard, r) // its error is kept
	return r.err
}

// vaultReader is the vault's part of an increment as one stream.
type vaultReader struct {
	f    *frameReader
	rest []byte
	err  error // io.EOF: the trailer was right
}

// Read implements io.Reader.
func (r *vaultReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err == nil {
			_, r.rest, r.err = r.f.next() // in the order of kinds, only the trailer comes after
		}
		if r.err != nil {
			r.rest = nil
			return 0, r.err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
