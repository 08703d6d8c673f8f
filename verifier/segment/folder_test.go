package segment_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/medledger/medledger/verifier/segment"
)

// file returns a segment of some records, each a write of its own.
func file(base, count int, sealed bool) []byte {
	b := segment.AppendHeader(nil, uint64(base))
	var offsets []uint32
	for n := base; n < base+count; n++ {
		offsets = append(offsets, uint32(len(b)))
		r := sample(n)
		r.Write = true
		b = r.Append(b)
	}
	if sealed {
		b = segment.AppendFooter(b, offsets, sha256.Sum256(b))
	}
	return b
}

// appendCRC ends the fields of a header with their checksum.
func appendCRC(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// folder returns the files of a store of three segments of ten records each.
func folder() fstest.MapFS {
	files := make(fstest.MapFS)
	for base := 0; base < 30; base += 10 {
		files[segment.FileName(uint64(base))] = &fstest.MapFile{Data: file(base, 10, base < 20)}
	}
	files["index.sqlite"] = &fstest.MapFile{Data: []byte("no segment")}
	files["00000000000000000030.seg.tmp"] = &fstest.MapFile{Data: []byte("no segment")}
	return files
}

func open(t *testing.T, fsys fs.FS) *segment.Folder {
	t.Helper()
	d, err := segment.OpenFolder(fsys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// readFrom reads all records from number first on.
func readFrom(t *testing.T, d *segment.Folder, first uint64) ([]segment.Record, error) {
	t.Helper()
	var all []segment.Record
	for {
		records, err := d.Read(t.Context(), first+uint64(len(all)), 7)
		all = append(all, records...)
		if err != nil || len(records) == 0 {
			return all, err
		}
	}
}

func TestFolder(t *testing.T) {
	d := open(t, folder())
	if d.Len() != 30 || d.Tail() != nil || len(d.Files()) != 3 {
		t.Fatalf("%d records in %d files, tail %v", d.Len(), len(d.Files()), d.Tail())
	}
	for first := range 32 {
		records, err := readFrom(t, d, uint64(first))
		if err != nil || len(records) != max(0, 30-first) {
			t.Fatalf("%d records from %d on, %v", len(records), first, err)
		}
		for i, r := range records {
			want := sample(first + i)
			want.Write = true
			if !equal(r, want) {
				t.Fatalf("record %d from %d on is %+v", i, first, r)
			}
		}
	}
	for _, f := range d.Files() {
		if err := f.CheckDigest(); err != nil {
			t.Error(err)
		}
	}
}

// TestNoReaderAt reads from a file system whose files can only be read in order.
func TestNoReaderAt(t *testing.T) {
	d := open(t, sequential{folder()})
	if records, err := readFrom(t, d, 0); err != nil || len(records) != 30 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

type sequential struct{ fs.FS }

func (s sequential) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if dir, ok := f.(fs.ReadDirFile); ok {
		return struct{ fs.ReadDirFile }{dir}, err
	}
	return struct{ fs.File }{f}, err
}

func TestEmptyFolder(t *testing.T) {
	d := open(t, fstest.MapFS{"index.sqlite": &fstest.MapFile{}})
	if records, err := readFrom(t, d, 0); err != nil || len(records) != 0 || d.Len() != 0 || d.Tail() != nil {
		t.Errorf("%d records, %v", len(records), err)
	}
}

// TestDamagedFolder: every defect is told with its file and place, as far as one
// can tell, and what lies before it can be read.
func TestDamagedFolder(t *testing.T) {
	name := func(base uint64) string { return segment.FileName(base) }
	cases := []struct {
		what   string
		harm   func(fstest.MapFS)
		file   string // "" if there is nothing to be told
		offset int64  // -1 for anywhere
	}{
		{"nothing", func(fstest.MapFS) {}, "", 0},
		{"first file missing", func(f fstest.MapFS) { delete(f, name(0)) }, name(10), 0},
		{"middle file missing", func(f fstest.MapFS) { delete(f, name(10)) }, name(20), 0},
		{"header", func(f fstest.MapFS) { f[name(10)].Data[9] ^= 1 }, name(10), 0},
		{"header of another version", func(f fstest.MapFS) {
			b := f[name(0)].Data
			b[7] = '2'
			copy(b, appendCRC(bytes.Clone(b[:16])))
		}, name(0), 0},
		{"file under another name", func(f fstest.MapFS) { f[name(10)].Data = file(20, 10, true) }, name(10), 0},
		{"record", func(f fstest.MapFS) { f[name(10)].Data[segment.HeaderSize+30] ^= 1 }, name(10), segment.HeaderSize},
		{"record of a wrong number", func(f fstest.MapFS) {
			b := segment.AppendHeader(nil, 20)
			f[name(20)].Data = append(b, file(0, 1, false)[segment.HeaderSize:]...)
		}, name(20), segment.HeaderSize},
		{"footer", func(f fstest.MapFS) { b := f[name(10)].Data; b[len(b)-20] ^= 1 }, name(10), -1},
		{"footer missing", func(f fstest.MapFS) { f[name(10)].Data = file(10, 10, false) }, name(10), int64(len(file(10, 10, false)))},
		{"footer of other records", func(f fstest.MapFS) {
			f[name(10)].Data = segment.AppendFooter(file(10, 10, false), []uint32{segment.HeaderSize}, [32]byte{})
		}, name(20), 0},
		{"seal with a wrong digest", func(f fstest.MapFS) {
			b := file(10, 10, true)
			d, _ := segment.OpenFile(bytes.NewReader(b), int64(len(b)), "")
			f[name(10)].Data = segment.AppendFooter(b[:d.End():d.End()], d.Offsets(), [32]byte{})
		}, name(10), int64(len(file(10, 10, false)))},
		{"damage before a later write", func(f fstest.MapFS) { f[name(20)].Data[segment.HeaderSize+30] ^= 1 }, name(20), segment.HeaderSize},
		{"a length before a later write", func(f fstest.MapFS) { f[name(20)].Data[segment.HeaderSize+2] ^= 0x80 }, name(20), segment.HeaderSize},
		{"torn tail", func(f fstest.MapFS) { b := f[name(20)]; b.Data = b.Data[:len(b.Data)-1] }, name(20), -1},
		{"torn header", func(f fstest.MapFS) {
			f[name(20)].Data = file(20, 10, true)
			f[name(30)] = &fstest.MapFile{Data: make([]byte, segment.HeaderSize)}
		}, name(30), 0},
		{"no header yet", func(f fstest.MapFS) {
			f[name(20)].Data = file(20, 10, true)
			f[name(30)] = &fstest.MapFile{}
		}, name(30), 0},
		{"no header, and more", func(f fstest.MapFS) {
			f[name(20)].Data = file(20, 10, true)
			f[name(30)] = &fstest.MapFile{Data: make([]byte, segment.HeaderSize+1)}
		}, name(30), 0},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			files := folder()
			c.harm(files)
			records, err := readFolder(t, files)
			for n, r := range records {
				if r.Number != uint64(n) {
					t.Fatalf("record %d is read as number %d", r.Number, n)
				}
			}
			if c.file == "" {
				if err != nil || len(records) != 30 {
					t.Errorf("%d records, %v", len(records), err)
				}
				return
			}
			var corrupt *segment.CorruptError
			if !errors.As(err, &corrupt) || corrupt.File != c.file || c.offset >= 0 && corrupt.Offset != c.offset {
				t.Errorf("the evidence is %v; want %s at byte %d", err, c.file, c.offset)
			}
		})
	}
}

// readFolder reads all that it can of a folder, checks the digests and returns
// the first defect.
func readFolder(t *testing.T, fsys fs.FS) ([]segment.Record, error) {
	t.Helper()
	d, err := segment.OpenFolder(fsys)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	records, err := readFrom(t, d, 0)
	for _, f := range d.Files() {
		err = errors.Join(err, f.CheckDigest())
	}
	return records, errors.Join(err, d.Tail())
}

// TestGroups: a group is there whole or not at all, and what was written at one
// time may have holes.
func TestGroups(t *testing.T) {
	b := segment.AppendHeader(nil, 0)
	ends := []int{len(b)} // of the groups
	var starts []int
	for n, more := range []bool{false, true, true, false, false, true, false} {
		r := sample(n)
		r.More, r.Write = more, n == 0 || n == 4 // two writes: records 0 to 3, 4 to 6
		starts = append(starts, len(b))
		b = r.Append(b)
		if !more {
			ends = append(ends, len(b))
		}
	}
	records := []int{0, 1, 4, 5, 7} // in the groups up to each end
	for cut := ends[0]; cut <= len(b); cut++ {
		group, whole := slices.BinarySearch(ends, cut)
		if !whole {
			group--
		}
		f, err := segment.OpenFile(bytes.NewReader(b[:cut]), int64(cut), "cut")
		if err != nil || f.Len() != records[group] || f.End() != int64(ends[group]) {
			t.Fatalf("cut off at byte %d: %d records up to byte %d, want %d up to %d, %v", cut, f.Len(), f.End(), records[group], ends[group], err)
		}
		if tail := f.Tail(); (tail == nil) != whole || tail != nil && (!errors.Is(tail, segment.ErrTorn) || errors.Is(tail, segment.ErrDamaged)) {
			t.Fatalf("cut off at byte %d: tail %v", cut, tail)
		}
		want := int64(0)
		if group >= 1 {
			want = int64(starts[0])
		}
		if group >= 3 {
			want = int64(starts[4])
		}
		if f.LastWrite() != want {
			t.Fatalf("cut off at byte %d: the last write begins at %d, want %d", cut, f.LastWrite(), want)
		}
	}
	for at := ends[0]; at < len(b); at++ {
		harmed := bytes.Clone(b)
		harmed[at] ^= 4
		f, err := segment.OpenFile(bytes.NewReader(harmed), int64(len(b)), "harmed")
		if err != nil {
			t.Fatalf("byte %d is wrong: %v", at, err)
		}
		if durable := at < starts[4]; f.Tail() == nil || errors.Is(f.Tail(), segment.ErrDamaged) != durable {
			t.Fatalf("byte %d is wrong, the last write begins at %d: tail %v", at, starts[4], f.Tail())
		}
	}
}

// TestHugeFooter: a footer that promises more than there is costs no memory.
func TestHugeFooter(t *testing.T) {
	b := segment.AppendFooter(file(0, 1, false), []uint32{segment.HeaderSize}, [32]byte{})
	for n := range 16 { // size, crc and the mark
		harmed := bytes.Clone(b)
		harmed[len(b)-1-n] = 0xff
		if f, err := segment.OpenFile(bytes.NewReader(harmed), int64(len(b)), "huge"); err == nil && (f.Sealed() || f.Tail() == nil) {
			t.Errorf("byte %d from the end: taken for sealed", n)
		}
	}
}
