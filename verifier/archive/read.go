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
// a signature, not a hash. It is safe for concurrent use if the reader is. The
// methods of Log are of the ledger's log.
type Archive struct {
	*Log
	state *Log
}

// State returns the state log; nil if the archive has none.
func (a *Archive) State() Source {
	if a.state == nil {
		return nil
	}
	return a.state
}

// Log is one of the logs in an archive.
type Log struct {
	r          io.ReaderAt
	prefix     string // of the names of its members
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
	o := &opening{Archive: &Archive{Log: &Log{r: r}}, fileSize: fileSize}
	// Nothing but the name is needed to tell a damaged archive from a file
	// that never was one.
	start := make([]byte, len(checkpointName)+1)
	n, err := readFull(r, start, 0)
	if err != nil {
		return nil, err
	}
	if n == 0 || !bytes.Equal(start[:n], []byte(checkpointName + "\x00")[:n]) {
		return nil, ErrNotArchive
	}
	if err := o.readLog(o.Log); err != nil {
		return nil, err
	}
	next, err := o.read("", block)
	if err != nil {
		return nil, err
	}
	if !zero(next) {
		o.state = &Log{r: r, prefix: statePrefix}
		if err := o.readLog(o.state); err != nil {
			return nil, err
		}
	}
	if err := o.readEnd(); err != nil {
		return nil, err
	}
	return o.Archive, nil
}

// readLog finds the members of a log.
func (o *opening) readLog(l *Log) error {
	if err := o.readCheckpoint(l); err != nil {
		return err
	}
	for t := range members(l.size) {
		least, most := bounds(t)
		p, err := o.member(l.prefix+proof.FormatPath(t), least, most)
		if err != nil {
			return err
		}
		l.places[t.Level+1] = append(l.places[t.Level+1], p)
	}
	return nil
}

func (o *opening) readEnd() error {
	end, err := o.read("", trailer)
	if err != nil {
		return err
	}
	if !zero(end) {
		return o.malformed("", "something else than two blocks of zeros")
	}
	o.offset += trailer
	if o.offset != o.fileSize {
		return o.malformed("", fmt.Sprintf("%d bytes follow the end of the archive", o.fileSize-o.offset))
	}
	return nil
}

func (o *opening) readCheckpoint(l *Log) error {
	name := l.prefix + checkpointName
	p, err := o.member(name, 1, proof.MaxSignedCheckpoint)
	if err != nil {
		return err
	}
	signed, err := l.content(p)
	if err != nil {
		return err
	}
	c, err := proof.PeekCheckpoint(signed)
	if err != nil {
		o.offset = p.offset
		return o.malformed(name, err.Error())
	}
	l.checkpoint, l.size = signed, c.Size
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

// Size returns how many leaves the log has by its checkpoint.
func (l *Log) Size() uint64 { return l.size }

// Checkpoint returns the signed checkpoint.
func (l *Log) Checkpoint(context.Context) ([]byte, error) {
	return bytes.Clone(l.checkpoint), nil
}

// Entries returns entry bundle n; an error if the log has none of that width.
func (l *Log) Entries(_ context.Context, n uint64, width int) ([]byte, error) {
	return l.file(proof.Tile{Level: proof.Entries, Index: n, Width: width})
}

// Tile returns a hash tile; an error if the log has none of that width.
func (l *Log) Tile(_ context.Context, t proof.Tile) ([]byte, error) { return l.file(t) }

func (l *Log) file(t proof.Tile) ([]byte, error) {
	if width := proof.WidthAt(l.size, t.Level, t.Index); width == 0 || width != t.Width {
		return nil, fmt.Errorf("the archive's log has no tile of level %d, index %d and width %d", t.Level, t.Index, t.Width)
	}
	return l.content(l.places[t.Level+1][t.Index])
}

func (l *Log) content(p place) ([]byte, error) {
	b := make([]byte, p.length)
	n, err := readFull(l.r, b, p.offset)
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
