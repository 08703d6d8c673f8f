package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/medledger/medledger/verifier/proof"
)

// Archive is an open archive. Its form has been checked, and nothing else: not
// a signature, not a hash. It is safe for concurrent use if the reader is.
type Archive struct {
	r          io.ReaderAt
	checkpoint []byte
	size       uint64
	places     [proof.MaxLevel + 2][]place // by level+1, then index
}

// place is where a member's content lies.
type place struct {
	offset int64
	length int32
}

// opening is an archive while its members are being found.
type opening struct {
	*Archive
	fileSize int64
	offset   int64
}

// Open reads the members' headers and padding and checks that the archive is
// whole and in the one form of the format. The error of a file that is not is a
// *TruncatedError or a *MalformedError; of one that does not begin like an
// archive it wraps ErrNotArchive; else it is the reader's.
func Open(r io.ReaderAt, fileSize int64) (*Archive, error) {
	o := &opening{Archive: &Archive{r: r}, fileSize: fileSize}
	if err := o.readCheckpoint(); err != nil {
		return nil, err
	}
	for t := range members(o.size) {
		least, most := bounds(t)
		p, err := o.member(proof.FormatPath(t), least, most)
		if err != nil {
			return nil, err
		}
		o.places[t.Level+1] = append(o.places[t.Level+1], p)
	}
	end, err := o.read("", trailer)
	if err != nil {
		return nil, err
	}
	if !zero(end) {
		return nil, o.malformed("", "something else than two blocks of zeros")
	}
	o.offset += trailer
	if o.offset != fileSize {
		return nil, o.malformed("", fmt.Sprintf("%d bytes follow the end of the archive", fileSize-o.offset))
	}
	return o.Archive, nil
}

func (o *opening) readCheckpoint() error {
	// Nothing but the name is needed to tell a damaged archive from a file
	// that never was one.
	start := make([]byte, len(checkpointName)+1)
	n, err := readFull(o.r, start, 0)
	if err != nil {
		return err
	}
	if n == 0 || !bytes.Equal(start[:n], []byte(checkpointName + "\x00")[:n]) {
		return ErrNotArchive
	}
	p, err := o.member(checkpointName, 1, proof.MaxSignedCheckpoint)
	if err != nil {
		return err
	}
	checkpoint, err := o.content(p)
	if err != nil {
		return err
	}
	if o.size, err = sizeOf(checkpoint); err != nil {
		o.offset = p.offset
		return o.malformed(checkpointName, err.Error())
	}
	o.checkpoint = checkpoint
	return nil
}

// member reads the header and the padding of the next member.
func (o *opening) member(name string, least, most int64) (place, error) {
	raw, err := o.read(name, block)
	if err != nil {
		return place{}, err
	}
	// Eleven octal digits; whatever else a laxer reader would take for a number
	// is caught by the comparison.
	size, err := strconv.ParseInt(string(raw[124:135]), 8, 64)
	if want := header(name, max(size, 0)); err != nil || [block]byte(raw) != want {
		return place{}, o.malformed(name, "not the header of that member")
	}
	if size < least || size > most {
		return place{}, o.malformed(name, fmt.Sprintf("%d bytes of content, want %d to %d", size, least, most))
	}
	if o.offset+block+padded(size) > o.fileSize {
		return place{}, o.truncated(name)
	}
	p := place{offset: o.offset + block, length: int32(size)}
	o.offset = p.offset + size
	padding, err := o.read(name, padded(size)-size)
	if err != nil {
		return place{}, err
	}
	if !zero(padding) {
		return place{}, o.malformed(name, "its content is not followed by zeros")
	}
	o.offset += int64(len(padding))
	return p, nil
}

// read reads n bytes at the offset without moving it.
func (o *opening) read(member string, n int64) ([]byte, error) {
	if o.offset+n > o.fileSize {
		return nil, o.truncated(member)
	}
	b := make([]byte, n)
	got, err := readFull(o.r, b, o.offset)
	if err != nil {
		return nil, err
	}
	if got < len(b) {
		return nil, o.truncated(member)
	}
	return b, nil
}

func (o *opening) truncated(member string) error {
	e := &TruncatedError{Missing: member, Size: o.fileSize, Leaves: o.size, Checkpoint: o.checkpoint}
	e.Complete = min(uint64(len(o.places[proof.Entries+1]))*proof.TileWidth, o.size)
	return e
}

func (o *opening) malformed(member, why string) error {
	return &MalformedError{Offset: o.offset, Member: member, Why: why, Leaves: o.size, Checkpoint: o.checkpoint}
}

// Size returns how many leaves the archive's log has by its checkpoint.
func (a *Archive) Size() uint64 { return a.size }

// Checkpoint returns the signed checkpoint.
func (a *Archive) Checkpoint(context.Context) ([]byte, error) {
	return bytes.Clone(a.checkpoint), nil
}

// Entries returns entry bundle n; an error if the log has none of that width.
func (a *Archive) Entries(_ context.Context, n uint64, width int) ([]byte, error) {
	return a.file(proof.Tile{Level: proof.Entries, Index: n, Width: width})
}

// Tile returns a hash tile; an error if the log has none of that width.
func (a *Archive) Tile(_ context.Context, t proof.Tile) ([]byte, error) { return a.file(t) }

func (a *Archive) file(t proof.Tile) ([]byte, error) {
	if width := proof.WidthAt(a.size, t.Level, t.Index); width == 0 || width != t.Width {
		return nil, fmt.Errorf("the archive's log has no tile of level %d, index %d and width %d", t.Level, t.Index, t.Width)
	}
	return a.content(a.places[t.Level+1][t.Index])
}

func (a *Archive) content(p place) ([]byte, error) {
	b := make([]byte, p.length)
	n, err := readFull(a.r, b, p.offset)
	if err == nil && n < len(b) {
		err = fmt.Errorf("reading %d bytes at %d of the export: %w", len(b), p.offset, io.ErrUnexpectedEOF)
	}
	return b, err
}

// readFull reads as much of b as there is.
func readFull(r io.ReaderAt, b []byte, offset int64) (int, error) {
	n, err := r.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("reading the export at byte %d: %w", offset, err)
	}
	return n, nil
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
