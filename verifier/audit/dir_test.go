package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/audit"
	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/segment"
)

// TestFolderOfRunningLedger audits a folder whose store and tiles are ahead of
// the checkpoint that was read, as those of a running ledger are.
func TestFolderOfRunningLedger(t *testing.T) {
	h := audittest.New("a").Open().Fill(300)
	later := audittest.New("a").Open().Fill(700).Folder(100)
	for _, size := range []int{250, 300, 500} {
		h := audittest.New("a").Open().Fill(size)
		later["log/checkpoint"] = h.Serve()["checkpoint"]
		src := folder(later)
		r, err := audit.Log(t.Context(), src, audit.Options{Verifier: h.Verifier})
		if err != nil || !r.OK() {
			t.Errorf("size %d: error %v, findings %v", size, err, r.Findings)
		}
		if err := src.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	// A torn write behind everything that was promised is no lie either.
	files := h.Folder(1000)
	files["store/00000000000000000000.seg"] = append(files["store/00000000000000000000.seg"], 0, 0, 3)
	r, err := audit.Log(t.Context(), folder(files), audit.Options{Verifier: h.Verifier})
	if err != nil || !r.OK() {
		t.Errorf("torn tail: error %v, findings %v", err, r.Findings)
	}
}

// renaming is a data folder whose partial tiles are renamed, each time that somebody
// looks for one: to the next width, of which the last hash is yet to be appended, and
// to full ones at last.
type renaming struct {
	mu    sync.Mutex
	files fstest.MapFS
	step  int
}

func (r *renaming) Open(name string) (fs.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := r.files.Open(name)
	if strings.Contains(name, "/tile/") {
		r.rename()
	}
	return f, err
}

func (r *renaming) rename() {
	for name, file := range maps.Clone(r.files) {
		folder, tile, _ := strings.Cut(name, "/")
		if sub, rest, ok := strings.Cut(tile, "/"); ok && folder == "state" {
			folder, tile = folder+"/"+sub, rest
		}
		t, err := proof.ParsePath(tile)
		if err != nil || t.Width == proof.TileWidth {
			continue
		}
		delete(r.files, name)
		t.Width = min(t.Width+r.step, proof.TileWidth)
		lacking := max(0, (t.Width-1)*tlog.HashSize-len(file.Data))
		r.files[folder+"/"+proof.FormatPath(t)] = &fstest.MapFile{Data: slices.Concat(file.Data, make([]byte, lacking))}
	}
}

// TestFolderRenamesTiles audits a folder whose tiles are gone whenever they have been
// found.
func TestFolderRenamesTiles(t *testing.T) {
	h := audittest.New("a").OpenState().Fill(300)
	leaves := h.HonestStates()
	for _, step := range []int{1, 7, 50, 250} {
		files := h.Folder(1000)
		files.PutState(h.ServeState(leaves), leaves)
		m := make(fstest.MapFS)
		for name, data := range files {
			m[name] = &fstest.MapFile{Data: data}
		}
		dir := audit.NewDir(&renaming{files: m, step: step})
		r, err := ledger{dir, dir.State()}.audit(t, audit.Options{Verifier: h.Verifier, Workers: 1})
		if err != nil || !r.OK() {
			t.Errorf("by %d: error %v, findings %v", step, err, r.Findings)
		}
	}
}

// TestFolderWithGrowingTile audits a folder of which a tile has grown between its
// opening and its reading: what is beyond its name's width was not promised. A full
// tile does not grow.
func TestFolderWithGrowingTile(t *testing.T) {
	h := audittest.New("a").Open().Fill(300)
	for name, want := range map[string]string{"log/tile/0/001.p/44": "[]", "log/tile/1/000.p/1": "[]", "log/tile/0/000": "[tile-mismatch 0]"} {
		files := h.Folder(1000)
		files[name] = append(files[name], make([]byte, tlog.HashSize)...)
		r, err := audit.Log(t.Context(), folder(files), audit.Options{Verifier: h.Verifier})
		if got := fmt.Sprint(found(t, r)); err != nil || got != want {
			t.Errorf("%s: error %v, findings %s, want %s", name, err, got, want)
		}
	}
}

// TestFolderWithNewSegment audits a folder with a segment that was just being
// made.
func TestFolderWithNewSegment(t *testing.T) {
	h := story()
	for n := range segment.HeaderSize {
		files := h.Folder(5)
		name := "store/" + segment.FileName(25)
		files[name] = segment.AppendHeader(nil, 25)[:n]
		// The segment before it is sealed by then.
		files["store/"+segment.FileName(20)] = audittest.Segment(20, h.Records()[20:], true)
		r, err := audit.Log(t.Context(), folder(files), audit.Options{Verifier: h.Verifier})
		if err != nil || !r.OK() {
			t.Errorf("header of %d bytes: error %v, findings %v", n, err, r.Findings)
		}
	}
}

func TestFolderWithoutLedger(t *testing.T) {
	h := story()
	for _, missing := range []string{"log/checkpoint", "store/"} {
		files := h.Folder(100)
		for name := range files {
			if strings.HasPrefix(name, missing) {
				delete(files, name)
			}
		}
		r, err := audit.Log(t.Context(), folder(files), audit.Options{Verifier: h.Verifier})
		if !errors.Is(err, fs.ErrNotExist) || r.FoundFalse() {
			t.Errorf("without %s: error %v, findings %v", missing, err, r.Findings)
		}
	}
	if _, err := folder(h.Folder(9)).Entries(t.Context(), 0, 22); !errors.Is(err, audit.ErrNotRead) {
		t.Errorf("entries before the checkpoint: error %v", err)
	}
}

// TestFolderExports exports a data folder: the same bytes as of what is served.
func TestFolderExports(t *testing.T) {
	h := audittest.New("a").Open().Fill(600)
	if !bytes.Equal(export(t, folder(h.Folder(100))), export(t, h.Serve())) {
		t.Error("a folder and what is served of it export differently")
	}
}
