package audit_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/medledger/medledger/verifier/archive"
	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/proof"
)

func story() *audittest.History {
	h := audittest.New("a")
	h.Story()
	return h
}

// export exports a source.
func export(t *testing.T, src archive.Source) []byte {
	t.Helper()
	return exportBoth(t, src, nil)
}

// exportBoth exports a log and its state log.
func exportBoth(t *testing.T, src, state archive.Source) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := archive.Write(t.Context(), &b, src, state); err != nil {
		t.Fatalf("exporting: %v", err)
	}
	return b.Bytes()
}

func openExport(t *testing.T, b []byte) audit.Source {
	t.Helper()
	src, err := audit.NewExport(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatalf("opening the export: %v", err)
	}
	return src
}

func folder(files audittest.Files) *audit.Dir {
	m := make(fstest.MapFS)
	for name, data := range files {
		m[name] = &fstest.MapFile{Data: data}
	}
	return audit.NewDir(m)
}

// TestHonest audits honest logs of sizes at and around the edges of tiles, from
// every kind of source.
func TestHonest(t *testing.T) {
	whole := audittest.New("a")
	whole.Story()
	whole.Fill(600)
	for _, size := range []int{1, 2, 7, 8, 9, 22, 25, 255, 256, 257, 512, 600} {
		h := *whole
		h.Events, h.Statements = h.Events[:size], h.Statements[:size]
		served := h.Serve()
		sources := map[string]audit.Source{
			"served": served, "folder": folder(h.Folder(100)), "export": openExport(t, export(t, served)),
		}
		for name, src := range sources {
			r, err := audit.Log(t.Context(), src, audit.Options{Verifier: h.Verifier})
			if err != nil || !r.OK() || r.Verified != uint64(size) {
				t.Fatalf("%s of %d: error %v, findings %v", name, size, err, r.Findings)
			}
		}
	}
}

// TestKept compares honest logs with checkpoints of every size that matters.
func TestKept(t *testing.T) {
	h := audittest.New("a")
	h.Story()
	h.Fill(520)
	for _, size := range []int{0, 1, 255, 256, 257, 512, 519, 520} {
		kept := audittest.Serve(h.Statements[:size], h.LogSigner)["checkpoint"]
		r, err := audit.Log(t.Context(), h.Serve(), audit.Options{Verifier: h.Verifier, Kept: kept})
		if err != nil || !r.OK() || !r.KeptHolds || r.Kept.Size != uint64(size) {
			t.Errorf("kept %d: error %v, findings %v", size, err, r.Findings)
		}
	}
}

func TestReport(t *testing.T) {
	h := story()
	r, err := audit.Log(t.Context(), h.Serve(), audit.Options{Verifier: h.Verifier})
	if err != nil || !r.OK() {
		t.Fatalf("error %v, findings %v", err, r.Findings)
	}
	if r.Actors != 5 || r.Records != 2 || r.Destroyed != 1 || r.Destroying != 0 {
		t.Errorf("%d actors, %d records, %d destroyed, %d being destroyed", r.Actors, r.Records, r.Destroyed, r.Destroying)
	}
	if r.First != h.Events[0].Time || r.Last != h.Events[24].Time {
		t.Errorf("from %v to %v", r.First, r.Last)
	}
	if len(r.Announcements) != 2 || r.Announcements[1].Index != 15 || r.Announcements[1].Keys[0] != h.Signer.JWK().Kid {
		t.Errorf("announcements %v", r.Announcements)
	}
	var events uint64
	for _, n := range r.ByType {
		events += n
	}
	if events != 25 || r.ByType["medledger.record.accessed.v1"] != 3 {
		t.Errorf("by type %v", r.ByType)
	}
}

// failing fails at one file with an error that is no defect.
type failing struct {
	audittest.Files
	at proof.Tile
}

var errDisk = errors.New("the disk is gone")

func (f failing) Entries(ctx context.Context, n uint64, width int) ([]byte, error) {
	if f.at == (proof.Tile{Level: proof.Entries, Index: n, Width: width}) {
		return nil, errDisk
	}
	return f.Files.Entries(ctx, n, width)
}

func (f failing) Tile(ctx context.Context, t proof.Tile) ([]byte, error) {
	if f.at == t {
		return nil, errDisk
	}
	return f.Files.Tile(ctx, t)
}

// TestCouldNotCheck lets every file of a log fail: the audit ends with the
// source's error, and finds nothing false.
func TestCouldNotCheck(t *testing.T) {
	h := audittest.New("a").Open().Fill(600)
	served := h.Serve()
	for _, name := range slices.Sorted(maps.Keys(served)) {
		tile, err := proof.ParsePath(name)
		if err != nil {
			continue
		}
		r, err := audit.Log(t.Context(), failing{served, tile}, audit.Options{Verifier: h.Verifier})
		if !errors.Is(err, errDisk) || r.OK() || r.FoundFalse() {
			t.Errorf("%s fails: error %v, findings %v", name, err, r.Findings)
		}
	}
	delete(served, "checkpoint")
	if r, err := audit.Log(t.Context(), served, audit.Options{Verifier: h.Verifier}); !errors.Is(err, fs.ErrNotExist) || r.OK() {
		t.Errorf("no checkpoint: error %v", err)
	}
}

func TestOptions(t *testing.T) {
	h := story()
	if r, err := audit.Log(t.Context(), h.Serve(), audit.Options{}); !errors.Is(err, audit.ErrOptions) || r.OK() {
		t.Errorf("no key: error %v", err)
	}
	other := audittest.New("other").Open().Serve()["checkpoint"]
	if r, err := audit.Log(t.Context(), h.Serve(), audit.Options{Verifier: h.Verifier, Kept: other}); !errors.Is(err, audit.ErrKept) || r.OK() {
		t.Errorf("kept checkpoint of another key: error %v", err)
	}
}

// TestCancelled stops an audit from within.
func TestCancelled(t *testing.T) {
	h := audittest.New("a").Open().Fill(1200)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := audit.Options{Verifier: h.Verifier, Progress: func(uint64, uint64) { cancel() }}
	r, err := audit.Log(ctx, h.Serve(), o)
	if !errors.Is(err, context.Canceled) || r.OK() {
		t.Errorf("error %v, OK %v", err, r.OK())
	}
}
