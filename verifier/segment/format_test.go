package segment_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/segment"
)

// sample returns a record with the given number.
func sample(n int) segment.Record {
	digest := sha256.Sum256([]byte{byte(n), byte(n >> 8)})
	return segment.Record{
		Number: uint64(n), ID: events.DerivedID(digest[:]), Revision: uint64(n / 3),
		Stream: "stream " + string(rune('a'+n%3)), Statement: bytes.Repeat(digest[:], 1+n%5)[:1+n%100],
	}
}

func equal(a, b segment.Record) bool {
	return a.Number == b.Number && a.ID == b.ID && a.Revision == b.Revision && a.Stream == b.Stream &&
		a.More == b.More && a.Write == b.Write && bytes.Equal(a.Statement, b.Statement)
}

func TestRecord(t *testing.T) {
	large := sample(7)
	large.Stream = string(bytes.Repeat([]byte{0xff}, segment.MaxStream))
	large.Statement = make([]byte, segment.MaxStatement)
	large.Number, large.Revision = math.MaxUint64, math.MaxUint64
	small := sample(0)
	small.Stream, small.Statement = "\x00", []byte{0}
	more, write, both := sample(1), sample(2), sample(3)
	more.More, write.Write, both.More, both.Write = true, true, true, true
	for _, want := range []segment.Record{sample(4), large, small, more, write, both} {
		b := want.Append([]byte("before"))[6:]
		if len(b) != want.Size() || len(b) > segment.MaxRecord {
			t.Errorf("record of %d bytes; its size is %d, the largest %d", len(b), want.Size(), segment.MaxRecord)
		}
		got, size, err := segment.Parse(append(b, "behind"...))
		if err != nil || size != len(b) || !equal(got, want) {
			t.Errorf("parsed %d of %d bytes: %+v, %v", size, len(b), got, err)
		}
		for n := range min(len(b), 2000) {
			if _, _, err := segment.Parse(b[:n]); !errors.Is(err, segment.ErrTorn) {
				t.Fatalf("record cut off after %d of %d bytes: %v", n, len(b), err)
			}
			b[n] ^= 1
			if _, _, err := segment.Parse(b); err == nil {
				t.Fatalf("record with byte %d of %d changed is accepted", n, len(b))
			}
			b[n] ^= 1
		}
	}
}

func TestHeader(t *testing.T) {
	for _, base := range []uint64{0, 1, 65536, math.MaxUint64} {
		b := segment.AppendHeader(nil, base)
		if got, err := segment.ParseHeader(append(b, "behind"...)); err != nil || got != base || len(b) != segment.HeaderSize {
			t.Errorf("header of %d: %d, %v", base, got, err)
		}
		for n := range b {
			if _, err := segment.ParseHeader(b[:n]); !errors.Is(err, segment.ErrTorn) {
				t.Errorf("header cut off after %d bytes: %v", n, err)
			}
			b[n] ^= 1
			if _, err := segment.ParseHeader(b); !errors.Is(err, segment.ErrMalformed) {
				t.Errorf("header with byte %d changed: %v", n, err)
			}
			b[n] ^= 1
		}
	}
}

func TestFileName(t *testing.T) {
	for _, base := range []uint64{0, 1, 1 << 40, math.MaxUint64} {
		if got, ok := segment.ParseFileName(segment.FileName(base)); !ok || got != base {
			t.Errorf("%q is the name of %d, %v", segment.FileName(base), got, ok)
		}
	}
	for _, name := range []string{
		"", ".seg", "0.seg", "00000000000000000000", "0000000000000000000.seg", "000000000000000000000.seg",
		"00000000000000000000.seg.tmp", "+0000000000000000001.seg", "-0000000000000000001.seg",
		"99999999999999999999.seg", "0x000000000000000001.seg", "00000000000000000_01.seg",
	} {
		if base, ok := segment.ParseFileName(name); ok {
			t.Errorf("%q is taken for the name of %d", name, base)
		}
	}
}

