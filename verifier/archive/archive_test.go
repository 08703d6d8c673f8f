package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/proof"
)

func history(size int) *audittest.History { return audittest.New("a").Open().Fill(size) }

func write(t testing.TB, src archive.Source) []byte {
	t.Helper()
	return writeBoth(t, src, nil)
}

func writeBoth(t testing.TB, src, state archive.Source) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := archive.Write(context.Background(), &b, src, state); err != nil {
		t.Fatalf("Write: %v", err)
	}
	return b.Bytes()
}

func open(b []byte) (*archive.Archive, error) {
	return archive.Open(bytes.NewReader(b), int64(len(b)))
}

// TestRoundTrip writes logs, reads them back and writes what was read.
func TestRoundTrip(t *testing.T) {
	whole := history(530)
	for _, size := range []int{0, 1, 6, 255, 256, 257, 512, 530} {
		served := audittest.Serve(whole.Statements[:size], whole.LogSigner)
		b := write(t, served)
		a, err := open(b)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if a.Size() != uint64(size) {
			t.Errorf("size %d: Size says %d", size, a.Size())
		}
		if !bytes.Equal(write(t, a), b) {
			t.Errorf("size %d: an archive of the archive has other bytes", size)
		}
	}
}

// states is a log beside the log.
func states(size int) audittest.Files {
	h := audittest.NewOf(audittest.Origin+"/state", "b").Open().Fill(max(size, audittest.Opened))
	return audittest.Serve(h.Statements[:size], h.LogSigner)
}

// TestTwoLogs writes a log with its state log, and reads both back.
func TestTwoLogs(t *testing.T) {
	for _, sizes := range [][2]int{{0, 0}, {9, 0}, {9, 1}, {300, 257}, {300, 600}} {
		served, state := history(max(sizes[0], 8)).Serve(), states(sizes[1])
		if sizes[0] == 0 {
			served = audittest.Serve(nil, history(8).LogSigner)
		}
		b := writeBoth(t, served, state)
		a, err := open(b)
		if err != nil || a.State() == nil {
			t.Fatalf("%v: %v", sizes, err)
		}
		if !bytes.Equal(write(t, a), write(t, served)) || !bytes.Equal(write(t, a.State()), write(t, state)) {
			t.Errorf("%v: the logs that are read are not those that were written", sizes)
		}
		if !bytes.Equal(writeBoth(t, a, a.State()), b) {
			t.Errorf("%v: an archive of the archive has other bytes", sizes)
		}
	}
	old, err := open(write(t, history(9).Serve()))
	if err != nil || old.State() != nil {
		t.Errorf("without a state log: %v, error %v", old, err)
	}
	// What was written before there were state logs has the same bytes.
	const before = "9cbef190b860adae785d03102064376fe9ffc710ecbff134fdff6fb98503ff2d"
	if got := fmt.Sprintf("%x", sha256.Sum256(write(t, history(300).Serve()))); got != before {
		t.Errorf("an export without a state log has the digest %s", got)
	}
	if !bytes.Equal(writeBoth(t, history(9).Serve(), audittest.Files{}), write(t, history(9).Serve())) {
		t.Error("a state log that does not exist leaves something in the archive")
	}
}