func TestFooter(t *testing.T) {
	offsets := []uint32{segment.HeaderSize, 100, 180, 300}
	digest := sha256.Sum256([]byte("a segment"))
	b := segment.AppendFooter(nil, offsets, digest)
	f, err := segment.ParseFooter(b)
	if err != nil || f.Digest != digest || len(f.Offsets) != len(offsets) {
		t.Fatalf("%+v, %v", f, err)
	}
	for n := range b {
		if _, err := segment.ParseFooter(b[:n]); err == nil {
			t.Errorf("footer cut off after %d bytes is accepted", n)
		}
		b[n] ^= 1
		if _, err := segment.ParseFooter(b); err == nil {
			t.Errorf("footer with byte %d changed is accepted", n)
		}
		b[n] ^= 1
	}
	for what, offsets := range map[string][]uint32{
		"no records":         {},
		"late begin":         {segment.HeaderSize + 1},
		"offsets falling":    {segment.HeaderSize, 200, 100},
		"an offset twice":    {segment.HeaderSize, 200, 200},
		"too small a record": {segment.HeaderSize, segment.HeaderSize + 10},
		"too large a record": {segment.HeaderSize, segment.HeaderSize + segment.MaxRecord + 1},
	} {
		if _, err := segment.ParseFooter(segment.AppendFooter(nil, offsets, digest)); !errors.Is(err, segment.ErrMalformed) {
			t.Errorf("footer with %s: %v", what, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for n := range 3 {
		r := sample(n)
		r.More, r.Write = n == 1, n == 2
		b := r.Append(nil)
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(b[:len(b)-1])
	}
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, size, err := segment.Parse(b)
		if err != nil {
			return
		}
		if again := r.Append(nil); !bytes.Equal(again, b[:size]) {
			t.Errorf("%x is read as the record %x", b[:size], again)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(segment.AppendHeader(nil, 0))
	f.Add(segment.AppendHeader(nil, math.MaxUint64))
	f.Fuzz(func(t *testing.T, b []byte) {
		base, err := segment.ParseHeader(b)
		if err == nil && !bytes.Equal(segment.AppendHeader(nil, base), b[:segment.HeaderSize]) {
			t.Errorf("%x is read as the header of %d", b, base)
		}
	})
}

func FuzzFooter(f *testing.F) {
	f.Add(segment.AppendFooter(nil, []uint32{segment.HeaderSize}, [sha256.Size]byte{}))
	f.Add(segment.AppendFooter(nil, []uint32{segment.HeaderSize, 100, 200}, sha256.Sum256(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		footer, err := segment.ParseFooter(b)
		if err == nil && !bytes.Equal(segment.AppendFooter(nil, footer.Offsets, footer.Digest), b) {
			t.Errorf("%x is read as another footer", b)
		}
	})
}

// FuzzFile opens whole files: whatever is in them, what is read is in its place
// and written back the same, and nothing takes more memory than the file.
func FuzzFile(f *testing.F) {
	for _, sealed := range []bool{false, true} {
		whole := file(0, 5, sealed)
		f.Add(whole)
		f.Add(whole[:len(whole)-3])
		f.Add(append(whole, make([]byte, 40)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		opened, err := segment.OpenFile(bytes.NewReader(b), int64(len(b)), "fuzzed")
		if err != nil {
			var corrupt *segment.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Offset < 0 || corrupt.Offset > int64(len(b)) {
				t.Errorf("the evidence: %v", err)
			}
			return
		}
		for i := range opened.Len() {
			records, err := opened.Read(i, 1, 0)
			if err != nil {
				continue
			}
			at := int(opened.Offsets()[i])
			if again := records[0].Append(nil); !bytes.HasPrefix(b[at:], again) || records[0].Number != opened.Base+uint64(i) {
				t.Errorf("record %d at byte %d is read as another", i, at)
			}
		}
	})
}