// TestStateDamaged cuts and changes an archive within its state log.
func TestStateDamaged(t *testing.T) {
	served, state := history(260).Serve(), states(260)
	b, alone := writeBoth(t, served, state), len(write(t, served))
	for cut := alone - 1024; cut < len(b); cut += 1 + cut%509 {
		_, err := open(b[:cut])
		var truncated *archive.TruncatedError
		if !errors.As(err, &truncated) || truncated.Complete != 260 || truncated.Checkpoint == nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	// Without one of the members of the state log, with a checkpoint that is none,
	// with the state log twice, and with another end.
	tile := bytes.Index(b, []byte("state/tile/0/000\x00"))
	section := b[alone-1024 : len(b)-1024]
	for name, damaged := range map[string][]byte{
		"member left out": append(bytes.Clone(b[:tile]), b[tile+512+256*32:]...),
		"checkpoint":      bytes.Replace(b, []byte("/state\n260\n"), []byte("/state\n2x0\n"), 1),
		"twice":           append(append(bytes.Clone(b[:len(b)-1024]), section...), b[len(b)-1024:]...),
		"garbage":         append(bytes.Clone(b[:alone-1024]), bytes.Repeat([]byte("x"), 2048)...),
		"padded":          append(bytes.Clone(b), make([]byte, 512)...),
	} {
		var malformed *archive.MalformedError
		if _, err := open(damaged); !errors.As(err, &malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name := range state {
		broken := states(260)
		broken[name] = broken[name][:len(broken[name])-1]
		if err := archive.Write(t.Context(), io.Discard, served, broken); !errors.Is(err, archive.ErrSource) {
			t.Errorf("state/%s is cut: %v", name, err)
		}
	}
}

// TestIsTar reads an archive with another implementation of tar, and finds the
// very files of the log.
func TestIsTar(t *testing.T) {
	served := history(530).Serve()
	r := tar.NewReader(bytes.NewReader(write(t, served)))
	left := len(served)
	for first := true; ; first = false {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("reading as tar: %v", err)
		}
		content, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(content, served[h.Name]) {
			t.Errorf("%s: error %v, or another content", h.Name, err)
		}
		if h.Format != tar.FormatUSTAR || h.Mode != 0o644 || h.Uid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 || h.Typeflag != tar.TypeReg {
			t.Errorf("%s: header %+v", h.Name, h)
		}
		if first != (h.Name == "checkpoint") {
			t.Errorf("%s stands in the wrong place", h.Name)
		}
		left--
	}
	if left != 0 {
		t.Errorf("%d files are missing", left)
	}
}

// growing is a log that has grown since its checkpoint was asked for.
type growing struct {
	audittest.Files
	bundles [][]byte
}

func (g growing) Entries(_ context.Context, n uint64, width int) ([]byte, error) {
	return proof.FormatBundle(g.bundles[n*proof.TileWidth:][:width])
}

func TestCutsAtCheckpoint(t *testing.T) {
	h := history(530)
	then := audittest.Serve(h.Statements[:300], h.LogSigner)
	if !bytes.Equal(write(t, growing{then, h.Statements}), write(t, then)) {
		t.Error("a log that grows exports otherwise than one that stands")
	}
}

// TestTruncated cuts an archive everywhere around every boundary: each cut is
// found, with what is missing, and the checkpoint is there as soon as it can be.
func TestTruncated(t *testing.T) {
	b := write(t, history(260).Serve())
	for cut := 1; cut < len(b); cut += 1 + cut%509 {
		_, err := open(b[:cut])
		var truncated *archive.TruncatedError
		if !errors.As(err, &truncated) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if cut > 1024 && (truncated.Checkpoint == nil || truncated.Leaves != 260) {
			t.Errorf("cut at %d: error without the checkpoint", cut)
		}
		if cut < len(b)-1024 && truncated.Missing == "" || truncated.Complete > 260 || truncated.Size != int64(cut) {
			t.Errorf("cut at %d: %+v", cut, truncated)
		}
	}
}

func TestMalformed(t *testing.T) {
	b := write(t, history(300).Serve())
	change := func(at int, to byte) []byte {
		c := bytes.Clone(b)
		c[at] = to
		return c
	}
	second := 1024 // the header of the first tile
	swapped := bytes.Clone(b)
	n := 512 + 256*32 // the two level-0 tiles do not have the same length
	copy(swapped[second:], b[second+n:])
	tests := map[string][]byte{
		"mode":            change(second+106, '5'),
		"owner":           change(second+114, '1'),
		"time":            change(second+146, '1'),
		"type":            change(second+156, '2'),
		"magic":           change(second+257, 'U'),
		"owner's name":    change(second+265, 'r'),
		"prefix":          change(second+345, 'x'),
		"another name":    change(second+5, '1'),
		"path trick":      change(second, '/'),
		"checksum":        change(second+148, '7'),
		"size":            change(second+134, '1'),
		"size not octal":  change(second+134, 'x'),
		"padding":         change(1023, 1),
		"end mark":        change(len(b)-1, 1),
		"padded":          append(bytes.Clone(b), make([]byte, 512)...),
		"padded by one":   append(bytes.Clone(b), 0),
		"member repeated": append(bytes.Clone(b[:second]), append(bytes.Clone(b[:second]), b[second:]...)...),
		"out of order":    swapped,
		"checkpoint":      bytes.Replace(b, []byte("\n300\n"), []byte("\n3x0\n"), 1),
	}
	for name, damaged := range tests {
		_, err := open(damaged)
		var malformed *archive.MalformedError
		if !errors.As(err, &malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A checkpoint that claims more than there is costs no memory.
	huge := bytes.Replace(b, []byte("\n300\n"), []byte("\n999\n"), 1)
	var truncated *archive.TruncatedError
	var malformed *archive.MalformedError
	if _, err := open(huge); !errors.As(err, &truncated) && !errors.As(err, &malformed) {
		t.Errorf("a greater tree size: %v", err)
	}
}

func TestNotArchive(t *testing.T) {
	for _, b := range []string{"", "{}", "PK\x03\x04" + strings.Repeat("x", 2000), "checkpoints"} {
		if _, err := open([]byte(b)); !errors.Is(err, archive.ErrNotArchive) {
			t.Errorf("%.10q: %v", b, err)
		}
	}
}

func TestNoTile(t *testing.T) {
	a, err := open(write(t, history(300).Serve()))
	if err != nil {
		t.Fatal(err)
	}
	for _, tile := range []proof.Tile{
		{Level: 0, Index: 1, Width: 43}, {Level: 0, Index: 1, Width: 45}, {Level: 0, Index: 2, Width: 1},
		{Level: 1, Index: 0, Width: 2}, {Level: 8, Index: 0, Width: 1}, {Level: -2, Index: 0, Width: 1}, {},
	} {
		if b, err := a.Tile(t.Context(), tile); err == nil {
			t.Errorf("%+v: %d bytes", tile, len(b))
		}
	}
	if b, err := a.Entries(t.Context(), 1, 256); err == nil {
		t.Errorf("bundle beyond the log: %d bytes", len(b))
	}
}

var errDisk = errors.New("the disk is gone")

// limited is a writer that takes only so much.
type limited int

func (l *limited) Write(p []byte) (int, error) {
	if *l -= limited(len(p)); *l < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

func TestWriteFails(t *testing.T) {
	served := history(300).Serve()
	whole := len(write(t, served))
	for room := 0; room < whole; room += 700 {
		w := limited(room)
		if err := archive.Write(t.Context(), &w, served, nil); !errors.Is(err, errDisk) {
			t.Errorf("disk full after %d bytes: %v", room, err)
		}
	}
	for name := range served {
		broken := history(300).Serve()
		broken[name] = broken[name][:len(broken[name])-1]
		if err := archive.Write(t.Context(), io.Discard, broken, nil); !errors.Is(err, archive.ErrSource) {
			t.Errorf("%s is cut: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := archive.Write(ctx, io.Discard, served, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// FuzzOpen wants every archive that is accepted to be written again with the
// same bytes.
func FuzzOpen(f *testing.F) {
	for _, size := range []int{0, 1, 7} {
		served := audittest.Serve(history(7).Statements[:size], history(7).LogSigner)
		f.Add(writeBoth(f, served, states(size)))
		b := write(f, served)
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := open(b)
		if err != nil {
			return
		}
		var again bytes.Buffer
		err = archive.Write(context.Background(), &again, a, a.State())
		if errors.Is(err, archive.ErrSource) {
			return // Open leaves the form of a bundle to the audit
		}
		if err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("written again: error %v, %d bytes of %d", err, again.Len(), len(b))
		}
	})
}
